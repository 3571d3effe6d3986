"""Render the viewer's own pages from the templates beside this file. Every value is escaped."""

from functools import cache
from importlib.resources import files
from typing import Any

from storage_manager.errors import needing

__all__ = ["render_page", "script", "style"]


@cache
def _environment() -> Any:
    """Return a jinja2 environment that escapes every value. Only the viewer needs jinja2.

    Raises:
        StorageManagerError: jinja2 is not installed.
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


def render_page(name: str, **values: Any) -> str:
    """Render a page. `name` is the name of its template without `.html.j2`.

    Raises:
        StorageManagerError: jinja2 is not installed.
    """
    return _environment().get_template(f"{name}.html.j2").render(**values)  # type: ignore[no-any-return]


# The parts of the front end, in order: when a part is run, it uses only names of the parts before it.
_PARTS = (
    "dom",
    "theme",
    "sources",
    "inert",
    "json",
    "actions",
    "run",
    "steps",
    "timeline",
    "attachments",
    "about",
    "compare",
    "stage",
    "panels",
    "live",
    "playback",
    "search",
    "session",
    "list",
    "start",
)


@cache
def style() -> str:
    """Return the style sheet."""
    return _static("viewer.css")


@cache
def script() -> str:
    """Return the front end as one script, which defines no global name."""
    parts = "\n".join(_static(f"{name}.js") for name in _PARTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _static(name: str) -> str:
    return files("storage_manager.viewer").joinpath("static", name).read_text("utf-8")
