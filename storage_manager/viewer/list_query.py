"""The parameters of the list of sessions in its URL: the search, the filters, the order and the page."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from storage_manager.errors import InvalidDataError
from storage_manager.layout import check_id

__all__ = ["MAX_QUERY", "OUTCOMES", "SORTS", "ListQuery", "parse_query"]

OUTCOMES = ("success", "failure", "error", "cancelled")
MAX_QUERY = 128  # characters, as many as an id has
MAX_HOST = 253  # characters of a name in DNS (RFC 1035, 2.3.4: 255 octets with the lengths)
MAX_WORDS = 8
MAX_PAGE = 10**7

# The columns by which the list can be sorted. True: the first click sorts by it in descending order.
SORTS = {"session_id": False, "outcome": False, "steps": True, "bytes": True, "started_at": True, "last_modified": True}


class ListQuery(NamedTuple):
    """The parameters of one page of the list.

    Attributes:
        text: the words to search for; "" for all sessions.
        outcome, tag, host: filters: the value that each session must have; "" for any.
        sort: the column, one of SORTS. Only a catalogue can be sorted.
        is_descending: sort in descending order.
        page: the number of a page of the catalogue, from 1.
        after: the cursor of a page by id: the page begins with the first id after it; "" for the first page.
        is_last: the last page by id.
        is_by_id: list by id even if there is a catalogue.
    """

    text: str = ""
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
        """The words of the search, in lower case. A session must contain each. The eighth word is the whole rest."""
        return [word.rstrip() for word in self.text.lower().split(maxsplit=MAX_WORDS - 1)]

    @property
    def has_filter(self) -> bool:
        """True if at least one filter is set."""
        return bool(self.outcome or self.tag or self.host)

    def link(self, **changes: Any) -> str:
        """Return the URL of this list with changes. It is the first page unless a change names another one."""
        new = self._replace(**{"page": 1, "after": "", "is_last": False, **changes})
        given = {"q": new.text, "outcome": new.outcome, "tag": new.tag, "host": new.host}
        given |= {"sort": new.sort, "order": "desc" if new.is_descending else "asc"} if new.is_sorted else {}
        given |= {"by": "id"} if new.is_by_id else {}
        given |= {"page": str(new.page)} if new.page > 1 else {}
        given |= {"after": new.after} if new.after else {}
        given |= {"last": ""} if new.is_last else {}
        return "/?" + urlencode({name: value for name, value in given.items() if value or name in ("q", "last")})

    @property
    def is_sorted(self) -> bool:
        """True if the order is not the default, newest first."""
        return (self.sort, self.is_descending) != ("started_at", True)

    def sort_link(self, column: str) -> str:
        """Return the URL of the list sorted by a column, in reverse order if it is sorted by that column already."""
        is_descending = not self.is_descending if column == self.sort else SORTS[column]
        return self.link(sort=column, is_descending=is_descending)


def parse_query(given: Mapping[str, str]) -> ListQuery:
    """Parse the parameters of a URL.

    Raises:
        InvalidIdError: `after` is not an id.
        InvalidDataError: another parameter has a value that is not allowed.
    """
    after, sort = given.get("after", ""), given.get("sort", "") or "started_at"
    _check_one_of("sort", sort, tuple(SORTS))
    _check_one_of("outcome", given.get("outcome", ""), ("", *OUTCOMES))
    _check_one_of("order", given.get("order", ""), ("", "asc", "desc"))
    return ListQuery(
        text=_clean(given.get("q", "")),
        outcome=given.get("outcome", ""),
        tag=_clean(given.get("tag", "")),
        host=_clean(given.get("host", ""), MAX_HOST),
        sort=sort,
        is_descending=given["order"] == "desc" if given.get("order") else SORTS[sort],
        page=_page(given.get("page", "")),
        after=check_id(after, "after") if after else "",
        is_last="last" in given,
        is_by_id=given.get("by") == "id",
    )


def _clean(text: str, limit: int = MAX_QUERY) -> str:
    """Shorten a text, and remove NUL and lone surrogates, which no stored text has."""
    return text.strip()[:limit].replace("\0", "").encode(errors="ignore").decode()


def _page(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and len(text) <= 8 and 0 < int(text) <= MAX_PAGE):
        raise InvalidDataError(f"page must be a number from 1 to {MAX_PAGE:,}", operation="view")
    return int(text or 1)


def _check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidDataError(f"{name} must be one of {', '.join(filter(None, allowed))}", operation="view")
