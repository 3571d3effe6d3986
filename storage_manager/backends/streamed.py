"""What `open_async` gives on local disk."""

import warnings
from typing import Any

from fsspec.asyn import AbstractAsyncStreamedFile, AsyncFileSystem

__all__ = ["StreamedFile"]


class StreamedFile(AbstractAsyncStreamedFile):
    """Reads what was there when it was opened; what is written appears whole when it is closed, or never.

    Parameters:
        fs: an `LocalBackend`.
        source: the open file to read, None for one to write.
        mode: of `pipe_file`: "create" leaves a file alone that is there.
    """

    def __init__(self, fs: AsyncFileSystem, path: str, source: Any = None, mode: str = "overwrite") -> None:
        reading = {"mode": "rb", "size": source.size, "cache_type": "none"} if source else {"mode": "wb"}
        super().__init__(fs, path, **reading)
        self._source = source
        self._pipe_mode = mode

    async def _fetch_range(self, start: int, end: int) -> Any:
        return await self.fs._hop(self._source._fetch_range, start, end)

    async def _upload_chunk(self, final: bool = False) -> bool:
        if final:
            await self.fs._pipe_file(self.path, self.buffer.getvalue(), self._pipe_mode)
        return final  # False keeps the buffer

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            self.closed = True
            if self._source:
                self._source.close()

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind and not self._source:
            self.closed = True  # half of a file is none
        await self.close()

    def __del__(self) -> None:
        if not self.closed and not self._source:
            message = f"{self.path!r} was never closed and so not written"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
