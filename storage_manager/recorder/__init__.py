"""Record what a browser agent sees and does, step by step, while the agent runs.

    async with record(storage, "run-1") as recorder:
        await page.goto("https://example.com/")
        await recorder.step(page, {"type": "goto", "url": "https://example.com/"})

The agent waits only until a step is captured. Steps are stored in the background, in order. The end of the block waits
until all of them are stored.
"""

from storage_manager.recorder.recording import Recorder, record

__all__ = ["Recorder", "record"]
