"""What a command refuses: its exit code, one line, no traceback, and nothing that was not there before."""

import os
import pty
import sys
from pathlib import Path
from subprocess import PIPE, run

import pytest

from storage_manager import LocalStorageError, StorageManager
from storage_manager.cli.commands import cli
from tests.support.shell import LIMIT, SAMPLE, SM, Done, on_terminal, sm


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with nothing in it, in which commands are run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.thorough
def test_a_place_that_is_not_there_is_not_made(place: Path) -> None:
    missing = f"storage-manager: there is no directory {place}/.storage_data: name the root with --root or SM_ROOT\n"
    missing_source = f"storage-manager: there is no directory {place}/nobody: name the root with the URL\n"
    for command in (["ls"], ["verify"], ["show", "a", "b"], ["get", "a", "out"], ["cp", "nobody", "out"], ["rm", "a"]):
        code, out, err = sm(*command)
        assert (code, out) == (3, "")
        assert err.startswith(missing_source if command[0] == "cp" else missing)
        assert err.count("\n") == 1
    code, out, err = sm("info")
    assert (code, err) == (0, "")
    assert f"url                     {place}/.storage_data\n" in out
    assert "exists                  False\n" in out
    told = "does not exist yet. It can be created, and files in it can be listed, written, read and deleted"
    assert sm("check", "--root", "not/there/yet") == (0, f"{place}/not/there/yet {told}\n", "")
    told = f"OK: files in {place} can be listed, written, read and deleted\n"
    assert sm("check", "--root", place) == (0, told, "")
    assert list(place.iterdir()) == []
    assert sm("info", "--root", "s3://some-bucket/x").out.startswith("url                     s3://some-bucket/x\n")
    assert sm("info", "--root", "memory://x").out.startswith("url                     memory://x\n")


def test_the_root_is_named_before_or_after_the_command_or_by_a_variable(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = (0, "harbour-books\n", "")
    assert sm("--root", SAMPLE, "ls") == listed
    assert sm("--root", "nowhere", "ls", "--root", SAMPLE) == listed
    code, _, err = sm("--root", SAMPLE, "cp", "a", "b")
    assert (code, "Error: cp takes no --root: it takes both roots as arguments" in err) == (2, True)
    monkeypatch.setenv("SM_ROOT", str(SAMPLE))
    assert sm("ls") == listed
    assert sm("info").out.startswith(f"url                     {SAMPLE}\n")
    monkeypatch.setenv("SM_ROOT", "memory://x")
    assert sm("info").out.startswith("url                     memory://x\n")


def test_a_mistyped_variable(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_S3_BUCKETNAME", "some-bucket")
    code, out, err = sm("info")
    assert (code, f"{place}/.storage_data" in out, err.count("\n")) == (0, True, 1)
    assert err.endswith("did you mean SM_S3_BUCKET_NAME?\n")


def test_a_check_that_fails_creates_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: StorageManager) -> None:
        raise LocalStorageError("full")

    monkeypatch.setattr(StorageManager, "check", fail)
    with pytest.raises(LocalStorageError, match="full"):
        cli.main(["check", "--root", "not/there/yet"], standalone_mode=False, obj={})
    assert list(place.iterdir()) == []


NOBODY = [
    *(["ls", "nobody"], ["show", "nobody", "1"], ["share", "nobody", "1"], ["rm", "nobody", "--yes"]),
    *(["rm", "nobody", "1", "--yes"], ["seal", "nobody"], ["verify", "nobody"], ["get", "nobody", "out"]),
    *(["view", "nobody", "--port", "0"], ["render", "nobody"], ["export", "parquet", "out", "nobody"]),
    *(["export", "webdataset", "out", "nobody"], ["cp", str(SAMPLE), "out", "nobody"]),
]


@pytest.mark.parametrize("command", NOBODY, ids=" ".join)
def test_a_session_that_does_not_exist(place: Path, command: list[str]) -> None:
    at, listing = ((), " --root SOURCE_URL") if command[0] == "cp" else (("--root", SAMPLE), "")
    advice = f"list them with storage-manager ls{listing}"
    assert sm(*command, *at) == (3, "", f"storage-manager: there is no session {SAMPLE}/nobody: {advice}\n")
    assert list(place.iterdir()) == []


def test_a_name_that_is_mistyped(place: Path) -> None:
    at = ("--root", SAMPLE)
    code, _, err = sm("ls", "harbor-book", *at)
    told = f"storage-manager: there is no session {SAMPLE}/harbor-book: did you mean harbour-books?\n"
    assert (code, err) == (3, told)
    code, _, err = sm("show", "harbour-books", "step_00001", *at)
    assert (code, err.endswith("/step_00001: did you mean step_000001?\n")) == (3, True)
    code, _, err = sm("ls", "HARBOUR-Books", *at)
    assert (code, err.endswith("/HARBOUR-Books: did you mean harbour-books?\n")) == (3, True)
    for step in ("2", "step_2", "step-02", "Step_000002"):
        assert sm("show", "harbour-books", step, *at).err.endswith(f"/{step}: did you mean step_000002?\n")
    code, _, err = sm("verfy")
    assert (code, err.endswith("Error: there is no command verfy: did you mean verify?\n")) == (2, True)
    code, _, err = sm("nothing-like-it")
    assert (code, err.endswith("Error: there is no command nothing-like-it\n")) == (2, True)


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (["show", "run-1/"], "'run-1/' is a path, and not an id: give the id only: run-1"),
        (["ls", ".storage_data/run-1"], "give the id only: run-1"),
        (["show", "run-1/step_000001"], "give session and step separately: run-1 step_000001"),
        (["rm", "s3://bucket/run-1/step_000001/"], "give session and step separately: run-1 step_000001"),
        (["show", "run-1", "run-1/step_000001"], "give the id only: step_000001"),
        (["seal", "run-1", "run-2/"], "give the id only: run-2"),
        (["ls", "../.."], "it separates directories"),
    ],
)
def test_a_path_in_place_of_an_id(command: list[str], advice: str) -> None:
    code, out, err = sm(*command, "--root", SAMPLE)
    assert (code, out, err.endswith(f"{advice}\n")) == (2, "", True)


