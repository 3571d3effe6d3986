"""Every command as a real process, on local disk and on S3: exit code, output, and what it leaves."""

import json
import os
import re
from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.backends import File
from storage_manager.integrity import seal_session
from storage_manager.layout import COMPONENTS
from tests.support.roots import MOTO_KEYS, make_bucket
from tests.support.shell import SAMPLE, lines, sm
from tests.support.traces import FIRST, action, header, write_zip

PLACES = ["local", pytest.param("obstore", marks=pytest.mark.thorough)]
STEP = SAMPLE / "harbour-books/step_000001"
FILES = {row.name: row.filename for row in COMPONENTS}
SIZE = sum(file.stat().st_size for file in SAMPLE.glob("*/*/*"))


@pytest.fixture(params=PLACES)
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place; on local disk the directory is not there yet."""
    monkeypatch.chdir(tmp_path)
    if request.param == "local":
        return str(tmp_path / "place")
    return s3_root(request.getfixturevalue("moto_url"), request.param, monkeypatch)


def s3_root(endpoint: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place in a new bucket, which the environment makes reachable."""
    for name, value in {**MOTO_KEYS, "SM_S3_ENDPOINT_URL": endpoint, "SM_S3_ENGINE": engine}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{make_bucket(endpoint)}/prefix"


async def overwrite(root: str, name: str, data: bytes) -> None:
    """Other bytes in one component, as a broken disk would have it."""
    async with StorageManager.from_url(root) as storage:
        await storage.async_fs.write_files([File(f"{root}/{name}", data, "text/plain")])


@pytest.mark.parametrize("root", ["local", pytest.param("s3fs", marks=pytest.mark.thorough)], indirect=True)
async def test_a_newcomers_round(root: str, tmp_path: Path) -> None:
    at = ("--root", root)
    step = f"{root}/harbour-books/step_000001"
    files = f"files in {root}" if root.startswith("s3:") else "files in it"
    told = f"{files} can be listed, written, read and deleted\n"
    is_new = f"{root} does not exist yet. It can be created, and "
    assert sm("check", *at) == (0, f"OK: {told}" if root.startswith("s3:") else f"{is_new}{told}", "")
    assert not Path(root).exists()
    assert sm("put", "-q", SAMPLE, *at) == (0, "4 steps copied\n", "")
    assert sm("put", "-q", SAMPLE / "harbour-books", *at) == (0, "0 steps copied, 4 were there already\n", "")
    assert sm("ls", *at) == (0, "harbour-books\n", "")
    code, out, err = sm("ls", "--long", *at)
    assert (code, err) == (0, "")
    header, row, total = out.splitlines()
    assert header == "     STEPS       SIZE  MODIFIED              SESSION"
    assert re.fullmatch(r"         4   285\.3 kB  20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ  harbour-books", row)
    assert total == "1 session, 4 steps, 285.3 kB"
    assert sm("ls", "harbour-books", *at).out.split() == [f"step_00000{number}" for number in (1, 2, 3, 4)]
    header, *steps, total = lines(sm("ls", "harbour-books", "-l", *at).out)
    assert header == "STEP HTML SCREENSHOT ACTION METADATA"
    assert (len(steps), steps[0]) == (4, "step_000001 8.8 kB 83.7 kB 120 B 148 B")
    assert total == "4 steps, 285.3 kB"
    shown = lines(sm("show", "harbour-books", "step_000001", *at).out)
    assert shown[:3] == ["url http://harbour-books.test/", "title Harbour Books", "time 2026-11-24T08:30:56.904Z"]
    assert f"screenshot 83.7 kB {step}/screenshot.png" in shown
    assert '"title": "Harbour Books",' in shown
    code, out, err = sm("verify", "-q", "--require-seal", *at)
    assert (code, err, out.count("\n")) == (1, "", 2)
    assert out.startswith(f"unsealed   {root}/harbour-books  it has no seal")
    assert sm("seal", "-q", "harbour-books", *at) == (0, f"{root}/harbour-books/_manifest.json\n", "")
    assert sm("verify", "-q", "--require-seal", *at) == (0, "1 session, 4 steps, no problems\n", "")
    assert sm("get", "-q", "harbour-books", tmp_path / "copies", *at) == (0, "4 steps copied\n", "")
    assert (tmp_path / "copies/harbour-books/_manifest.json").exists()

    page = bytearray((SAMPLE / "harbour-books/step_000001/observation.html").read_bytes())
    page[100] ^= 1
    await overwrite(root, "harbour-books/step_000001/observation.html", page)
    code, out, err = sm("verify", "-q", *at)
    assert (code, err) == (1, "")
    digest = r"SHA-256 [0-9a-f]{12}\.\.\."
    assert re.fullmatch(
        rf"changed    {step}/observation\.html  \d+ bytes, {digest}; .*{digest}\n1 session, 4 steps, 1 problem\n", out
    )
    await overwrite(root, "harbour-books/step_000002/metadata.json", b"no JSON")
    code, out, err = sm("show", "harbour-books", "step_000002", *at)
    assert code == 1
    assert "cannot read the metadata at" in err
    assert "action" in out


