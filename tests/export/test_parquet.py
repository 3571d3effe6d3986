"""An export to Parquet holds what iter_steps gives, on each backend and at each target."""

import logging
import sys
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest

from storage_manager import InvalidDataError, InvalidIdError, StorageManager, StorageManagerError
from storage_manager.export import export_parquet, parquet, tables
from storage_manager.layout import ALL_COMPONENTS, COMPONENTS, Component
from tests.support.exported import NASTY, as_steps, fill, rows_of, small
from tests.support.roots import Make, Request

COLUMNS = [
    *("session_id", "step_id", "html", "screenshot", "action", "metadata"),
    *("html_url", "screenshot_url", "action_url", "metadata_url", "observed", "unreadable"),
]
FILES = ["README.md", "data/steps-00000.parquet", "index/index.parquet", "sessions/sessions.parquet"]


async def test_the_rows_are_what_iter_steps_gives(
    sm: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(sm)
    with caplog.at_level(logging.WARNING, "storage_manager.export"):
        count = await export_parquet(sm, f"{tmp_path}/out")
    rows = rows_of(f"{tmp_path}/out")
    assert as_steps(rows) == [step async for step in sm.iter_steps()]
    assert len(rows) == count == 4 + len(NASTY) + 1
    assert list(rows[0]) == COLUMNS
    told = [record.getMessage() for record in caplog.records if record.name.startswith("storage_manager.export")]
    assert told == [f"3 files could not be read; they are null in the export to {tmp_path}/out"]


async def test_missing_and_unreadable_are_told_apart(sm: StorageManager, tmp_path: Path) -> None:
    """Both are null; what is there keeps its URL, and is named."""
    await fill(sm)
    await export_parquet(sm, f"{tmp_path}/out")
    rows = {row["step_id"]: row for row in rows_of(f"{tmp_path}/out")}
    assert rows["step"]["unreadable"] == "html,action,metadata"
    assert rows["step"]["html"] is None
    assert rows["step"]["html_url"] == sm.url_for("unreadable", "step", "html")
    assert rows["html-only"]["unreadable"] == ""
    assert [rows["html-only"][f"{name}_url"] for name in ALL_COMPONENTS] == [
        sm.url_for("nasty", "html-only", "html"), None, None, None
    ]  # fmt: skip


@pytest.mark.parametrize("components", [ALL_COMPONENTS, ("html", "action"), ("action",)])
async def test_each_component_is_read_once(
    moto: Make, moto_requests: list[Request], tmp_path: Path, components: tuple[Component, ...]
) -> None:
    """One GET per component, for a readable step and for one with an unreadable component; and one per session."""
    sm = moto()
    await sm.store_step_data("readable", "step", "<p>", b"\x89PNG", {"n": 1}, {"n": 1})
    await sm.store_step_data("unreadable", "step", "<p>", b"\x89PNG", {"n": 1}, {"n": 1})
    sm.fs.pipe_file(sm.url_for("unreadable", "step", "action"), b"{")
    for session_id in ("readable", "unreadable"):
        moto_requests.clear()
        await export_parquet(sm, f"{tmp_path}/out", [session_id], components=components)
        reads = sorted(request.path.rpartition("/")[2] for request in moto_requests if not request.query)
        assert reads == sorted(["_session.json", *(row.filename for row in COMPONENTS if row.name in components)])


async def test_each_component_is_read_once_if_the_disk_refuses_one(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.store_step_data("s", "t", "x", metadata={})
    (tmp_path / "base/s/t/action.json").mkdir()
    reads: list[str] = []
    read_step = StorageManager.read_step

    async def counting(self: StorageManager, *ids: str, components: tuple[Component, ...]) -> Any:
        reads.extend(components)
        return await read_step(self, *ids, components=components)

    monkeypatch.setattr(StorageManager, "read_step", counting)
    for components in (ALL_COMPONENTS, ("html", "action"), ("action",)):
        reads.clear()
        await export_parquet(local, f"{tmp_path}/out", components=components)
        [row] = rows_of(f"{tmp_path}/out")
        assert row["unreadable"] == "action"
        assert len(reads) == len(set(reads))


async def test_what_the_disk_refuses_is_unreadable(local: StorageManager, tmp_path: Path) -> None:
    await local.store_step_data("s", "t", "x", metadata={})
    (tmp_path / "base/s/t/action.json").mkdir()
    await export_parquet(local, f"{tmp_path}/out")
    [row] = rows_of(f"{tmp_path}/out")
    assert (row["html"], row["action"], row["unreadable"]) == ("x", None, "action")


async def test_the_only_component_that_is_asked_for_may_be_unreadable(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 2)
    await local.store_step_data("s", "t", "x")
    for step in ("0001", "t"):
        (tmp_path / "base/s" / step / "action.json").unlink(missing_ok=True)
        (tmp_path / "base/s" / step / "action.json").mkdir()
    await export_parquet(local, f"{tmp_path}/out", components=["action"])
    assert [(row["action"], row["unreadable"]) for row in rows_of(f"{tmp_path}/out")] == [
        ('{"n":0}', ""), (None, "action"), (None, "action"),
    ]  # fmt: skip


async def test_a_directory_in_the_way_is_an_error_before_anything_is_replaced(
    local: StorageManager, tmp_path: Path
) -> None:
    await small(local, 2)
    await export_parquet(local, f"{tmp_path}/out")
    (tmp_path / "out/index/index.parquet").unlink()
    (tmp_path / "out/index/index.parquet").mkdir()
    await small(local, 3)
    with pytest.raises(StorageManagerError, match="a directory is in the way of a file"):
        await export_parquet(local, f"{tmp_path}/out")
    assert len(rows_of(f"{tmp_path}/out")) == 2


async def test_a_step_of_which_nothing_can_be_read_fails_the_export(local: StorageManager, tmp_path: Path) -> None:
    """Where every component fails, the place does: no rows of nulls are made of a disk that is gone."""
    for row in COMPONENTS:
        (tmp_path / "base/s/t" / row.filename).mkdir(parents=True)
    with pytest.raises(StorageManagerError, match="EISDIR") as caught:
        await export_parquet(local, f"{tmp_path}/out", components=["action"])
    assert caught.value.operation == "export"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["out", "file://{tmp}/out", "{tmp}/out/", "memory://export-{tmp}/out"])
async def test_any_target(local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    await fill(local)
    monkeypatch.chdir(tmp_path)
    await export_parquet(local, url.format(tmp=tmp_path))
    fs, path = fsspec.url_to_fs(url.format(tmp=tmp_path))
    rows = rows_of(path.rstrip("/"), fs)
    assert as_steps(rows) == [step async for step in local.iter_steps()]
    assert sorted(name.partition("/out/")[2] for name in fs.find(path)) == FILES
    fs.rm(path, recursive=True)


@pytest.mark.thorough
async def test_a_bucket_as_target(moto: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """From S3 to S3, twice, with listings that fsspec has cached meanwhile."""
    monkeypatch.setattr(parquet, "FILE_BYTES", 1)
    monkeypatch.setattr("storage_manager.export.writing.BATCH_ROWS", 4)
    sm = moto(s3_prefix="sessions")
    await fill(sm)
    url, options = sm.url_for().removesuffix("sessions") + "out", sm.storage_options
    fs = fsspec.filesystem("s3", **options)
    await export_parquet(sm, url, storage_options=options)
    assert len(fs.ls(f"{url}/data")) == 3
    await export_parquet(sm, url, ["nasty"], storage_options=options)
    names = [name.partition("/out/")[2] for name in fs.find(url)]
    assert names == sorted([*FILES, "data/steps-00001.parquet"])
    assert as_steps(rows_of(url, fs)) == [step async for step in sm.iter_steps(["nasty"])]


async def test_a_bucket_that_is_not_there_is_not_created(
    local: StorageManager, moto: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await small(local, 1)
    with pytest.raises(StorageManagerError, match="bucket") as caught:
        await export_parquet(local, "s3://no-such-bucket/out", storage_options=moto().storage_options)
    assert (caught.value.operation, caught.value.url) == ("export", "s3://no-such-bucket/out")
    assert "no-such-bucket" not in moto().fs.ls("")


@pytest.mark.parametrize("components", [["metadata"], ["screenshot", "html"], []])
async def test_components_that_are_not_asked_for_have_no_columns(
    local: StorageManager, tmp_path: Path, components: Any
) -> None:
    await fill(local)
    await export_parquet(local, f"{tmp_path}/out", ["nasty"], components=components)
    rows = rows_of(f"{tmp_path}/out")
    wanted = ["session_id", "step_id", "observed", "unreadable", *components, *(f"{name}_url" for name in components)]
    assert sorted(rows[0]) == sorted(wanted)
    assert as_steps(rows) == [step async for step in local.iter_steps(["nasty"], components=components)]


async def test_the_sessions_that_are_named_in_their_order(local: StorageManager, tmp_path: Path) -> None:
    await fill(local)
    await export_parquet(local, f"{tmp_path}/out", (name for name in ["other.session", "nasty"]))
    assert [row["session_id"] for row in rows_of(f"{tmp_path}/out")] == ["other.session"] + ["nasty"] * 6


async def test_a_session_that_is_named_twice_is_exported_once(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 2)
    assert await export_parquet(local, f"{tmp_path}/out", ["s", "s"]) == 2
    assert pq.read_table(tmp_path / "out/sessions/sessions.parquet").num_rows == 1


async def test_sessions_are_written_some_at_a_time(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those without steps, all of which are found before the first step."""
    monkeypatch.setattr(tables, "SESSIONS_AT_ONCE", 2)
    for number in range(5):
        await local.store_session_metadata(f"empty-{number}", {"outcome": "error"})
    await small(local, 1)
    await export_parquet(local, f"{tmp_path}/out")
    names = pq.read_table(tmp_path / "out/sessions/sessions.parquet")["session_id"].to_pylist()
    assert names == [*(f"empty-{number}" for number in range(5)), "s"]
    assert "| error | 5 |" in (tmp_path / "out/README.md").read_text()


async def test_the_index_says_where_each_step_is_and_how_large(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "FILE_BYTES", 10_000)
    monkeypatch.setattr("storage_manager.export.writing.BATCH_ROWS", 2)
    await fill(local)
    await export_parquet(local, f"{tmp_path}/out")
    files = sorted((tmp_path / "out").glob("data/steps-*"))
    assert len(files) > 2
    rows = [{**row, "file": f"data/{file.name}"} for file in files for row in pq.read_table(file).to_pylist()]
    for row in rows:
        for name in ALL_COMPONENTS:
            value = row.pop(name)
            row[f"{name}_bytes"] = (
                len(value.encode() if isinstance(value, str) else value) if value is not None else None
            )
    assert rows_of(f"{tmp_path}/out", name="index/index.parquet") == rows
    metadata = pq.read_metadata(tmp_path / "out/index/index.parquet").metadata
    assert (metadata[b"rows"], metadata[b"unreadable"]) == (b"12", b"3")


async def test_row_groups_are_as_large_as_asked_for(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage_manager.export.writing.BATCH_ROWS", 1)
    await small(local, 100)
    await export_parquet(local, f"{tmp_path}/out", row_group_bytes=5000)
    [file] = (tmp_path / "out").glob("data/steps-*")
    groups = pq.read_metadata(file)
    assert 2 < groups.num_row_groups < 20
    assert groups.row_group(0).column(2).compression == "ZSTD"
    await export_parquet(local, f"{tmp_path}/out", row_group_bytes=1)
    assert pq.read_metadata(file).num_row_groups == 100


async def test_no_steps(local: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await small(local, 3)
    assert await export_parquet(local, f"{tmp_path}/out") == 3
    with caplog.at_level(logging.WARNING, "storage_manager.export"):
        assert await export_parquet(local, f"{tmp_path}/out", []) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"nothing was exported to {tmp_path}/out: there are no steps"
    ]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in files) == FILES
    steps, index = (
        pd.read_parquet(tmp_path / "out" / name) for name in ("data/steps-00000.parquet", "index/index.parquet")
    )
    assert list(steps.columns) == COLUMNS
    assert list(index.columns) == [
        *("session_id", "step_id", "html_bytes", "screenshot_bytes", "action_bytes", "metadata_bytes"),
        *(*COLUMNS[6:], "file"),
    ]
    assert len(steps) == len(index) == 0


async def test_pandas_reads_the_directory(local: StorageManager, tmp_path: Path) -> None:
    """The columns that both kinds of file have, from the files of steps."""
    await small(local, 3)
    await export_parquet(local, f"{tmp_path}/out")
    frame = pd.concat(pd.read_parquet(path) for path in sorted((tmp_path / "out").glob("data/steps-*.parquet")))
    assert list(frame["action"]) == ['{"n":0}', '{"n":1}', '{"n":2}']


async def test_progress_is_told(local: StorageManager, tmp_path: Path) -> None:
    await small(local, 600)
    told: list[tuple[int, int | None]] = []
    await export_parquet(local, f"{tmp_path}/out", progress=lambda *numbers: told.append(numbers))
    assert told == [(256, None), (512, None), (600, None), (600, 600)]


@pytest.mark.parametrize(
    ("wrong", "kind", "match"),
    [
        ({"session_ids": "s"}, InvalidIdError, "give a list"),
        ({"session_ids": ["a/b"]}, InvalidIdError, "it separates directories"),
        ({"components": ["video"]}, InvalidDataError, "no component is called 'video'"),
        ({"row_group_bytes": 0}, InvalidDataError, "row_group_bytes must be 1 to 1073741824, not 0"),
        ({"row_group_bytes": 2**30 + 1}, InvalidDataError, "row_group_bytes"),
        ({"url": "{tmp}/a*b"}, InvalidDataError, "are patterns to fsspec"),
        ({"url": "memory://a*b"}, InvalidDataError, "are patterns to fsspec"),
        ({"url": "{tmp}/base"}, InvalidDataError, "it is inside the storage root"),
        ({"url": "file://{tmp}/link/out"}, InvalidDataError, "it is inside the storage root"),
        ({"url": "sm://exports"}, InvalidDataError, "it is inside the storage root"),
        ({"url": "dir::file://{tmp}/base"}, InvalidDataError, "'::' chains URLs"),
        ({"url": ""}, InvalidDataError, "url must name a directory"),
        ({"components": "html"}, InvalidDataError, r"give a list, \['html'\]"),
        ({"url": "nonsense://x"}, StorageManagerError, "Protocol not known: nonsense .*memory:// are built in"),
    ],
)
async def test_bad_input_is_refused_and_nothing_written(
    local: StorageManager, tmp_path: Path, wrong: dict[str, Any], kind: type[Exception], match: str
) -> None:
    await small(local, 1)
    (tmp_path / "link").symlink_to(tmp_path / "base")
    arguments = {"url": "{tmp}/out", **wrong}
    arguments["url"] = arguments["url"].format(tmp=tmp_path)
    with pytest.raises(kind, match=match) as caught:
        await export_parquet(local, **arguments)
    assert isinstance(caught.value, StorageManagerError)
    assert caught.value.operation == "export"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "link"]


async def test_a_target_among_the_sessions_of_a_bucket_is_refused(moto: Make, tmp_path: Path) -> None:
    sm = moto(s3_prefix="p")
    for url in (sm.url_for(), f"{sm.url_for()}/", f"{sm.url_for()}/out", sm.url_for().replace("s3:", "s3a:")):
        with pytest.raises(InvalidDataError, match="it is inside the storage root"):
            await export_parquet(sm, url)


async def test_without_pyarrow_it_says_what_to_install(
    local: StorageManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StorageManagerError, match=r'pip install "agent-storage-manager\[parquet\]"'):
        await export_parquet(local, f"{tmp_path}/out")


async def test_outcomes_that_look_alike_are_counted_together(local: StorageManager, tmp_path: Path) -> None:
    for number, outcome in enumerate([None, "??", "a|b", "a b"]):
        await local.store_session_metadata(f"run-{number}", {"outcome": outcome})
    await export_parquet(local, f"{tmp_path}/out")
    card = Path(tmp_path, "out/README.md").read_text()
    assert [line for line in card.splitlines() if line.endswith("| 2 |")] == ["| not recorded | 2 |", "| a b | 2 |"]


async def test_attachments_count_as_bytes_of_a_row_group(local: StorageManager, tmp_path: Path) -> None:
    for number in range(20):
        await local.store_attachments("run", {"a.bin": bytes(1000)}, f"{number}")
    await export_parquet(local, f"{tmp_path}/out", components=["action"], attachments=["a.bin"], row_group_bytes=5000)
    assert pq.read_metadata(f"{tmp_path}/out/data/steps-00000.parquet").num_row_groups == 4


async def test_one_step_is_larger_than_a_row_group(local: StorageManager, tmp_path: Path) -> None:
    await local.store_step_data("s", "t", "x" * 20_000_000, bytes(20_000_000))
    await export_parquet(local, f"{tmp_path}/out", row_group_bytes=5000)
    [row] = rows_of(f"{tmp_path}/out")
    assert (len(row["html"]), row["screenshot"]) == (20_000_000, bytes(20_000_000))
