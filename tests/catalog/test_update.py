"""The catalogue has what the sessions have, and an update reads only what is new or has changed."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from storage_manager import InvalidIdError, LocalStorageError, S3OperationError, StorageManager, StorageManagerError
from storage_manager.backends.s3 import S3Backend
from storage_manager.catalog import CatalogUpdate, find_sessions, update_catalog
from storage_manager.catalog.columns import COLUMNS
from storage_manager.integrity import seal_session, sweep, verify_session
from storage_manager.transfer import copy_sessions
from tests.support.roots import Make, Request, s3_client

WHOLE = {
    "goal": "buy tea",
    "outcome": "failure",
    "reward": 1,
    "agent": "shopper",
    "model": "m-1",
    "owner": "ann",
    "tags": ["tea", "é"],
    "usage": {"input_tokens": 10, "output_tokens": 2, "cost_usd": 0.5},
    "started_at": "2026-01-31T12:00:00+02:00",
    "other": [1],
}


async def row(sm: StorageManager, session_id: str = "run") -> dict[str, Any]:
    [found] = await find_sessions(sm, f"session_id = '{session_id}'")
    return found


async def ids(sm: StorageManager) -> list[str]:
    return [found["session_id"] for found in await find_sessions(sm, order_by="session_id")]


async def test_a_row_has_what_the_session_has(sm: StorageManager) -> None:
    await sm.store_session_metadata("run", WHOLE)
    steps = {
        "b": "https://Shop.example:8443/cart",
        "a": "http://[2001:db8::1]:80/",
        "c": "about:blank",
        "d": "http://[",
    }
    for step_id, url in steps.items():
        metadata = {"url": url, "timestamp": f"2026-02-0{ord(step_id) - 96}T00:00:00"}
        await sm.store_step_data("run", step_id, "<p>", metadata=metadata)
    assert await update_catalog(sm) == CatalogUpdate(added=1, refreshed=0, removed=0, sessions=1)
    found = await row(sm)
    modified, size = found.pop("last_modified"), found.pop("bytes")
    assert found == {
        "session_id": "run",
        "steps": 4,
        **{name: WHOLE[name] for name in ("goal", "outcome", "reward", "agent", "model", "owner", "tags")},
        **{"input_tokens": 10, "output_tokens": 2, "cost_usd": 0.5},
        "started_at": datetime(2026, 1, 31, 10, tzinfo=timezone.utc),
        "ended_at": datetime(2026, 2, 4, tzinfo=timezone.utc),
        "start_url": "http://[2001:db8::1]:80/",
        "hosts": ["2001:db8::1", "shop.example"],
        "sealed": False,
        "metadata": json.dumps(WHOLE, ensure_ascii=False, separators=(",", ":")),
    }
    assert found["started_at"].tzinfo is timezone.utc
    assert abs((datetime.now(timezone.utc) - modified).total_seconds()) < 600
    assert size > 300


WRONG = [
    {name: {"x": 1} for name in WHOLE} | {"start_url": 1, "ended_at": "9999-12-31T23:59:59-20:00"},
    {"goal": None, "reward": 10**400, "tags": ["a", 1], "usage": {"input_tokens": 2**63, "output_tokens": 1.5}},
    {"reward": True, "usage": {"input_tokens": True, "cost_usd": "1"}, "started_at": "soon", "tags": "a"},
]


@pytest.mark.thorough
@pytest.mark.parametrize("metadata", WRONG)
async def test_a_field_of_the_wrong_type_is_null(local: StorageManager, metadata: dict[str, Any]) -> None:
    await local.store_session_metadata("run", metadata)
    assert (await update_catalog(local)).added == 1
    found = await row(local)
    empty = {name for name, value in found.items() if value is None}
    assert empty >= {*WHOLE} - {"usage", "other"} | {
        "start_url",
        "ended_at",
        "input_tokens",
        "output_tokens",
        "cost_usd",
    }
    assert json.loads(found["metadata"]) == metadata


@pytest.mark.thorough
@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b'{"goal": "\\ud800"}', b"{}" * 9])
async def test_metadata_that_is_no_json_object_is_null(local: StorageManager, data: bytes) -> None:
    await local.store_step_data("run", "step", "<p>", metadata={"url": "https://a.example/"})
    for name in ("_session.json", "step/metadata.json"):
        Path(local.url_for("run"), name).write_bytes(data)
    assert await update_catalog(local) == (1, 0, 0, 1)
    found = await row(local)
    assert (found["goal"], found["hosts"], found["start_url"]) == (None, [], None)


@pytest.mark.thorough
async def test_large_metadata_has_fields_but_no_copy(local: StorageManager) -> None:
    await local.store_session_metadata("run", {"goal": "tea", "page": "x" * 2**20})
    await update_catalog(local)
    found = await row(local)
    assert (found["goal"], found["metadata"]) == ("tea", None)


async def test_an_update_sees_new_changed_and_deleted_sessions(sm: StorageManager) -> None:
    for name in ("kept", "changed", "deleted"):
        await sm.store_session_metadata(name, {"goal": "old"})
    assert await update_catalog(sm) == (3, 0, 0, 3)
    assert await update_catalog(sm) == (0, 0, 0, 3)
    await sm.delete_session("deleted")
    await sm.store_session_metadata("changed", {"goal": "new"})
    await sm.store_step_data("added", "step", "<p>")
    assert await update_catalog(sm) == (1, 1, 1, 3)
    assert {found["session_id"]: found["goal"] for found in await find_sessions(sm)} == {
        **{"kept": "old", "changed": "new", "added": None}
    }


async def test_a_session_that_neither_exists_nor_is_in_the_table_is_named(
    local: StorageManager, caplog: pytest.LogCaptureFixture
) -> None:
    await local.store_session_metadata("one", {})
    assert await update_catalog(local, ["one", "gone"]) == (1, 0, 0, 1)
    assert "sessions that do not exist, or have no files: gone" in caplog.text


@pytest.mark.thorough
async def test_a_sealed_session_is_trusted_until_it_is_named(sm: StorageManager) -> None:
    for name in ("one", "two"):
        await sm.store_session_metadata(name, {"outcome": "error"})
        await seal_session(sm, name)
    await update_catalog(sm)
    for name in ("one", "two"):
        await sm.store_session_metadata(name, {"outcome": "success"})
    assert await update_catalog(sm) == (0, 0, 0, 2)
    assert await update_catalog(sm, ["one", "one", "gone"]) == (0, 1, 0, 2)
    assert [(await row(sm, name))["outcome"] for name in ("one", "two")] == ["success", "error"]
    assert await update_catalog(sm, full=True) == (0, 2, 0, 2)
    assert (await row(sm, "two"))["outcome"] == "success"


@pytest.mark.thorough
async def test_named_sessions_are_added_and_removed(local: StorageManager) -> None:
    for name in ("one", "two", "three"):
        await local.store_session_metadata(name, {})
    assert await update_catalog(local, ["one", "two"]) == (2, 0, 0, 2)
    await local.delete_session("one")
    await local.delete_session("two")
    assert await update_catalog(local, iter(["one"])) == (0, 0, 1, 1)
    assert await ids(local) == ["two"]


async def test_a_session_that_is_named_in_two_ways_has_one_row(local: StorageManager) -> None:
    await local.store_session_metadata("7", {})
    assert await update_catalog(local, ["7", 7]) == (1, 0, 0, 1)  # type: ignore[list-item]
    assert await ids(local) == ["7"]


@pytest.mark.thorough
async def test_a_rebuilt_catalogue_is_equal(local: StorageManager) -> None:
    for number in range(9):
        await local.store_session_metadata(f"run-{number}", {"reward": number})
        await update_catalog(local)
        await local.store_session_metadata(f"run-{number // 2}", {"reward": -number})
    await update_catalog(local)
    before = await find_sessions(local)
    for path in sorted(Path(local.url_for(), "_catalog").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    await update_catalog(local)
    assert await find_sessions(local) == before


@pytest.mark.thorough
async def test_many_updates_leave_few_files(local: StorageManager) -> None:
    import deltalake  # noqa: PLC0415 - it is slow

    for number in range(8):
        await local.store_session_metadata(f"run-{number}", {})
        await update_catalog(local)
    table = deltalake.DeltaTable(f"{local.url_for()}/_catalog")
    assert len(table.file_uris()) <= 3
    assert table.to_pyarrow_table().num_rows == 8


@pytest.mark.thorough
async def test_an_empty_root_has_an_empty_catalogue(sm: StorageManager) -> None:
    assert await update_catalog(sm) == (0, 0, 0, 0)
    assert await find_sessions(sm) == []


async def test_progress_counts_sessions_that_are_looked_at(local: StorageManager) -> None:
    for number in range(3):
        await local.store_session_metadata(f"run-{number}", {})
    told: list[tuple[int, int | None]] = []
    await update_catalog(local, concurrency=1, progress=lambda *numbers: told.append(numbers))
    assert told == [(1, None), (2, None), (3, None), (3, 3)]


def kinds(requests: list[Request]) -> Iterator[str]:
    """What was asked for, without the table itself."""
    for method, path, query, *_ in requests:
        if "_catalog" not in path + query and ".staging-" not in path:
            name = path.rpartition("/")[2] if path.count("/") > 1 else ("delimiter" in query and "root") or "session"
            yield f"{method} {name}"


async def test_an_update_costs_no_more_requests_than_promised(moto: Make, moto_requests: list[Request]) -> None:
    sm = moto()
    for number in range(6):
        await sm.store_step_data(f"run-{number}", "step", metadata={})
        if number < 4:
            await seal_session(sm, f"run-{number}")
    await update_catalog(sm)
    for number in (7, 8):
        await sm.store_step_data(f"run-{number}", "step", metadata={})
    moto_requests.clear()
    assert await update_catalog(sm) == (2, 0, 0, 8)
    assert Counter(kinds(moto_requests)) == {"GET root": 1, "GET session": 4, "GET metadata.json": 2}
    moto_requests.clear()
    await find_sessions(sm, "steps > 0")
    assert len(moto_requests) <= 20


@pytest.mark.thorough
async def test_the_catalogue_is_no_session(sm: StorageManager, base: Path) -> None:
    await sm.store_step_data("run", "step", "<p>")
    await update_catalog(sm)
    assert await sm.list_sessions() == ["run"]
    with pytest.raises(InvalidIdError):
        await update_catalog(sm, ["_catalog"])
    assert (await copy_sessions(sm, StorageManager(local_base_path=base))).left_behind == ()
    assert await verify_session(sm, "run") == []
    await sweep(sm)
    assert await ids(sm) == ["run"]
    assert [path.name for path in base.iterdir()] == ["run"]


async def test_an_unfinished_upload_to_the_catalogue_is_swept(moto: Make, moto_url: str) -> None:
    sm = moto(s3_prefix="prefix")
    bucket = sm.get_storage_info()["s3_bucket"]
    s3_client(moto_url).create_multipart_upload(Bucket=bucket, Key="prefix/_catalog/part-1.parquet")
    assert await sweep(sm, timedelta(0)) == 1


async def test_a_session_that_cannot_be_read_keeps_its_row(
    local: StorageManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("bad", "good"):
        await local.store_session_metadata(name, {"goal": "old"})
    await update_catalog(local)
    for name in ("bad", "good"):
        await local.store_session_metadata(name, {"goal": "new"})
    _refuse_listing(monkeypatch, "bad")
    assert await update_catalog(local) == (0, 1, 0, 2)
    assert {found["session_id"]: found["goal"] for found in await find_sessions(local)} == {"bad": "old", "good": "new"}
    assert "bad" in caplog.text
    _refuse_listing(monkeypatch, "")
    with pytest.raises(LocalStorageError):
        await update_catalog(local)


def _refuse_listing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from storage_manager.catalog import update  # noqa: PLC0415 - not the function

    listed = update.list_session

    async def refuse(storage: StorageManager, session_id: str) -> Any:
        if name in ("", session_id):
            raise LocalStorageError("refused", operation="list", url=storage.url_for(session_id))
        return await listed(storage, session_id)

    monkeypatch.setattr(update, "list_session", refuse)


@pytest.mark.thorough
async def test_a_step_that_cannot_be_read_is_read_again(local: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    await local.store_step_data("run", "step", metadata={"url": "https://a.example/"})
    await seal_session(local, "run")
    with monkeypatch.context() as patch:
        patch.setattr("storage_manager.backends.local.LocalBackend.read_files", _failing)
        await update_catalog(local)
    assert (await row(local))["hosts"] == []
    assert await update_catalog(local) == (0, 1, 0, 1)
    assert (await row(local))["hosts"] == ["a.example"]


async def _failing(backend: Any, paths: list[str]) -> list[Exception]:
    return [OSError(5, "Input/output error", path) for path in paths]


async def test_a_damaged_table_says_what_to_do(local: StorageManager) -> None:
    await update_catalog(local)
    for log in Path(local.url_for(), "_catalog/_delta_log").iterdir():
        log.write_bytes(b"\0" * 40)
    with pytest.raises(StorageManagerError, match="delete this directory"):
        await update_catalog(local)


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_damaged_file_of_the_table_says_what_to_do(local: StorageManager, is_deleted: bool) -> None:
    await local.store_session_metadata("run", {})
    await update_catalog(local)
    [file] = Path(local.url_for(), "_catalog").glob("*.parquet")
    file.unlink()
    if not is_deleted:
        file.write_bytes(b"not what it was, and long enough")
    for using in (find_sessions, update_catalog):
        with pytest.raises(StorageManagerError, match="delete this directory"):
            await using(local)  # type: ignore[operator]


async def test_another_tool_writes_no_numbers_of_rows(local: StorageManager) -> None:
    for name in ("a", "b"):
        await local.store_session_metadata(name, {})
        await update_catalog(local)
        for log in Path(local.url_for(), "_catalog/_delta_log").iterdir():
            actions = [json.loads(line) for line in log.read_text().splitlines()] if log.suffix == ".json" else []
            for action in actions:
                action.get("add", {}).pop("stats", None)
            log.write_text("\n".join(map(json.dumps, actions))) if actions else log.unlink()
    assert await update_catalog(local, ["b"]) == (0, 1, 0, 2)


async def test_a_table_with_other_types_is_replaced(local: StorageManager) -> None:
    import deltalake  # noqa: PLC0415
    import pyarrow  # noqa: PLC0415

    await local.store_session_metadata("run", {})
    names = [*COLUMNS, "digest"]
    deltalake.write_deltalake(f"{local.url_for()}/_catalog", pyarrow.table({name: [7] for name in names}))
    assert await update_catalog(local) == (1, 0, 0, 1)
    assert await update_catalog(local) == (0, 0, 0, 1)


@pytest.mark.thorough
async def test_a_table_with_other_columns_is_replaced(local: StorageManager) -> None:
    import deltalake  # noqa: PLC0415
    import pyarrow  # noqa: PLC0415

    await local.store_session_metadata("run", {})
    url = f"{local.url_for()}/_catalog"
    deltalake.write_deltalake(url, pyarrow.table({"session_id": ["old"]}))
    assert await update_catalog(local) == (1, 0, 0, 1)
    assert await ids(local) == ["run"]


async def test_a_service_that_ignores_conditions_gets_no_catalogue(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignores(*args: Any) -> bool:
        return False

    sm = moto()
    await sm.store_session_metadata("run", {})
    monkeypatch.setattr(S3Backend, "_refuses_to_replace", ignores)
    with pytest.raises(S3OperationError, match="If-None-Match"):
        await update_catalog(sm)


async def test_other_backends_have_no_catalogue() -> None:
    sm = StorageManager.from_url("memory://catalogue")
    with pytest.raises(StorageManagerError, match="only roots on S3 and on local disk"):
        await update_catalog(sm)


@pytest.mark.parametrize("engine", ["s3fs"], indirect=True)
async def test_no_error_tells_a_secret(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
    options = {"key": "AKIAIOSFODNN7EXAMPLE", "secret": secret}
    sm = moto(s3_bucket_name="no-such-bucket-here", storage_options=options)
    for call in (update_catalog(sm), find_sessions(sm)):
        with pytest.raises(S3OperationError, match="create the bucket") as caught:
            await call
        assert secret not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["a b", "é", "a#b", "a+b", "100%"])
async def test_any_directory_can_have_a_catalogue(tmp_path: Path, name: str) -> None:
    sm = StorageManager(local_base_path=tmp_path / name)
    await sm.store_session_metadata("run", {})
    await update_catalog(sm)
    assert await ids(sm) == ["run"]
    assert {path.name for path in (tmp_path / name).iterdir()} == {"run", "_catalog"}
    assert {path.name for path in tmp_path.iterdir()} == {name}


async def test_a_directory_that_deltalake_would_take_for_another_is_refused(tmp_path: Path) -> None:
    sm = StorageManager(local_base_path=tmp_path / "a%20b")
    await sm.store_session_metadata("run", {})
    for call in (update_catalog(sm), find_sessions(sm)):
        with pytest.raises(StorageManagerError, match="rename the directory"):
            await call
    assert {path.name for path in tmp_path.iterdir()} == {"a%20b"}


async def test_a_link_in_place_of_the_catalogue_is_refused(local: StorageManager, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(local.url_for(), "_catalog").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalStorageError, match="symbolic link"):
        await update_catalog(local)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["_catalog/link", "_catalog/_delta_log/link"])
async def test_a_link_in_the_catalogue_is_refused(local: StorageManager, tmp_path: Path, name: str) -> None:
    """A forged log may say that a file behind the link is to be deleted."""
    await update_catalog(local)
    Path(local.url_for(), name).symlink_to(tmp_path)
    with pytest.raises(LocalStorageError, match="symbolic link"):
        await update_catalog(local)


@pytest.mark.parametrize(("arguments", "error"), [({"concurrency": 0}, ValueError), ({"progress": 1}, TypeError)])
async def test_wrong_arguments_are_refused(local: StorageManager, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await update_catalog(local, **arguments)
    with pytest.raises(InvalidIdError):
        await update_catalog(local, "run")
    with pytest.raises(InvalidIdError):
        await update_catalog(local, [["run"]])  # type: ignore[list-item]