def test_rm_of_two_sessions(place: Path) -> None:
    for name in ("run-1/step_000001", "run-2/step_000001"):
        (place / name).mkdir(parents=True)
        (place / name / "action.json").write_text("{}")
    told = "storage-manager: run-2 is a session: rm deletes one session at a time\n"
    assert sm("rm", "run-1", "run-2", "--yes", "--root", place) == (3, "", told)
    assert sm("rm", "run-1", "run-3", "--yes", "--root", place).err.startswith("storage-manager: there is no step ")


def test_a_prefix_that_no_id_has(place: Path) -> None:
    at = ("--root", SAMPLE)
    assert sm("ls", "--prefix", "xx", *at) == (0, "", "no session begins with 'xx'\n")
    assert sm("ls", "harbour-books", "--prefix", "xx", *at) == (0, "", "no step begins with 'xx'\n")
    assert sm("ls", "--prefix", "xx", "--json", *at) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["parquet", "out", "--incomplete"], "--incomplete is only for webdataset"),
        (["webdataset", "out", "--component", "html"], "--component is only for parquet"),
        (["webdataset", "out", "--attachment", "a.txt"], "--attachment is only for parquet"),
    ],
)
def test_an_option_of_the_other_export(options: list[str], why: str) -> None:
    code, _, err = sm("export", *options, "--root", SAMPLE)
    assert (code, err.splitlines()[-1]) == (2, f"Error: {why}")


@pytest.mark.parametrize(
    ("name", "meant"), [("list", "ls"), ("delete", "rm"), ("remove", "rm"), ("copy", "cp"), ("cat", "show")]
)
def test_a_command_of_other_programs(name: str, meant: str) -> None:
    code, _, err = sm(name, "run-1")
    assert (code, err.splitlines()[-1]) == (2, f"Error: there is no command {name}: did you mean {meant}?")


@pytest.mark.parametrize(("name", "choices"), [("export", "parquet, webdataset"), ("completion", "bash, zsh, fish")])
def test_a_missing_argument_names_its_choices_in_one_line(name: str, choices: str) -> None:
    code, _, err = sm(name)
    assert (code, "\\n" in err, f"Choose from: {choices}" in err.splitlines()[-1]) == (2, False, True)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_no_suggestion_is_the_name_itself_or_far_from_it(place: Path, command: str) -> None:
    (place / "dirs/_session.json").mkdir(parents=True)
    (place / "open").mkdir()
    (place / "open/_session.json").write_text("{}")
    why = f"storage-manager: there is no session {place}/dirs: there are directories, and no file of a session\n"
    assert sm(command, "dirs", "--root", place) == (3, "", why)
    why = f"storage-manager: there is no session {place}/nope: list them with storage-manager ls\n"
    assert sm(command, "nope", "--root", place) == (3, "", why)


def test_an_output_that_cannot_be_written(place: Path) -> None:
    command = ("show", "harbour-books", "step_000001", "--component", "html", "--root", SAMPLE, "-o")
    advice = "create its directory, or give another file with --output"
    why = f"storage-manager: cannot write no/page.html: No such file or directory ({advice})\n"
    assert sm(*command, "no/page.html") == (3, "", why)
    (place / "file").touch()
    why = "storage-manager: cannot write file/page: Not a directory (give another file with --output)\n"
    assert sm(*command, "file/page") == (3, "", why)


