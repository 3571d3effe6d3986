"""A hostile id is refused by every operation, on disk and on S3 in the same words, before any I/O at all."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage_manager import InvalidIdError, Step, StepData, StorageManager

pytestmark = pytest.mark.thorough

# None names a directory that exists outside of the place: a check that is broken fails here, and harms nothing.
HOSTILE = [
    # (why it is here, the id)
    ("empty", ""),
    ("a dot is the directory itself", "."),
    ("two dots are the parent", ".."),
    ("three dots", "..."),
    ("to the parent", "../up"),
    ("to the parent and back", "a/../b"),
    ("to the parent, at the end", "a/.."),
    ("to the parent, many times", "../" * 30 + "etc/passwd"),
    ("to the parent, after a filter for ../", "....//up"),
    ("to the parent, by backslash", "..\\up"),
    ("to the parent, by both slashes", "..\\/up"),
    ("to the parent, percent-encoded", "%2e%2e%2fup"),
    ("to the parent, half encoded", "..%2fup"),
    ("to the parent, encoded twice", "%252e%252e%252fup"),
    ("to the parent, encoded backslash", "..%5cup"),
    ("to the parent, overlong UTF-8", "..%c0%afup"),
    ("to the parent, as IIS encoded it", "..%u2215up"),
    ("to the parent, with a parameter", "..;/up"),
    ("to the parent, behind a NUL", "a\0/../../up"),
    ("to the parent, by HTML entity", "..&#47;up"),
    ("to the parent, by a fullwidth slash", "..\uff0fup"),
    ("to the parent, by a division slash", "..\u2215up"),
    ("to the parent, by a fraction slash", "..\u2044up"),
    ("to the parent, by fullwidth dots", "\uff0e\uff0e"),
    ("to the parent, by a two dot leader", "\u2025"),
    ("absolute", "/etc/passwd"),
    ("absolute, twice", "//etc/passwd"),
    ("absolute on Windows", "C:\\Windows"),
    ("absolute on Windows, with slashes", "C:/Windows"),
    ("network path", "\\\\host\\share"),
    ("device path", "\\\\.\\PhysicalDrive0"),
    ("long path", "\\\\?\\C:\\a"),
    ("a URL of files", "file:///etc/passwd"),
    ("a URL of S3", "s3://other-bucket/key"),
    ("a URL of the web", "http://169.254.169.254/latest/meta-data"),
    ("a chain of URLs", "simplecache::s3"),
    ("a chain that begins with nothing", "::a"),
    ("a chain that ends with nothing", "a::"),
    ("a slash alone", "/"),
    ("a slash inside", "a/b"),
    ("a slash at the end", "a/"),
    ("a backslash at the end", "a\\"),
    ("NUL alone", "\0"),
    ("NUL inside", "a\0b"),
    ("NUL before an extension", "a\0.png"),
    ("newline at the end, which $ lets pass", "a\n"),
    ("newline at the start", "\na"),
    ("CR LF and a header", "a\r\nx-amz-acl: public-read"),
    ("CR alone", "a\rb"),
    ("tab", "a\tb"),
    ("escape sequence of a terminal", "\x1b[2Ja"),
    ("bell", "a\a"),
    ("backspace", "a\bb"),
    ("DEL", "a\x7f"),
    ("next line of Latin-1", "a\x85b"),
    ("line separator", "a\u2028b"),
    ("vertical tab, which splitlines takes", "a\vb"),
    ("glob for all", "*"),
    ("glob for all below", "**"),
    ("glob for one", "a?"),
    ("glob of a class", "[a]"),
    ("glob of a negated class", "[!a]"),
    ("glob of alternatives", "{a,b}"),
    ("brace that is not closed", "a{0"),
    ("version of an S3 object", "a?versionId=null"),
    ("other operation of S3", "a?uploads"),
    ("fragment", "a#b"),
    ("ampersand", "a&b=c"),
    ("percent sign alone", "100%"),
    ("percent-encoded letter", "%61"),
    ("plus is fine, a space is not", "a b"),
    ("space alone", " "),
    ("space at the end, which Windows drops", "a "),
    ("space at the start", " a"),
    ("no-break space", "a\u00a0b"),
    ("dot at the end, which Windows drops", "a."),
    ("dots at the end", "a..."),
    ("hidden", ".hidden"),
    ("hidden, as staged writes are", ".staging-" + "0" * 32),
    ("hidden from Spark", "_SUCCESS"),
    ("an option of a command", "-rf"),
    ("a long option", "--delete"),
    ("home directory", "~"),
    ("home directory of a user", "~root"),
    ("home directory, and below", "~/.ssh"),
    ("variable of the shell", "$HOME"),
    ("variable in braces", "${HOME}"),
    ("variable of Windows", "%USERPROFILE%"),
    ("command by dollar", "$(id)"),
    ("command by backtick", "`id`"),
    ("command by semicolon", "a;id"),
    ("command by pipe", "a|id"),
    ("redirection", "a>b"),
    ("history of the shell", "a!b"),
    ("single quote", "a'b"),
    ("double quote", 'a"b'),
    ("SQL", "a' OR '1'='1"),
    ("SQL with a comment", "a'; DROP TABLE sessions;--"),
    ("HTML", "<script>alert(1)</script>"),
    ("XML entity", "&xxe;"),
    ("template", "{{7*7}}"),
    ("JNDI", "${jndi:ldap://a/b}"),
    ("format string", "%s%n"),
    ("format string of Python", "{0.__class__}"),
    ("caret", "a^b"),
    ("parentheses", "a(1)"),
    ("drive and stream of Windows", "a:$DATA"),
    ("alternate data stream", "a.png::$DATA"),
    ("device of Windows with a dot", "NUL."),
    ("short name of Windows", "PROGRA~1\\a"),
    ("umlaut", "é"),
    ("umlaut, decomposed", "e\u0301"),
    ("Cyrillic а", "\u0430"),
    ("fullwidth letter", "\uff41"),
    ("Arabic digit, which isdigit and \\d let pass", "\u0661"),
    ("superscript, which isalnum lets pass", "a\u00b2"),
    ("Kelvin sign, which is k in lower case", "\u212a"),
    ("long s, which is S in upper case", "\u017f"),
    ("ligature, one letter that becomes two", "\ufb01"),
    ("dotless i", "\u0131"),
    ("Japanese", "日本"),
    ("emoji", "😀"),
    ("right-to-left override", "a\u202egnp.exe"),
    ("isolate", "a\u2066b"),
    ("zero width space", "a\u200bb"),
    ("zero width joiner", "a\u200db"),
    ("soft hyphen", "a\u00adb"),
    ("word joiner at the start", "\u2060a"),
    ("byte order mark", "\ufeffa"),
    ("variation selector", "a\ufe0f"),
    ("tag character", "a\U000e0041"),
    ("noncharacter", "a\uffff"),
    ("private use", "a\ue000"),
    ("lone high surrogate", "a\ud800"),
    ("lone low surrogate, as surrogateescape gives it", "a\udc80"),
    ("surrogates the wrong way round", "\udc00\ud800"),
    ("one character too many", "a" * 129),
    ("too long for a file name", "a" * 256),
    ("too long for an S3 key", "a" * 1025),
    ("too long for a path", "a" * 5000),
    ("a megabyte", "a" * 2**20),
    ("a megabyte that begins badly", "/" * 2**20),
    ("a megabyte that ends badly", "a" * 2**20 + "\n"),
    ("a megabyte of colons", "a" + ":" * 2**20),
]
IDS = [name for _, name in HOSTILE]
NO_TEXT = [-7, True, 1.5, b"a", bytearray(b"a"), ["a"], ("a",), {"a": 1}, Path("a"), object()]

# Every operation that takes ids: what it does with both, or with the session alone; and its name in errors.
Operation = tuple[str | None, Callable[..., Any]]


async def first(manager: StorageManager, session: Any) -> Step:
    return await anext(manager.iter_steps([session]))


async def url_for(manager: StorageManager, *ids: Any) -> str:
    return manager.url_for(*ids)


OF_SESSIONS: list[Operation] = [
    ("list", StorageManager.list_steps_for_session),
    ("delete", StorageManager.delete_session),
    ("list", first),
    (None, url_for),
]
OF_STEPS: list[Operation] = [
    ("store", StorageManager.store_step_data),
    ("store", lambda sm, *ids: sm.store_step_data(*ids, "<p>", b"png", {}, {})),
    ("store", lambda sm, *ids: sm.store_steps([Step(*ids, StepData("<p>"))])),
    ("retrieve", StorageManager.retrieve_step_data),
    ("retrieve", lambda sm, *ids: sm.retrieve_step_data(*ids, components=["html"], strict=True)),
    ("delete", StorageManager.delete_step),
    ("share", StorageManager.get_share_links),
    (None, url_for),
    (None, lambda sm, *ids: url_for(sm, *ids, "html")),
]


def calls(name: Any) -> Iterator[tuple[str, str | None, Callable[[StorageManager], Any]]]:
    """Every operation with a hostile id in every place: which place, the operation, the call."""
    for operation, call in OF_SESSIONS:
        yield "session_id", operation, lambda sm, call=call: call(sm, name)
    for operation, call in OF_STEPS:
        yield "session_id", operation, lambda sm, call=call: call(sm, name, "t")
        yield "step_id", operation, lambda sm, call=call: call(sm, "s", name)
        yield "session_id", operation, lambda sm, call=call: call(sm, name, name)


# --- what the process does --------------------------------------------------------------------------------

IO = re.compile(r"(open|import|(os|socket|shutil|subprocess|pathlib|tempfile|glob|fcntl|urllib|http|ssl)\..*)\Z")


UNANNOUNCED = ("stat", "lstat", "access", "readlink")  # of os; Python has no audit event for them


class Watch:
    """The process's own account of its I/O, in all threads, while it is on (PEP 578). A hook is never removed."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.seen is not None and IO.match(event):
            self.seen.append(f"{event} {args[:1]!r:.80} in {threading.current_thread().name}")

    def announced(self, name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def announce(*args: Any, **kwargs: Any) -> Any:
            self.hear(f"os.{name}", args)
            return call(*args, **kwargs)

        return announce

    @contextmanager
    def on(self) -> Iterator[list[str]]:
        seen = self.seen = []
        with pytest.MonkeyPatch.context() as patch:
            for name in UNANNOUNCED:
                patch.setattr(os, name, self.announced(name))
            yield seen
        self.seen = None


@pytest.fixture(scope="session")
def watch() -> Watch:
    """The one watch of this process."""
    return Watch()


# --- the tests --------------------------------------------------------------------------------------------

Managers = list[StorageManager]


@pytest.fixture
def managers(
    local_at: Callable[[str], StorageManager],
    s3fs_at: Callable[[str], StorageManager],
    obstore_at: Callable[[str], StorageManager],
) -> Managers:
    """One of the local disk, and one of S3 for each engine; none has done anything yet."""
    return [local_at("place"), s3fs_at("place"), obstore_at("place")]


@pytest.fixture
def idle_managers(local_at: Callable[[str], StorageManager], moto_url: str) -> Managers:
    """The same, of a bucket that nobody has made: it takes a while, and is not needed where nothing is asked."""
    return [local_at("place"), StorageManager("bucket-of-nobody", s3_prefix="place", s3_endpoint_url=moto_url)]


async def refusal(manager: StorageManager, call: Callable[[StorageManager], Any]) -> InvalidIdError:
    """Return the error of a call."""
    with pytest.raises(InvalidIdError) as caught:
        await call(manager)
    assert type(caught.value) is InvalidIdError
    return caught.value


async def refusals(managers: Managers, name: Any) -> None:
    """Every call is refused by every manager, in the same short words."""
    for what, operation, call in calls(name):
        errors = [await refusal(manager, call) for manager in managers]
        assert len({str(error) for error in errors}) == 1
        assert str(errors[0]).startswith(f"{what} ")
        assert len(str(errors[0])) < 500
        assert [(error.operation, error.url) for error in errors] == [(operation, None)] * len(managers)


@pytest.fixture
def refuse(idle_managers: Managers, watch: Watch, moto_requests: list[Any], loop: asyncio.AbstractEventLoop) -> Any:
    """Have an id refused everywhere, and no I/O done for it."""

    def refused(name: Any) -> None:
        moto_requests.clear()
        with watch.on() as seen:
            loop.run_until_complete(refusals(idle_managers, name))
        assert seen == []
        assert moto_requests == []

    return refused


@pytest.mark.parametrize("name", IDS, ids=[why for why, _ in HOSTILE])
def test_a_hostile_id_is_refused_before_any_io(name: str, refuse: Callable[[Any], None]) -> None:
    """Every operation refuses it, on disk and on S3 with one text, and opens, asks and imports nothing."""
    refuse(name)


@pytest.mark.parametrize("name", NO_TEXT, ids=lambda name: type(name).__name__)
def test_what_is_no_text_is_refused_before_any_io(name: object, refuse: Callable[[Any], None]) -> None:
    """An id is a text, an integer from 0 on or a UUID: nothing else is turned into one."""
    refuse(name)


RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=@+,~-]{0,127}")


