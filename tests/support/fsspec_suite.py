"""fsspec's own conformance suite, for each of our filesystems."""

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
    """All tests that fsspec has for a filesystem. A subclass supplies `fs` and `fs_path`."""

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        """The same as the suite's own fixture, whose scope pytest deprecates in older versions of fsspec."""
        return LocalFileSystem(auto_mkdir=True)
