"""Conditions find what they say, and can do nothing else, whoever wrote them."""

import asyncio
import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidDataError, StorageManager, StorageManagerError
from storage_manager.catalog import find, find_sessions, update_catalog


@pytest.fixture(scope="module")
def found_in(tmp_path_factory: pytest.TempPathFactory) -> StorageManager:
    """Three sessions with a catalogue."""
    sm = StorageManager(local_base_path=tmp_path_factory.mktemp("catalogued"))
    asyncio.run(fill(sm))
    return sm


async def fill(sm: StorageManager) -> None:
    for number, outcome in enumerate(["success", "failure", None], 1):
        metadata = {"outcome": outcome, "usage": {"cost_usd": number / 2}, "tags": ["tea"] * number, "n": number}
        step = {"url": f"https://shop{number}.example/", "timestamp": f"2026-01-0{number}T00:00:00"}
        await sm.store_session_metadata(f"run-{number}", metadata)
        await sm.store_step_data(f"run-{number}", "a", metadata=step)
    await update_catalog(sm)


def thorough(*values: Any) -> Any:
    """One of the arguments of a test that start a process each."""
    return pytest.param(*values, marks=pytest.mark.thorough)


async def ids(sm: StorageManager, where: str = "", **options: Any) -> list[str]:
    return [row["session_id"][-1] for row in await find_sessions(sm, where, **options)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("outcome = 'failure' and cost_usd > 0.9", "2"),
        thorough("", "321"),
        thorough("outcome is null or outcome = 'success' -- a comment", "31"),
        thorough("list_contains(hosts, 'shop2.example') or len(tags) = 3", "32"),
        thorough("started_at >= '2026-01-02' and started_at < '2026-01-03'", "2"),
        thorough("started_at > now() - interval 1 hour", ""),
        thorough("(metadata->>'$.n')::int = 1", "1"),
        thorough("cost_usd = (select max(cost_usd) from catalog)", "3"),
        thorough("exists (select 1 from unnest(tags) as t(tag) where tag = 'tea') and not sealed", "321"),
    ],
)
async def test_a_condition_finds_sessions(found_in: StorageManager, where: str, expected: str) -> None:
    assert "".join(await ids(found_in, where)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        thorough({"order_by": "cost_usd"}, "123"),
        thorough({"order_by": "outcome DESC"}, "123"),
        thorough({"order_by": "steps"}, "123"),
        thorough({"order_by": ""}, "123"),
        ({"order_by": "len(tags) % 2, cost_usd DESC -- a comment", "limit": 2}, "23"),
        thorough({"limit": 0}, ""),
        thorough({"limit": 1}, "3"),
    ],
)
async def test_rows_are_ordered_and_limited(found_in: StorageManager, options: dict[str, Any], expected: str) -> None:
    assert "".join(await ids(found_in, **options)) == expected


async def test_times_are_utc_datetimes(found_in: StorageManager) -> None:
    [row] = await find_sessions(found_in, limit=1)
    assert row["started_at"] == datetime(2026, 1, 3, tzinfo=timezone.utc)
    assert row["started_at"].tzinfo is row["last_modified"].tzinfo is timezone.utc


HOSTILE = [
    "true; DROP VIEW catalog",
    "true) UNION ALL SELECT * FROM catalog WHERE (true",
    "true /*",
    "true limit 1",
    "? = 1",
    "exists (select * from read_text('/etc/passwd'))",
    "exists (from '/etc/passwd.parquet')",
    "exists (from glob('/*'))",
    "exists (from table_of_the_program)",
    "exists (from duckdb_settings())",
    "exists (from query('select 1'))",
    "exists (insert into catalog values (1))",
    "getenv('HOME') is not null",
    "(" * 3000 + "true" + ")" * 3000,
]


@pytest.mark.thorough
async def test_a_hostile_condition_is_refused(found_in: StorageManager) -> None:
    answers = await asyncio.gather(*(find_sessions(found_in, where) for where in HOSTILE), return_exceptions=True)
    assert {where: answer for where, answer in zip(HOSTILE, answers, strict=True) if isinstance(answer, list)} == {}
    for answer in answers:
        assert isinstance(answer, InvalidDataError)
        assert "cost_usd" in str(answer)
        assert "root:" not in str(answer)