def hostile(name: str) -> bool:
    """The rule for ids, as the documentation has it."""
    return not RULE.fullmatch(name) or "::" in name or name.endswith(".")


NEARLY = st.from_regex(RULE, fullmatch=True)
ANY_TEXT = st.text(st.characters())  # surrogates too
BROKEN = st.builds(lambda name, at, text: name[:at] + text + name[at:], NEARLY, st.integers(0, 130), ANY_TEXT)

LONGER = st.builds(str.__add__, st.sampled_from([name for name in IDS if len(name) < 1000]), ANY_TEXT)


@settings(
    settings.get_profile("property"),
    max_examples=settings.get_profile("property").max_examples * 15,
    # the managers are the same for all examples: that they stay as new is what is tested
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=(ANY_TEXT | BROKEN | LONGER).filter(hostile))
@example(name="a\n")
@example(name="a" * 128 + "\n")
def test_any_other_hostile_id_is_refused_before_any_io(name: str, refuse: Callable[[Any], None]) -> None:
    """Whatever breaks the rule is refused, not only what somebody thought of."""
    refuse(name)


def test_nothing_is_created(
    managers: Managers, loop: asyncio.AbstractEventLoop, tmp_path: Path, moto_requests: list[Any]
) -> None:
    """After all of them the disk and the bucket are as before."""
    before = sorted(tmp_path.rglob("*"))
    for name in (*IDS, *NO_TEXT):
        loop.run_until_complete(refusals(managers, name))
    assert sorted(tmp_path.rglob("*")) == before == [tmp_path / "place"]
    for manager in managers:
        assert manager.fs.find(manager.url_for().removesuffix("/place")) == []


