"""`sm://` in tools that know nothing of this library: what fsspec's own suite (tests/peers) does not ask."""

import asyncio
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from fsspec.core import url_to_fs

from storage_manager import (
    InvalidDataError,
    InvalidIdError,
    LocalStorageError,
    S3ConfigError,
    Step,
    StepData,
    StorageManager,
    StorageManagerError,
)
from storage_manager.backends import hidden_name
from storage_manager.protocol import SessionFileSystem
from tests.support.answers import Answers, http
from tests.support.roots import MOTO_KEYS, Make, Request, managers_at

METADATA = {"url": "http://é.test/", "viewport": [1024, 640]}


def point_at(sm: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SM_* variables name the manager's place."""
    info, options = sm.get_storage_info(), sm.storage_options
    variables = {
        "SM_S3_BUCKET_NAME": info["s3_bucket"],
        "SM_S3_REGION": info["s3_region"],
        "SM_S3_ENDPOINT_URL": options.get("endpoint_url"),
        "SM_LOCAL_BASE_PATH": info["local_base_path"],
        "SM_S3_PREFIX": sm.url_for().removeprefix(f"s3://{info['s3_bucket']}") if info["s3_bucket"] else None,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value or "")


def store(sm: StorageManager, *ids: tuple[str, str]) -> None:
    async def steps() -> AsyncIterator[Step]:
        for session_id, step_id in ids:
            yield Step(session_id, step_id, StepData("<p>", metadata=METADATA))

    assert asyncio.run(sm.store_steps(steps())) == len(ids)


@pytest.fixture(params=["local", pytest.param("bucket", marks=pytest.mark.thorough), "prefix"])
def sm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageManager:
    """A place with two sessions of two steps, which the variables name."""
    if request.param == "local":
        sm = StorageManager(local_base_path=tmp_path / "base")
    else:
        make = managers_at(request.getfixturevalue("moto_url"), monkeypatch, **MOTO_KEYS)
        sm = make(s3_prefix="" if request.param == "bucket" else "some/where")
    store(sm, ("s1", "t1"), ("s1", "t2"), ("s2", "t1"), ("s2", "t2"))
    point_at(sm, monkeypatch)
    return sm


@pytest.fixture
def fs(sm: StorageManager) -> SessionFileSystem:
    return SessionFileSystem()


def test_it_is_registered_and_costs_nothing_until_it_is_used() -> None:
    code = "import sys, fsspec; print(fsspec.get_filesystem_class('sm').__name__, 's3fs' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "SessionFileSystem False\n"


def test_pandas_needs_no_options(sm: StorageManager) -> None:
    assert pd.read_json("sm://s1/t1/metadata.json", typ="series").to_dict() == METADATA


def test_the_keywords_of_the_manager_name_a_place_too(tmp_path: Path, sm: StorageManager) -> None:
    options = {"local_base_path": str(tmp_path / "other"), "prefer_s3": False}
    with fsspec.open("sm://s/t/action.json", "w", **options) as file:
        file.write("{}\n")
    assert (tmp_path / "other" / "s" / "t" / "action.json").read_text() == "{}\n"
    with pytest.raises(S3ConfigError, match="s3_bucket_name"):
        fsspec.filesystem("sm", s3_bucket_name="No Bucket")
    with pytest.raises(TypeError, match="one or the other"):
        SessionFileSystem(storage=sm, **options)


def test_the_variables_count_whenever_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec keeps instances by their keywords, of which there are none."""
    for name in ("one", "two"):
        monkeypatch.setenv("SM_LOCAL_BASE_PATH", str(tmp_path / name))
        fsspec.filesystem("sm").pipe("s/t/action.json", name.encode())
    assert (tmp_path / "one" / "s" / "t" / "action.json").read_text() == "one"
    assert fsspec.filesystem("sm").cat("s/t/action.json") == b"two"


def test_names_begin_with_the_session(fs: SessionFileSystem) -> None:
    files = [f"{s}/{t}/{f}" for s in ("s1", "s2") for t in ("t1", "t2") for f in ("metadata.json", "observation.html")]
    assert sorted(fs.ls("sm://", detail=False)) == ["s1", "s2"]
    assert {info["name"]: info["type"] for info in fs.ls("s1")} == dict.fromkeys(("s1/t1", "s1/t2"), "directory")
    assert sorted(fs.find("")) == sorted(fs.glob("**/*.*")) == sorted(fs.glob("sm://*/*/*")) == files
    assert sorted(fs.find("sm://", withdirs=True, detail=True)) == sorted(fs.du("", total=False, withdirs=True))[1:]
    assert sorted(fs.find("s1", withdirs=True))[-3:] == ["s1/t2", *files[2:4]]
    assert fs.info("sm:///s1//t1/./metadata.json")["name"] == files[0]
    assert fs._strip_protocol(["sm://s1/", "sm:///s2"]) == ["s1", "s2"]
    assert fs.unstrip_protocol(files[0]) == f"sm://{files[0]}"
    assert sorted(root for root, _, _ in fs.walk("")) == ["", "s1", "s1/t1", "s1/t2", "s2", "s2/t1", "s2/t2"]
    assert list(fs.cat("s1/*/metadata.json")) == files[0:4:2]
    assert fs.expand_path("s1/t?") == ["s1/t1", "s1/t2"]
    assert fs.isdir("") is fs.isdir("s1/") is fs.isfile(files[0]) is True
    assert not fs.exists("s3")
    assert (fs.root_marker, fs.async_impl, fs.info("")["name"]) == ("", False, "")


def test_a_depth_is_kept_though_more_is_listed(fs: SessionFileSystem) -> None:
    fs.pipe("s1/t1/deep/deeper", b"")
    assert "s1/t1/deep" not in fs.find("s1", maxdepth=2)
    assert sorted(fs.find("", maxdepth=3, withdirs=True)) == sorted(
        {*fs.find("", withdirs=True)} - {"s1/t1/deep/deeper"}
    )
    assert sorted(fs.find("", maxdepth=1, withdirs=True)) == ["s1", "s2"]


WITH_A_PATH_ALONE = (
    "cat", "cat_file", "checksum", "created", "du", "exists", "expand_path", "find", "glob", "head", "info", "isdir",
    "isfile", "ls", "makedirs", "mkdir", "modified", "open", "rm_file", "rmdir", "sign", "size", "touch", "ukey",
)  # fmt: skip
Operation = Callable[[SessionFileSystem, str], Any]


def of_a_path(name: str) -> Operation:
    return lambda fs, path: getattr(fs, name)(path)


OPERATIONS: dict[str, Operation] = {
    **{name: of_a_path(name) for name in WITH_A_PATH_ALONE},
    "write": lambda fs, path: fs.open(path, "wb"),
    "cat many": lambda fs, path: fs.cat([path]),
    "cat_ranges": lambda fs, path: fs.cat_ranges([path], 0, 1),
    "pipe": lambda fs, path: fs.pipe({path: b""}),
    "pipe_file": lambda fs, path: fs.pipe_file(path, b""),
    "put": lambda fs, path: fs.put(__file__, path),
    "put_file": lambda fs, path: fs.put_file(__file__, path),
    "get": lambda fs, path: fs.get(path, "/dev/null"),
    "get_file": lambda fs, path: fs.get_file(path, "/dev/null"),
    "cp from": lambda fs, path: fs.cp(path, "s/t"),
    "cp to": lambda fs, path: fs.cp("s1/t1/metadata.json", path),
    "mv from": lambda fs, path: fs.mv(path, "s/t"),
    "mv to": lambda fs, path: fs.mv("s1/t1/metadata.json", path),
    "rm": lambda fs, path: fs.rm(path, recursive=True),
    "delete": lambda fs, path: fs.delete([path]),
    "sizes": lambda fs, path: fs.sizes([path]),
    "walk": lambda fs, path: list(fs.walk(path)),
    "url": lambda fs, path: url_to_fs(f"sm://{path}"),
}


@pytest.mark.parametrize("path", ["../beside", "/../beside", "s1/../../beside", "s1/.."])
@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_leads_out(tmp_path: Path, name: str, path: str) -> None:
    (tmp_path / "beside").write_bytes(b"mine")
    fs = SessionFileSystem(local_base_path=tmp_path / "base")
    fs.pipe("s1/t1/metadata.json", b"{}")
    with pytest.raises(InvalidIdError, match=r"'\.\.' may lead out"):
        OPERATIONS[name](fs, path)
    assert (tmp_path / "beside").read_bytes() == b"mine"


def test_an_absolute_path_is_one_of_the_root(fs: SessionFileSystem) -> None:
    fs.pipe("/etc/hostname", b"ours")
    assert fs.cat("sm://etc/hostname") == b"ours"


@pytest.mark.parametrize("path", ["", "/", "sm://", "sm://./", ["s1", ""]])
def test_the_root_stays(fs: SessionFileSystem, path: Any) -> None:
    """`rm` of a bucket's root would have s3fs delete the bucket."""
    for remove in (fs.rmdir, fs.delete, lambda path: fs.rm(path, recursive=True), lambda path: fs.mv(path, "s3")):
        with pytest.raises(InvalidIdError, match="root is not deleted or moved"):
            remove(path)
    fs.rm(fs.ls("", detail=False), recursive=True)
    assert fs.find("") == []
    fs.pipe("s/t/action.json", b"{}")


def test_what_is_being_written_is_hidden(tmp_path: Path) -> None:
    fs = SessionFileSystem(local_base_path=tmp_path)
    for path in (hidden_name(), f"{hidden_name()}/step"):
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "metadata.json").write_text("half")
    assert (fs.ls(""), fs.find(""), fs.glob("**"), list(fs.walk(""))) == ([], [], [], [("", [], [])])


