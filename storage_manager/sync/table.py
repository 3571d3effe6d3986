"""The functions that have a synchronous twin. To add one, add a line, and run scripts/make_sync_stub.py."""

__all__ = ["FUNCTIONS"]

# The module of each asynchronous function, by the function's name. It is imported when the twin is first used.
FUNCTIONS = {
    "copy_sessions": "storage_manager.transfer",
    "export_parquet": "storage_manager.export",
    "export_webdataset": "storage_manager.export",
    "find_sessions": "storage_manager.catalog",
    "follow_session": "storage_manager.live",
    "import_agentlab": "storage_manager.importers",
    "import_browser_use": "storage_manager.importers",
    "import_playwright_trace": "storage_manager.importers",
    "import_webvoyager": "storage_manager.importers",
    "iter_transitions": "storage_manager.transitions",
    "purge_sessions": "storage_manager.transfer",
    "render_session": "storage_manager.viewer",
    "seal_session": "storage_manager.integrity",
    "sweep": "storage_manager.integrity",
    "update_catalog": "storage_manager.catalog",
    "verify_session": "storage_manager.integrity",
}
