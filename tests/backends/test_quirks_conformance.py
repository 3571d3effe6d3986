"""The conformance suite on S3 services that deviate from Amazon's: under all quirks that go together.

`SM_TEST_QUIRKS=each` runs it under each quirk alone, which takes minutes.
"""

import os
from collections.abc import Collection

import pytest

from storage_manager import StorageManager
from storage_manager.testing import StorageManagerTests
from tests.support import wants_thorough
from tests.support.quirky_s3 import Quirk
from tests.support.services import BUCKET, Serve, Service, ids

pytestmark = pytest.mark.thorough

# Everything that a service can do at the same time, except what excludes another. A listing without tokens is refused.
ALL = frozenset(Quirk) - {
    Quirk.NO_TOKEN, Quirk.EMPTY_ETAGS, Quirk.NO_BULK_DELETE_400, Quirk.ODD_LAST_MODIFIED, Quirk.EPOCH_LAST_MODIFIED,
    Quirk.EXACT_UPLOAD_LIST, Quirk.BULK_DELETE_INVALID, Quirk.BULK_DELETE_MALFORMED,
    Quirk.NO_IF_NONE_MATCH, Quirk.NO_IF_NONE_MATCH_IN_UPLOADS,
}  # fmt: skip
REFUSED = (Quirk.NO_TOKEN, Quirk.NO_IF_NONE_MATCH, Quirk.NO_IF_NONE_MATCH_IN_UPLOADS)  # tested elsewhere
# What excludes each other, or is less of what another does.
OTHERS: list[Collection[Quirk]] = [
    [Quirk.EMPTY_ETAGS, Quirk.NO_BULK_DELETE_400, Quirk.ODD_LAST_MODIFIED, Quirk.EXACT_UPLOAD_LIST],
    [Quirk.BULK_DELETE_INVALID, Quirk.EPOCH_LAST_MODIFIED],
    [Quirk.BULK_DELETE_MALFORMED],
]
ONE_BY_ONE: list[Collection[Quirk]] = [[quirk] for quirk in Quirk if quirk not in REFUSED]
SETS = [ALL, *(ONE_BY_ONE if os.environ.get("SM_TEST_QUIRKS") == "each" else OTHERS)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Collect two thousand tests only if thorough tests are wanted: it takes seconds."""
    if "case" in metafunc.fixturenames:
        sets = SETS if wants_thorough(metafunc.config) else SETS[:1]
        names = ["all", *map(ids, SETS[1:])]
        # listing and deleting are the same code in both engines, so one of them meets the quirks one by one
        rows = [("s3fs", quirks) for quirks in sets] + [("obstore", ALL)]
        labels = [*(f"s3fs-{name}" for name in names[: len(sets)]), "obstore-all"]
        metafunc.parametrize("case", rows, ids=labels)


class TestWithQuirks(StorageManagerTests):
    """What bypasses the code under test asks the server's own memory."""

    service: Service
    # These say nothing about a service: no request is sent, or what is read is decoded here.
    test_a_bad_id_is_refused = None
    test_an_undecodable_component_is_none_or_an_error = None
    test_nothing_of_a_step_with_bad_data_is_stored = None
    test_a_bad_name_is_refused = None

    @pytest.fixture
    def engine(self, case: tuple[str, Collection[Quirk]], monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setenv("SM_S3_ENGINE", case[0])
        return case[0]

    @pytest.fixture
    async def storage(self, serve: Serve, case: tuple[str, Collection[Quirk]]) -> StorageManager:
        self.service = serve(*case[1], s3_prefix="some/prefix")
        return self.service.sm

    async def set(self, storage: StorageManager, url: str, data: bytes) -> None:
        self.service.server.put(BUCKET, url.removeprefix(f"s3://{BUCKET}/"), data)

    async def get(self, storage: StorageManager, url: str) -> bytes:
        return self.service.objects[url.removeprefix("s3://").removeprefix(f"{BUCKET}/")]

    async def files(self, storage: StorageManager) -> list[str]:
        return sorted(self.service.objects)

    def _clear(self, storage: StorageManager) -> None:
        self.service.server.buckets[BUCKET].clear()
