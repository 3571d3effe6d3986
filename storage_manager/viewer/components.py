"""The bytes of one component, as they are stored."""

from storage_manager.errors import is_missing, translating
from storage_manager.layout import Component
from storage_manager.storage import StorageManager

__all__ = ["read"]


async def read(storage: StorageManager, session_id: str, step_id: str, component: Component) -> bytes | None:
    """What is stored, decodable or not; None where the step has no such component.

    Raises:
        InvalidIdError: refused before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: it is there, and cannot be read; or the place fails.
    """
    url = storage.url_for(session_id, step_id, component)
    with translating("retrieve", url):
        [answer] = await storage.async_fs.read_files([url])
        if not isinstance(answer, Exception):
            return bytes(answer)
        if not is_missing(answer):  # such as a bucket
            raise answer
        return None
