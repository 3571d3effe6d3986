"""Text of pages, files and services that tries to control a terminal, or to look like a line of ours.

Everything that the command line prints goes through `cli.terminal`: text, log records, errors, tracebacks, usage.
"""

import ast
import asyncio
import json
import logging
import os
import pty
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import click
import pytest

import storage_manager.cli
from storage_manager import InvalidDataError, StorageManagerError
from storage_manager.cli.process import run_command_line
from storage_manager.cli.terminal import EscapedOutput, echo, escape
from storage_manager.cli.text import json_line
from tests.attacks.printed import FORGED, HOSTILE, is_harmless
from tests.support.answers import Answering, http
from tests.support.shell import SM, sm

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_each_character_is_escaped(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"a{text}b")
    echo(f"a{text}b", err=True)
    out, err = capsys.readouterr()
    assert out == err == f"a{escape(text)}b\n"
    assert is_harmless(out)
    assert "\\" in escape(text)


def test_other_text_stays() -> None:
    assert escape("äß 漢字 🙂 \\x1b a'b\"") == "äß 漢字 🙂 \\x1b a'b\""


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_json_has_no_control_characters_and_stays_json(text: str) -> None:
    line = json_line({"title": text, text: 1})
    assert is_harmless(f"{line}\n")
    assert json.loads(line) == {"title": text, text: 1}


def raising(error: BaseException) -> click.Command:
    def run() -> None:
        raise error

    return click.Command("run", callback=run)


