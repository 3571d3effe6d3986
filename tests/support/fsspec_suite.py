"""fsspec's own conformance suite, as each of our filesystems has it."""

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract


class Suite(
    abstract.AbstractCopyTests,
    abstract.AbstractGetTests,
    abstract.AbstractOpenTests,
    abstract.AbstractPipeTests,
    abstract.AbstractPutTests,
    abstract.AbstractFixtures,
):
    """Everything that fsspec asks of a filesystem; `fs` and `fs_path` are to be supplied."""

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        """As the suite's own, whose scope pytest deprecates in older versions of fsspec."""
        return LocalFileSystem(auto_mkdir=True)
