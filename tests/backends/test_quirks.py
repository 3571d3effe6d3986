"""S3 services that deviate from Amazon's: each kind of deviation that `tests/support/quirky_s3.py` has."""

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from storage_manager import S3ConfigError, S3OperationError, StorageManager
from storage_manager.backends.base import hidden_name
from storage_manager.errors import translate
from storage_manager.integrity import seal_session, sweep, verify_session
from storage_manager.inventory import count_steps, summarize
from storage_manager.testing import NAMES
from storage_manager.transfer import copy_sessions, purge_sessions
from tests.support.quirky_s3 import Quirk, QuirkyS3
from tests.support.services import BUCKET, DATA, FILES, SIZE, Serve, Service, ids, inherited, manager
from tests.support.shell import sm as command

Sets = tuple[Quirk, ...]
NOW = timedelta(0)


def warnings(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    """The warnings of the library with this word, and nothing worse."""
    ours = [record for record in caplog.records if record.name.startswith("storage_manager")]
    return [record.message for record in ours if record.levelno >= logging.WARNING and word in record.message]


def quirky(plain: Sequence[Sets], thorough: Sequence[Sets] = ()) -> pytest.MarkDecorator:
    """Run a test under each of these sets of quirks, some of them only thoroughly."""
    marked = [pytest.param(quirks, marks=pytest.mark.thorough) for quirks in thorough]
    return pytest.mark.parametrize("quirks", [*plain, *marked], ids=ids)


# --- requests to a well-behaved service -----------------------------------------------------------


async def test_the_requests_to_a_good_service(serve: Serve) -> None:
    """One PUT per file, one GET per component, and a LIST after each deletion, which proves it."""
    server, sm = serve()
    for step in ("t1", "t2", "t3"):
        await sm.store_step_data("s", step, *DATA)
    assert server.counted() == {"PutObject": 12}
    assert await sm.retrieve_step_data("s", "t1") == DATA
    assert server.counted() == {"GetObject": 4}
    assert await sm.list_sessions() == ["s"]
    assert await sm.list_steps_for_session("s") == ["t1", "t2", "t3"]
    assert server.counted() == {"ListObjectsV2": 2}
    await sm.delete_session("s")
    assert server.counted() == {"ListObjectsV2": 2, "DeleteObjects": 1}


@inherited
async def test_deleting_a_step_lists_its_session_once(serve: Serve) -> None:
    """Because nothing but system files may be left in it."""
    service = serve()
    service.put_steps("s/t1", "s/t2")
    for _ in ("one of two", "the last"):
        [step, *_] = await service.sm.list_steps_for_session("s")
        service.server.counted()
        await service.sm.delete_step("s", step)
        assert service.server.counted() == {"ListObjectsV2": 3, "DeleteObjects": 1}
    assert service.objects == {}


# --- ETags ----------------------------------------------------------------------------------------


async def test_foreign_etags_are_warned_of_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    service = serve(Quirk.FOREIGN_ETAGS)
    steps = [f"t{number}" for number in range(5)]
    await asyncio.gather(*(service.sm.store_step_data("s", step, *DATA) for step in steps))
    assert service.objects == {f"s/{step}/{name}": data for step in steps for name, data in FILES.items()}
    for step in steps:
        assert await service.sm.retrieve_step_data("s", step) == DATA
    await service.sm.check()
    assert await verify_session(service.sm, "s") == []
    assert len(warnings(caplog, "ETag")) == 1


async def test_foreign_etags_are_warned_of_by_a_reader(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    service = serve(Quirk.FOREIGN_ETAGS)
    service.put_steps("s/t1", "s/t2")
    assert [step.data async for step in service.sm.iter_steps(concurrency=2)] == [DATA, DATA]
    assert len(warnings(caplog, "ETag")) == 1


async def test_once_it_is_known_that_etags_are_foreign_nothing_is_read_twice(serve: Serve) -> None:
    service = serve(Quirk.FOREIGN_ETAGS)
    await service.sm.store_step_data("s", "t1", *DATA)
    await service.sm.retrieve_step_data("s", "t1")
    service.server.counted()
    await service.sm.store_step_data("s", "t2", *DATA)
    await service.sm.retrieve_step_data("s", "t1")
    assert service.server.counted() == {"PutObject": 4, "GetObject": 4}


async def test_empty_etags_are_no_warning(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    service = serve(Quirk.EMPTY_ETAGS)
    await service.sm.store_step_data("s", "t", *DATA)
    assert await service.sm.retrieve_step_data("s", "t") == DATA
    assert caplog.records == []


@quirky([(Quirk.EMPTY_ETAGS,), (Quirk.FOREIGN_ETAGS,)])
async def test_writers_who_race_for_a_file_all_succeed(serve: Serve, quirks: Sets) -> None:
    """What another writer stored meanwhile is no damage, whether the ETag tells that or not."""
    service = serve(*quirks)
    pages = [letter * 1000 for letter in "abcdefgh"]
    for _ in range(3):
        await asyncio.gather(*(service.sm.store_step_data("s", "t", page) for page in pages))
    assert service.objects["s/t/observation.html"].decode() in pages


@quirky([(), (Quirk.FOREIGN_ETAGS,)])
async def test_a_byte_that_is_flipped_once_is_read_again(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put_steps("s/t")
    service.server.flip("GetObject")
    assert (await service.sm.retrieve_step_data("s", "t", components=["html"])).html == DATA.html


@quirky([(), (Quirk.FOREIGN_ETAGS,)])
async def test_a_byte_that_is_flipped_once_is_sent_again(serve: Serve, quirks: Sets) -> None:
    """The service notices it, because the body is signed."""
    service = serve(*quirks)
    service.server.flip("PutObject")
    await service.sm.store_step_data("s", "t", "<p>")
    assert service.objects == {"s/t/observation.html": b"<p>"}


@quirky([(), (Quirk.FOREIGN_ETAGS,)])
async def test_a_flipped_byte_is_found_without_the_service(serve: Serve, engine: str, quirks: Sets) -> None:
    """It gives the ETag of the bytes that reached it. With obstore, a signed body is compared by the service alone."""
    service = serve(*quirks, storage_options={"anon": engine == "obstore"})
    service.server.checks_digests = False
    service.server.flip("PutObject")
    await service.sm.store_step_data("s", "t", "<p>")
    assert service.objects == {"s/t/observation.html": b"<p>"}


async def test_an_answer_to_a_put_is_no_proof_while_the_old_bytes_are_read(serve: Serve, engine: str) -> None:
    service = serve()
    service.sm.async_fs.backoff_seconds = 0
    await service.sm.store_step_data("s", "t", "old")
    service.server.lost_e_tag = "0" * 32 if engine == "s3fs" else "proxy"
    with pytest.raises(S3OperationError, match="MD5 is not the object's ETag"):
        await service.sm.store_step_data("s", "t", "new")


async def test_a_flipped_byte_is_no_proof_of_foreign_etags(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was flipped before: the next one is found as well."""
    service = serve()
    for number in range(4):
        service.server.flip("PutObject")
        await service.sm.store_step_data("s", f"t{number}", "<p>")
        service.server.flip("GetObject")
        assert (await service.sm.retrieve_step_data("s", f"t{number}", components=["html"])).html == "<p>"
    assert set(service.objects.values()) == {b"<p>"}
    assert warnings(caplog, "ETag") == []


@quirky([(Quirk.FOREIGN_ETAGS,)], [(Quirk.EMPTY_ETAGS,), (Quirk.BARE_ANSWERS,)])
async def test_a_copy_does_not_send_twice_without_md5(serve: Serve, quirks: Sets) -> None:
    source, target = serve(*quirks), serve()
    source.put_steps("s/t1", "s/t2")
    assert [await copy_sessions(source.sm, target.sm) for _ in range(2)] == [2, 0]
    assert target.objects == source.objects
    assert await copy_sessions(target.sm, source.sm) == 0
    assert source.server.counted()["PutObject"] == 0


# --- deleting in bulk -----------------------------------------------------------------------------

DELETIONS = [(Quirk.MD5_FOR_BULK_DELETE, Quirk.NO_CRC), (Quirk.NO_BULK_DELETE, Quirk.MISSING_IS_404)]
MORE_DELETIONS = [
    (),
    (Quirk.MD5_FOR_BULK_DELETE,),
    (Quirk.NO_CRC,),
    (Quirk.NO_BULK_DELETE,),
    (Quirk.NO_BULK_DELETE_400,),
    (Quirk.BULK_DELETE_INVALID,),
    (Quirk.BULK_DELETE_MALFORMED,),
    (Quirk.MISSING_IS_404,),
]
NO_BULK = {Quirk.NO_BULK_DELETE, Quirk.NO_BULK_DELETE_400, Quirk.BULK_DELETE_INVALID, Quirk.BULK_DELETE_MALFORMED}


@inherited
@quirky(DELETIONS, MORE_DELETIONS)
async def test_a_deletion_deletes(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put_steps("s/t1", "s/t2", "s-1/t")
    await service.sm.delete_step("s", "t1")  # there is no manifest to delete with it
    service.server.counted()
    await service.sm.delete_session("s")
    requests = service.server.counted()
    assert {key.partition("/")[0] for key in service.objects} == {"s-1"}
    assert requests["ListObjectsV2"] == 2
    assert requests["DeleteObject"] == (4 if NO_BULK.intersection(quirks) else 0)
    assert requests["DeleteObjects"] <= 1


@inherited
@quirky(DELETIONS, MORE_DELETIONS)
async def test_a_deletion_names_the_key_that_is_refused(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put_steps("s/t")
    service.server.denied.add("s/t/action.json")
    with pytest.raises(S3OperationError, match=r"s/t/action\.json") as caught:
        await service.sm.delete_session("s")
    assert re.search("AccessDenied.*grant", str(caught.value))
    assert list(service.objects) == ["s/t/action.json"]


@inherited
@quirky(DELETIONS, MORE_DELETIONS)
async def test_a_deletion_is_proved(serve: Serve, quirks: Sets) -> None:
    """A service that says it has deleted is not believed."""
    service = serve(*quirks)
    service.put_steps("s/t")
    service.server.kept.add("s/t/action.json")
    with pytest.raises(S3OperationError, match=r"still listed.*s/t/action\.json"):
        await service.sm.delete_session("s")


@inherited
async def test_single_deletions_are_sent_at_once(serve: Serve) -> None:
    """But not more than may be in flight."""
    service = serve(Quirk.NO_BULK_DELETE, max_concurrency=8)
    service.put_steps(*(f"s/t{number}" for number in range(8)))
    service.server.latency = 0.02
    await service.sm.delete_session("s")
    assert service.objects == {}
    assert 1 < service.server.most <= 8


@inherited
@quirky([(Quirk.SLASH_PREFIXES,)], [*DELETIONS, *MORE_DELETIONS])
async def test_probes_are_swept(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put_steps("s/t")
    service.put(*(f"{hidden_name()}/probe" for _ in range(3)), modified=datetime(2020, 1, 1, tzinfo=timezone.utc))
    service.put(f"{hidden_name()}/probe")
    assert await sweep(service.sm) == 3
    assert await sweep(service.sm, NOW) == 1
    assert len(service.objects) == len(FILES)


# --- Object Lock ----------------------------------------------------------------------------------


@quirky([(Quirk.OBJECT_LOCK, Quirk.NO_CRC)], [(Quirk.OBJECT_LOCK,)])
async def test_a_bucket_with_object_lock_can_be_written(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    await service.sm.check()
    await service.sm.store_step_data("s", "t", *DATA)
    assert await service.sm.retrieve_step_data("s", "t") == DATA
    await seal_session(service.sm, "s")
    assert await verify_session(service.sm, "s") == []


# --- listings -------------------------------------------------------------------------------------

SMALL, REPEATED, UNORDERED, EMPTY = (
    Quirk.SMALL_PAGES, Quirk.REPEATED_PREFIXES, Quirk.UNORDERED, Quirk.EMPTY_PAGES,
)  # fmt: skip
# Sorted by name, and not as S3 sorts them, together with the slash.
SESSIONS, STEPS = ["B", "a", "a-1", "b"], NAMES[:8]
LISTINGS = [(SMALL, EMPTY, REPEATED, UNORDERED)]
MORE_LISTINGS = [
    (SMALL,),
    (SMALL, REPEATED),
    (SMALL, UNORDERED),
    (SMALL, UNORDERED, REPEATED),
    (SMALL, EMPTY),
    (SMALL, EMPTY, REPEATED),
    (SMALL, Quirk.BARE_ANSWERS),
]


@inherited
@quirky(LISTINGS, MORE_LISTINGS)
class TestListings:
    """Whatever the pages are like, each session, step and file is there once, and in order."""

    @pytest.fixture
    def service(self, serve: Serve, quirks: Sets) -> Service:
        service = serve(*quirks)
        steps = [*(f"{name}/t" for name in SESSIONS), *(f"s/{name}" for name in STEPS)]
        service.put(*(f"{step}/metadata.json" for step in steps))
        return service

    async def test_sessions_and_steps_are_listed_once(self, service: Service) -> None:
        assert await service.sm.list_sessions() == [*SESSIONS, "s"]
        assert [name async for name in service.sm.iter_sessions()] == [*SESSIONS, "s"]
        assert await service.sm.list_steps_for_session("s") == STEPS
        assert await count_steps(service.sm) == 12

    async def test_files_are_counted_once(self, service: Service) -> None:
        """This is what `ls --long` prints."""
        assert (await summarize(service.sm, "s"))[:2] == (8, 8 * len(FILES["metadata.json"]))

    async def test_steps_are_read_once(self, service: Service) -> None:
        read = [(step.session_id, step.step_id) async for step in service.sm.iter_steps(components=["metadata"])]
        assert read == [*((name, "t") for name in SESSIONS), *(("s", name) for name in STEPS)]

    async def test_steps_are_copied_once(self, service: Service, tmp_path: Path) -> None:
        target, seen = StorageManager(local_base_path=tmp_path), list[tuple[int, int | None]]()
        assert await copy_sessions(service.sm, target, progress=lambda *done: seen.append(done)) == 12
        assert seen[-1] == (12, 12)
        assert await copy_sessions(target, service.sm) == 0
        assert await target.list_steps_for_session("s") == STEPS

    async def test_a_session_is_sealed_and_verified(self, service: Service) -> None:
        assert await verify_session(service.sm, "s") == []
        await seal_session(service.sm, "s")
        assert await verify_session(service.sm, "s") == []
        del service.server.buckets[BUCKET]["s/a-1/metadata.json"]
        assert [problem.kind for problem in await verify_session(service.sm, "s")] == ["missing"]

    async def test_a_session_is_deleted_whole(self, service: Service) -> None:
        await service.sm.delete_session("s")
        assert await service.sm.list_sessions() == SESSIONS
        assert len(service.objects) == 4

    async def test_old_sessions_are_named_once(self, service: Service) -> None:
        assert await purge_sessions(service.sm, NOW) == [*SESSIONS, "s"]


@pytest.mark.thorough
@quirky([*LISTINGS, *MORE_LISTINGS])
async def test_the_command_ls_prints_each_session_once(
    serve: Serve, quirks: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(*quirks)
    service.put_steps(*(f"{name}/t" for name in SESSIONS), "s/t1", "s/t2", "s/t3", "s/t4")
    monkeypatch.setenv("SM_S3_ENDPOINT_URL", service.server.url)
    printed = command("ls", "--long", "--json", "--root", f"s3://{BUCKET}")
    rows = [json.loads(line) for line in printed.out.splitlines()]
    found = {row["session_id"]: (row["steps"], row["size"]) for row in rows}
    assert (printed.code, printed.err, len(rows)) == (0, "", 5)
    assert found == {**dict.fromkeys(SESSIONS, (1, SIZE)), "s": (4, 4 * SIZE)}


@inherited
async def test_a_session_of_many_small_pages_is_deleted(serve: Serve) -> None:
    """However many rounds it takes, each deletes something."""
    service = serve(SMALL)
    service.put(*(f"s/t{number}/metadata.json" for number in range(70)))
    await service.sm.delete_session("s")
    assert service.objects == {}


@inherited
async def test_a_page_without_the_next_token_is_refused(serve: Serve, tmp_path: Path) -> None:
    """What is not listed would be taken for deleted."""
    service = serve(Quirk.SMALL_PAGES, Quirk.NO_TOKEN)
    service.put_steps("s/t1", "s/t2", "s/t3", "s/t4", "s1/t", "s2/t", "s3/t")
    target = StorageManager(local_base_path=tmp_path)
    for call in (
        service.sm.list_sessions,
        partial(service.sm.list_steps_for_session, "s"),
        partial(summarize, service.sm, "s"),
        partial(verify_session, service.sm, "s"),
        partial(copy_sessions, service.sm, target, ["s"]),
        partial(purge_sessions, service.sm, NOW),
    ):
        with pytest.raises(S3OperationError, match="truncated, without a token"):
            await call()
    await service.sm.delete_session("s1")
    assert "s/t1/metadata.json" in service.objects


# --- what answers lack ----------------------------------------------------------------------------

AGELESS = [(Quirk.NO_LAST_MODIFIED,), (Quirk.ODD_LAST_MODIFIED,), (Quirk.EPOCH_LAST_MODIFIED,)]
INCOMPLETE = [(Quirk.ODD_LAST_MODIFIED,), (Quirk.BARE_ANSWERS, Quirk.NO_LAST_MODIFIED, Quirk.CHUNKED)]
MORE_INCOMPLETE = [(Quirk.NO_LAST_MODIFIED,), (Quirk.EPOCH_LAST_MODIFIED,), (Quirk.BARE_ANSWERS,), (Quirk.CHUNKED,)]


@quirky(INCOMPLETE, MORE_INCOMPLETE)
async def test_sessions_can_be_used_whatever_answers_lack(serve: Serve, quirks: Sets, tmp_path: Path) -> None:
    service = serve(*quirks)
    await service.sm.store_step_data("s", "t", *DATA)
    assert await service.sm.list_sessions() == ["s"]
    assert await service.sm.retrieve_step_data("s", "t") == DATA
    assert (await summarize(service.sm, "s"))[:2] == (1, SIZE)
    await seal_session(service.sm, "s")
    assert await verify_session(service.sm, "s") == []
    target = StorageManager(local_base_path=tmp_path)
    assert [await copy_sessions(service.sm, target) for _ in range(2)] == [1, 0]
    assert await target.retrieve_step_data("s", "t") == DATA
    assert None not in (await service.sm.get_share_links("s", "t")).values()
    await service.sm.delete_session("s")
    assert service.objects == {}


@inherited
@quirky(AGELESS)
async def test_what_has_no_age_is_not_purged(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put_steps("s/t", modified=datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert (await summarize(service.sm, "s")).modified is None
    assert await purge_sessions(service.sm, NOW, dry_run=False) == []
    assert len(service.objects) == len(FILES)


@pytest.mark.parametrize("year", [1900, 1969, 1970])
async def test_a_time_before_1971_is_no_age(serve: Serve, year: int) -> None:
    """Zero times: of Unix, also in another zone or a moment later, and of Go (the year 1)."""
    service = serve()
    service.put_steps("s/t", modified=datetime(year, 12, 31, tzinfo=timezone.utc))
    assert await purge_sessions(service.sm, NOW) == []


@inherited
@quirky(AGELESS)
async def test_what_has_no_age_is_not_swept(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put(f"{hidden_name()}/probe")
    assert await sweep(service.sm, NOW) == 0
    assert len(service.objects) == 1


@inherited
async def test_an_upload_that_has_no_age_is_not_swept(serve: Serve) -> None:
    service = serve(Quirk.BARE_ANSWERS)
    service.server.begin(BUCKET, "s/t/screenshot.png")
    assert await sweep(service.sm, NOW) == 0
    assert [problem.kind for problem in await verify_session(service.sm, "s")] == ["missing", "leftover"]


async def test_a_large_file_is_read_in_chunks(serve: Serve) -> None:
    service = serve(Quirk.CHUNKED)
    large = bytes(range(256)) * 4096  # 1 MiB
    service.server.put(BUCKET, "s/t/screenshot.png", large)
    assert (await service.sm.retrieve_step_data("s", "t", components=["screenshot"])).screenshot == large


@pytest.mark.parametrize("error", [TypeError("'NoneType' object is not subscriptable"), KeyError("LastModified")])
def test_a_mistake_of_the_library_is_no_wrong_configuration(error: Exception) -> None:
    ours = translate(error, "list", "s3://b/s")
    assert not isinstance(ours, S3ConfigError)
    assert "storage_options" not in str(ours)


# --- unfinished uploads ---------------------------------------------------------------------------


@inherited
async def test_two_deletions_at_a_time_may_find_what_the_other_has_deleted(serve: Serve) -> None:
    service = serve(Quirk.MISSING_IS_404)
    service.server.latency = 0.01
    for _ in range(5):
        service.put_steps("s/t", "s/u")
        service.put("s/.DS_Store")
        await asyncio.gather(*(service.sm.delete_step("s", step) for step in ("t", "u")))
        assert service.objects == {}


@inherited
async def test_a_service_that_lists_no_uploads_is_swept_and_verified(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "storage_manager")
    service = serve(Quirk.NO_UPLOAD_LIST)
    service.put_steps("s/t")
    service.put(f"{hidden_name()}/probe")
    assert await verify_session(service.sm, "s") == []
    assert await sweep(service.sm, NOW) == 1
    assert await sweep(service.sm, NOW) == 0
    assert any("cannot list them" in record.message for record in caplog.records)


async def test_uploads_are_listed_by_their_keys_alone(serve: Serve) -> None:
    service = serve(Quirk.NO_UPLOAD_ID_MARKER, Quirk.SMALL_PAGES)
    service.put_steps("s/t")
    for number in range(7):
        service.server.begin(BUCKET, f"s/t{number}/action.json")
    assert len(await verify_session(service.sm, "s")) == 7
    assert await sweep(service.sm, NOW) == 7
    assert not service.server.uploads


@inherited
@quirky([(SMALL, Quirk.SLASH_PREFIXES)], [(), (SMALL,)])
async def test_unfinished_uploads_are_found_and_swept(serve: Serve, quirks: Sets) -> None:
    service = serve(*quirks)
    service.put_steps("s/t")
    for number in range(5):
        service.server.begin(BUCKET, f"s/t{number}/screenshot.png", datetime(2020, 1, 1, tzinfo=timezone.utc))
    service.server.begin(BUCKET, "s/t/screenshot.png")
    assert [problem.kind for problem in await verify_session(service.sm, "s")] == ["leftover"] * 6
    assert await sweep(service.sm) == 5
    assert await sweep(service.sm, NOW) == 1
    assert await verify_session(service.sm, "s") == []


# --- markers of directories, and files that systems leave -----------------------------------------

MARKERS = ["s/", "s/t/"]
SYSTEM_FILES = [
    "s/.DS_Store",
    "s/t/.DS_Store",
    "s/t/._screenshot.png",
    "s/Thumbs.db",
    "s/desktop.ini",
    "s/t/Desktop.ini",
]


@inherited
@quirky([(SMALL,)], [(), (EMPTY,), (UNORDERED, SMALL), (SMALL, REPEATED), (Quirk.NO_BULK_DELETE,)])
class TestLeftBySystems:
    @pytest.fixture
    def left(self) -> list[str]:
        return MARKERS + SYSTEM_FILES

    @pytest.fixture
    def service(self, serve: Serve, left: list[str], quirks: Sets) -> Service:
        service = serve(*quirks)
        service.put_steps("s/t")
        service.put(*left)
        return service

    async def test_the_last_step_takes_them_along(self, service: Service) -> None:
        await service.sm.delete_step("s", "t")
        assert await service.sm.list_sessions() == []
        assert service.objects == {}

    async def test_they_stay_with_another_step(self, service: Service, left: list[str]) -> None:
        service.put_steps("s/t2", "s-1/t")
        service.put("s-1/.DS_Store", ".DS_Store")
        await service.sm.delete_step("s", "t")
        assert await service.sm.list_sessions() == ["s", "s-1"]
        assert await service.sm.list_steps_for_session("s") == ["t2"]
        of_session = {key for key in left if not key.startswith("s/t/")}
        assert service.objects.keys() >= {"s-1/.DS_Store", ".DS_Store", *of_session}
        await service.sm.delete_step("s", "t2")
        assert await service.sm.list_sessions() == ["s-1"]
        assert service.objects.keys() == {"s-1/.DS_Store", ".DS_Store", *(f"s-1/t/{name}" for name in FILES)}

    async def test_a_file_of_the_user_stays(self, service: Service) -> None:
        service.put("s/notes.txt", "s/notes/.DS_Store", "s/full/")
        service.server.put(BUCKET, "s/full/", b"not empty")
        await service.sm.delete_step("s", "t")
        assert service.objects.keys() >= {"s/notes.txt", "s/full/"}

    async def test_they_are_no_problem(self, service: Service) -> None:
        assert await verify_session(service.sm, "s") == []
        await seal_session(service.sm, "s")
        assert await verify_session(service.sm, "s") == []

    async def test_they_are_not_copied(self, service: Service, tmp_path: Path) -> None:
        target = StorageManager(local_base_path=tmp_path)
        assert await copy_sessions(service.sm, target) == 1
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
            f"s/t/{name}" for name in FILES
        )


@inherited
async def test_other_hidden_files_are_a_problem(serve: Serve) -> None:
    service = serve()
    service.put_steps("s/t")
    service.put("s/t/.staging-mine", "s/.hidden/x")
    problems = await verify_session(service.sm, "s")
    assert Counter(problem.kind for problem in problems) == {"unlisted": 2}


# --- directory buckets ----------------------------------------------------------------------------

EXPRESS = (Quirk.FOREIGN_ETAGS, Quirk.UNORDERED, Quirk.SMALL_PAGES, Quirk.SLASH_PREFIXES)


@pytest.mark.parametrize("bucket", ["sessions--use1-az4--x-s3", "reader--use1-az4--xa-s3"])
async def test_directory_buckets_and_their_access_points(keys: None, bucket: str) -> None:
    with QuirkyS3(EXPRESS) as server:
        async with manager(server, bucket, s3_region_name="us-east-1", s3_engine="s3fs") as sm:
            await sm.check()
            await sm.store_step_data("s", "t", *DATA)
            assert await sm.retrieve_step_data("s", "t") == DATA
            assert await sm.list_sessions() == ["s"]
            assert await verify_session(sm, "s") == []
            assert await sweep(sm, NOW) == 0
            await sm.delete_session("s")
        assert server.buckets[bucket] == {}


@pytest.mark.parametrize("bucket", ["sessions--use1-az4--x-s3", "reader--use1-az4--xa-s3"])
async def test_directory_buckets_need_the_engine_s3fs(keys: None, bucket: str) -> None:
    with QuirkyS3(EXPRESS) as server:
        async with manager(server, bucket, s3_region_name="us-east-1", s3_engine="obstore") as sm:
            with pytest.raises(S3ConfigError, match="need s3_engine='s3fs'"):
                await sm.store_step_data("s", "t", *DATA)
