"""Import sessions that other tools recorded."""

from storage_manager.importers.agentlab import import_agentlab
from storage_manager.importers.browser_use import import_browser_use
from storage_manager.importers.playwright import import_playwright_trace
from storage_manager.importers.webvoyager import import_webvoyager

__all__ = ["import_agentlab", "import_browser_use", "import_playwright_trace", "import_webvoyager"]
