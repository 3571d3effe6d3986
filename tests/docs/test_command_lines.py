"""Each command line of `storage-manager` that a page prints is one that the command line accepts."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from storage_manager.cli.commands import cli
from tests.support import ROOT

PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
LINE = re.compile(r"^ {4,}(?:\$ )?storage-manager +(.*)$", re.MULTILINE)
FAULTS = (click.NoSuchOption, click.MissingParameter, click.BadOptionUsage)


def printed() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the arguments of each command line, up to a pipe, a redirection or another command."""
    for page in PAGES:
        for line in LINE.findall(page.read_text(encoding="utf-8")):
            words = shlex.split(line, comments=True)
            end = next((at for at, word in enumerate(words) if word in ("|", ">", "&&", ";", "&")), len(words))
            yield page.name, words[:end]


def fault(words: list[str]) -> str | None:
    """Return why the command line does not accept these words. Whether files and sessions exist does not count."""
    try:
        context = cli.make_context("storage-manager", list(words), obj={})
        group, rest = cli, context._protected_args + context.args
        while isinstance(group, click.Group):
            name, command, rest = group.resolve_command(context, rest)
            assert command is not None
            context = command.make_context(name, rest, parent=context)
            group, rest = command, context._protected_args + context.args  # type: ignore[assignment]
    except click.exceptions.Exit:  # --help, --version
        return None
    except click.UsageError as error:
        if isinstance(error, click.BadParameter) and not isinstance(error, FAULTS):
            return None
        return error.format_message()
    return None


@pytest.mark.parametrize("words", ["render run-1 run-1.html", "ls --nothing", "nothing", "show"])
def test_a_wrong_command_line_is_found(words: str) -> None:
    assert fault(words.split())


def test_the_command_lines_of_the_pages() -> None:
    lines = list(printed())
    assert len(lines) > 50
    found = {f"{page}: {shlex.join(words)}": why for page, words in lines if (why := fault(words))}
    assert found == {}
