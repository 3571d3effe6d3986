"""The command `verify`."""

import re
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import NamedTuple

import click

from storage_manager.aio import map_ahead
from storage_manager.cli.advice import in_terms_of
from storage_manager.cli.completion import complete_sessions
from storage_manager.cli.options import command, json_option, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import missing_session, open_root
from storage_manager.cli.terminal import echo
from storage_manager.cli.text import count, json_line
from storage_manager.errors import StorageManagerError
from storage_manager.integrity import Problem, verify_session
from storage_manager.inventory import list_files
from storage_manager.layout import MANIFEST_FILENAME, only_ids
from storage_manager.storage import StorageManager

__all__ = ["verify"]

_SHA256 = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


class _Verified(NamedTuple):
    """A session that was read completely, with its problems."""

    url: str
    session_id: str
    steps: int
    is_sealed: bool
    problems: list[Problem]

    @property
    def is_missing(self) -> bool:
        """True if there is no such session."""
        return any(problem[:2] == (self.url, "missing") for problem in self.problems)

    def json(self) -> str:
        """Return the session and its problems as one line of JSON."""
        problems = [{"url": url, "kind": kind, "detail": detail} for url, kind, detail in self.problems]
        ids = {"session_id": self.session_id, "url": self.url}
        return json_line({**ids, "steps": self.steps, "sealed": self.is_sealed, "problems": problems})

    def lines(self) -> list[str]:
        """Return one line of text per problem. Only the first digits of a SHA-256 are shown."""
        texts = [_SHA256.sub(r"\1...", in_terms_of("verify", problem.detail)) for problem in self.problems]
        return [f"{kind:<10} {url}  {text}" for (url, kind, _), text in zip(self.problems, texts, strict=True)]


@dataclass
class _Totals:
    """The numbers of sessions, steps and problems in all sessions that were read."""

    sessions: int = 0
    steps: int = 0
    unsealed: int = 0
    problems: int = 0

    def add(self, session: _Verified) -> None:
        """Add the numbers of one session."""
        self.sessions += 1
        self.steps += session.steps
        self.unsealed += not session.is_sealed
        self.problems += len(session.problems)

    def text(self) -> str:
        """Return a line such as `12 sessions (2 not sealed), 340 steps, no problems`."""
        unsealed = f" ({self.unsealed} not sealed)" if self.unsealed else ""
        problems = count(self.problems, "problem") if self.problems else "no problems"
        return f"{count(self.sessions, 'session')}{unsealed}, {count(self.steps, 'step')}, {problems}"


@command("verify", "verify run-1 --require-seal", "verify --json --root s3://bucket")
@root_option
@click.argument("session", shell_complete=complete_sessions, required=False)
@click.option("--require-seal", is_flag=True, help="Report each session that is not sealed as a problem.")
@json_option
@quiet_option
def verify(root: str | None, session: str | None, require_seal: bool, as_json: bool, quiet: bool) -> int:
    """Read one session, or all, and print every problem.

    Prints one line per problem: kind, URL, detail. With --json, prints one object per session. A sealed session is
    compared with its seal. Any other session only has to be readable. The exit code is 1 if there are problems.
    """
    totals, advice = _Totals(), "the other sessions were not read"
    with Progress("verifying", "verified", unit="session", quiet=quiet, advice=advice) as progress:
        run(_verify(root, session, require_seal, as_json, totals, progress))
    if not as_json:
        echo(totals.text())
    return int(totals.problems > 0)


async def _verify(
    root: str | None, session: str | None, require_seal: bool, as_json: bool, totals: _Totals, progress: Progress
) -> None:
    async def verified_session(session_id: str) -> _Verified:
        return await _verify_session(storage, session_id, require_seal)

    async with open_root(root) as storage:
        total = 1 if session is not None else sum([1 async for _ in storage.iter_sessions()])
        session_ids = storage.iter_sessions() if session is None else [session]
        progress(0, total)
        async with aclosing(map_ahead(verified_session, session_ids, 2)) as sessions:
            async for verified in sessions:
                if session is not None and verified.is_missing:
                    raise await missing_session(storage, session)
                totals.add(verified)
                for text in [verified.json()] if as_json else verified.lines():
                    echo(text)
                progress(totals.sessions, total)


async def _verify_session(storage: StorageManager, session_id: str, require_seal: bool) -> _Verified:
    names = set[str]()
    with suppress(StorageManagerError):  # verify_session reports it
        async for file in list_files(storage, session_id):
            names.add(file.name)
    steps = only_ids(list({name.partition("/")[0] for name in names if "/" in name}))
    problems = await verify_session(storage, session_id, require_seal=require_seal)
    return _Verified(storage.url_for(session_id), session_id, len(steps), MANIFEST_FILENAME in names, problems)
