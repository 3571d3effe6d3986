"""Commands that say whether sessions are whole: seal, verify."""

from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

import click

from storage_manager.aio import map_ahead
from storage_manager.cli.place import command, json_option, open_place, quiet_option, require_session, root_option
from storage_manager.cli.process import run, shown
from storage_manager.cli.progress import Progress
from storage_manager.cli.text import as_json as line
from storage_manager.cli.text import count
from storage_manager.integrity import Problem, seal_session, verify_session
from storage_manager.inventory import list_files
from storage_manager.layout import MANIFEST_FILENAME, only_ids
from storage_manager.storage import StorageManager

__all__ = ["seal", "verify"]


@command("seal run-1", "seal run-1 run-2 --root s3://bucket")
@root_option
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
@quiet_option
def seal(root: str | None, sessions: tuple[str, ...], quiet: bool) -> None:
    """Write down what sessions hold, for verify to compare.

    Size and SHA-256 of each component; prints where."""
    with Progress("sealing", "sealed", unit="session", quiet=quiet) as progress:
        run(_seal(root, sessions, progress))


async def _seal(root: str | None, sessions: tuple[str, ...], progress: Progress) -> None:
    async with open_place(root) as storage:
        for session_id in sessions:
            await require_session(storage, session_id)
        for done, session_id in enumerate(sessions, 1):
            progress.echo(await seal_session(storage, session_id))
            progress(done, len(sessions))


class _Verified(NamedTuple):
    """What is known of a session when all of it was read."""

    url: str
    session_id: str
    steps: int
    is_sealed: bool
    problems: list[Problem]

    def line(self) -> str:
        """For machines."""
        problems = [problem._asdict() for problem in self.problems]
        facts = {"steps": self.steps, "sealed": self.is_sealed, "problems": problems}
        return line({"session_id": self.session_id, "url": self.url, **facts})


@dataclass
class _Totals:
    """What was found in all sessions."""

    sessions: int = 0
    steps: int = 0
    unsealed: int = 0
    problems: int = 0

    def add(self, look: _Verified) -> None:
        """Count a session."""
        self.sessions += 1
        self.steps += look.steps
        self.unsealed += not look.is_sealed
        self.problems += len(look.problems)

    def text(self) -> str:
        """`12 sessions (2 not sealed), 340 steps, no problems`."""
        unsealed = f" ({self.unsealed} not sealed)" if self.unsealed else ""
        problems = count(self.problems, "problem") if self.problems else "no problems"
        return f"{count(self.sessions, 'session')}{unsealed}, {count(self.steps, 'step')}, {problems}"


@command("verify", "verify run-1", "verify --json --root s3://bucket")
@root_option
@click.argument("session", required=False)
@json_option
@quiet_option
def verify(root: str | None, session: str | None, as_json: bool, quiet: bool) -> int:
    """Read all of a session, or of all, and print what is wrong.

    A line is a problem: kind, URL, detail. A sealed session is held against its seal, any other has to be readable.
    The exit code is 1 where there are problems. With --json there is one object a session.
    """
    totals = _Totals()
    with Progress("verifying", "verified", unit="session", quiet=quiet, again="the others were not read") as progress:
        run(_verify(root, session, as_json, totals, progress))
    if not as_json:
        click.echo(totals.text())
    return int(totals.problems > 0)


async def _verify(root: str | None, session: str | None, as_json: bool, totals: _Totals, progress: Progress) -> None:
    async with open_place(root) as storage:
        total = 1 if session is not None else sum([1 async for _ in storage.iter_sessions()])
        sessions = storage.iter_sessions() if session is None else [session]
        progress(0, total)
        async with aclosing(map_ahead(lambda name: _verified(storage, name), sessions, 2)) as looks:
            async for look in looks:
                totals.add(look)
                for text in [look.line()] if as_json else map(_text, look.problems):
                    progress.echo(text)
                progress(totals.sessions, total)


async def _verified(storage: StorageManager, session_id: str) -> _Verified:
    names = {found.name async for found in list_files(storage, session_id)}
    steps = {name.partition("/")[0] for name in names if "/" in name}
    problems = await verify_session(storage, session_id)
    return _Verified(
        storage.url_for(session_id), session_id, len(only_ids(list(steps))), MANIFEST_FILENAME in names, problems
    )


def _text(problem: Problem) -> str:
    return shown(f"{problem.kind:<10} {problem.url}  {problem.detail}")
