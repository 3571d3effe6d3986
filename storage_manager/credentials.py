"""Credentials that are wrong on their face, found before botocore is loaded. No message repeats one."""

import os
import re
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from typing import Any

from storage_manager.errors import S3ConfigError

__all__ = ["check_credentials"]

# Where AWS profiles are, and how botocore takes the names of their sections.
_PROFILE_FILES = (
    ("AWS_CONFIG_FILE", "~/.aws/config", re.compile(r"profile\s+(.+)|(default)")),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", re.compile(r"(.+)")),
)


def _profiles() -> set[str]:
    names = set()
    for variable, default, section in _PROFILE_FILES:
        parser = RawConfigParser(strict=False, default_section="")
        try:
            parser.read(os.path.expandvars(os.path.expanduser(os.environ.get(variable) or default)), encoding="utf-8")
        except (ConfigParserError, UnicodeDecodeError) as error:
            why = f"the file of {variable}, by default {default}, cannot be read: {type(error).__name__}"
            # not chained: the parser's message quotes the line, which may hold a secret
            raise S3ConfigError(why, operation="configure") from None
        found = filter(None, map(section.fullmatch, parser.sections()))
        names |= {next(filter(None, match.groups())).strip(" \"'") for match in found}
    return names


def check_credentials(options: dict[str, Any]) -> None:
    """Refuse credentials that are wrong on their face: half a key pair, or a profile that no file has.

    Parameters:
        options: the storage options of the filesystem; where they name no credentials, AWS_* variables are read.

    Raises:
        S3ConfigError: what is missing and where it is looked for; no value is repeated.
    """
    client = options.get("client_kwargs") or {}
    key = options.get("key") or client.get("aws_access_key_id")
    secret = options.get("secret") or client.get("aws_secret_access_key")
    if not key and not secret:
        key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        secret = secret if key else None  # botocore takes no notice of such a variable alone
    if bool(key) != bool(secret) and not options.get("anon"):
        given, missing = ("secret", "its key id") if secret else ("key id", "its secret")
        raise S3ConfigError(
            f"an access {given} is given without {missing}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or storage_options['key'] and ['secret']",
            operation="configure",
        )
    profile = options.get("profile") or os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
    if profile and profile not in _profiles():
        raise S3ConfigError(
            "the AWS profile (AWS_PROFILE, or storage_options['profile']) is in neither AWS file: "
            "add it to ~/.aws/config, or unset it",
            operation="configure",
        )
