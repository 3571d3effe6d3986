"""Read and write the parameters of the list of sessions as a URL: the search, the filters, the order and the page."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from storage_manager.errors import InvalidDataError
from storage_manager.layout import check_id

__all__ = ["MAX_QUERY", "OUTCOMES", "SORTS", "Wanted", "read_wanted"]

OUTCOMES = ("success", "failure", "error", "cancelled")
MAX_QUERY = 128  # characters, as many as an id has
MAX_WORDS = 8
MAX_PAGE = 10**7

# The columns of the list by which it can be sorted, with the order that comes first: True for the largest first.
SORTS = {"session_id": False, "outcome": False, "steps": True, "bytes": True, "started_at": True, "last_modified": True}


class Wanted(NamedTuple):
    """The parameters of one page of the list.

    Attributes:
        query: words to search for; "" for all sessions.
        outcome, tag, host: what the sessions must have; "" for any.
        sort: one of SORTS. It needs a catalogue, and so do is_descending and page.
        after: the cursor of a page by id; is_last: the last page by id.
        is_by_id: by id although there may be a catalogue.
    """

    query: str = ""
    outcome: str = ""
    tag: str = ""
    host: str = ""
    sort: str = "started_at"
    is_descending: bool = True
    page: int = 1
    after: str = ""
    is_last: bool = False
    is_by_id: bool = False

    @property
    def words(self) -> list[str]:
        """The words of the search, in lower case. Each must be found; the eighth is all that is left."""
        return [word.rstrip() for word in self.query.lower().split(maxsplit=MAX_WORDS - 1)]

    @property
    def has_filter(self) -> bool:
        """True if only sessions with certain metadata are wanted."""
        return bool(self.outcome or self.tag or self.host)

    def link(self, **changes: Any) -> str:
        """Return the URL of the first page of the same list with changes, or of another page of it."""
        new = self._replace(**{"page": 1, "after": "", "is_last": False, **changes})
        given = {"q": new.query, "outcome": new.outcome, "tag": new.tag, "host": new.host}
        given |= {"sort": new.sort, "order": "desc" if new.is_descending else "asc"} if new.is_sorted else {}
        given |= {"by": "id"} if new.is_by_id else {}
        given |= {"page": str(new.page)} if new.page > 1 else {}
        given |= {"after": new.after} if new.after else {}
        given |= {"last": ""} if new.is_last else {}
        return "/?" + urlencode({name: value for name, value in given.items() if value or name in ("q", "last")})

    @property
    def is_sorted(self) -> bool:
        """True if the order is another one than the newest first."""
        return (self.sort, self.is_descending) != ("started_at", True)

    def sort_link(self, column: str) -> str:
        """Return the URL of the list sorted by a column. If it is sorted by that already, the order is turned round."""
        is_descending = not self.is_descending if column == self.sort else SORTS[column]
        return self.link(sort=column, is_descending=is_descending)


def read_wanted(given: Mapping[str, str]) -> Wanted:
    """Return what the parameters of a URL ask for.

    Raises:
        InvalidIdError: `after` is not an id.
        InvalidDataError: another parameter has a value that it cannot have.
    """
    after, sort = given.get("after", ""), given.get("sort", "") or "started_at"
    _check_one_of("sort", sort, tuple(SORTS))
    _check_one_of("outcome", given.get("outcome", ""), ("", *OUTCOMES))
    _check_one_of("order", given.get("order", ""), ("", "asc", "desc"))
    return Wanted(
        query=_plain(given.get("q", "")),
        outcome=given.get("outcome", ""),
        tag=_plain(given.get("tag", "")),
        host=_plain(given.get("host", ""), 253),
        sort=sort,
        is_descending=given["order"] == "desc" if given.get("order") else SORTS[sort],
        page=_page(given.get("page", "")),
        after=check_id(after, "after") if after else "",
        is_last="last" in given,
        is_by_id=given.get("by") == "id",
    )


def _plain(text: str, most: int = MAX_QUERY) -> str:
    """Return a text that fits into a query: without NUL and lone surrogates, which no stored text has."""
    return text.strip()[:most].replace("\0", "").encode(errors="ignore").decode()


def _page(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and len(text) <= 8 and 0 < int(text) <= MAX_PAGE):
        raise InvalidDataError(f"page must be a number from 1 to {MAX_PAGE:,}", operation="view")
    return int(text or 1)


def _check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidDataError(f"{name} must be one of {', '.join(filter(None, allowed))}", operation="view")
