"""The credentials in use, which no message may show. Services and libraries quote them in their errors.

They are taken from `storage_options` and from the `AWS_*` variables. Those that botocore finds elsewhere, for example
in a profile, are recognised by their shape.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from html import escape
from json import dumps
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

__all__ = ["HIDDEN", "keep", "without_credentials", "without_secrets"]

HIDDEN = "[hidden]"
_SHORTEST = 4  # characters; a shorter credential occurs in too many words
_SHORT = 12  # characters; a shorter one is hidden as a whole word only
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
# `key`, `secret`, `token`, `client_kwargs['aws_access_key_id']`, `account_key`, `password`, `connection_string`, ...
_NAME = re.compile(r"key|secret|token|passw|credential|auth|connection_string", re.IGNORECASE)
_USER = re.compile(r"user(name)?", re.IGNORECASE)  # may be a token, which is long
# The id of a key of Amazon's (IAM User Guide, "Unique identifiers"), and a session token.
_SHAPE = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|[A-Za-z0-9+/]{100,}={0,2}")

# the URL and the credentials of each root that exists
_kept: "WeakKeyDictionary[object, tuple[str, frozenset[str]]]" = WeakKeyDictionary()
_lock = threading.Lock()


def without_secrets(options: Any) -> Any:
    """Return keywords of a filesystem without those that may be secrets, by their names, also inside of others."""
    if isinstance(options, Mapping):
        return {name: without_secrets(value) for name, value in options.items() if not _may_be_secret(str(name))}
    return [without_secrets(value) for value in options] if isinstance(options, (list, tuple)) else options


def _may_be_secret(name: str) -> bool:
    return bool(_NAME.search(name) or _USER.fullmatch(name))


def keep(root: object, url: str, options: Mapping[str, Any]) -> None:
    """Remember the credentials in the options of a root as long as the root exists."""
    with _lock:
        _kept[root] = (url, frozenset(_secrets_in(options)))


def _secrets_in(options: Mapping[Any, Any], is_inside: bool = False) -> Iterator[str]:
    for name, value in options.items():
        is_secret = is_inside or _may_be_secret(str(name))
        if isinstance(value, Mapping):
            yield from _secrets_in(value, is_secret)
        elif is_secret and isinstance(value, str) and (len(value) >= _SHORT or not _USER.fullmatch(str(name))):
            yield value


def without_credentials(text: str, url: str, *, from_service: bool = False) -> str:
    """Return a text without the credentials for a URL, as they are or as a URL, XML or JSON encodes them.

    Parameters:
        from_service: True to hide also what has the shape of a credential of Amazon's.
    """
    for secret in sorted(_credentials_for(url), key=len, reverse=True):
        for form in {secret, secret.strip(), quote(secret, safe=""), escape(secret), dumps(secret)[1:-1]}:
            text = _without(form, text)
    return _SHAPE.sub(HIDDEN, text) if from_service else text


def _credentials_for(url: str) -> set[str]:
    with _lock:
        kept = list(_kept.values())
    found = {secret for root_url, secrets in kept if url.startswith(root_url) for secret in secrets}
    return found | ({os.environ.get(name, "") for name in _VARIABLES} if url.startswith("s3://") else set())


def _without(secret: str, text: str) -> str:
    if len(secret) < _SHORTEST or secret not in text:
        return text
    if len(secret) >= _SHORT:
        return text.replace(secret, HIDDEN)
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", HIDDEN, text)
