"""The pages of docs/ that no other folder runs: their Python runs as it is printed, and what they name is there."""

import ast
import asyncio
import doctest
import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from storage_manager import StorageManager
from storage_manager.config import Config
from tests.support import ROOT
from tests.support.printed import DOCS, blocks, run_each, text
from tests.support.roots import MOTO_KEYS, managers_at

HOWTOS = [f"howto/{path.stem}" for path in sorted((DOCS / "howto").glob("*.rst"))]
ON_BOTH = ["operations", "troubleshooting", *(page for page in HOWTOS if blocks(text(page)))]
SWITCH = "export SM_S3_BUCKET_NAME"  # where the tutorial goes to the bucket


@pytest.fixture
def bucket(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of an empty bucket; its keys are in the environment."""
    storage = managers_at(moto_url, monkeypatch, **MOTO_KEYS)()
    return {"SM_S3_BUCKET_NAME": storage.get_storage_info()["s3_bucket"], "SM_S3_ENDPOINT_URL": moto_url}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_page_is_run_by_a_test() -> None:
    """These are run here; the others by tests/tools, export, importers, recorder and viewer."""
    of_others = {"tools", "export", "importers", "recorder", "viewer"}
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.rst")}
    with_code = {page for page in pages if blocks(text(page))}
    assert with_code - of_others == {*ON_BOTH, "tutorial", "reference/configuration"}


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("page", ON_BOTH)
@pytest.mark.thorough
def test_code_runs(page: str, place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "s3":
        for name, value in request.getfixturevalue("bucket").items():
            monkeypatch.setenv(name, value)
    source = text(page)
    if page == "howto/endpoints":
        source = at_moto(source, request.getfixturevalue("bucket"))
    run_each(page, blocks(source), {})


def at_moto(source: str, bucket: dict[str, str]) -> str:
    """The page's endpoint and bucket are those of the test."""
    code = source.replace("http://localhost:9000", bucket["SM_S3_ENDPOINT_URL"])
    assert code != source
    return code.replace('"my-sessions"', repr(bucket["SM_S3_BUCKET_NAME"]))


@pytest.mark.thorough
def test_the_tutorial_goes_from_the_laptop_to_the_bucket(
    bucket: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, switch, cloud = text("tutorial").partition(SWITCH)
    assert switch
    run_each("tutorial", blocks(laptop), {})
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    names = run_each("tutorial", blocks(cloud), {})
    assert names["bucket"].get_storage_info()["s3_bucket"] == bucket["SM_S3_BUCKET_NAME"]
    assert names["links"]["screenshot_path"].startswith("http")
    assert asyncio.run(StorageManager().list_steps_for_session("harbour")) == ["step_000001", "step_000002"]


@pytest.mark.parametrize("page", ["../README", "tutorial", "tools", "export", *ON_BOTH])
def test_code_can_be_pasted_into_the_interpreter(page: str) -> None:
    """A blank line ends a block there: there is none inside, and one behind."""
    for block in blocks(text(page)):
        code = block.rstrip()
        lines = [*code.splitlines(), ""]
        tree: Any = compile(code, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        compound = [lines[node.lineno - 1 : node.end_lineno + 1] for node in tree.body if hasattr(node, "body")]
        assert [lines for lines in compound if "" in lines[:-1] or lines[-1]] == []


def test_the_endpoints_of_the_configuration_page(tmp_path: Path) -> None:
    source = text("reference/configuration").replace("/tmp/sessions", str(tmp_path / "s"))
    run_each("reference/configuration", blocks(source), {})


def test_the_configuration_table_is_the_contract() -> None:
    lines = [line for line in text("reference/configuration").splitlines() if re.match(r"\w+ +SM_", line)]
    names, variables = zip(*(line.split()[:2] for line in lines), strict=True)
    shown = {None: "", True: "true", False: "false"}
    defaults = {f"SM_{field.name.upper()}": field.default for field in fields(Config)}
    assert defaults.pop("SM_OTHER_ROOT") is None  # not a setting: it is from SM_ROOT
    told = dict(zip(variables, (line[46:65].strip() for line in lines), strict=True))
    assert told == {variable: shown.get(default, default) for variable, default in defaults.items()}
    assert {*names} < {*inspect.signature(StorageManager).parameters}
    assert (names[1], variables[1]) == ("s3_region_name", "SM_S3_REGION")


DOCTESTED = [page for page in sorted((DOCS / "reference").glob("*.rst")) if ">>> " in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", DOCTESTED, ids=lambda page: page.stem)
def test_examples_of_the_reference_are_true(page: Path) -> None:
    assert doctest.testfile(str(page), module_relative=False, encoding="utf-8") == (0, doctested(page))


def doctested(page: Path) -> int:
    return len(doctest.DocTestParser().get_examples(page.read_text(encoding="utf-8")))


def test_examples_of_docstrings_are_true() -> None:
    """Of every module that has one; in a docstring they are shown by the reference too."""
    modules = [path for path in sorted((ROOT / "storage_manager").rglob("*.py")) if ">>> " in path.read_text()]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    loaded = [importlib.import_module(name) for name in names]
    results = [doctest.testmod(module) for module in loaded]
    assert [result.failed for result in results] == [0] * len(modules)
    assert sum(result.attempted for result in results) > 0


def test_the_tests_that_hold_a_promise_are_there() -> None:
    named = set(re.findall(r"``(tests/[\w/]+\.py)(?:::(\w+))?``", text("guarantees")))
    assert len(named) > 30
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file, _ in named if (ROOT / file).exists()}
    assert {file for file, _ in named} == set(sources)
    assert [(file, name) for file, name in named if name and f"def {name}(" not in sources[file]] == []


@pytest.mark.parametrize("page", ["SECURITY.rst", "CONTRIBUTING.rst", "CHANGELOG.rst"])
def test_what_a_page_links_to_is_there(page: str) -> None:
    source = (ROOT / page).read_text(encoding="utf-8")
    files = {*re.findall(r"<([\w./-]+\.rst)>`_", source), *re.findall(r"``(tests/[\w./]+|\.ci/\w+)``", source)}
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.rst").read_text(encoding="utf-8").splitlines()) <= 150
