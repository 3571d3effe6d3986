"""The advice of the library, as commands say it: no keyword of Python is left."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import storage_manager
from storage_manager.cli.advice import in_terms_of
from tests.support.shell import SAMPLE, sm

PACKAGE = Path(storage_manager.__file__).parent
KEYWORDS = re.compile(
    r"\b(s3_[a-z_]+|storage_options|config_kwargs|local_base_path|prefer_s3|require_s3|max_[a-z_]+|overwrite|from_url"
    r"|complete_only|all_calls|session_id|await|StorageManager)\b"
)
MODULES = ("errors", "config", "s3_settings", "backends", "catalog", "export", "importers", "integrity", "transfer")
UNREACHABLE = (  # commands give no such options
    "s3_additional_kwargs",
    "obstore refuses these storage_options",
    "catalog.session_id = rows.session_id",
    "\n, session_id",
)


def messages() -> Iterator[str]:
    """The texts in the code of these modules that are more than a name, without docstrings."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in MODULES:
            tree = ast.parse(path.read_text())
            docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if has_docstring(node)}
            texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
            yield from (text for text in texts if isinstance(text, str) and " " in text and text not in docstrings)


def has_docstring(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module))


def test_no_message_has_a_keyword_of_python() -> None:
    told = [text for text in messages() if KEYWORDS.search(text) and not any(part in text for part in UNREACHABLE)]
    assert len(told) > 20
    assert [text for text in told if KEYWORDS.search(in_terms_of(None, text))] == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["ls", "--root", "s3://Some_Bucket"], "the bucket in --root or SM_ROOT is not a valid bucket name"),
        (["cp", "s3://Some_Bucket", "out"], "the bucket in the URL is not a valid bucket name"),
        (["cp", "s3://bucket", "out", "--source-endpoint", "ftp://x"], "--source-endpoint"),
        (["cp", "s3://bucket", "out", "--source-profile", "nobody"], "--source-profile or --target-profile"),
        (["ls", "--root", "/dev/null/x"], "name the root with --root or SM_ROOT"),
        (["cp", "nodir", "out"], "nodir: name the root with the URL"),
        (["ls", "--root", __file__], f"{__file__} is a file: name the root with --root or SM_ROOT"),
        (["put", str(SAMPLE), "--root", "/dev/null/x"], "choose another directory in --root or SM_ROOT"),
    ],
)
def test_advice_names_options_of_the_command(command: list[str], told: str) -> None:
    code, out, err = sm(*command)
    assert (code, out) == (3, "")
    assert told in err
    assert not KEYWORDS.search(err)
