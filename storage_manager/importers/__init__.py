"""Import sessions that other tools recorded."""

from storage_manager.importers.playwright import import_playwright_trace

__all__ = ["import_playwright_trace"]
