"""`show SESSION`: a summary, also of a session that has no steps, and of one whose metadata cannot be read."""

import json
import re
from pathlib import Path

from storage_manager import StorageManager
from storage_manager.integrity import seal_session
from storage_manager.layout import SESSION_METADATA_FILENAME
from tests.support.shell import SAMPLE, lines, sm


async def test_summary(tmp_path: Path) -> None:
    at = ("--root", tmp_path)
    async with StorageManager(local_base_path=tmp_path) as storage:
        await storage.store_step_data("run", "1", "<p>", metadata={"url": "http://a.test/\x1b[2J"})
        await storage.store_step_data("run", "2", "<p>", attachments={"axtree.json": b"{}"})
        await storage.store_step_data("run", "3", metadata={"url": "http://b.test/"})
        await storage.store_session_metadata("run", {"goal": "buy\na book", "outcome": "success", "seed": 1})
        await storage.store_attachments("run", {"video.webm": b"1234"})
        await seal_session(storage, "run")
    done = sm("show", "run", *at)
    assert (done.code, done.err) == (0, "")
    total = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    shown = lines(re.sub("modified .*", "modified", done.out))
    assert shown == [
        *("session run", f"url {tmp_path}/run", "steps 3 (1 to 3)", "pages http://a.test/\\x1b[2J to http://b.test/"),
        *(f"size {total} B" if total < 1000 else f"size {total / 1000:.1f} kB", "modified", "sealed yes"),
        *("goal buy a book", "outcome success", ""),
        *("html 6 B 2 steps", "metadata 59 B 2 steps", "axtree.json 2 B 1 step", "video.webm 4 B of the session", ""),
        *("metadata {", '"goal": "buy\\na book",', '"outcome": "success",', '"seed": 1', "}"),
    ]
    facts = json.loads(sm("show", "run", "--json", *at).out)
    assert (facts["steps"], facts["size"], facts["sealed"]) == (3, total, True)
    assert facts["components"]["html"] == {"steps": 2, "size": 6}
    assert (facts["attachments"], facts["metadata"]["seed"]) == ({"video.webm": 4}, 1)


async def test_a_session_without_steps(tmp_path: Path) -> None:
    async with StorageManager(local_base_path=tmp_path) as storage:
        await storage.store_session_metadata("run", {"goal": "x"})
    done = sm("show", "run", "--root", tmp_path)
    assert (done.code, "steps     0\n" in done.out, "sealed    no\n" in done.out) == (0, True, True)
    (tmp_path / "run" / SESSION_METADATA_FILENAME).write_text("[]")
    done = sm("show", "run", "--root", tmp_path)
    assert (done.code, "steps     0\n" in done.out, "is not a JSON object" in done.err) == (1, True, True)


def test_a_component_needs_a_step() -> None:
    code, out, err = sm("show", "harbour-books", "--component", "html", "--root", SAMPLE)
    assert (code, out, "Error: --component needs a STEP" in err) == (2, "", True)
