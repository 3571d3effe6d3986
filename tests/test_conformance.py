"""The conformance suite on every place that is here: local disk, S3 by moto, a real S3 server, memory."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from places import Make, needs_real_s3

from storage_manager import StorageManager
from storage_manager.testing import StorageManagerTests


class TestLocal(StorageManagerTests):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> StorageManager:
        return StorageManager(local_base_path=tmp_path / "base")


class TestDurable(StorageManagerTests):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> StorageManager:
        return StorageManager(local_base_path=tmp_path / "base", fsync=True)


class TestMoto(StorageManagerTests):
    @pytest.fixture
    def storage(self, moto: Make) -> StorageManager:
        return moto(s3_prefix="some/prefix")


@needs_real_s3
class TestRealS3(StorageManagerTests):
    @pytest.fixture
    def storage(self, real_s3: Make) -> StorageManager:
        return real_s3()


class TestMemory(StorageManagerTests):
    @pytest.fixture
    def storage(self) -> StorageManager:
        return StorageManager.from_url(f"memory://{uuid.uuid4().hex}")


@pytest.mark.parametrize("mine", ["mine/t/metadata.json", "notes.txt", ".hidden/notes.txt"])
def test_a_place_with_data_is_refused(tmp_path: Path, mine: str) -> None:
    """What the suite deletes afterwards is its own."""
    (tmp_path / "place" / mine).parent.mkdir(parents=True)
    (tmp_path / "place" / mine).write_text("precious")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from storage_manager import StorageManager\n"
        "from storage_manager.testing import StorageManagerTests\n"
        "class TestIt(StorageManagerTests):\n"
        "    @pytest.fixture\n"
        "    def storage(self):\n"
        f"        return StorageManager(local_base_path={str(tmp_path / 'place')!r})\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "-k", "lists"]
    run = subprocess.run([*command, tmp_path / "test_it.py"], capture_output=True, text=True, check=False)
    assert "is not empty: what lies there would be deleted" in run.stdout
    assert (tmp_path / "place" / mine).read_text() == "precious"


def test_nothing_stays(tmp_path: Path) -> None:
    """Not even what the tests wrote past the manager."""
    storage = StorageManager(local_base_path=tmp_path)
    (tmp_path / ".hidden" / "t").mkdir(parents=True)
    (tmp_path / "file").touch()
    StorageManagerTests()._clear(storage)
    assert list(tmp_path.iterdir()) == []


def test_without_the_fixture_it_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="supplies the fixture `storage`"):
        StorageManagerTests.storage.__wrapped__(StorageManagerTests())  # type: ignore[attr-defined]


def test_without_pytest_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import storage_manager.testing"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "storage-manager[testing]"' in run.stderr
