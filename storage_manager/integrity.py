"""What a place should not hold: leftovers of writers that were killed."""

from datetime import timedelta

from storage_manager.errors import translating
from storage_manager.storage import StorageManager
from storage_manager.tasks import settled

__all__ = ["sweep"]


async def sweep(storage: StorageManager, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove what killed writers left behind: staged files, probes of `check`, unfinished uploads; returns how many.

    No session, step or component is touched, and nothing that a writer may still be at: that needs seconds. Local
    disk is swept so by the first store of each manager too.

    Parameters:
        older_than: of what was last written longer ago; at least zero.

    Raises:
        ValueError: a negative age.
        S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed, or a leftover not removed.
    """
    if older_than < timedelta(0):
        raise ValueError(f"older_than must not be negative: {older_than}")
    url = storage.url_for()
    with translating("sweep", url):
        return await settled(storage.async_fs._sweep(url, older_than.total_seconds()))
