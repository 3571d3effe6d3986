"""The command `demo`."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from storage_manager.cli.options import command
from storage_manager.cli.terminal import echo
from storage_manager.cli.viewing import no_open_option, port_option, show_in_browser

__all__ = ["demo"]

_SAMPLE = Path(__file__).parents[1] / "sample"
_SESSION = "harbour-books"


@command("demo", "demo --port 8000 --no-open")
@port_option(0)
@no_open_option
def demo(port: int, no_open: bool) -> None:
    """Show a sample session in a browser, until Ctrl+C.

    Copies the sample session of the package into a temporary directory, which is deleted at the end. Prints the URL.
    """
    with TemporaryDirectory(prefix="storage-manager-demo-") as root:
        shutil.copytree(_SAMPLE, root, dirs_exist_ok=True)
        echo(f"A sample session is in {root} until you stop this command.", err=True)
        echo(f"In another terminal, try: storage-manager ls {_SESSION} --root {root}", err=True)
        show_in_browser(root, _SESSION, "127.0.0.1", port, no_open)
