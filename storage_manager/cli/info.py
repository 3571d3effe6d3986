"""The command `info`."""

import os
from typing import Any

from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.root import local_directory, open_root
from storage_manager.cli.terminal import echo, echo_lines
from storage_manager.cli.text import columns, json_line

__all__ = ["info"]


@command("info", "info --json --root s3://bucket/prefix")
@root_option
@json_option
def info(root: str | None, as_json: bool) -> None:
    """Print which root is used.

    Sends no request and creates nothing.
    """
    facts = _facts(root)
    if as_json:
        echo(json_line(facts))
    else:
        echo_lines(columns([(name, "-" if value is None else str(value)) for name, value in facts.items()]))


def _facts(root: str | None) -> dict[str, Any]:
    directory = local_directory(root)
    if directory is None:
        storage = open_root(root)
        options = storage.storage_options
        return {"url": storage.url_for(), **storage.get_storage_info(), "endpoint_url": options.get("endpoint_url")}
    # a StorageManager would create the directory
    s3 = {"uses_s3": False, "s3_bucket": None, "s3_region": None}
    local = {"local_base_path": directory, "effective_storage_type": "Local", "exists": os.path.isdir(directory)}
    return {"url": directory, **s3, **local}
