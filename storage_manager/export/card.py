"""The dataset card of an export: README.md, with the metadata that `datasets` and the Hugging Face Hub read.

The metadata is YAML between two lines of `---` (https://huggingface.co/docs/hub/datasets-cards). `configs` names the
files of each table. `dataset_info` has the type of each column: a binary column with `dtype: image` loads as images.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage_manager.export.table import is_binary
from storage_manager.layout import Component, formats

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Card"]

# The tables of an export, and the files of each table. `load_dataset(url)` loads the first table.
_CONFIGS = {
    "steps": "data/steps-*.parquet",
    "index": "index/index.parquet",
    "sessions": "sessions/sessions.parquet",
}
_MOST_OUTCOMES = 20  # lines of the table; a known outcome is one of four, but any text may be stored


class Card:
    """Counts the sessions of an export, and writes the dataset card.

    Parameters:
        components, attachments: the names of those that are exported.
    """

    def __init__(self, components: Sequence[Component], attachments: Sequence[str]) -> None:
        self._components = components
        self._attachments = attachments
        self._sessions = 0
        self._outcomes: Counter[str] = Counter()

    def add(self, batch: "pa.RecordBatch") -> None:
        """Count sessions.

        Parameters:
            batch: rows of `sessions.parquet`.
        """
        self._sessions += len(batch)
        self._outcomes.update(_cell(outcome or "") for outcome in batch.column("outcome").to_pylist())

    def text(self, steps: int) -> str:
        """Return the card of an export with this number of steps."""
        counts = [f"| sessions | {self._sessions:,} |", f"| steps | {steps:,} |"]
        outcomes = [f"| {name} | {count:,} |" for name, count in self._outcomes.most_common(_MOST_OUTCOMES)]
        return "\n".join(
            [*self._yaml(), *_TEXT, *_head("what", "number"), *counts, "", *_head("outcome", "sessions"), *outcomes, ""]
        )

    def _yaml(self) -> list[str]:
        lines = ["---", "configs:"]
        for name, files in _CONFIGS.items():
            lines += [f"- config_name: {name}", f"  data_files: {files}", *["  default: true"] * (name == "steps")]
        lines += ["dataset_info:", "- config_name: steps", "  features:"]
        for name, dtype in self._features().items():
            lines += [f"  - name: {json.dumps(name)}", f"    dtype: {dtype}"]
        return [*lines, "---", ""]

    def _features(self) -> dict[str, str]:
        """Return the type of each column of the steps, in their order, as `datasets` names it."""
        specs = formats(self._components)
        values: dict[str, str] = {spec.name: "image" if is_binary(spec) else "string" for spec in specs}
        urls = dict.fromkeys((f"{spec.name}_url" for spec in specs), "string")
        others = dict.fromkeys(self._attachments, "binary")
        ends = dict.fromkeys(("observed", "unreadable"), "string")
        return {"session_id": "string", "step_id": "string", **values, **urls, **others, **ends}


_TEXT = """# Recorded browser sessions

Each row of `steps` is one step of a session: what the page showed (`html`, `screenshot`), the `action`, and `metadata`
about both, as JSON. `observed` says whether the page was recorded before or after the action. `index` has the same rows
without the large columns, and `sessions` has one row per session: goal, outcome, reward, model and usage.

```python
from datasets import load_dataset

steps = load_dataset("this directory")  # screenshots are images
sessions = load_dataset("this directory", "sessions")
```

""".splitlines()


def _head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]


def _cell(text: str) -> str:
    """Return a text for a cell of a Markdown table: in one line, and without characters of Markdown's syntax."""
    cleaned = "".join(character if character.isalnum() or character in " -_." else " " for character in text[:60])
    return cleaned.strip() or "not recorded"
