"""What `.ci/packages` asks of the packages, by the Python that has them installed.

contents SDIST WHEEL   the wheel holds the package, all of it and nothing else; the sdist every file of the checkout
extras                 the extras that users take, a line each
use EXTRAS             what these are for works, and what others are for says what to install
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

# Of these, .ci/run installs each in full: they are for whoever works on the library, or on this documentation.
OF_DEVELOPERS = {"benchmarks", "docs", "test"}


def contents(sdist: str, wheel: str) -> None:
    """Compare with what git knows."""
    tracked = set(subprocess.check_output(["git", "ls-files"], text=True).splitlines()) - {".gitignore"}
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked <= packed, f"not in the sdist: {sorted(tracked - packed)}"
    installed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {name for name in tracked if name.startswith("storage_manager/")}
    assert installed == package, f"in the wheel or in the checkout alone: {sorted(installed ^ package)}"
    print(f"wheel: {len(installed)} files; sdist: {len(packed)}")


def extras() -> None:
    """As setup.cfg has them; an extra that nothing is known to be for is an error."""
    from configparser import ConfigParser

    parser = ConfigParser()
    parser.read("setup.cfg")
    names = set(parser["options.extras_require"]) - OF_DEVELOPERS
    assert names == set(USES), f"say in .ci/packages.py what these are for: {sorted(names ^ set(USES))}"
    print(*sorted(names), sep="\n")


async def stored(directory: str) -> Any:
    """The main job, without any extra."""
    from storage_manager import StepData, StorageManager
    from storage_manager.integrity import seal_session, verify_session

    storage = StorageManager(local_base_path=directory)
    data = StepData("<p>", b"png", {"type": "click"}, {"n": 1})
    await storage.store_step_data("s", "t", *data)
    assert await storage.retrieve_step_data("s", "t") == data
    await seal_session(storage, "s")
    assert await verify_session(storage, "s") == []
    return storage


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
    """Nothing of the library imports it; the example does."""
    import playwright.async_api

    assert playwright.async_api.async_playwright


def use_viewer(storage: Any) -> None:
    from storage_manager.viewer import create_app, render_session

    create_app(storage)
    with tempfile.TemporaryDirectory() as directory:
        assert asyncio.run(render_session(storage, "s", f"{directory}/s.html"))


USES: dict[str, Callable[[Any], None]] = {
    "cli": use_cli,
    "dask": use_dask,
    "obstore": use_obstore,
    "parquet": use_parquet,
    "playwright": use_playwright,
    "testing": use_testing,
    "viewer": use_viewer,
}
IMPLIES = {"dask": {"parquet", "viewer"}}  # whose packages are those of the other, too


def use(names: str) -> None:
    """Use what is installed; what is not says so."""
    import importlib

    from storage_manager.errors import StorageManagerError

    for module in ("importers", "inventory", "protocol", "recorder", "redaction", "transfer", "export"):
        importlib.import_module(f"storage_manager.{module}")
    given = set(names.split(",")) - {""}
    there = given.union(*(IMPLIES.get(name, set()) for name in given))
    with tempfile.TemporaryDirectory() as directory:
        storage = asyncio.run(stored(directory))
        for name, function in USES.items():
            try:
                function(storage)
            except (StorageManagerError, ImportError) as error:
                assert name not in there, f"{name} is installed, and: {error}"
                assert name == "playwright" or f'pip install "agent-storage-manager[{name}]"' in str(error), error
            else:
                assert name in there, f"{name} works without its extra"
    print("works:", names or "without extras")


if __name__ == "__main__":
    {"contents": contents, "extras": extras, "use": use}[sys.argv[1]](*sys.argv[2:])
