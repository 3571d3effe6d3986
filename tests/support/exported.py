"""Sessions that are hard to export, and functions that read an export back, for the tests of both exports."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from storage_manager import Step, StepData, StorageManager
from storage_manager.layout import ALL_COMPONENTS
from tests.support import ROOT

EXAMPLES = ROOT / "storage_manager" / "sample"
DEEP: dict[str, Any] = {"deep": "x" * 4000}
for _ in range(150):
    DEEP = {"a": DEEP}

NASTY = (
    Step("nasty", "deep", StepData("<p>", b"\x89PNG", {"list": [DEEP]}, {"n": 2**70, "f": 1e-300})),
    Step("nasty", "empty", StepData("", b"", {}, {})),
    Step("nasty", "ends.in.line", StepData("<p>\r\n\n", b"\n", {"text": "a\nb\n"}, {"\n": "\n"})),
    Step("nasty", "html-only", StepData(html="<p>")),
    Step("nasty", "metadata-only", StepData(metadata={"a": None})),
    Step(
        "nasty",
        "unicode",
        StepData("é\0漢😀\u2028", bytes(range(256)), {"\0é": "\0\u2028"}, {"😀": "\ud83d\ude00"[:0]}),
    ),
    Step("other.session", "s", StepData("<p>other</p>", b"\xff\xd8\xff", {"type": "goto"}, {"x": [1, 2.5, True]})),
)
UNREADABLE = {"html": b"\xff\xfe", "action": b"{", "metadata": b"[]\n"}


async def fill(storage: StorageManager) -> None:
    """Store recorded sessions, steps that are hard to export, and a step of which only the screenshot is readable."""
    await storage.store_steps(StorageManager(local_base_path=EXAMPLES).iter_steps())
    await storage.store_steps(NASTY)
    await storage.store_step_data("unreadable", "step", screenshot_bytes=b"seen")
    for name, data in UNREADABLE.items():
        storage.fs.pipe_file(storage.url_for("unreadable", "step", name), data)  # type: ignore[arg-type]


async def small(storage: StorageManager, count: int, text: str = "x") -> None:
    """Store so many complete steps of one session."""

    async def steps() -> AsyncIterator[Step]:
        for number in range(count):
            yield Step("s", f"{number:04}", StepData(f"<p>{text}{number}", b"\x89PNG", {"n": number}, {"t": text}))

    await storage.store_steps(steps())


def rows_of(url: str, fs: Any = None, name: str = "data/steps-*.parquet") -> list[dict[str, Any]]:
    """Return the rows of the files of an export, in their order."""
    if fs is None:
        paths: list[Any] = sorted(Path(url).glob(name))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]
    fs.invalidate_cache()
    return [row for path in sorted(fs.glob(f"{url}/{name}")) for row in pq.read_table(fs.open(path)).to_pylist()]


def as_steps(rows: list[dict[str, Any]]) -> list[Step]:
    """Return rows as steps."""
    return [Step(row["session_id"], row["step_id"], StepData(**_decoded(row))) for row in rows]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    values = {name: row.get(name) for name in ALL_COMPONENTS}
    for name in ("action", "metadata"):
        assert "\n" not in (values[name] or "")
        values[name] = values[name] and json.loads(values[name])
    return values