async def test_tail_ends_with_the_seal(root: str) -> None:
    async with StorageManager.from_url(root) as storage:
        await storage.store_step_data("run", "1", action_data={"type": "goto"}, metadata={"url": "http://a.test/"})
        await storage.store_step_data("run", "2", "<p>")
        await seal_session(storage, "run")
    assert sm("tail", "run", "--root", root) == (0, "1  goto        http://a.test/\n2  -\n", "")
    first, _ = map(json.loads, sm("tail", "run", "--json", "--root", root).out.splitlines())
    assert first == {
        "session_id": "run", "step_id": "1", "action": {"type": "goto"}, "metadata": {"url": "http://a.test/"}
    }  # fmt: skip


@pytest.mark.thorough
def test_for_machines(root: str) -> None:
    at = ("--root", root)
    sm("put", "-q", SAMPLE, *at)
    step = {"session_id": "harbour-books", "step_id": "step_000001", "url": f"{root}/harbour-books/step_000001"}
    [session] = map(json.loads, sm("ls", "--json", *at).out.splitlines())
    assert session == {"session_id": "harbour-books", "url": f"{root}/harbour-books"}
    [more] = map(json.loads, sm("ls", "--json", "--long", *at).out.splitlines())
    assert (more.pop("modified")[:2], more) == ("20", {**session, "steps": 4, "size": SIZE})
    first, *others = map(json.loads, sm("ls", "harbour-books", "--json", *at).out.splitlines())
    assert (first, len(others)) == (step, 3)
    first, *others = map(json.loads, sm("ls", "harbour-books", "--json", "-l", *at).out.splitlines())
    assert first == {**step, "components": {name: (STEP / file).stat().st_size for name, file in FILES.items()}}
    shown = json.loads(sm("show", "harbour-books", "step_000001", "--json", *at).out)
    assert shown["action"]["type"] == "goto"
    assert shown["components"]["html"]["url"] == f"{root}/harbour-books/step_000001/observation.html"
    assert shown.items() > step.items()
    [verified] = map(json.loads, sm("verify", "harbour-books", "--json", *at).out.splitlines())
    assert verified == {**session, "steps": 4, "sealed": False, "problems": []}
    links = json.loads(sm("share", "harbour-books", "step_000001", "--expires", "7d", "--json", *at).out)
    assert links["html_path"].startswith("http" if root.startswith("s3:") else "file:///")
    info = json.loads(sm("info", "--json", *at).out)
    assert info["url"] == root
    assert info["uses_s3"] == root.startswith("s3:")


@pytest.mark.thorough
def test_components_as_they_are_stored(root: str, tmp_path: Path) -> None:
    at = ("harbour-books", "step_000001", "--root", root)
    sm("put", "-q", SAMPLE, "--root", root)
    stored = SAMPLE / "harbour-books/step_000001"
    assert sm("show", *at, "--component", "html", text=False).out == (stored / "observation.html").read_bytes()
    assert sm("show", *at, "--component", "screenshot", "-o", "step.png") == (0, "", "")
    assert (tmp_path / "step.png").read_bytes() == (stored / "screenshot.png").read_bytes()
    assert lines(sm("share", *at).out)[1].startswith("screenshot ")


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    new, one = tmp_path / "new/root", SAMPLE / "harbour-books"
    told = (0, f"4 steps would be copied to {new}\n", "")
    assert sm("put", "-q", "--dry-run", SAMPLE, "--root", new) == told
    assert sm("cp", "-q", "--dry-run", SAMPLE, new) == told
    assert sm("get", "-q", "-n", "harbour-books", new, "--root", SAMPLE) == told
    assert list(tmp_path.iterdir()) == []
    assert sm("put", "-q", SAMPLE, "--root", new).code == 0
    (new / "harbour-books/step_000002/action.json").unlink()
    told = (0, f"1 step would be copied to {new}, 3 are there already\n", "")
    assert sm("put", "-q", "--dry-run", one, "--root", new) == told
    assert sm("rm", "harbour-books", "-n", "--root", new).out == (
        f"would delete {new}/harbour-books (4 steps, 285.1 kB)\n"
    )
    assert sm("rm", "harbour-books", "step_9", "-n", "--root", new).code == 3
    assert len(list(new.glob("*/*/*"))) == 15


