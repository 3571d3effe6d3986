"""Prepare markup for storing: remove secrets, set the encoding, and put frames into their elements.

Every function reads a text once, from beginning to end, so no function takes long for a hostile page.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from html import escape, unescape

from storage_manager.encoding import without_surrogates

__all__ = ["LONG", "as_utf8", "cleaned", "storable", "with_frames", "without_passwords", "without_user"]

_ATTRIBUTE = re.compile(r"""[\s/]*([^\s/>][^\s/>=]*)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>"'][^\s>]*)?)?""")
_TAGS = {name: re.compile(rf"<{name}(?=[\s/>])", re.IGNORECASE) for name in ("input", "meta", "iframe")}
_PASSWORD = re.compile("password", re.IGNORECASE)
_BODY = re.compile(r"</head\s*>|<body[\s>]", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[^\s;]+", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/?#\\\s\"'<>]*@")

_MARK = re.compile(' data-recorded-srcdoc="(frame-[0-9a-f]{32}-(?:[0-9]+-)?)"')

MAX_DEPTH = 8  # of a `srcdoc` in another; a deeper one in a page with the word `password` is emptied

LONG = 2**16  # characters; a text as long as this takes some milliseconds

_Attribute = tuple[str, str, int, int]  # name in lower case, value, and where the attribute begins and ends


def without_user(text: str) -> str:
    """Return a URL, or a text with URLs, without user names and passwords."""
    return _USER.sub("", text) if "@" in text else text


def without_passwords(html: str, depth: int = 0) -> str:
    """Return markup without the values of `<input type=password>`, also in each `srcdoc`.

    Parameters:
        depth: the number of `srcdoc` attributes around this markup.
    """
    if not _PASSWORD.search(html):
        return html
    html = _changed(html, "iframe", len(html), partial(_srcdoc, depth + 1))
    return _changed(html, "input", len(html), _password)


async def storable(html: str) -> str:
    """Return markup as it is stored. Other tasks can run meanwhile."""
    return await asyncio.to_thread(cleaned, html) if len(html) > LONG else cleaned(html)


def cleaned(html: str) -> str:
    """Return markup as it is stored: without passwords and lone surrogates, and with UTF-8 as its encoding."""
    return as_utf8(without_passwords("".join(without_surrogates(html))))


def as_utf8(html: str) -> str:
    """Return markup that names UTF-8 as its encoding, because it is stored as UTF-8."""
    body = _BODY.search(html)
    return _changed(html, "meta", body.start() if body else len(html), _charset)


def with_frames(html: str, frames: MutableMapping[str, str | None]) -> str:
    """Return markup in which each `data-recorded-srcdoc`, whose value is a mark, becomes a `srcdoc` with the frame.

    If a frame has no markup, its mark is removed. Each frame is removed from `frames` as soon as it is inserted,
    because a hostile page may repeat a mark a million times.
    """

    def replaced(found: re.Match[str]) -> str:
        if found[1] not in frames:
            return found[0]
        inner = frames.pop(found[1])
        return "" if inner is None else f' srcdoc="{escape(inner, quote=True)}"'

    return _MARK.sub(replaced, html) if frames else html


def _changed(html: str, name: str, end: int, change: Callable[[list[_Attribute]], tuple[int, int, str] | None]) -> str:
    """Return markup in which some attributes of the tags with this name are changed."""
    pieces, done = list[str](), 0
    for attributes in _tags(html, name, end):
        edit = change(attributes)
        if edit:
            start, stop, new = edit
            pieces += [html[done:start], new]
            done = stop
    return "".join([*pieces, html[done:]]) if pieces else html


def _tags(html: str, name: str, end: int) -> Iterator[list[_Attribute]]:
    """Yield the attributes of each start tag with this name. Each character is read once."""
    position = 0
    while found := _TAGS[name].search(html, position, end):
        attributes, position = _attributes(html, found.end())
        yield attributes


def _attributes(html: str, position: int) -> tuple[list[_Attribute], int]:
    attributes: list[_Attribute] = []
    while found := _ATTRIBUTE.match(html, position):
        value = found[2] or ""
        value = value[1:-1] if value[:1] in ('"', "'") else value
        attributes.append((found[1].lower(), value, found.start(1), found.end()))
        position = found.end()
    return attributes, position


def _password(attributes: list[_Attribute]) -> tuple[int, int, str] | None:
    kinds = [value.strip().lower() for name, value, *_ in attributes if name == "type"]
    values = [place for name, _, *place in attributes if name == "value"]
    if kinds[:1] != ["password"] or not values:
        return None
    return values[0][0], values[-1][1], 'value=""'


def _srcdoc(depth: int, attributes: list[_Attribute]) -> tuple[int, int, str] | None:
    for name, value, start, end in attributes:
        if name == "srcdoc":  # the first of a name counts
            before = unescape(value)
            after = without_passwords(before, depth) if depth <= MAX_DEPTH else ""
            return None if after == before else (start, end, f'srcdoc="{escape(after, quote=True)}"')
    return None


def _charset(attributes: list[_Attribute]) -> tuple[int, int, str] | None:
    given = {name: (value, place) for name, value, *place in reversed(attributes)}  # the first of a name counts
    value, place = given.get("charset", ("", []))
    if place and value.lower() not in ("utf-8", "utf8"):
        return place[0], place[1], 'charset="utf-8"'
    value, place = given.get("content", ("", []))
    if "http-equiv" in given and _CHARSET.search(value):
        return place[0], place[1], f'content="{_CHARSET.sub("charset=utf-8", value)}"'
    return None
