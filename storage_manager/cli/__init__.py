"""The command line, `storage-manager` (extra `cli`). docs/cli.rst shows every command by example."""

import gc
import sys
from importlib.util import find_spec

from storage_manager.errors import how_to_install

__all__ = ["main"]


def main() -> None:
    """Run the command that `sys.argv` names, and exit: 0 done, 1 problems found, 2 usage, 3 storage error.

    Garbage is not collected while modules are imported: they have hundreds of thousands of objects and no garbage, and
    looking at all of them again and again takes a third of the time of a short command. `process.run` switches it on.
    """
    gc.disable()
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        what = f"the command line needs {' and '.join(missing)}: {how_to_install('cli')}"
        sys.stderr.write(f"storage-manager: {what}\n")
        sys.exit(2)
    from storage_manager.cli.commands import cli
    from storage_manager.cli.process import run_command_line
    from storage_manager.cli.terminal import take_hooks

    take_hooks()
    code = run_command_line(cli)
    gc.freeze()  # the interpreter would look at all objects again at its end
    sys.exit(code)
