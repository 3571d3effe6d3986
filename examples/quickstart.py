"""Stores a recorded browser session, lists it, reads it back, compares everything, and deletes it again.

    python examples/quickstart.py                     the session beside this file, on local disk
    python examples/quickstart.py --from DIR          any folder of DIR/<session>/<step>/<component files>
    python examples/quickstart.py --root s3://bucket  somewhere else
    python examples/quickstart.py --keep              and leave it there

Where sessions go without --root is what the SM_* variables say, or ./.storage_data.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterator
from json import loads
from pathlib import Path

from storage_manager import (
    ACTION_DATA_FILENAME,
    HTML_FILENAME,
    METADATA_FILENAME,
    SCREENSHOT_FILENAME,
    Step,
    StepData,
    StorageManager,
    StorageManagerError,
)

SAMPLE = Path(__file__).parent / "sessions"


def load(file: Path) -> bytes | None:
    """The bytes of a component, None where the step lacks it."""
    return file.read_bytes() if file.exists() else None


def read_step(folder: Path) -> StepData:
    """One recorded step."""
    html, screenshot = load(folder / HTML_FILENAME), load(folder / SCREENSHOT_FILENAME)
    action, metadata = load(folder / ACTION_DATA_FILENAME), load(folder / METADATA_FILENAME)
    return StepData(
        None if html is None else html.decode(),
        screenshot,
        None if action is None else loads(action),
        None if metadata is None else loads(metadata),
    )


def read_sessions(source: Path) -> Iterator[Step]:
    """Every recorded step below a folder, in order."""
    for folder in sorted(source.glob("*/*/")):
        yield Step(folder.parent.name, folder.name, read_step(folder))


def size(steps: list[Step]) -> str:
    """How much HTML and screenshots the steps hold."""
    html = sum(len(step.data.html or "") for step in steps)
    screenshots = sum(len(step.data.screenshot or b"") for step in steps)
    return f"{html / 1000:.0f} kB of HTML, {screenshots / 1000:.0f} kB of screenshots"


async def store(storage: StorageManager, steps: list[Step]) -> None:
    """Store all, unless a session of that name is there: it would be overwritten, and deleted at the end."""
    taken = {step.session_id for step in steps} & set(await storage.list_sessions())
    if taken:
        raise SystemExit(f"{storage.url_for(min(taken))} is there already: choose another --root, or delete it first")
    await storage.check()
    count = await storage.store_steps(steps)
    print(f"stored     {count} steps: {size(steps)}")


async def compare(storage: StorageManager, steps: list[Step]) -> None:
    """Read every step back, and compare it whole."""
    for session_id in dict.fromkeys(step.session_id for step in steps):
        step_ids = await storage.list_steps_for_session(session_id)
        print(f"listed     {session_id}: {', '.join(step_ids)}")
    stored = {(step.session_id, step.step_id): step async for step in storage.iter_steps({s.session_id for s in steps})}
    different = [step for step in steps if stored.get((step.session_id, step.step_id)) != step]
    if different or len(stored) != len(steps):
        raise SystemExit(f"{len(different)} of {len(steps)} steps came back otherwise than they went in")
    missing = sum(value is None for step in steps for value in step.data)
    print(
        f"retrieved  {len(stored)} steps, all equal to what was stored; {missing} components were missing and are None"
    )


def show_urls(storage: StorageManager, step: Step) -> None:
    """Where the components of a step lie, for pandas, fsspec or a browser."""
    for name, value in zip(("html", "screenshot", "action", "metadata"), step.data, strict=True):
        if value is not None:
            print(f"URL        {storage.url_for(step.session_id, step.step_id, name)}")  # type: ignore[arg-type]


async def delete(storage: StorageManager, steps: list[Step]) -> None:
    """Delete what was stored."""
    sessions = dict.fromkeys(step.session_id for step in steps)
    for session_id in sessions:
        await storage.delete_session(session_id)
    print(f"deleted    {', '.join(sessions)}")


async def run(storage: StorageManager, steps: list[Step], keep: bool) -> None:
    """All of it."""
    print(f"storage    {storage.get_storage_info()['effective_storage_type']} at {storage.url_for()}")
    await store(storage, steps)
    try:
        await compare(storage, steps)
        show_urls(storage, steps[0])
    finally:
        if not keep:
            await delete(storage, steps)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=SAMPLE, metavar="DIR")
    parser.add_argument("--root", metavar="URL")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    # recorded steps may lack components, of which the library warns one by one: here they are counted
    logging.getLogger("storage_manager").setLevel(logging.ERROR)
    steps = list(read_sessions(arguments.source))
    if not steps:
        sys.exit(f"no <session>/<step>/ folders in {arguments.source}")
    try:
        storage = StorageManager.from_url(arguments.root) if arguments.root else StorageManager()
        asyncio.run(run(storage, steps, arguments.keep))
    except StorageManagerError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
