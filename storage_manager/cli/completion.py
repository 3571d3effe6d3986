"""Complete the words of a command line with Tab: the command `completion`, and the ids of sessions and steps.

The shell runs `storage-manager` again for each Tab, with a variable that click reads (click's documentation, "Shell
Completion"). After an error there is nothing to complete, and no message.
"""

import asyncio
from contextlib import aclosing, suppress

import click

from storage_manager.cli.options import command
from storage_manager.cli.process import NAME
from storage_manager.cli.terminal import echo_lines
from storage_manager.errors import StorageManagerError

__all__ = ["complete_sessions", "complete_steps", "completion"]

_VARIABLE = "_STORAGE_MANAGER_COMPLETE"  # click's name for it
_MOST = 1000  # ids that are shown
_SECONDS = 5  # that a user waits for them


def complete_sessions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the sessions of the root, or of the source of a copy, that begin with this."""
    return _complete(ctx, None, incomplete)


def complete_steps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the steps of the session that begin with this."""
    return _complete(ctx, ctx.params.get("session"), incomplete)


def _complete(ctx: click.Context, session_id: str | None, prefix: str) -> list[str]:
    root = ctx.params.get("root") or ctx.params.get("source")
    with suppress(StorageManagerError, OSError, click.UsageError, asyncio.TimeoutError):
        return asyncio.run(asyncio.wait_for(_ids(root, session_id, prefix), _SECONDS))
    return []


async def _ids(root: str | None, session_id: str | None, prefix: str) -> list[str]:
    from storage_manager.cli.root import open_root, session_ids

    async with open_root(root) as storage:
        if session_id is not None:
            return [name for name in await storage.list_steps_for_session(session_id) if name.startswith(prefix)]
        found: list[str] = []
        async with aclosing(session_ids(storage, prefix)) as names:
            async for name in names:
                found.append(name)
                if len(found) == _MOST:
                    break
        return found


@command(
    "completion bash > ~/.local/share/bash-completion/completions/storage-manager",
    "completion fish > ~/.config/fish/completions/storage-manager.fish",
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script for completion with Tab.

    The script completes commands, options, files, and the ids of sessions and steps. To find the ids, it lists the
    root. bash has to be 4.4 or newer. For zsh, add this line to ~/.zshrc:

    \b
      eval "$(storage-manager completion zsh)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click knows no completion for {shell}")
    echo_lines(kind(ctx.find_root().command, {}, NAME, _VARIABLE).source().split("\n"))