def test_links_that_would_work_too_long(place: Path) -> None:
    done = sm("share", "harbour-books", "step_000001", "--expires", "8d", "--root", SAMPLE)
    assert done == (2, "", "storage-manager: --expires is 8 days: give 1s to 7d\n")


@pytest.mark.thorough
def test_what_is_not_there(place: Path) -> None:
    at = ("--root", SAMPLE)
    url = f"{SAMPLE}/harbour-books"
    assert sm("ls", "nobody", *at).code == 3
    assert sm("show", "harbour-books", "step_9", *at) == (
        3,
        "",
        f"storage-manager: there is no step {url}/step_9: list them with storage-manager ls harbour-books\n",
    )
    assert sm("rm", "harbour-books", "step_9", *at).code == 3
    (place / "s/t").mkdir(parents=True)
    (place / "s/t/action.json").write_text("{}")
    code, _, err = sm("show", "s", "t", "--component", "html", "--root", place)
    assert (code, "cannot retrieve" in err) == (3, True)


@pytest.mark.parametrize("group", [[], ["catalog"]], ids=["all", "catalog"])
def test_without_a_command_the_help_is_printed(group: list[str]) -> None:
    code, out, err = sm(*group)
    assert (code, out) == (2, "")
    assert (err, err.count("Error:")) == (sm(*group, "--help").out, 0)


def test_a_session_in_place_of_a_root(place: Path) -> None:
    """Its steps are taken for sessions, and their files for files of sessions."""
    code, out, err = sm("cp", Path(SAMPLE) / "harbour-books", place / "copy")
    assert code == 1
    assert (
        "only steps have components: if its directory is a step, the directory of its session was given as a"
        in out + err
    )
    assert "it is not called" not in out + err


@pytest.mark.thorough
def test_usage(place: Path) -> None:
    assert sm().code == 2
    assert sm("nothing").code == 2
    assert sm("ls", "../x", "--root", SAMPLE).code == 2
    assert sm("put", "nowhere").code == 2
    assert "single step" in sm("put", SAMPLE / "harbour-books/step_000001").err
    assert "is not a duration" in sm("share", "a", "b", "--expires", "soon").err
    assert "neither an age (12h, 30d, 2w) nor a date" in sm("purge", "--older-than", "long").err
    assert "'1m' is a number of minutes: for months, give days" in sm("purge", "--older-than", "1m").err
    assert "--output needs --component" in sm("show", "a", "b", "-o", "file").err


def test_a_setting_that_cannot_be_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_S3_BUCKET_NAME", "some-bucket")
    monkeypatch.setenv("SM_S3_ENGINE", "other")
    code, out, err = sm("check")
    assert (code, out) == (3, "")
    assert err.startswith("storage-manager: ")
    assert "SM_S3_ENGINE" in err
    assert err.count("\n") == 1
    code, _, err = sm("check", "--debug")
    assert code == 3
    assert "Traceback" in err
    assert "S3ConfigError" in err
    assert err.splitlines()[-1].startswith("storage-manager: ")


def test_a_bucket_that_is_not_there(moto_url: str, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SM_S3_ENDPOINT_URL", moto_url)
    code, out, err = sm("check", "--root", "s3://nobodys-bucket")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "create the bucket, or correct the bucket in --root or SM_ROOT (or SM_S3_BUCKET_NAME)" in err


def test_without_its_packages(place: Path) -> None:
    code = "import sys; sys.modules['click'] = sys.modules['rich'] = None; from storage_manager.cli import main; main()"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False)
    install = 'storage-manager: the command line needs click and rich: pip install "agent-storage-manager[cli]"'
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(install)


@pytest.mark.thorough
def test_a_terminal_is_asked(place: Path) -> None:
    sm("put", "-q", SAMPLE)
    question = f"Delete {place}/.storage_data/harbour-books (4 steps, 285.3 kB)? [y/N]: "
    done = on_terminal("rm", "harbour-books", typed=b"n\n")
    assert (done.code, done.out, question in done.err) == (0, "", True)
    done = on_terminal("rm", "harbour-books", typed=b"\x04")
    assert (done.code, "storage-manager: interrupted" in done.err) == (130, True)
    assert sm("ls").out == "harbour-books\n"
    done = on_terminal("rm", "harbour-books", typed=b"y\n")
    assert (done.code, done.out.startswith("deleted ")) == (0, True)
    assert sm("ls").out == ""


