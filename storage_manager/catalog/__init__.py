"""The catalogue: a Delta Lake table with a row per session, and queries of it (extra `catalog`).

It lies in `<root>/_catalog` and is derived from the sessions: deleting it loses nothing.
"""

from storage_manager.catalog.find import find_sessions
from storage_manager.catalog.update import CatalogUpdate, update_catalog

__all__ = ["CatalogUpdate", "find_sessions", "update_catalog"]
