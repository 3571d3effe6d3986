"""Exports a root to Parquet again and again until it is killed: `python -m tests.support.endless_export ROOT URL`."""

import asyncio
import sys

from storage_manager import StorageManager
from storage_manager.export import export_parquet


async def main(root: str, url: str) -> None:
    """Print a line for each step of every export after the first."""
    storage = StorageManager(local_base_path=root)
    await export_parquet(storage, url)
    while True:
        await export_parquet(storage, url, row_group_bytes=1, progress=lambda done, total: print(done, flush=True))


asyncio.run(main(*sys.argv[1:]))
