"""Read the files of a session that are no components: its metadata, its attachments, and those of its steps."""

from contextlib import aclosing
from typing import Any

from storage_manager.errors import StorageManagerError, translating
from storage_manager.inventory import list_files
from storage_manager.layout import (
    ATTACHMENTS_DIRECTORY,
    SESSION_METADATA_FILENAME,
    attachment_type,
    is_attachment_name,
    is_data,
    join,
)
from storage_manager.storage import StorageManager
from storage_manager.viewer.files import StoredFile, read_at_most

__all__ = ["MAX_LISTED", "attachment_file", "has_data", "list_attachments", "read_session_metadata"]

MAX_LISTED = 1000  # attachments in one answer
MAX_METADATA = 4_000_000  # bytes of the metadata of a session

# The types that a browser shows. They are served with STORED_POLICY, so nothing in them runs.
_SHOWN = ("image/", "text/", "application/json")


async def list_attachments(storage: StorageManager, session_id: str, step_id: str | None) -> dict[str, Any]:
    """Return the attachments of a step or of a session. On S3 this costs one LIST per thousand files.

    Returns:
        attachments: the first thousand by name, each with `name`, `size` in bytes and `type`; more: the number of
            the others.

    Raises:
        InvalidIdError: the id is not allowed. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError: they cannot be listed.
    """
    url = storage.url_for(session_id, step_id) if step_id else join(storage.url_for(session_id), ATTACHMENTS_DIRECTORY)
    with translating("list", url):
        async with storage.backend() as backend, aclosing(backend.iter_files(url)) as pages:
            sizes = {found.name: found.size async for page in pages for found in page if is_attachment_name(found.name)}
    names = sorted(sizes)[:MAX_LISTED]
    listed = [{"name": name, "size": sizes[name], "type": attachment_type(name)} for name in names]
    return {"attachments": listed, "more": len(sizes) - len(listed)}


def attachment_file(storage: StorageManager, session_id: str, step_id: str | None, name: str) -> StoredFile:
    """Return an attachment as a file to send. Browsers save it unless its type is one that they show.

    Raises:
        InvalidIdError, InvalidDataError: an id or the name is not allowed.
    """
    url, kind = storage.url_for(session_id, step_id, attachment=name), attachment_type(name)
    headers = {} if kind.startswith(_SHOWN) else {"Content-Disposition": f'attachment; filename="{name}"'}
    missing = f"There is no attachment {name}."
    return StoredFile(url, lambda data: kind, missing, headers)


async def has_data(storage: StorageManager, session_id: str) -> bool:
    """Return True if a session has at least one component, one attachment or metadata.

    Raises:
        As list_attachments.
    """
    async with aclosing(list_files(storage, session_id)) as listed:
        async for found in listed:
            if is_data(found.name):
                return True
    return False


async def read_session_metadata(storage: StorageManager, session_id: str) -> bytes | None:
    """Return the stored metadata of a session, which may be invalid JSON; None if there is none.

    Raises:
        InvalidIdError: the id is not allowed. Raised before any I/O.
        S3OperationError, S3ConfigError, LocalStorageError, StorageManagerError: it cannot be read, or is larger than
            four million bytes.
    """
    url = join(storage.url_for(session_id), SESSION_METADATA_FILENAME)
    data = await read_at_most(storage, url, MAX_METADATA)
    if data is not None and len(data) > MAX_METADATA:
        why = f"it has more than {MAX_METADATA:,} bytes"
        raise StorageManagerError(f"cannot view {url}: {why}", operation="view", url=url)
    return data