def test_a_screenshot_is_not_shown_to_a_terminal(place: Path) -> None:
    ours, theirs = pty.openpty()
    command = ("show", "harbour-books", "step_000001", "--component", "screenshot", "--root", SAMPLE)
    done = sm(*command, stdout=theirs, stderr=PIPE, capture_output=False)
    os.close(theirs)
    os.close(ours)
    assert (done.code, "give -o FILE" in done.err) == (2, True)


def test_a_reader_that_left_before_the_last_line(place: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    assert sm("ls", "--root", SAMPLE, stdout=theirs, stderr=PIPE, capture_output=False) == (141, None, "")
    os.close(theirs)


def test_a_terminal_is_not_driven_by_a_page(place: Path) -> None:
    step = place / "s/t"
    step.mkdir(parents=True)
    (step / "metadata.json").write_text('{"title": "a\\u001b[2J\\u009b2J\\nb"}')
    done: Done = sm("show", "s", "t", "--root", place)
    assert "title  a\\x1b[2J\\x9b2J b\n" in done.out
    assert "\x1b" not in done.out
    assert "\x9b" not in done.out


def test_a_disk_that_is_full_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = sm("ls", "--root", SAMPLE, stdout=full, stderr=PIPE, capture_output=False)
    assert done.code == 3
    assert done.err == "storage-manager: [Errno 28] No space left on device\n"


@pytest.mark.thorough
def test_an_empty_place_is_not_the_default_one(place: Path) -> None:
    assert sm("put", SAMPLE).code == 0
    empty = ("--root", "")
    for command in (["rm", "harbour-books", "--yes", *empty], ["purge", "--older-than", "0s", "--yes", *empty]):
        code, out, err = sm(*command)
        assert (code, out) == (2, "")
        assert err.endswith("Error: the URL of the root is empty (''): give a URL, or leave --root out\n")
    for command in (["ls", *empty], ["cp", "", "copy"], ["cp", SAMPLE, " "], ["get", "harbour-books", ""]):
        assert sm(*command).code == 2
    assert [path.name for path in place.iterdir()] == [".storage_data"]
    assert sm("ls").out == "harbour-books\n"


@pytest.mark.thorough
def test_streams_that_are_closed(place: Path) -> None:
    def shell(command: str) -> Done:
        words = ["sh", "-c", f'"$@" {command}', "sh", *SM]
        done = run(words, capture_output=True, check=False, text=True, timeout=LIMIT)
        return Done(done.returncode, done.stdout, done.stderr)

    assert sm("put", SAMPLE).code == 0
    assert shell("ls >&-") == (0, "", "")
    assert shell("ls <&-") == (0, "harbour-books\n", "")
    code, out, err = shell("rm harbour-books <&-")
    assert (code, out, "give --yes" in err, "Traceback" in err) == (2, "", True, False)


def test_what_is_none_of_ours_is_not_deleted(place: Path) -> None:
    """With a root one level too high, a project's sources look like a session."""
    (place / "src/mod").mkdir(parents=True)
    (place / "src/mod/a.py").touch()
    for what in (["src"], ["src", "mod"]):
        code, out, err = sm("rm", *what, "--yes", "--root", place)
        assert (code, out, "not a session or step: nothing was deleted" in err) == (3, "", True)
    assert (place / "src/mod/a.py").exists()


def test_a_date_to_come_is_refused(place: Path) -> None:
    code, _, err = sm("purge", "--older-than", "2999-01-01", "--root", SAMPLE)
    assert (code, "is in the future" in err) == (2, True)


@pytest.mark.parametrize("argument", ["recordings", "recordings/run-1"])
def test_a_session_whose_steps_have_only_attachments(
    place: Path, argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no root: its steps would become sessions, and its video would be left behind without a word."""
    files = {"run-1/video.webm", "run-1/step_000001/axtree.json", "run-1/step_000001/screenshot.jpg"}
    for name in files:
        (place / "recordings" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "recordings" / name).write_text("{}")
    assert cli.main(["put", "-q", argument, "--root", "there"], standalone_mode=False, obj={}) == 0
    assert capsys.readouterr().out == "1 step copied\n"
    copied = {str(path.relative_to(place / "there")) for path in (place / "there").rglob("*") if path.is_file()}
    assert copied == {name.replace("video", "_files/video") for name in files}


def test_an_option_for_traces_is_refused_for_others(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("{}")
    done = sm("import", tmp_path / "history.json", "--all-calls", "--root", tmp_path / "root")
    assert (done.code, done.out) == (2, "")
    assert "--all-calls is for traces of Playwright, and the format of this is browser-use" in done.err
