"""Each page of the corpus is stored as the table says, by the asynchronous and by the synchronous recorder."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage_manager.recorder import capture
from tests.recorder.corpus import CORPUS, record_async, record_sync

pytestmark = pytest.mark.thorough

QUICK = [name for name, entry in CORPUS.items() if not entry.hangs]
SLOW = [name for name, entry in CORPUS.items() if entry.hangs]
HALVES = {"first": QUICK[::2], "second": QUICK[1::2], "slow": SLOW, "hung": SLOW[::2]}


# One capture serves both faces, so half of the pages are enough for the second one. `python -m tests.recorder.corpus`
# records all pages with both.
@pytest.mark.parametrize(
    ("face", "half"), [("async", "first"), ("async", "second"), ("async", "slow"), ("sync", "first"), ("sync", "hung")]
)
def test_a_page_of_the_corpus(
    face: str, half: str, tmp_path: Path, chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread of its own: a loop of Playwright must not run in that of the test."""
    seconds = 10.0
    if half in ("slow", "hung"):
        seconds = 3.0
        monkeypatch.setattr(capture, "CALL_SECONDS", seconds)

    def look() -> dict[str, list[str]]:
        names = HALVES[half]
        if face == "async":
            seen = asyncio.run(record_async(names, str(tmp_path), chromium))
        else:
            seen = record_sync(names, str(tmp_path), chromium)
        return {name: seen[name].faults(CORPUS[name], seconds) for name in names}

    with ThreadPoolExecutor(1) as pool:
        faults = pool.submit(look).result()
    assert {name: found for name, found in faults.items() if found} == {}
    assert len(faults) == len(HALVES[half])


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 40
