"""The conformance suite on every place that is here: local disk, S3 by moto, a real S3 server, memory."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.testing import StorageManagerTests
from tests.support.roots import Make, needs_real_s3


class TestLocal(StorageManagerTests):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> StorageManager:
        return StorageManager(local_base_path=tmp_path / "base")


class TestDurable(StorageManagerTests):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> StorageManager:
        return StorageManager(local_base_path=tmp_path / "base", fsync=True)


ENGINES = ["s3fs", pytest.param("obstore", marks=pytest.mark.thorough)]  # test_s3.py tests both engines


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
class TestMoto(StorageManagerTests):
    @pytest.fixture
    def storage(self, moto: Make) -> StorageManager:
        return moto(s3_prefix="some/prefix")


@needs_real_s3
@pytest.mark.thorough
class TestRealS3(StorageManagerTests):
    @pytest.fixture
    def storage(self, real_s3: Make) -> StorageManager:
        return real_s3()


class TestMemory(StorageManagerTests):
    @pytest.fixture
    def storage(self) -> StorageManager:
        return StorageManager.from_url(f"memory://{uuid.uuid4().hex}")


MINE = ["mine/t/metadata.json", "notes.txt", ".hidden/notes.txt"]
A_CLASS = """
class Test{number}(StorageManagerTests):
    @pytest.fixture
    def storage(self):
        return StorageManager(local_base_path={place!r})
"""


@pytest.mark.thorough
def test_a_place_with_data_is_refused(tmp_path: Path) -> None:
    """What the suite deletes afterwards is its own."""
    imports = "import pytest\n" + "".join(
        f"from {kind.__module__} import {kind.__name__}\n" for kind in (StorageManagerTests, StorageManager)
    )
    classes = []
    for number, name in enumerate(MINE):
        (tmp_path / str(number) / name).parent.mkdir(parents=True)
        (tmp_path / str(number) / name).write_text("precious")
        classes.append(A_CLASS.format(number=number, place=str(tmp_path / str(number))))
    (tmp_path / "test_it.py").write_text(imports + "".join(classes))
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", "-k", "lists"]
    run = subprocess.run([*command, tmp_path / "test_it.py"], capture_output=True, text=True, check=False)
    for number, name in enumerate(MINE):
        assert f"{tmp_path}/{number} is not empty: the tests would delete the files in it" in run.stdout
        assert (tmp_path / str(number) / name).read_text() == "precious"


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
    assert 'pip install "agent-storage-manager[testing]"' in run.stderr
