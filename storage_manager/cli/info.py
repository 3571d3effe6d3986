"""The command `info`."""

import os
from collections.abc import Iterator
from typing import Any

from storage_manager.cli.options import command, json_option, root_option
from storage_manager.cli.root import local_directory, open_root, settings_of
from storage_manager.cli.terminal import echo, echo_lines
from storage_manager.cli.text import columns, json_line
from storage_manager.s3_settings import configured_endpoint
from storage_manager.storage import StorageManager

__all__ = ["info"]


@command("info", "info --json --root s3://bucket/prefix")
@root_option
@json_option
def info(root: str | None, as_json: bool) -> None:
    """Print which root, engine, endpoint and credentials are used.

    Sends no request, creates nothing, and prints no secret.
    """
    facts = _facts(root)
    if as_json:
        echo(json_line(facts))
    else:
        texts = {name: "-" if value is None else str(value) for name, value in facts.items()}
        if "endpoint_url" in facts:
            texts["endpoint_url"] = facts["endpoint_url"] or "Amazon's own"
        echo_lines(columns([*texts.items()]))


def _facts(root: str | None) -> dict[str, Any]:
    directory = local_directory(root)
    if directory is not None:  # a StorageManager would create the directory
        s3 = {"uses_s3": False, "s3_bucket": None, "s3_region": None}
        local = {"local_base_path": directory, "effective_storage_type": "Local", "exists": os.path.isdir(directory)}
        return {"url": directory, "engine": "local", **s3, **local}
    storage = open_root(root)
    facts = {"url": storage.url_for(), "engine": storage.url_for().partition("://")[0], **storage.get_storage_info()}
    return {**facts, **_s3_facts(root, storage)} if facts["uses_s3"] else facts


def _s3_facts(root: str | None, storage: StorageManager) -> dict[str, Any]:
    settings, options = settings_of(root), storage.storage_options
    return {
        "engine": settings.s3_engine if settings else None,
        "endpoint_url": configured_endpoint(options),
        "credentials": next(_sources_of_credentials(), "none found here; on Amazon's machines, those of their role"),
    }


def _sources_of_credentials() -> Iterator[str]:
    """Yield the sources of credentials that botocore finds. It uses the first. No program is run, and no request sent.

    The order is that of `botocore.credentials.create_credential_resolver`.
    """
    import botocore.session

    session = botocore.session.Session()
    profile, settings = session.profile or "default", session.get_scoped_config()
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        yield "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") and "role_arn" not in settings:
        yield "the role in AWS_ROLE_ARN, with the token in AWS_WEB_IDENTITY_TOKEN_FILE"
    for name, what in _PROFILE_SETTINGS.items():
        if name in settings:
            yield f"the profile {profile}: {what}"
    if any(map(os.environ.get, ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"))):
        yield "the container's own (AWS_CONTAINER_CREDENTIALS_*)"


# The settings of a profile that lead to credentials (AWS SDKs and Tools Reference Guide, "Settings reference").
_PROFILE_SETTINGS = {
    "role_arn": "a role (role_arn)",
    "sso_session": "IAM Identity Center (sso_session)",
    "sso_start_url": "IAM Identity Center (sso_start_url)",
    "aws_access_key_id": "a key (aws_access_key_id)",
    "login_session": "a login (login_session)",
    "credential_process": "a program (credential_process)",
}
