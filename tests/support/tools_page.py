"""The code below each heading of docs/tools.rst, and the sessions that the page uses."""

import re
import textwrap
from typing import Any

from storage_manager import Step, StepData
from storage_manager.layout import COMPONENTS
from tests.support import ROOT
from tests.support.printed import run_each

PAGE = (ROOT / "docs" / "tools.rst").read_text(encoding="utf-8")
HALF = [Step("half", "t1", StepData(action={"type": "wait"})), Step("half", "t2", StepData("<p>", metadata={"n": 1}))]


def recorded() -> list[Step]:
    """Return the steps of the session that the page uses."""
    folders = sorted((ROOT / "storage_manager" / "sample" / "harbour-books").iterdir())
    values = [[row.decode((folder / row.filename).read_bytes()) for row in COMPONENTS] for folder in folders]
    return [Step("harbour-books", folder.name, StepData(*data)) for folder, data in zip(folders, values, strict=True)]


def blocks() -> dict[str, list[str]]:
    """Return the code below each heading of the page."""
    parts = re.split(r"^(.+)\n[=-]{3,}\n\n", PAGE, flags=re.MULTILINE)[1:]
    codes = [re.findall(r"\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", text) for text in parts[1::2]]
    return dict(zip(parts[::2], ([textwrap.dedent(code) for code in block] for block in codes), strict=True))


def run(heading: str) -> dict[str, Any]:
    """Run the code at the beginning of the page, and all code below a heading. Return the names that it defines."""
    page = blocks()
    return run_each("tools", page["Sessions in other tools"] + page[heading], {"__name__": heading})