def explained(error: BaseException, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """Run a command that raises this error; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["storage-manager", *options])
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **options: None, raising=False)
    return run_command_line(raising(error))


@pytest.mark.parametrize("text", [*HOSTILE, FORGED], ids=ascii)
@pytest.mark.parametrize("kind", [StorageManagerError, InvalidDataError, OSError, click.UsageError, click.BadParameter])
def test_errors(
    text: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(kind(f"not found: {text}."), monkeypatch) > 0
    out, err = capsys.readouterr()
    assert out == ""
    assert is_harmless(err)
    assert err.count("not found") == 1
    assert not any(line.startswith("storage-manager: forged") for line in err.splitlines())


@pytest.mark.parametrize("text", [*HOSTILE, FORGED], ids=ascii)
def test_tracebacks(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of --debug, and those of a bug."""
    error = RuntimeError(f"inside: {text}")
    error.__cause__ = ValueError(f"cause: {text}")
    with pytest.raises(SystemExit) as caught:
        explained(error, monkeypatch)
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert (out, is_harmless(err)) == ("", True)
    lines = err.splitlines()
    assert f"ValueError: cause: {escape(text)}" in lines
    assert lines[-1] == f"RuntimeError: inside: {escape(text)}"
    assert "    raise error" in lines


def with_note(text: str) -> Exception:
    error: Any = RuntimeError("inside")
    error.__notes__ = [text, f" {text}"]
    return error  # type: ignore[no-any-return]


ELSEWHERE: dict[str, Callable[[str], BaseException]] = {
    "note": with_note,
    "file of a SyntaxError": lambda text: SyntaxError("bad", (text, 1, 1, text)),
    "cancellation": asyncio.CancelledError,
    "exit": SystemExit,
    "BaseException": BaseException,
}


@pytest.mark.parametrize("kind", ELSEWHERE)
@pytest.mark.parametrize("text", ["\x1b[2J", FORGED, f"Traceback {FORGED}"], ids=ascii)
def test_what_is_shown_beside_the_text_of_an_error(
    kind: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        explained(ELSEWHERE[kind](f"a{text}"), monkeypatch)
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert (out, is_harmless(err)) == ("", True)
    assert f"a{escape(text)}" in err
    assert not any(line.strip().startswith("storage-manager: forged") for line in err.splitlines())


def test_a_record_whose_arguments_do_not_fit_ends_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # that of pytest raises
    with EscapedOutput():
        logging.getLogger("some.library").warning("%d steps" + FORGED, "many")
        logging.getLogger("some.library").warning("%(name)s", "x")
    assert capsys.readouterr().err.splitlines() == [escape("%d steps" + FORGED), "%(name)s"]


UNSEEN = """
import atexit, sys, threading
import click, storage_manager.cli.commands as commands
from storage_manager.cli import main
def fail():
    raise ValueError("x\\x1b[2J\\nstorage-manager: forged")
class Failing:
    def __del__(self):
        fail()
def in_thread():
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
ways = {"thread": in_thread, "finalizer": Failing, "end": lambda: atexit.register(fail)}
commands.cli = click.Command("cli", params=[click.Argument(["way"])], callback=lambda way: ways[way]() and None)
main()
"""


@pytest.mark.parametrize("way", ["thread", "finalizer", "end"])
def test_errors_that_no_command_sees(way: str) -> None:
    """Python itself printed them: those of threads, of finalizers, and of functions at the end of the process."""
    command = [sys.executable, "-c", UNSEEN, way]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, is_harmless(done.stderr)) == (0, "", True)
    assert f"ValueError: x{escape(chr(27))}[2J" in done.stderr
    assert not any(line.startswith("storage-manager: forged") for line in done.stderr.splitlines())


LONE_SURROGATE = re.compile("[\ud800-\udfff]")


# pytest-xdist cannot report the records of a test if they have a lone surrogate
@pytest.mark.parametrize("text", [text for text in [*HOSTILE, FORGED] if not LONE_SURROGATE.search(text)], ids=ascii)
def test_log_records_and_warnings(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("storage_manager.integrity")
    with EscapedOutput():
        logger.warning("cannot be listed: %s", text)
        logger.info("not shown: %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved: %s", text)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn(f"careful: {text}", stacklevel=1)
    out, err = capsys.readouterr()
    assert (out, is_harmless(err)) == ("", True)
    lines = err.splitlines()
    assert lines[0] == escape(f"cannot be listed: {text}".removesuffix("\n"))
    assert f"ValueError: {escape(text)}" in lines
    assert any(f"careful: {escape(text)}" in line for line in lines)
    assert not any(line.startswith(("storage-manager: forged", "not shown")) for line in lines)


def test_the_door_is_closed_behind() -> None:
    before = logging.getLogger().handlers[:]
    with EscapedOutput():
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before


@pytest.fixture
def forging(tmp_path: Path) -> Path:
    """A root whose files are hostile: a page, its action and its metadata."""
    step = tmp_path / "root" / "s" / "t"
    step.mkdir(parents=True)
    evil = "".join(HOSTILE) + FORGED
    (step / "observation.html").write_text(f"<p>{evil}</p>\n", errors="surrogatepass", newline="")
    (step / "action.json").write_text(json.dumps({"type": evil.encode(errors="replace").decode()}))
    (step / "metadata.json").write_text(json.dumps({"title": evil.encode(errors="replace").decode(), "url": "a\x7fb"}))
    return tmp_path / "root"


def test_a_stored_page_on_a_terminal_and_in_a_pipe(forging: Path) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    command = ("show", "s", "t", "--component", "html", "--root", forging)
    done = sm(*command, stdout=theirs, stderr=PIPE, capture_output=False)
    shown = os.read(ours, 65536).decode().replace("\r\n", "\n")  # as the terminal itself writes line breaks
    os.close(theirs)
    os.close(ours)
    assert (done.code, done.err) == (0, "")
    assert is_harmless(shown)
    assert "\\x1b[2J" in shown
    piped = sm(*command, text=False)
    assert piped.out == (forging / "s/t/observation.html").read_bytes()  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    "command", [("show", "s", "t"), ("show", "s", "t", "--json"), ("verify", "s"), ("verify", "--json"), ("ls", "-l")]
)
def test_commands_over_hostile_files(forging: Path, command: tuple[str, ...]) -> None:
    done = sm(*command, "--root", forging)
    assert is_harmless(done.out)
    assert is_harmless(done.err)
    assert not any(line.startswith("storage-manager: forged") for line in f"{done.out}{done.err}".splitlines())


def test_the_names_of_files(tmp_path: Path) -> None:
    """A directory whose name looks like two lines."""
    root = tmp_path / f"a{FORGED}\x1b[2J"
    (root / "s/t").mkdir(parents=True)
    (root / "s/t/metadata.json").write_text("{")
    for command in (["info"], ["ls", "x"], ["show", "s", "t"], ["verify", "s"], ["rm", "s"], ["share", "s", "t"]):
        done = sm(*command, "--root", root)
        assert is_harmless(done.out)
        assert is_harmless(done.err)
        assert not any(line.startswith("storage-manager: forged") for line in f"{done.out}{done.err}".splitlines())
    for arguments in ([f"ls{FORGED}\x1b"], ["put", root / "s/t"], ["ls", f"--{FORGED}\x1b"]):
        done = sm(*arguments)
        assert (done.code, done.out, is_harmless(done.err)) == (2, "", True)
        assert not any(line.startswith("storage-manager: forged") for line in done.err.splitlines())


async def test_a_service_that_talks_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message reached stderr raw, in a log record of `verify`."""
    message = "no right&#13;&#10;storage-manager: forged&#155;2J"
    listing = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
    whole = http("200 OK", f"<?xml version='1.0'?>\n{listing}", content_type="application/xml")
    refusal = f"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    server = Answering()
    server.answers = [whole, whole, http("403 Forbidden", refusal, content_type="application/xml")]
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SM_S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    async with listening:
        done = await asyncio.to_thread(sm, "verify", "s", "--root", "s3://bucket")
    assert "no right" in done.err
    assert is_harmless(done.out + done.err)
    assert not any(line.startswith("storage-manager: forged") for line in done.err.splitlines())


# What a command may not call: each prints past the door.
PRINTS = {"click.echo", "click.secho", "click.confirm", "click.prompt", "click.echo_via_pager", "print"}
PRINTS |= {"sys.stdout.write", "sys.stderr.write", "traceback.print_exc", "traceback.print_exception"}


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_no_command_prints_past_the_door() -> None:
    directory = Path(storage_manager.cli.__file__).parent
    found = {path.name: set(calls(path)) & PRINTS for path in sorted(directory.glob("*.py"))}
    assert found.pop("terminal.py") == {"click.echo", "click.confirm"}
    assert found.pop("__init__.py") == {"sys.stderr.write"}  # if click is not installed; it is a text of our own
    assert len(found) > 20
    assert not any(found.values()), found
    assert SM[-1] == "storage_manager"
