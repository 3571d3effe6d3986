"""The command `import`."""

import click

from storage_manager.cli.options import command, quiet_option, root_option
from storage_manager.cli.process import run
from storage_manager.cli.progress import Progress
from storage_manager.cli.root import open_root
from storage_manager.cli.terminal import echo

__all__ = ["import_"]

_FORMATS = ("trace", "browser-use", "webvoyager", "agentlab")  # importers.formats is imported when the command runs


@command(
    "import trace.zip",
    "import history.json --session login --root s3://bucket",
    "import results/20250102_10_00_00/taskAmazon--0",
    "import agentlab_results/2025-01-02_10-00-00_study/2025-01-02_10-00-01_MyAgent_on_miniwob.click-test_1",
    name="import",
)
@root_option
@click.argument("path", metavar="FILE|DIR", type=click.Path(exists=True))
@click.option("--session", metavar="ID", help="The session's id. Default: from the name of the file or directory.")
@click.option("--format", "kind", type=click.Choice(_FORMATS), help="The format of FILE or DIR. Default: detected.")
@click.option("--all-calls", is_flag=True, help="For a trace: also import calls that only read, wait or set up.")
@quiet_option
def import_(root: str | None, path: str, session: str | None, kind: str | None, all_calls: bool, quiet: bool) -> None:
    """Store what another tool has recorded as a session.

    Each action is a step. Imports traces of Playwright, histories of browser-use, results of WebVoyager, and
    experiments of AgentLab and BrowserGym. Prints the session's id.
    """
    with Progress("importing", "stored", quiet=quiet, advice="what was stored is deleted again") as progress:
        session_id = run(_import(root, path, session, kind, all_calls, progress))
    echo(session_id)


async def _import(
    root: str | None, path: str, session: str | None, kind: str | None, all_calls: bool, progress: Progress
) -> str:
    from storage_manager.importers.formats import IMPORTERS, recognize

    kind = kind or recognize(path)
    if all_calls and kind != "trace":
        raise click.UsageError(f"--all-calls is for traces of Playwright, and the format of this is {kind}")
    options = {"all_calls": True} if all_calls else {}
    async with open_root(root, may_be_new=True) as storage:
        return await IMPORTERS[kind](storage, path, session, progress=progress, **options)
