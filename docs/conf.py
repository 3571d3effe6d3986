"""Settings for Sphinx: `scripts/docs` builds the documentation. No network is needed."""

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
default_role = "literal"  # `one backtick` is code in docstrings
python_maximum_signature_line_length = 88
highlight_language = "none"  # a literal block without a language is a tree or a formula

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # fsspec's have another markup
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "storage_manager"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["copy.css"]
html_js_files = ["copy.js"]


def keep_literal_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make an indented block of a module's docstring literal, and keep the colons in a property's docstring.

    "As store_step_data." below "Raises:" gets the name of an error: napoleon takes a line without one for a name.
    """
    if what == "property":
        lines[:0] = ["..", ""]  # else napoleon reads the words before a colon as the type
    lines[:] = [re.sub(r"^( +)As ([\w.]+)\.$", r"\1StorageManagerError: as for \2.", line) for line in lines]
    if what != "module":
        return
    text = re.sub(r"(?m)^(\S.*)\n\n(?= {4}\S)", r"\1\n\n::\n\n", "\n".join(lines))
    lines[:] = text.split("\n")


ROOT_PAGES = {"README": "index", "SECURITY": "security", "CONTRIBUTING": "contributing", "CHANGELOG": "changes"}


def link_to_pages(app: Any, doctree: nodes.document, page: str) -> None:
    """Turn links to files, as README and the other pages of the root have them, into links to pages."""
    for link in doctree.findall(nodes.reference):
        found = re.fullmatch(r"(?:docs/)?([\w/-]+)\.rst", link.get("refuri", ""))
        if found:
            target = ROOT_PAGES.get(found[1], found[1])
            assert target in app.env.found_docs, f"{page} links to {link['refuri']}, which is not a page"
            link["refuri"] = app.builder.get_relative_uri(page, target)


def setup(app: Any) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("doctree-resolved", link_to_pages)
    app.connect("autodoc-process-docstring", keep_literal_text, priority=100)
