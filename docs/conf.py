"""How `python -m sphinx -W docs build/docs` builds the documentation; nothing is fetched from a network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

import storage_manager

project = "storage_manager"
author = "The storage_manager contributors"
release = version = storage_manager.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
default_role = "literal"  # in docstrings `one backtick` is code
python_maximum_signature_line_length = 88
highlight_language = "none"  # what is no code-block is a command, a tree or a formula

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # fsspec's are in another markup
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "storage_manager"
html_copy_source = False
html_show_sphinx = False


def as_the_source_reads(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """An indented block of a module's docstring is code or a drawing; a colon in that of a property is a colon."""
    if what == "property":
        lines[:0] = ["..", ""]  # napoleon takes what stands before a colon in the first line for the type
    if what != "module":
        return
    text = re.sub(r"(?m)^(\S.*)\n\n(?= {4}\S)", r"\1\n\n::\n\n", "\n".join(lines))
    lines[:] = text.split("\n")


ROOT_PAGES = {"README": "index", "SECURITY": "security", "CONTRIBUTING": "contributing", "CHANGELOG": "changes"}


def links_of_the_checkout(app: Any, doctree: nodes.document, page: str) -> None:
    """What README and its like link to by file name is a page here."""
    for link in doctree.findall(nodes.reference):
        found = re.fullmatch(r"(?:docs/)?([\w/-]+)\.rst", link.get("refuri", ""))
        if found:
            target = ROOT_PAGES.get(found[1], found[1])
            assert target in app.env.found_docs, f"{page} links to {link['refuri']}, which is no page"
            link["refuri"] = app.builder.get_relative_uri(page, target)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("doctree-resolved", links_of_the_checkout)
    app.connect("autodoc-process-docstring", as_the_source_reads, priority=100)
