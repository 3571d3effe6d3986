"""Run the Python code of the documentation."""

import ast
import asyncio
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from tests.support import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^( *)\.\. code-block:: python\n\n((?:\1 {3,}.*\n|\n)+)", re.MULTILINE)


def text(page: str) -> str:
    return (DOCS / f"{page}.rst").read_text(encoding="utf-8")


def blocks(source: str) -> list[str]:
    return [textwrap.dedent(code) for _, code in BLOCK.findall(source)]


def hidden_blocks(source: str) -> list[str]:
    """Return the code that needs a browser, and is not run with the rest of its page: `code-block:: py`."""
    return [textwrap.dedent(code) for code in re.findall(r"code-block:: py\n\n((?: {4}.*\n|\n)+)", source)]


def begun(code: str, page: str, names: dict[str, Any]) -> Any:
    """Run a block, as `python -m asyncio` does. Return its result, which may have to be awaited."""
    return eval(compile(code, f"docs/{page}.rst", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)


def run_each(page: str, codes: Iterable[str], names: dict[str, Any]) -> dict[str, Any]:
    """Run blocks of a page, each in its own loop. Return the names that they define."""
    for code in codes:
        if inspect.isawaitable(result := begun(code, page, names)):
            asyncio.run(result)  # type: ignore[arg-type]
    return names


async def run(page: str, source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run all blocks of a page in this loop. Return the names that they define."""
    for code in blocks(source):
        if inspect.isawaitable(result := begun(code, page, names)):
            await result
    return names
