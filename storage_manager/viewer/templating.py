"""The viewer's own pages, from the templates beside this file: every value in them is escaped."""

from functools import cache
from importlib.resources import files
from typing import Any

from storage_manager.errors import needing

__all__ = ["asset", "page"]


@cache
def _environment() -> Any:
    """Jinja with escaping, which only the viewer needs.

    Raises:
        StorageManagerError: it is not installed.
    """
    with needing("jinja2", "viewer", "view"):
        import jinja2
    return jinja2.Environment(
        loader=jinja2.PackageLoader("storage_manager.viewer"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(name: str, **values: Any) -> str:
    """A page; `name` is its template's without `.html.j2`.

    Raises:
        StorageManagerError: jinja2 is not installed.
    """
    return _environment().get_template(f"{name}.html.j2").render(**values)  # type: ignore[no-any-return]


@cache
def asset(name: str) -> str:
    """A file of `static`, as text."""
    return files("storage_manager.viewer").joinpath("static", name).read_text("utf-8")
