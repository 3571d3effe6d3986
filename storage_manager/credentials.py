"""The credentials in use. No message may show them, but services and libraries quote them in their errors.

They come from `storage_options`, from the `AWS_*` variables, from the URLs of proxies, and from botocore. Credentials
that botocore finds in a profile or a role are known as soon as it signs the first request with them. Other Amazon
credentials are recognised by their shape.
"""

import os
import re
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from itertools import chain
from json import dumps
from typing import Any
from urllib.parse import quote, quote_plus, unquote
from weakref import WeakKeyDictionary, WeakMethod, WeakSet

__all__ = ["HIDDEN", "Found", "keep", "without_credentials", "without_secrets"]

HIDDEN = "[hidden]"
_SHORTEST = 4  # characters; a shorter credential occurs in too many words
_SHORT = 12  # characters; a shorter one is hidden as a whole word only
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
# `key`, `secret`, `token`, `client_kwargs['aws_access_key_id']`, `account_key`, `password`, `connection_string`, ...
_NAME = re.compile(r"key|secret|token|passw|credential|auth|connection_string", re.IGNORECASE)
_USER = re.compile(r"user(name)?", re.IGNORECASE)  # a long one may be a token
# The id of an Amazon key (IAM User Guide, "Unique identifiers"), a session token, and an OpenID token (RFC 7519).
_SHAPE = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|[A-Za-z0-9+/]{100,}={0,2}|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", re.ASCII
)
_USER_OF_URL = re.compile(r"[a-z][a-z0-9+.-]{0,20}://([^/?#]*)@", re.IGNORECASE)
# The characters of Amazon keys that `quote` may leave unchanged.
_SAFE = ("", "/", "+", "=", "/+", "/=", "+=", "/+=")
_PERCENT = re.compile("%[0-9A-F]{2}")
_FOUND = 24  # texts of each client: 8 times key, secret and token, because an error may quote earlier ones

# the URL and the credentials of each root that exists
_kept: "WeakKeyDictionary[object, tuple[str, frozenset[str]]]" = WeakKeyDictionary()
_found: "WeakSet[Found]" = WeakSet()
_lock = threading.Lock()


def without_secrets(options: Any) -> Any:
    """Return keywords of a filesystem without those that may be secrets, by their names, also in nested mappings."""
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
        elif isinstance(value, str) and "://" in value:
            yield from _secrets_of_url(value)
        elif is_secret and isinstance(value, str) and (len(value) >= _SHORT or not _USER.fullmatch(str(name))):
            yield value


def _secrets_of_url(url: str) -> Iterator[str]:
    """Yield the password in a URL, or the user if there is no password; and both as a header sends them (RFC 7617)."""
    found = _USER_OF_URL.match(url)
    if found:
        user, colon, password = found[1].partition(":")
        yield from {password or user, unquote(password or user)}
        if colon:
            yield b64encode(unquote(f"{user}:{password}").encode()).decode()


class Found:
    """The credentials that the clients of one backend have found. Messages hide them as long as this object exists.

    Parameters:
        url: the URL of the root that the credentials are used for.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._secrets = deque[str](maxlen=_FOUND)
        with _lock:
            _found.add(self)

    def add(self, secrets: Iterable[str | None]) -> None:
        """Remember the credentials with which a request is signed."""
        self._secrets.extend(secret for secret in secrets if secret and secret not in self._secrets)

    def listener(self) -> Callable[[Iterable[str | None]], None]:
        """Return `add` as a function that does not keep this object alive. Clients live longer than their backend."""
        weak = WeakMethod(self.add)

        def add(secrets: Iterable[str | None]) -> None:
            method = weak()
            if method:
                method(secrets)

        return add

    def secrets_for(self, url: str) -> list[str]:
        """Return the credentials, if the URL is below the root."""
        return list(self._secrets) if url.startswith(self._url) else []


def without_credentials(text: str, url: str, *, from_service: bool = False) -> str:
    """Return a text without the credentials for a URL: neither plain, nor encoded for a URL, XML or JSON.

    Parameters:
        from_service: True to hide also texts that have the shape of an Amazon credential.
    """
    for secret in sorted(_credentials_for(url), key=len, reverse=True):
        for form in _forms(secret):
            text = _without(form, text)
    return _SHAPE.sub(HIDDEN, text) if from_service else text


def _forms(secret: str) -> list[str]:
    """Return a text and its encodings in URLs, XML, JSON and Python, the longest first."""
    quoted = {*(quote(secret, safe=safe) for safe in _SAFE), quote_plus(secret)}
    quoted |= {_PERCENT.sub(lambda code: code[0].lower(), form) for form in quoted}
    xml = {escape(secret), escape(secret, quote=False)}
    json = {dumps(secret, ensure_ascii=are_ascii)[1:-1] for are_ascii in (True, False)}
    json |= {form.replace("/", "\\/") for form in json}
    forms = {secret, secret.strip(), repr(secret)[1:-1], quote(quote(secret, safe=""), safe="")} | quoted | xml | json
    return sorted(forms, key=len, reverse=True)


def _credentials_for(url: str) -> set[str]:
    with _lock:
        kept, clients = list(_kept.values()), list(_found)
    found = {secret for root_url, secrets in kept if url.startswith(root_url) for secret in secrets}
    found.update(chain.from_iterable(client.secrets_for(url) for client in clients))
    if "://" in url:
        from urllib.request import getproxies  # here, because it imports http, email and ssl

        found.update(chain.from_iterable(map(_secrets_of_url, getproxies().values())))
    return found | ({os.environ.get(name, "") for name in _VARIABLES} if url.startswith("s3://") else set())


def _without(secret: str, text: str) -> str:
    if len(secret) < _SHORTEST or secret not in text:
        return text
    if len(secret) >= _SHORT:
        return text.replace(secret, HIDDEN)
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", HIDDEN, text)
