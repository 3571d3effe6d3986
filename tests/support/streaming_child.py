"""Store, seal, verify or copy a large attachment, and print how far the peak of memory is above its start, in bytes.

tests/test_streams_memory.py starts it. Arguments: what to do, the root's URL, the file, and a directory for the copy.
"""

import asyncio
import sys
import time
from pathlib import Path

from storage_manager import StorageManager
from storage_manager.integrity import seal_session, verify_session
from storage_manager.transfer import copy_sessions


def memory(field: str) -> int:
    """Return a field of /proc/self/status in bytes: VmRSS is now, VmHWM is the peak."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


async def main(what: str, root: str, file: str, copy: str) -> None:
    """Do it once. A small session before it loads all modules that are needed."""
    async with StorageManager.from_url(root) as sm, StorageManager.from_url(copy) as target:
        await sm.store_step_data("small", "t", "x", attachments={"a.txt": "1"})
        await seal_session(sm, "small")
        assert await verify_session(sm, "small") == []
        await copy_sessions(sm, target, ["small"])
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what it is now
        start, begun = memory("VmRSS"), time.perf_counter()
        if what == "store":
            await sm.store_attachments("s", {"video.webm": Path(file)})
        elif what == "seal":
            await seal_session(sm, "s")
        elif what == "verify":
            assert await verify_session(sm, "s") == []
        else:
            await copy_sessions(sm, target, ["s"])
        print(memory("VmHWM") - start, f"{time.perf_counter() - begun:.2f}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
