"""One of several processes that write the same steps with overwrite=False, for tests/crash/test_overwrite_race.py.

A line of standard input is the number of a round: the process writes all files of that round's step, each by itself,
and answers with the names of those that it wrote, in JSON. Arguments: the number of the process, and the root's URL.
"""

import asyncio
import json
import sys
from typing import Any

from storage_manager import AlreadyExistsError, StorageManager

NAMES = ("html_content", "metadata", "a.txt")


async def write(sm: StorageManager, step_id: str, name: str, by: str) -> bool:
    """Write one file with the number of this process. Return True if it was written."""
    values: dict[str, dict[str, Any]] = {"html_content": {name: by}, "metadata": {name: {"by": by}}}
    try:
        await sm.store_step_data("s", step_id, **values.get(name, {"attachments": {name: by}}), overwrite=False)
    except AlreadyExistsError:
        return False
    return True


async def main(by: str, root: str) -> None:
    """Answer each line."""
    async with StorageManager.from_url(root) as sm:
        await sm.list_sessions()  # the client is there before the first round
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            step_id = f"step_{int(line):06d}"
            won = await asyncio.gather(*(write(sm, step_id, name, by) for name in NAMES))
            print(json.dumps([name for name, is_mine in zip(NAMES, won, strict=True) if is_mine]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