@pytest.mark.thorough
@pytest.mark.parametrize("order_by", ["cost_usd; DROP VIEW catalog", "1 UNION SELECT 1", "cost_usd LIMIT 1", "x /*"])
async def test_a_hostile_order_is_refused(found_in: StorageManager, order_by: str) -> None:
    with pytest.raises(InvalidDataError):
        await find_sessions(found_in, order_by=order_by)


async def test_a_condition_that_reads_a_file_is_refused(found_in: StorageManager) -> None:
    with pytest.raises(InvalidDataError, match="read_text cannot be used here; the columns are session_id"):
        await find_sessions(found_in, "exists (select * from read_text('/etc/passwd'))")


@pytest.mark.thorough
async def test_a_condition_cannot_see_the_environment(
    found_in: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "AWS_SECRET_ACCESS_KEY", "SM_TOKEN"):
        monkeypatch.setenv(name, "http://user:hunter2@127.0.0.1:9")
    assert await ids(found_in, "current_setting('http_proxy') like '%hunter2%'") == []


SLOW = "(select max(a.range + b.range) from range(1000000) a, range(1000000) b) > 1"


@pytest.mark.thorough
@pytest.mark.parametrize("where", [SLOW, "levenshtein(repeat('a', 100000), repeat('b', 100000)) > 1"])
async def test_a_condition_has_an_end(found_in: StorageManager, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "_SECONDS", 1)
    with pytest.raises(InvalidDataError, match="make it simpler"):
        await find_sessions(found_in, where)


@pytest.mark.thorough
async def test_a_condition_has_little_memory(found_in: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "_MEMORY", 3 * 2**29)
    with pytest.raises(InvalidDataError, match=r"[mM]emory"):
        await find_sessions(found_in, "damerau_levenshtein(repeat('a', 30000), repeat('b', 30000)) > 1")


@pytest.mark.parametrize(
    ("where", "order_by", "why"),
    [
        (
            "outcome = failure",
            "",
            "^the condition cannot be used: .* needs single quotes, such as outcome = 'failure'; the col",
        ),
        ("", "-started_at", r"^order_by cannot be used: [^\n]{,160}\(descending is `started_at DESC`\); the columns"),
        ("reward > 0", "cost", "^order_by cannot be used: "),
        ("reward >> ", "cost", "^the condition cannot be used: "),
        ("", "reward; drop table catalog", "^order_by cannot be used: "),
    ],
)
async def test_the_reason_names_what_is_wrong(found_in: StorageManager, where: str, order_by: str, why: str) -> None:
    with pytest.raises(InvalidDataError, match=why):
        await find_sessions(found_in, where, order_by=order_by)


@pytest.mark.thorough
async def test_the_advice_of_duckdb_about_its_memory_is_not_passed_on(found_in: StorageManager) -> None:
    """It names settings that nobody can change here."""
    with pytest.raises(InvalidDataError, match="too much memory: make it simpler"):
        await find_sessions(found_in, "(select count(distinct repeat(range::text, 2000)) from range(1000000)) > 0")


@pytest.mark.thorough
async def test_a_cancelled_query_ends_its_process(found_in: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    ask = find._ask

    async def tell(process: Any, data: memoryview) -> Any:
        started.append(process)
        task.cancel()
        return await ask(process, data)

    monkeypatch.setattr(find, "_ask", tell)
    task = asyncio.ensure_future(find_sessions(found_in, SLOW))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert started[0].returncode is not None


async def test_without_a_catalogue_the_error_says_how_to_make_one(local: StorageManager) -> None:
    with pytest.raises(StorageManagerError, match="storage-manager catalog update"):
        await find_sessions(local)
    assert list(Path(local.url_for()).iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"limit": -1}, ValueError), ({"limit": "1"}, TypeError), ({"where": 1}, InvalidDataError)],
)
async def test_wrong_arguments_are_refused(local: StorageManager, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await find_sessions(local, **arguments)


async def test_a_missing_package_says_what_to_install(
    found_in: StorageManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(find, "find_spec", lambda name: None)
    with pytest.raises(StorageManagerError, match=r"agent-storage-manager\[catalog\]"):
        await find_sessions(found_in)
