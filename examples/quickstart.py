"""Store a recorded browser session, list it, read it back, compare everything, and delete it again.

    python examples/quickstart.py                     store the sample session of the package
    python examples/quickstart.py --from DIR          store another recording: DIR/<session>/<step>/observation.html ...
    python examples/quickstart.py --root s3://bucket  store below this URL
    python examples/quickstart.py --keep              do not delete the session at the end

Without --root, SM_* variables say where sessions are stored; without these, it is ./.storage_data. An existing session
of the same name is neither overwritten nor deleted. Exit codes: 0 everything is equal; 1 something differs or failed,
and stderr says what.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from json import dumps, loads
from pathlib import Path
from typing import TypeVar, get_args

import storage_manager
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

SAMPLE = Path(storage_manager.__file__).with_name("sample")
COMPONENTS: tuple[Component, ...] = get_args(Component)

Value = TypeVar("Value")


class QuickstartError(Exception):
    """An error whose message is shown to the user without a traceback."""


def load(file: Path, decode: Callable[[bytes], Value]) -> Value | None:
    """Return a recorded component, or None if the step lacks it."""
    try:
        return decode(file.read_bytes()) if file.exists() else None
    except (OSError, ValueError) as error:
        raise QuickstartError(f"cannot read {file}: {error}") from error


def read_step(folder: Path) -> StepData:
    """Return one recorded step."""
    return StepData(
        load(folder / HTML_FILENAME, bytes.decode),
        load(folder / SCREENSHOT_FILENAME, bytes),
        load(folder / ACTION_DATA_FILENAME, loads),
        load(folder / METADATA_FILENAME, loads),
    )


def read_sessions(source: Path) -> Iterator[Step]:
    """Yield every recorded step below a folder, in order. Skip hidden folders, and folders without a component."""
    for folder in sorted(source.glob("[!._]*/[!._]*"), key=lambda path: (path.parent.name, path.name)):
        data = read_step(folder)
        if data != StepData():
            yield Step(folder.parent.name, folder.name, data)


def sessions_of(steps: list[Step]) -> dict[str, list[str]]:
    """Return the step ids of each session."""
    sessions: dict[str, list[str]] = {}
    for step in steps:
        sessions.setdefault(step.session_id, []).append(step.step_id)
    return sessions


def same(sent: object, received: object) -> bool:
    """Return whether two values are equal. Compare mappings as JSON, because `==` takes 1, 1.0 and True for equal."""
    if isinstance(sent, dict) and isinstance(received, dict):
        return dumps(sent, sort_keys=True) == dumps(received, sort_keys=True)
    return sent == received


def size(steps: list[Step]) -> str:
    """Describe how much HTML and how many bytes of screenshots the steps have."""
    html = sum(len((step.data.html or "").encode()) for step in steps)
    screenshots = sum(len(step.data.screenshot or b"") for step in steps)
    return f"{html / 1000:.0f} kB of HTML, {screenshots / 1000:.0f} kB of screenshots"


async def refuse_existing(storage: StorageManager, sessions: dict[str, list[str]]) -> None:
    """Raise if a session exists already. It belongs to the user, so it must not be overwritten or deleted."""
    for session_id in await storage.list_sessions():
        if session_id in sessions:
            raise QuickstartError(
                f"{storage.url_for(session_id)} exists already and was not changed: "
                "delete it first, or store elsewhere with --root URL"
            )


async def compare_lists(storage: StorageManager, sessions: dict[str, list[str]]) -> None:
    """Check that every session is listed with exactly its steps."""
    listed = await storage.list_sessions()
    for session_id, step_ids in sessions.items():
        found = await storage.list_steps_for_session(session_id) if session_id in listed else []
        if found != step_ids:
            raise QuickstartError(f"{session_id} was stored with the steps {step_ids}, but lists {found}")
        print(f"listed     {session_id}: {found[0]} to {found[-1]}, {len(found)} in all")


async def compare_data(storage: StorageManager, steps: list[Step]) -> None:
    """Check that every component of every step is read back as it was stored, or as None if there was none."""
    received = [step async for step in storage.iter_steps(sessions_of(steps))]
    if sessions_of(received) != sessions_of(steps):
        raise QuickstartError("the steps that were read differ from the steps that were stored")
    for step, copy in zip(steps, received, strict=True):
        for name, sent, came in zip(COMPONENTS, step.data, copy.data, strict=True):
            if not same(sent, came):
                raise QuickstartError(f"{storage.url_for(step.session_id, step.step_id, name)} differs from its source")
    missing = sum(value is None for step in steps for value in step.data)
    print(f"retrieved  {len(steps) * len(COMPONENTS) - missing} components, each equal to its source")
    if missing:
        print(f"           {missing} components were not recorded; they are read as None")


def show_urls(storage: StorageManager, step: Step) -> None:
    """Print the URLs of a step's components, for pandas, fsspec or any other tool."""
    for name, value in zip(COMPONENTS, step.data, strict=True):
        if value is not None:
            print(f"URL        {storage.url_for(step.session_id, step.step_id, name)}")


async def delete(storage: StorageManager, sessions: dict[str, list[str]]) -> None:
    """Delete the sessions that were stored, even if only a part of them was."""
    stored = [session_id for session_id in await storage.list_sessions() if session_id in sessions]
    for session_id in stored:
        await storage.delete_session(session_id)
    print(f"deleted    {', '.join(stored) or 'nothing, because nothing was stored'}")


async def run(storage: StorageManager, steps: list[Step], keep: bool) -> None:
    """Store the steps, compare them with what the storage returns, and delete them."""
    sessions = sessions_of(steps)
    print(f"storage    {storage.get_storage_info()['effective_storage_type']} at {storage.url_for()}")
    await storage.check()
    await refuse_existing(storage, sessions)
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
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--from", dest="source", type=Path, default=SAMPLE, metavar="DIR", help="folder with the sessions to store"
    )
    parser.add_argument("--root", metavar="URL", help="URL to store below: s3://bucket/prefix, file:///data, ...")
    parser.add_argument("--keep", action="store_true", help="do not delete the sessions")
    return parser.parse_args()


def main() -> None:
    """Run, and print an error without a traceback."""
    arguments = parse()
    # The library warns about each component that a step lacks. Many recordings lack some; this example counts them.
    logging.getLogger("storage_manager").setLevel(logging.ERROR)
    try:
        steps = list(read_sessions(arguments.source))
        if not steps:
            raise QuickstartError(f"found no folders <session>/<step>/ in {arguments.source}")
        storage = StorageManager.from_url(arguments.root) if arguments.root else StorageManager()
        asyncio.run(run(storage, steps, arguments.keep))
    except (QuickstartError, StorageManagerError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
