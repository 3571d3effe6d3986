"""Copy sessions from one root to another, and delete old sessions."""

from storage_manager.transfer.copying import CopyResult, copy_sessions
from storage_manager.transfer.retention import PurgedSession, purge_sessions, purging

__all__ = ["CopyResult", "PurgedSession", "copy_sessions", "purge_sessions", "purging"]
