"""Find the linked style sheets of pages in the network log of a trace, and insert them into a page.

The log has the format of HAR. Only the URLs of style sheets, the times of their responses, and the names of the members
with their texts are kept, but no headers and no cookies.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import quote

from storage_manager.importers.archive import Archive
from storage_manager.importers.fields import Fields
from storage_manager.importers.markup import MAX_URL, absolute_url

__all__ = ["StyleSheets", "Wanted"]

_MAX_IMPORTS = 5  # sheets that import each other, in a chain
_MAX_CACHED = 2**20  # characters of a sheet; most pages of a trace have the same sheets
_MAX_SHEETS = 32
# A quote or a parenthesis ends each part, so the time is proportional to the length.
_URL = re.compile(r"""url\(("[^"\n]*"|'[^'\n]*'|[^()]*)\)""", re.IGNORECASE)
_BLANK = re.compile(r"\s*")
_MAX_HEAD = 2**16  # characters in which @import rules are looked for; they come first
_NOT_IN_URLS = re.compile(r"[^\x21-\x7e]+")
_ABSOLUTE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]{0,30}:|#|$)", re.IGNORECASE)

Charge = Callable[[int], None]


class Wanted(NamedTuple):
    """A style sheet that a page links.

    Attributes:
        override: the member with the text that scripts changed; None if they did not change it.
        time: the time of the snapshot of the page.
    """

    url: str
    override: str | None
    time: float


class StyleSheets:
    """The style sheets of a trace. `missing` collects the names of members that the trace lacks."""

    def __init__(self, archive: Archive) -> None:
        self.missing: list[str] = []
        self._archive = archive
        self._files: dict[str, list[tuple[float, str]]] = {}
        self._cache: dict[tuple[str, str], str] = {}

    def read(self, events: Iterable[tuple[str, object]]) -> None:
        """Read a network log.

        Raises:
            ValueError: an event is not valid.
        """
        for location, value in events:
            event = Fields(value, location)
            if event.text("type") == "resource-snapshot":
                self._add(event.fields("snapshot"))
        for files in self._files.values():
            files.sort()

    def _add(self, entry: Fields) -> None:
        request, response = entry.fields("request"), entry.fields("response")
        content, status = response.fields("content"), response.number("status") or 0
        name, url = content.file(), request.text("url")
        is_sheet = (content.text("mimeType") or "").lower().startswith("text/css") and 200 <= status < 300
        if is_sheet and name and url and request.text("method") == "GET":
            self._files.setdefault(_plain(url), []).append((entry.number("_monotonicTime") or 0, name))

    def css(self, wanted: Wanted, charge: Charge) -> str | None:
        """Return the text of a style sheet, with absolute URLs; None if the trace does not have it.

        Parameters:
            charge: called with the size of the result. It may refuse the trace.
        """
        return self._whole(wanted, charge, 0)

    def _whole(self, wanted: Wanted, charge: Charge, depth: int) -> str | None:
        names = (wanted.override, self._logged(wanted.url, wanted.time))
        found = ((name, self._text(name)) for name in names if name)
        name, css = next(((name, css) for name, css in found if css is not None), ("", None))
        if css is None:
            return None
        charge(len(css) if depth else 0)  # a sheet may import itself many times
        key = (name, wanted.url)
        if key not in self._cache:
            text = _absolute(self._with_imports(css, wanted, charge, depth), wanted.url, charge)
            if depth or len(text) > _MAX_CACHED or len(self._cache) >= _MAX_SHEETS:
                return text
            self._cache[key] = text
        return self._cache[key]

    def _logged(self, url: str, time: float) -> str | None:
        """Return the member with the last response before a time or, if there is none, with the first response."""
        files = self._files.get(_plain(url))
        return files[max(bisect_left(files, (time, "")) - 1, 0)][1] if files else None

    def _text(self, name: str) -> str | None:
        data = self._archive.read(name)
        if data is None:
            self.missing.append(name)
        return None if data is None else data.decode("utf-8-sig", errors="replace")

    def _with_imports(self, css: str, wanted: Wanted, charge: Charge, depth: int) -> str:
        """Replace @import rules with the imported sheets. If a sheet is not in the trace, its rule stays."""
        imports, rest = _split(css)
        kept, texts = [], []
        for url, condition in imports:
            text = None
            if depth < _MAX_IMPORTS and not condition.lower().startswith(("layer", "supports")):
                text = self._whole(Wanted(absolute_url(wanted.url, url, charge), None, wanted.time), charge, depth + 1)
            if text is None:
                kept.append(f'@import url("{url}") {condition}'.rstrip() + ";")
            else:
                texts.append(f"@media {condition} {{\n{text}\n}}" if condition else text)
        return "\n".join([*kept, *texts, rest]) if imports else css


def _plain(url: str) -> str:
    """Return a URL as browsers request it: encoded, and without its fragment."""
    return _NOT_IN_URLS.sub(lambda found: quote(found[0]), url.partition("#")[0])


def _absolute(css: str, base: str, charge: Charge) -> str:
    """Return CSS whose URLs are absolute."""

    def replace(found: re.Match[str]) -> str:
        charge(0)
        url = found[1].strip().strip("\"'")
        if _ABSOLUTE.match(url) or len(url) > MAX_URL:
            return found[0]
        joined = absolute_url(base, url, charge)
        return found[0] if '"' in joined or "\\" in joined or "\n" in joined else f'url("{joined}")'

    return _URL.sub(replace, css)


def _split(css: str) -> tuple[list[tuple[str, str]], str]:
    """Return the URL and the condition of each @import at the beginning of a sheet, and the rest of the sheet."""
    imports: list[tuple[str, str]] = []
    head, at = css[:_MAX_HEAD], 0
    while True:
        at = _skip(head, at)
        found = _import(head, at)
        if found is None:
            return imports, css[at:]
        url, condition, at = found
        imports.append((url, condition))


def _skip(css: str, at: int) -> int:
    """Return the position after white space, comments and @charset."""
    while found := _BLANK.match(css, at):
        at = found.end()
        end = "*/" if css.startswith("/*", at) else ";" if css[at : at + 8].lower() == "@charset" else ""
        stop = css.find(end, at + 2) if end else -1
        if stop < 0:
            break
        at = stop + len(end)
    return at


def _import(css: str, at: int) -> tuple[str, str, int] | None:
    """Return the URL and the condition of the @import rule at this position, and its end."""
    if css[at : at + 7].lower() != "@import":
        return None
    at = _skip(css, at + 7)
    is_function = css[at : at + 4].lower() == "url("
    at = _skip(css, at + 4) if is_function else at
    quote_mark = css[at : at + 1] if css[at : at + 1] in ("'", '"') else ""
    stop = css.find(quote_mark or ")", at + len(quote_mark))
    if stop < 0 or not (quote_mark or is_function):
        return None
    url = css[at + len(quote_mark) : stop].strip()
    end = css.find(";", stop)
    condition = css[stop + 1 : end].strip()
    if end < 0 or any(sign in url + condition for sign in '"\\\n{}'):
        return None
    return url, condition.removeprefix(")").strip() if is_function and quote_mark else condition, end + 1
