"""`datasets.load_dataset` reads an export with no other argument: the card tells it everything."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage_manager import Step, StepData, StorageManager
from storage_manager.export import export_parquet, export_webdataset, read_dask
from tests.support.exported import EXAMPLES, small

Load = Callable[..., Any]


@pytest.fixture
def load(datasets: ModuleType, tmp_path: Path) -> Load:
    """`load_dataset`, with a cache of the test's own."""
    return lambda *args, **options: datasets.load_dataset(*args, cache_dir=f"{tmp_path}/cache", **options)


@pytest.fixture
async def recorded(local: StorageManager) -> StorageManager:
    """Recorded sessions, three of them with metadata."""
    await local.store_steps(StorageManager(local_base_path=EXAMPLES).iter_steps())
    about = {"goal": "buy a lamp", "outcome": "failure", "reward": 0.5, "tags": ["nightly"], "observed": "before"}
    usage = {"input_tokens": 12, "output_tokens": 3, "cost_usd": 0.25}
    await local.store_session_metadata("harbour-books", {**about, "usage": usage, "started_at": "2026-01-02T03:04:05Z"})
    await local.store_session_metadata("no-steps", {"outcome": "error", "reward": "high"})
    await local.store_steps([Step("after", "1", StepData("<p>", metadata={"observed": "after"}))])
    await local.store_session_metadata("after", {"outcome": "| [x](y)\n<b>", "observed": "before"})
    return local


def sessions_of(out: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(out / "sessions/sessions.parquet").to_pylist()
    return {row["session_id"]: row for row in rows}


@pytest.mark.thorough
@pytest.mark.parametrize("streaming", [True, False])
async def test_load_dataset_needs_no_other_argument(
    recorded: StorageManager, tmp_path: Path, load: Load, streaming: bool
) -> None:
    await export_parquet(recorded, f"{tmp_path}/out")
    rows = list(load(f"{tmp_path}/out", streaming=streaming)["train"])
    steps = [step async for step in recorded.iter_steps()]
    assert [(row["session_id"], row["step_id"]) for row in rows] == [(step.session_id, step.step_id) for step in steps]
    images = [row["screenshot"] for row in rows if row["screenshot"]]
    assert {(image.format, image.size) for image in images} == {("PNG", (1024, 640))}
    assert [row["observed"] for row in rows] == ["after"] + ["before"] * 4
    sessions = {row["session_id"]: row for row in load(f"{tmp_path}/out", "sessions")["train"]}
    assert sessions["harbour-books"]["goal"] == "buy a lamp"
    assert len(load(f"{tmp_path}/out", "index")["train"]) == len(rows)


@pytest.mark.thorough
async def test_any_columns_can_be_loaded(recorded: StorageManager, tmp_path: Path, load: Load) -> None:
    """The card names the columns of the files, whatever they are."""
    await recorded.store_attachments("after", {"axtree.json": {"role": "x"}}, "1")
    await export_parquet(recorded, f"{tmp_path}/out", components=["action"], attachments=["axtree.json", "b.txt"])
    [row] = [row for row in load(f"{tmp_path}/out")["train"] if row["session_id"] == "after"]
    assert (row["axtree.json"], row["b.txt"], row["action"]) == (b'{"role":"x"}\n', None, None)


@pytest.mark.thorough
async def test_shards_need_nothing_but_their_names(recorded: StorageManager, tmp_path: Path, load: Load) -> None:
    """Actions of several shapes, as agents have them."""
    actions = [{"type": "goto", "url": "http://a/"}, {"type": "click", "point": {"x": 1, "y": 2.5}}, {"type": "done"}]
    image = (await recorded.retrieve_step_data("harbour-books", "step_000001")).screenshot
    about = [{"observed": "before", "url": f"http://a/{number}"} for number in range(3)]
    many = [StepData("<p>", image, *both) for both in zip(actions, about, strict=True)]
    await recorded.store_steps(Step("shapes", str(number), data) for number, data in enumerate(many))
    shards = await export_webdataset(recorded, f"{tmp_path}/shards", ["shapes"])
    rows = list(load("webdataset", data_files=shards)["train"])
    assert [row["screenshot.png"].format for row in rows] == ["PNG"] * 3
    assert [row["action.json"]["type"] for row in rows] == ["goto", "click", "done"]


async def test_the_rows_of_sessions(recorded: StorageManager, tmp_path: Path) -> None:
    """One each, also of a session without steps. A field of the wrong type is null."""
    await export_parquet(recorded, f"{tmp_path}/out")
    rows = sessions_of(tmp_path / "out")
    assert list(rows) == ["after", "harbour-books", "no-steps"]
    row = rows["harbour-books"]
    assert row["started_at"].isoformat() == "2026-01-02T03:04:05+00:00"
    assert (row["steps"], row["reward"], row["tags"], row["cost_usd"]) == (4, 0.5, ["nightly"], 0.25)
    assert json.loads(row["metadata"])["usage"] == {"input_tokens": 12, "output_tokens": 3, "cost_usd": 0.25}
    assert (rows["no-steps"]["steps"], rows["no-steps"]["reward"], rows["no-steps"]["outcome"]) == (0, None, "error")


async def test_the_card_counts(recorded: StorageManager, tmp_path: Path) -> None:
    """What was recorded is text in the card, not markup."""
    await export_parquet(recorded, f"{tmp_path}/out")
    card = (tmp_path / "out/README.md").read_text()
    assert "| sessions | 3 |\n| steps | 5 |" in card
    assert "| failure | 1 |" in card
    assert "| error | 1 |" in card
    assert "[x]" not in card
    assert "<b>" not in card


async def test_metadata_that_cannot_be_read_is_counted(
    local: StorageManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await small(local, 2)
    local.fs.pipe_file(f"{local.url_for('s')}/_session.json", b"[]")
    await export_parquet(local, f"{tmp_path}/out")
    assert "1 file could not be read; it is null" in caplog.text
    assert sessions_of(tmp_path / "out")["s"]["metadata"] is None


async def test_read_dask_has_the_same_column(recorded: StorageManager) -> None:
    frame = read_dask(recorded, steps_per_partition=2).compute(scheduler="sync")
    assert list(frame["observed"]) == ["after"] + ["before"] * 4
