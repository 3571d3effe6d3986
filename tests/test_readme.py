"""README's examples run as they are printed, one after another, on local disk."""

import re
import textwrap
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.rst").read_text()


async def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_LOCAL_BASE_PATH", str(tmp_path))
    blocks = re.findall(r"\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", README)
    assert len(blocks) == 2
    body = textwrap.indent("\n".join(textwrap.dedent(block) for block in blocks), "    ")
    names: dict[str, object] = {}
    exec(f"async def main():\n{body}", names)
    await names["main"]()  # type: ignore[operator]


def test_the_configuration_table_is_the_contract() -> None:
    rows = re.findall(r"^(\w+) +(SM_\w+)", README, re.MULTILINE)
    assert dict(rows)["s3_region_name"] == "SM_S3_REGION"
    assert len(rows) == 8
