"""Check the built packages. `.ci/packages` runs this file with the Python that has them installed.

contents SDIST WHEEL   check that the wheel has exactly the package, and the sdist every tracked file
extras                 print the extras for users, one per line
use EXTRA              use each feature: those of the extra must work, the others must say what to install
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

OF_DEVELOPERS = {"benchmarks", "docs", "test"}  # .ci/run installs and uses each of these elsewhere
APART = {"browser-use"}  # extras that are not in `all`; setup.cfg says why
DISTRIBUTION = "agent-storage-manager"


def contents(sdist: str, wheel: str) -> None:
    """Compare the contents of both packages with the tracked files."""
    tracked = set(subprocess.check_output(["git", "ls-files"], text=True).splitlines()) - {".gitignore"}
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked <= packed, f"not in the sdist: {sorted(tracked - packed)}"
    installed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {name for name in tracked if name.startswith("storage_manager/")}
    assert installed == package, f"only in the wheel, or only in the clone: {sorted(installed ^ package)}"
    print(f"wheel: {len(installed)} files; sdist: {len(packed)}")


def extras() -> None:
    """Print the extras for users, from setup.cfg. Check that each has a use here, and that `all` has all but APART."""
    from configparser import ConfigParser

    parser = ConfigParser()
    parser.read("setup.cfg")
    names = set(parser["options.extras_require"]) - OF_DEVELOPERS - {"all"}
    assert names == set(USES), f"add a use to .ci/packages.py, or remove it: {sorted(names ^ set(USES))}"
    union = f"{DISTRIBUTION}[{','.join(sorted(names - APART))}]"
    assert parser["options.extras_require"]["all"].strip() == union, f"the extra all must be {union}"
    print(*sorted(names), sep="\n")


async def store_session(directory: str) -> Any:
    """Store, retrieve, seal and verify a session, which needs no extra; return its manager."""
    from storage_manager import StepData, StorageManager
    from storage_manager.integrity import seal_session, verify_session

    storage = StorageManager(local_base_path=directory)
    data = StepData("<p>", b"png", {"type": "click"}, {"n": 1})
    await storage.store_step_data("s", "t", *data)
    assert await storage.retrieve_step_data("s", "t") == data
    await seal_session(storage, "s")
    assert await verify_session(storage, "s") == []
    return storage


def use_browser_use(storage: Any) -> None:
    """Import browser-use, which the integration itself does not."""
    import browser_use

    from storage_manager.integrations.browser_use import step_callback

    assert browser_use.__name__
    assert callable(step_callback)


def use_catalog(storage: Any) -> None:
    from storage_manager.catalog import find_sessions, update_catalog

    async def find() -> Any:
        await update_catalog(storage)
        return await find_sessions(storage, "sealed and steps = 1")

    assert [row["session_id"] for row in asyncio.run(find())] == ["s"]


def use_cli(storage: Any) -> None:
    ls = [sys.executable, "-m", "storage_manager", "ls", "--root", storage.url_for()]
    run = subprocess.run(ls, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ImportError(run.stderr)
    assert run.stdout == "s\n"


def use_dask(storage: Any) -> None:
    from storage_manager.export import read_dask

    assert read_dask(storage).action.count().compute(scheduler="threads") == 1


def use_parquet(storage: Any) -> None:
    from storage_manager.export import export_parquet

    with tempfile.TemporaryDirectory() as directory:
        assert asyncio.run(export_parquet(storage, f"{directory}/out")) == 1


def use_obstore(storage: Any) -> None:
    from storage_manager import StorageManager

    StorageManager("bucket", s3_engine="obstore", storage_options={"anon": True})


def use_testing(storage: Any) -> None:
    from storage_manager.testing import StorageManagerTests

    assert isinstance(StorageManagerTests, type)


def use_playwright(storage: Any) -> None:
    """Import Playwright, which only the example needs."""
    import playwright.async_api

    assert playwright.async_api.async_playwright


def use_viewer(storage: Any) -> None:
    from storage_manager.viewer import create_app, render_session

    create_app(storage)
    with tempfile.TemporaryDirectory() as directory:
        assert asyncio.run(render_session(storage, "s", f"{directory}/s.html"))


USES: dict[str, Callable[[Any], None]] = {
    "browser-use": use_browser_use,
    "catalog": use_catalog,
    "cli": use_cli,
    "dask": use_dask,
    "obstore": use_obstore,
    "parquet": use_parquet,
    "playwright": use_playwright,
    "testing": use_testing,
    "viewer": use_viewer,
}
IMPLIES = {
    "all": set(USES) - APART,
    "browser-use": {"cli"},  # it brings click and rich
    "catalog": {"parquet"},  # it brings pyarrow
    "dask": {"parquet", "viewer"},  # it brings pyarrow, and distributed brings jinja2
}
MODULES = ["importers", "integrations.browser_use", "inventory", "protocol", "recorder"]
MODULES += ["redaction", "transfer", "transitions", "export", "catalog"]
WITHOUT_ADVICE = {"browser-use", "playwright"}  # the library does not import them


def use(extra: str) -> None:
    """Use every feature: those of the extra must work, the others must raise an error that says what to install."""
    import importlib

    from storage_manager.errors import StorageManagerError

    for module in MODULES:
        importlib.import_module(f"storage_manager.{module}")
    installed = {extra} | IMPLIES.get(extra, set())
    with tempfile.TemporaryDirectory() as directory:
        storage = asyncio.run(store_session(directory))
        for name, function in USES.items():
            try:
                function(storage)
            except (StorageManagerError, ImportError) as error:
                assert name not in installed, f"{name} is installed, but: {error}"
                assert name in WITHOUT_ADVICE or f'pip install "{DISTRIBUTION}[{name}]"' in str(error), error
            else:
                assert name in installed, f"{name} works without its extra"
    print("works:", extra or "without extras")


if __name__ == "__main__":
    {"contents": contents, "extras": extras, "use": use}[sys.argv[1]](*sys.argv[2:])
