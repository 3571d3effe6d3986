"""Values that show if they are whole: each repeats its step, component, version and length."""

import re

from storage_manager import Step, StepData
from storage_manager.layout import ALL_COMPONENTS

_TOKEN = re.compile(r"<(\S+) v(\d+) n(\d+)>")


def text(name: str, version: int, length: int) -> str:
    token = f"<{name} v{version} n{length}>"
    assert len(token) <= length
    return (token * (length // len(token) + 1))[:length]


def step(session_id: str, step_id: str, version: int, lengths: list[int]) -> Step:
    """Return a step of this version, whose components have these lengths."""
    named = zip(ALL_COMPONENTS, lengths, strict=True)
    html, shot, action, metadata = (text(f"{session_id}/{step_id}/{name}", version, n) for name, n in named)
    return Step(session_id, step_id, StepData(html, shot.encode(), {"is": action}, {"is": metadata}))


def version(name: str, value: str) -> int:
    """Return the version of a value. Fail if it is a part, a mix, or the value of another component."""
    found = _TOKEN.match(value)
    assert found, f"{name} begins with {value[:80]!r}"
    assert found[1] == name, f"{name} holds {found[0]}"
    assert value == text(name, int(found[2]), int(found[3])), f"{name} is torn: {found[0]}, {len(value)} characters"
    return int(found[2])


def versions(read: Step) -> list[int]:
    """Return the version of each component that exists. Fail if one is not whole."""
    html, shot, action, metadata = read.data
    values = (html, shot and shot.decode(), action and action["is"], metadata and metadata["is"])
    named = zip(ALL_COMPONENTS, values, strict=True)
    return [version(f"{read.session_id}/{read.step_id}/{name}", value) for name, value in named if value is not None]
