"""fsspec's own conformance suite on `sm://`, on local disk and on S3 (moto)."""

from pathlib import Path

import pytest

from storage_manager.protocol import SessionFileSystem
from tests.support.fsspec_suite import Suite
from tests.support.roots import MOTO_KEYS, managers_at

pytestmark = pytest.mark.thorough


class SessionSuite(Suite):
    """Below a session."""

    @pytest.fixture
    def fs_path(self) -> str:
        return "session"


class TestLocal(SessionSuite):
    @pytest.fixture
    def fs(self, tmp_path: Path) -> SessionFileSystem:
        return SessionFileSystem(local_base_path=tmp_path / "base")


class TestS3(SessionSuite):
    # each of 32 patterns, which s3fs itself expands: half a minute
    test_copy_glob_edge_cases = test_get_glob_edge_cases = test_put_glob_edge_cases = None

    @pytest.fixture
    def fs(self, moto_url: str, monkeypatch: pytest.MonkeyPatch) -> SessionFileSystem:
        make = managers_at(moto_url, monkeypatch, **MOTO_KEYS)
        return SessionFileSystem(storage=make(s3_prefix="some/where"))

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    @pytest.mark.xfail(reason="s3fs asks S3 whether the file is new when it writes it, at its close")
    def test_open_exclusive(self, fs: SessionFileSystem, fs_target: str) -> None:
        super().test_open_exclusive(fs, fs_target)