def test_good_ids_are_seen_doing_io(managers: Managers, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
    """The watch that sees nothing above sees what a good id does: files on disk, a connection to S3."""
    kinds = []
    for manager in managers:
        with watch.on() as seen:
            loop.run_until_complete(manager.store_step_data("s", "t", "<p>"))
        kinds.append({line.split()[0] for line in seen})
        loop.run_until_complete(manager.aclose())
    assert {"open", "os.lstat", "os.mkdir", "os.rename"} <= kinds[0]
    assert {"socket.__new__", "socket.connect"} <= kinds[1]


ALONE = """
import asyncio, sys
from storage_manager import InvalidIdError, StorageManager

async def main(sm):
    for call in (sm.store_step_data("..", "t", "x"), sm.retrieve_step_data("s", "a/b"), sm.delete_session("*"),
                 sm.list_steps_for_session(""), sm.delete_step("s", "#"), anext(sm.iter_steps([".."]))):
        try:
            await call
        except InvalidIdError:
            print("refused")

asyncio.run(main(StorageManager("bucket-of-nobody")))
print(sorted({"s3fs", "aiobotocore", "botocore", "aiohttp"} & sys.modules.keys()))
"""


def test_s3_is_not_even_imported(tmp_path: Path) -> None:
    """In a process of its own: a refusal by a manager of S3 loads no library of S3."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE], capture_output=True, text=True, check=False)
    assert (done.stdout.split("\n"), done.stderr) == (["refused"] * 6 + ["[]", ""], "")
