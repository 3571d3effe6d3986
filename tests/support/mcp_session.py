"""Call tools of Playwright MCP, in a real Chromium, and record them with the code on stdin.

    PYTHON tests/support/mcp_session.py CHROMIUM DIRECTORY CLI_JS <snippet

PYTHON has the package mcp and this one; CLI_JS is that of the npm package @playwright/mcp.
"""

import ast
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

PAGE = "data:text/html,<title>Shop</title><button onclick=\"document.title = 'Bought'\">Buy</button>"


async def agent() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Open a page, and click in it."""
    yield "browser_navigate", {"url": PAGE}
    yield "browser_press_key", {"key": "Tab"}


async def main(chromium: str, directory: str, server: str) -> None:
    """Run the snippet with a client that is connected to a server."""
    os.environ["SM_LOCAL_BASE_PATH"] = directory
    options = [server, "--headless", "--isolated", "--no-sandbox", f"--executable-path={chromium}"]
    code = compile(sys.stdin.read(), "snippet", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    parameters = StdioServerParameters(command="node", args=options, cwd=directory)
    async with stdio_client(parameters) as streams, ClientSession(*streams) as client:
        await client.initialize()
        await eval(code, {"client": client, "agent": agent()})


asyncio.run(main(*sys.argv[1:]))