# Directories whose names mean something to fsspec, in URLs or to shells. Only the path after sm:// may be a pattern.
ODD_NAMES = [
    "a[b]",
    "[",
    "a?b",
    "?",
    "a*b",
    "*",
    "a{b}",
    "a#b",
    "a%20b",
    "a b",
    " a ",
    "a\nb",
    "é",
    "~",
    "a\\b",
    "a:b",
    "file:",
]


@pytest.mark.parametrize(
    "name", [*ODD_NAMES[:7], *(pytest.param(name, marks=pytest.mark.thorough) for name in ODD_NAMES[7:])]
)
def test_any_name_of_the_base_directory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the constructor takes, every tool opens at the same URL, and a pattern is only what the user gave."""
    sm = StorageManager(local_base_path=tmp_path / name)
    (tmp_path / "a-b" / "s" / "t").mkdir(parents=True)  # what the name would match, if it were a pattern
    store(sm, ("s", "t"))
    url, text = sm.url_for("s", "t", "metadata"), (tmp_path / name / "s/t/metadata.json").read_bytes()
    assert asyncio.run(StorageManager.from_url(sm.url_for()).list_sessions()) == ["s"]
    assert pd.read_json(url, lines=True)["url"].tolist() == [METADATA["url"]]
    with fsspec.open(url) as file:
        assert file.read() == text
    point_at(sm, monkeypatch)
    with fsspec.open("sm://s/t/metadata.json") as file:
        assert file.read() == text
    fs = SessionFileSystem()
    assert fs.cat("s/t/metadata.json") == text
    assert fs.cat(["s/t/metadata.json"]) == {"s/t/metadata.json": text}
    assert fs.cat("s/*/meta*.json") == {"s/t/metadata.json": text}
    assert fs.ls("s", detail=False) == ["s/t"]
    assert fs.glob("?/*/*.json") == ["s/t/metadata.json"]
    assert fs.find("") == ["s/t/metadata.json", "s/t/observation.html"]
    assert sorted(os.listdir(tmp_path)) == sorted({name, "a-b"})


@pytest.mark.parametrize("name", ODD_NAMES[:6])
def test_patterns_below_any_base_directory(name: str, tmp_path: Path) -> None:
    """What has patterns copies, moves and deletes what they match below the base, and nothing beside it."""
    sm = StorageManager(local_base_path=tmp_path / name)
    (tmp_path / "a-b" / "s" / "t").mkdir(parents=True)
    store(sm, ("s", "t"))
    fs = SessionFileSystem(local_base_path=sm.url_for())
    fs.get("s/t/metadata.json", f"{tmp_path}/got.json")
    assert json.loads((tmp_path / "got.json").read_bytes()) == METADATA
    fs.get("s", f"{tmp_path}/got", recursive=True)
    assert sorted(os.listdir(tmp_path / "got" / "t")) == ["metadata.json", "observation.html"]
    fs.put(f"{tmp_path}/got.json", "s/u/metadata.json")
    fs.put(f"{tmp_path}/got", "put", recursive=True)
    fs.copy("s/u", "s/v", recursive=True)
    fs.mv("s/v/metadata.json", "s/v/moved.json")
    found = fs.find("s/u") + fs.find("s/v") + fs.find("put")
    assert found == ["s/u/metadata.json", "s/v/moved.json", "put/t/metadata.json", "put/t/observation.html"]
    fs.rm("[op]ut", recursive=True)
    fs.rm("s/[uv]", recursive=True)
    assert fs.find("") == ["s/t/metadata.json", "s/t/observation.html"]
    assert sorted(os.listdir(tmp_path)) == sorted({name, "a-b", "got", "got.json"})


@pytest.mark.parametrize(
    ("name", "why"), [("a::b", "chains URLs"), ("::", "chains URLs"), ("\udcff", "not valid UTF-8")]
)
def test_a_base_directory_that_other_tools_could_not_open(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(LocalStorageError, match=f"{why}.*choose another local_base_path"):
        StorageManager(local_base_path=tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_what_is_staged_in_a_session_is_hidden(tmp_path: Path) -> None:
    staged = tmp_path / "s" / hidden_name() / hidden_name()
    staged.mkdir(parents=True)
    (staged / "metadata.json").write_text("{}")
    fs = SessionFileSystem(local_base_path=str(tmp_path))
    assert fs.find("s") == fs.ls("s") == fs.glob("s/*/*/metadata.json") == fs.glob("s/*") == []


def test_a_missing_file_is_an_error_of_the_system(fs: SessionFileSystem) -> None:
    with pytest.raises(FileNotFoundError):
        fs.cat("s1/*/action.json")
    for read in (fs.cat, fs.info, fs.ls, lambda path: fs.open(path).read()):
        with pytest.raises(FileNotFoundError):
            read("s1/t1/action.json")
    assert list(fs.cat(["s1/t1/action.json", "s1/t1/metadata.json"], on_error="omit")) == ["s1/t1/metadata.json"]


def test_directories_are_fetched_copied_and_moved(fs: SessionFileSystem, tmp_path: Path) -> None:
    fs.get("s1/t1/", f"{tmp_path}/got", recursive=True)
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["metadata.json", "observation.html"]
    fs.put(f"{tmp_path}/got/", "s3/t1/", recursive=True)
    fs.put([f"{tmp_path}/got/metadata.json"], "s4/t1/")
    fs.cp("s3/t1", "s3/t2", recursive=True)
    fs.mv("s3/t1/metadata.json", "s3/t3/metadata.json")
    files = ["s3/t1/observation.html", "s3/t2/metadata.json", "s3/t2/observation.html", "s3/t3/metadata.json"]
    assert sorted(fs.glob("s[34]/*/*")) == [*files, "s4/t1/metadata.json"]


def test_it_goes_to_a_worker_that_has_no_variables(fs: SessionFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fsspec.open("sm://s1/t1/metadata.json")
    sent, sent_file = pickle.dumps(fs), pickle.dumps(file)
    for name in ("BUCKET_NAME", "PREFIX", "ENDPOINT_URL", "REGION"):
        monkeypatch.setenv(f"SM_S3_{name}", "another" if name != "ENDPOINT_URL" else "http://another.test")
    monkeypatch.setenv("SM_LOCAL_BASE_PATH", "/nowhere")
    got = pickle.loads(sent)
    assert {got} == {fs}
    assert got.cat("s1/t1/metadata.json") == fs.cat("s1/t1/metadata.json")
    with pickle.loads(sent_file) as opened:
        assert json.load(opened) == METADATA
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(fs.cat, ["s1/t1/metadata.json"]) == fs.cat("s1/t1/metadata.json")
        assert pool.apply(getattr, [fs, "_fs_token"]) == fs._fs_token


def test_tokens_tell_places_apart(tmp_path: Path) -> None:
    """Dask names its tasks by them, and takes what has one name for one."""
    keys = {"key": "one", "secret": "planted"}
    one = SessionFileSystem(local_base_path=tmp_path)
    bucket = SessionFileSystem(s3_bucket_name="bucket")
    given = SessionFileSystem(s3_bucket_name="bucket", storage_options=keys)
    others = [SessionFileSystem(s3_bucket_name="bucket", s3_prefix="p"), SessionFileSystem(s3_bucket_name="other")]
    assert len({fs.__dask_tokenize__() for fs in (one, bucket, given, *others)}) == 5
    assert one == SessionFileSystem(local_base_path=tmp_path)
    assert one != bucket != given
    assert given == pickle.loads(pickle.dumps(given))


def test_json_has_the_place_and_no_secret(fs: SessionFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    text = fs.to_json()
    for name in ("BUCKET_NAME", "PREFIX", "REGION"):
        monkeypatch.setenv(f"SM_S3_{name}", "another")
    monkeypatch.setenv("SM_S3_ENDPOINT_URL", "http://another.test")
    again = SessionFileSystem.from_json(text)
    assert (repr(again), again.find("")) == (repr(fs), fs.find(""))
    keys = {"key": "plantedkey", "secret": "planted", "client_kwargs": {"aws_session_token": "planted"}}
    planted = SessionFileSystem(s3_bucket_name="bucket", storage_options=keys)
    assert "planted" not in planted.to_json() + repr(planted) + planted._fs_token
    assert json.loads(planted.to_json())["storage_options"]["endpoint_url"] == "http://another.test"


def test_a_place_of_another_backend(fs: SessionFileSystem) -> None:
    copy = SessionFileSystem(storage=StorageManager.from_url("memory://copy"))
    copy.pipe(fs.cat("s1/*/*"))
    assert copy.find("") == sorted(fs.find("s1"))
    with pytest.raises(StorageManagerError, match="memory://copy has no JSON form"):
        copy.to_json()


def test_what_it_does_not_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match=r"sm:// redacts nothing.*StorageManager\(redact=...\)"):
        SessionFileSystem(local_base_path=tmp_path, redact=["hunter2"])
    with pytest.raises(TypeError, match=r"keywords of StorageManager: .* 'endpoint_url'"):
        fsspec.filesystem("sm", endpoint_url="http://localhost")
    with pytest.raises(TypeError, match="one or the other"):
        SessionFileSystem(storage=StorageManager(local_base_path=tmp_path), local_base_path=tmp_path)


def test_patterns_are_removed_alike_on_each_place(fs: SessionFileSystem) -> None:
    fs.rm("s1/*/metadata.json")
    assert fs.find("") == [f"s1/t{n}/observation.html" for n in (1, 2)] + fs.find("s2")
    fs.rm("s1/**", recursive=True)
    assert fs.find("") == fs.find("s2")
    with pytest.raises(FileNotFoundError, match="nothing has this name or matches this pattern"):
        fs.rm("s9*")
    fs.rm("*", recursive=True)
    assert fs.find("") == []


def test_a_session_is_moved_as_a_whole(fs: SessionFileSystem) -> None:
    names = [name.removeprefix("s1/") for name in fs.find("s1")]
    fs.mv("s1", "s3", recursive=True)
    assert fs.find("s3") == [f"s3/{name}" for name in names]
    assert fs.ls("", detail=False) == ["s2", "s3"]


@pytest.mark.parametrize("keys", [True, False])
async def test_pandas_tries_again_without_credentials(
    answered_by: Answers, monkeypatch: pytest.MonkeyPatch, keys: bool
) -> None:
    """As it does by s3://, with an option of s3fs: what comes of it is the service's refusal."""
    sm, answering = await answered_by(http("403 Forbidden", ""))
    if not keys:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    place = {"s3_bucket_name": "bucket", "s3_endpoint_url": sm.storage_options["endpoint_url"]}
    with pytest.raises(PermissionError):
        await asyncio.to_thread(pd.read_json, "sm://s/t/metadata.json", typ="series", storage_options=place)
    assert b"authorization:" not in answering.asked[-1].lower()
    assert (b"authorization:" in answering.asked[0].lower()) is keys


