"""README's examples run as they are printed, one after another, on local disk."""

import inspect
import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from storage_manager import StorageManager
from storage_manager.config import Config
from tests.support import ROOT

README = (ROOT / "README.rst").read_text()


async def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_LOCAL_BASE_PATH", str(tmp_path))
    blocks = re.findall(r"\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", README)
    assert len(blocks) == 2
    body = textwrap.indent("\n".join(textwrap.dedent(block) for block in blocks), "    ")
    names: dict[str, object] = {}
    exec(f"async def main():\n{body}", names)
    await names["main"]()  # type: ignore[operator]


def test_the_configuration_table_is_the_contract() -> None:
    lines = [line for line in README.splitlines() if re.match(r"\w+ +SM_", line)]
    names, variables = zip(*(line.split()[:2] for line in lines), strict=True)
    shown = {None: "", True: "true", False: "false"}
    defaults = {f"SM_{field.name.upper()}": field.default for field in fields(Config)}
    assert defaults.pop("SM_OTHER_ROOT") is None  # not a setting: it is from SM_ROOT
    told = dict(zip(variables, (line[46:65].strip() for line in lines), strict=True))
    assert told == {variable: shown.get(default, default) for variable, default in defaults.items()}
    assert {*names} < {*inspect.signature(StorageManager).parameters}
    assert (names[1], variables[1]) == ("s3_region_name", "SM_S3_REGION")
