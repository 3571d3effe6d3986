"""What a place should not hold: leftovers of writers that were killed."""

from datetime import timedelta

from storage_manager.errors import translating
from storage_manager.storage import StorageManager

__all__ = ["sweep"]


async def sweep(storage: StorageManager, older_than: timedelta = timedelta(hours=1)) -> int:
    """Remove what killed writers left behind: staged files, probes of `check`, unfinished uploads; returns how many.

    No session, step or component is touched. The first store of each manager sweeps a local disk of what is an hour
    old; on S3, and to have it gone sooner, call this. On S3 it needs the rights s3:ListBucketMultipartUploads and
    s3:AbortMultipartUpload. Other backends of fsspec have nothing to sweep.

    Parameters:
        older_than: only what was last written longer ago than this goes. Leave it longer than any write takes: a
            writer that is still at it has to begin anew on local disk, and fails on S3. Zero is for when nobody writes.

    Raises:
        ValueError: a negative age.
        S3OperationError, S3ConfigError, LocalStorageError: the place cannot be listed, or a leftover not removed.
    """
    if older_than < timedelta(0):
        raise ValueError(f"older_than must not be negative: {older_than}")
    url = storage.url_for()
    with translating("sweep", url):
        swept: int = await storage.async_fs._sweep(url, older_than.total_seconds())
    return swept
