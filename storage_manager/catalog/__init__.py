"""The catalogue: a Delta Lake table with one row per session, and queries on it (extra `catalog`).

It is stored in `<root>/_catalog`, and can be built again from the sessions. So nothing is lost if it is deleted.
"""

from storage_manager.catalog.find import find_sessions
from storage_manager.catalog.update import CatalogUpdate, update_catalog

__all__ = ["CatalogUpdate", "find_sessions", "update_catalog"]