def test_any_thread(fs: SessionFileSystem) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(fs.cat, ["s1/t1/metadata.json"] * 8))) == 1


FORKING = """
import os
from storage_manager.protocol import SessionFileSystem

fs = SessionFileSystem()
assert len(fs.find("")) == 8
if not (pid := os.fork()):
    os._exit(len(fs.find("")) - 8)
assert os.waitpid(pid, 0)[1] == 0
assert len(fs.find("")) == 8
"""


def test_a_forked_child(sm: StorageManager) -> None:
    # forking a process with threads is what is tested here, and Python 3.12 and newer warn of it
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", FORKING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
def test_chained_urls(fs: SessionFileSystem, cache: str, tmp_path: Path) -> None:
    options = {cache: {"cache_storage": str(tmp_path / "cache")}}
    for _ in range(2):
        with fsspec.open(f"{cache}::sm://s1/t1/metadata.json", **options) as file:
            assert json.load(file) == METADATA
    assert url_to_fs("sm://")[1] == ""
    assert len(fsspec.open_files(f"{cache}::sm://*/*/metadata.json", **options)) == 4


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    fs = SessionFileSystem(local_base_path=tmp_path)
    with pytest.raises(KeyError), fs.transaction, fs.open("s/t/action.json", "wb") as file:
        file.write(b"{}")
        raise KeyError
    assert fs.find("") == []


@pytest.mark.parametrize(
    ("pattern", "requests"),
    [("*", 1 + 2), ("*/*", 1 + 2 + 2), ("*/*/metadata.json", 1), ("s1/*/metadata.json", 1), ("**/metadata.json", 1)],
)
def test_what_a_pattern_costs(moto: Make, moto_requests: list[Request], pattern: str, requests: int) -> None:
    """Of S3: one LIST for sessions, one a session for steps (and two requests for the root), one for components."""
    sm = moto()
    store(sm, ("s1", "t1"), ("s1", "t2"), ("s2", "t1"))
    fs = SessionFileSystem(storage=sm)
    moto_requests.clear()
    names = fs.glob(pattern)
    assert names
    assert len(moto_requests) == requests
    names = [name for name in names if name.endswith(".json")]
    assert not any(map(fs.isdir, names))
    assert len(moto_requests) == requests
    if names:
        assert list(fs.cat(pattern)) == names
        assert len(moto_requests) == requests + 1 + len(names)
