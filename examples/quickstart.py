"""Stores a recorded browser session, lists it, reads it back, compares everything, and deletes it again.

    python examples/quickstart.py                     the session beside this file, where SM_* variables say
    python examples/quickstart.py --from DIR          any recording: DIR/<session>/<step>/observation.html ...
    python examples/quickstart.py --root s3://bucket  stored at this URL
    python examples/quickstart.py --keep              and left there to be looked at

Without SM_* variables and --root, sessions go to ./.storage_data. A session of the same name that is already
there is neither overwritten nor deleted. Exit codes: 0 all is equal; 1 something is not, and stderr says what.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from json import dumps, loads
from pathlib import Path
from typing import TypeVar, get_args

from storage_manager import (
    ACTION_DATA_FILENAME,
    HTML_FILENAME,
    METADATA_FILENAME,
    SCREENSHOT_FILENAME,
    Component,
    Step,
    StepData,
    StorageManager,
    StorageManagerError,
)

SAMPLE = Path(__file__).parent / "sessions"
COMPONENTS: tuple[Component, ...] = get_args(Component)

Value = TypeVar("Value")


class QuickstartError(Exception):
    """What the user is told instead of a traceback."""


def load(file: Path, decode: Callable[[bytes], Value]) -> Value | None:
    """A recorded component; None where the step lacks it."""
    try:
        return decode(file.read_bytes()) if file.exists() else None
    except (OSError, ValueError) as error:
        raise QuickstartError(f"{file} cannot be read: {error}") from error


def read_step(folder: Path) -> StepData:
    """One recorded step."""
    return StepData(
        load(folder / HTML_FILENAME, bytes.decode),
        load(folder / SCREENSHOT_FILENAME, bytes),
        load(folder / ACTION_DATA_FILENAME, loads),
        load(folder / METADATA_FILENAME, loads),
    )


def read_sessions(source: Path) -> Iterator[Step]:
    """Every recorded step below a folder, in order; hidden folders, and those without a component, are no steps."""
    for folder in sorted(source.glob("[!._]*/[!._]*"), key=lambda path: (path.parent.name, path.name)):
        data = read_step(folder)
        if data != StepData():
            yield Step(folder.parent.name, folder.name, data)


def sessions_of(steps: list[Step]) -> dict[str, list[str]]:
    """The ids of the steps of each session."""
    sessions: dict[str, list[str]] = {}
    for step in steps:
        sessions.setdefault(step.session_id, []).append(step.step_id)
    return sessions


def same(sent: object, received: object) -> bool:
    """Equal byte for byte, or as JSON: there 1, 1.0 and true differ, which == takes for equal."""
    if isinstance(sent, dict) and isinstance(received, dict):
        return dumps(sent, sort_keys=True) == dumps(received, sort_keys=True)
    return sent == received


def size(steps: list[Step]) -> str:
    """How much HTML and screenshots the steps hold."""
    html = sum(len((step.data.html or "").encode()) for step in steps)
    screenshots = sum(len(step.data.screenshot or b"") for step in steps)
    return f"{html / 1000:.0f} kB of HTML, {screenshots / 1000:.0f} kB of screenshots"


async def refuse_taken(storage: StorageManager, sessions: dict[str, list[str]]) -> None:
    """What is there already is the user's: it must be neither overwritten now nor deleted at the end."""
    for session_id in await storage.list_sessions():
        if session_id in sessions:
            raise QuickstartError(
                f"{storage.url_for(session_id)} is there already and was left alone: "
                "delete it first, or store elsewhere with --root URL"
            )


async def compare_lists(storage: StorageManager, sessions: dict[str, list[str]]) -> None:
    """Every session is listed, with all of its steps and no others."""
    listed = await storage.list_sessions()
    for session_id, step_ids in sessions.items():
        found = await storage.list_steps_for_session(session_id) if session_id in listed else []
        if found != step_ids:
            raise QuickstartError(f"{session_id} was stored with the steps {step_ids}, and lists {found}")
        print(f"listed     {session_id}: {found[0]} to {found[-1]}, {len(found)} in all")


async def compare_data(storage: StorageManager, steps: list[Step]) -> None:
    """Every component of every step comes back as it was stored; None where there was none."""
    received = [step async for step in storage.iter_steps(sessions_of(steps))]
    if sessions_of(received) != sessions_of(steps):
        raise QuickstartError("other steps came back than were stored")
    for step, copy in zip(steps, received, strict=True):
        for name, sent, came in zip(COMPONENTS, step.data, copy.data, strict=True):
            if not same(sent, came):
                raise QuickstartError(f"{storage.url_for(step.session_id, step.step_id, name)} differs from its source")
    missing = sum(value is None for step in steps for value in step.data)
    print(f"retrieved  {len(steps) * len(COMPONENTS) - missing} components, each equal to its source")
    if missing:
        print(f"           {missing} more were not recorded, and came back as None")


def show_urls(storage: StorageManager, step: Step) -> None:
    """Where the components of a step lie, for pandas, fsspec or any other tool."""
    for name, value in zip(COMPONENTS, step.data, strict=True):
        if value is not None:
            print(f"URL        {storage.url_for(step.session_id, step.step_id, name)}")


async def delete(storage: StorageManager, sessions: dict[str, list[str]]) -> None:
    """Delete what was stored, also where only a part of it was."""
    stored = [session_id for session_id in await storage.list_sessions() if session_id in sessions]
    for session_id in stored:
        await storage.delete_session(session_id)
    print(f"deleted    {', '.join(stored) or 'nothing: nothing was stored'}")


async def run(storage: StorageManager, steps: list[Step], keep: bool) -> None:
    """All of it."""
    sessions = sessions_of(steps)
    print(f"storage    {storage.get_storage_info()['effective_storage_type']} at {storage.url_for()}")
    await storage.check()
    await refuse_taken(storage, sessions)
    try:
        print(f"stored     {await storage.store_steps(steps)} steps: {size(steps)}")
        await compare_lists(storage, sessions)
        await compare_data(storage, steps)
        show_urls(storage, steps[0])
    finally:
        if keep:
            print(f"kept       {', '.join(sessions)}")
        else:
            await delete(storage, sessions)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=SAMPLE, metavar="DIR", help="what to store")
    parser.add_argument("--root", metavar="URL", help="where to store it: s3://bucket/prefix, file:///data, ...")
    parser.add_argument("--keep", action="store_true", help="leave it there")
    return parser.parse_args()


def main() -> None:
    """Run, and explain what went wrong."""
    arguments = parse()
    # The library warns of each component that a step lacks. That is so in many recordings; here they are counted.
    logging.getLogger("storage_manager").setLevel(logging.ERROR)
    try:
        steps = list(read_sessions(arguments.source))
        if not steps:
            raise QuickstartError(f"no folders <session>/<step>/ in {arguments.source}")
        storage = StorageManager.from_url(arguments.root) if arguments.root else StorageManager()
        asyncio.run(run(storage, steps, arguments.keep))
    except (QuickstartError, StorageManagerError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
