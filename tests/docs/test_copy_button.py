"""The button that copies a block of the documentation, in a real browser."""

from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.browsers import launched

COMMANDS = "pip install '.[cli]'  # one\nstorage-manager ls\n"
PAGE = f"""<!doctype html><script src="{(ROOT / "docs/_static/copy.js").as_uri()}"></script>
<div class="highlight-shell"><div class="highlight"><pre>{COMMANDS}</pre></div></div>
<div class="highlight-text"><div class="highlight"><pre>a tree</pre></div></div>"""


@pytest.mark.thorough
async def test_a_block_of_commands_is_copied(chromium: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(PAGE)
    async with launched(chromium) as browser:
        context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        await page.goto((tmp_path / "page.html").as_uri())
        [button] = await page.get_by_role("button").all()
        await button.click()
        await page.get_by_text("Copied").wait_for()
        assert await page.evaluate("navigator.clipboard.readText()") == COMMANDS
