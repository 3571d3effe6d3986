"""An empty host, as a shell writes it for a variable that is not set: sockets take it for every address."""

import socket
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StorageManager
from storage_manager.viewer import serve
from tests.support.shell import SAMPLE, sm

EMPTY = ["", " ", "\t\n"]


@pytest.mark.parametrize("host", [*EMPTY, None, 0, b""], ids=repr)
async def test_serve_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Any) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    storage = StorageManager(local_base_path=tmp_path)
    monkeypatch.setattr(socket.socket, "listen", refuse)
    with pytest.raises(InvalidDataError, match=r"cannot view: host is .*: give an address, such as 127\.0\.0\.1"):
        async with serve(storage, host):
            pass


@pytest.mark.parametrize("host", EMPTY, ids=repr)
def test_view_opens_nothing(host: str, tmp_path: Path) -> None:
    code, out, err = sm("view", "--host", host, "--port", "0", "--no-open", "--root", SAMPLE)
    assert (code, out) == (2, "")
    assert "Error: --host is empty" in err
    code, out, err = sm("view", "--host", host, "--root", tmp_path / "none")
    assert (code, out, "--host is empty" in err) == (2, "", True)  # before the root is looked at