@pytest.mark.thorough
async def test_what_goes(root: str) -> None:
    at = ("--root", root)
    sm("put", "-q", SAMPLE, *at)
    code, out, err = sm("rm", "harbour-books", *at)
    assert (code, out) == (2, "")
    told = f"cannot ask whether to delete {root}/harbour-books (4 steps, 285.3 kB), because there is no terminal"
    assert f"{told}: give --yes" in err
    code, out, err = sm("rm", "harbour-books", "step_000004", "--yes", *at)
    assert (code, out, err) == (0, f"deleted {root}/harbour-books/step_000004 (56.2 kB)\n", "")
    none = "0 sessions (0 B) would be deleted; give --yes to delete\n"
    assert sm("purge", "-q", "--older-than", "1w", *at) == (0, none, "")
    old = ("purge", "-q", "--older-than", "0s", *at)
    row = r" 229\.1 kB  20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ  harbour-books\n"
    code, out, err = sm(*old)
    assert (code, err) == (0, "")
    assert re.fullmatch(row + r"1 session \(229\.1 kB\) would be deleted; give --yes to delete\n", out)
    assert sm("ls", *at).out == "harbour-books\n"
    code, out, err = sm(*old, "--yes")
    assert (code, err) == (0, "")
    assert re.fullmatch(row + r"1 session \(229\.1 kB\) deleted\n", out)
    assert sm("ls", *at) == (0, "", "")
    sm("put", "-q", SAMPLE, *at)
    assert sm("rm", "harbour-books", "--yes", *at).code == 0
    assert sm("ls", *at) == (0, "", "")


@pytest.mark.parametrize("root", ["obstore"], indirect=True)
@pytest.mark.thorough
def test_what_becomes_of_sessions_and_what_becomes_one(root: str, tmp_path: Path) -> None:
    at = ("--root", root)
    events = [header(), *(event for number in range(3) for event in action(number, html=FIRST))]
    trace = write_zip(tmp_path / "login.zip", {"trace.trace": events})
    assert sm("import", trace, *at) == (0, "login\n", "")
    assert sm("import", trace, "--session", "again", *at) == (0, "again\n", "")
    code, _, err = sm("import", trace, *at)
    assert (code, "exists already" in err) == (3, True)
    sm("put", "-q", SAMPLE, *at)
    elsewhere = f"{root}-exports" if root.startswith("s3:") else str(tmp_path / "exports")
    assert sm("export", "-q", "parquet", f"{elsewhere}/a", *at) == (0, f"10 rows in {elsewhere}/a\n", "")
    small = ("--component", "action", "--component", "metadata")
    assert sm("export", "-q", "parquet", f"{elsewhere}/b", "login", *small, *at).out == f"3 rows in {elsewhere}/b\n"
    assert sm("export", "-q", "webdataset", f"{elsewhere}/c", "harbour-books", *at).out == f"1 shard in {elsewhere}/c\n"
    code, _, err = sm("export", "-q", "webdataset", f"{elsewhere}/d", "login", *at)
    assert (code, "lacks a component" in err) == (2, True)
    assert sm("export", "-q", "webdataset", f"{elsewhere}/d", "login", "--incomplete", *at).code == 0
    assert sm("export", "-q", "webdataset", f"{elsewhere}/d", *small, *at).code == 2
    code, out, err = sm("render", "harbour-books", *at)
    assert (code, err) == (0, "")
    assert Path(out.strip()) == tmp_path / "harbour-books.html"
    assert "harbour-books.test" in (tmp_path / "harbour-books.html").read_text()


@pytest.mark.thorough
def test_between_two_places(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = s3_root(moto_url, "obstore", monkeypatch)
    monkeypatch.delenv("SM_S3_ENDPOINT_URL")
    profile = ("--target-endpoint", moto_url, "--target-profile", "there")
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(
        "[there]\naws_access_key_id = testkey\naws_secret_access_key = testsecret\n"
    )
    assert sm("cp", "-q", SAMPLE, target, *profile) == (0, "4 steps copied\n", "")
    back = ("--source-endpoint", moto_url)
    assert sm("cp", "-q", target, tmp_path / "back", "harbour-books", *back) == (0, "4 steps copied\n", "")
    assert sm("ls", "--root", tmp_path / "back").out == "harbour-books\n"
    code, out, err = sm("cp", "-q", target, tmp_path / "other", "nobody", *back)
    advice = "list them with storage-manager ls --root SOURCE_URL"
    assert (code, out, err) == (3, "", f"storage-manager: there is no session {target}/nobody: {advice}\n")
    assert sm("cp", "-q", tmp_path / "back", tmp_path / "back").code == 2
    assert not (tmp_path / "other").exists()
    (tmp_path / "empty").mkdir()
    nothing = f"storage-manager: there are no sessions at {tmp_path}/empty: nothing was copied\n"
    assert sm("cp", "-q", tmp_path / "empty", tmp_path / "other") == (3, "", nothing)
    assert not (tmp_path / "other").exists()
    (tmp_path / "empty/src/mod").mkdir(parents=True)
    (tmp_path / "empty/src/mod/Makefile").touch()
    code, out, _ = sm("put", "-q", tmp_path / "empty", "--root", tmp_path / "other")
    assert (code, "1 file left behind: src/mod/Makefile\n" in out) == (1, True)
    assert sm("cp", "-q", SAMPLE, "memory://elsewhere") == (0, "4 steps copied\n", "")
    code, _, err = sm("cp", "-q", SAMPLE, "memory://elsewhere", "--target-endpoint", moto_url)
    assert (code, "the target is not on S3" in err) == (2, True)
    inside = tmp_path / "back/harbour-books"
    code, out, err = sm("cp", "-q", tmp_path / "back", inside)
    assert (code, out, "lies among the sessions of" in err) == (2, "", True)
