"""Fields that the runs of several agents have in common: the usage of a model, and the position of an element."""

from collections.abc import Mapping
from typing import Any

__all__ = ["box_of", "centre_of", "number_of", "usage_of"]


def usage_of(input_tokens: float | None, output_tokens: float | None, cost_usd: float | None) -> dict[str, Any]:
    """Return the usage for the metadata of a session. Numbers that are not known are left out."""
    tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    whole = {name: int(number) for name, number in tokens.items() if number is not None}
    return whole if cost_usd is None else {**whole, "cost_usd": cost_usd}


def number_of(value: object) -> float | None:
    """Return a number, or None for any other value."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def box_of(value: object) -> dict[str, float] | None:
    """Return a list of left, top, width and height as a box, or None for any other value."""
    if not isinstance(value, (list, tuple)) or len(value) != 4 or any(number_of(each) is None for each in value):
        return None
    return dict(zip(("x", "y", "width", "height"), value, strict=True))


def centre_of(box: Mapping[str, float]) -> dict[str, float]:
    """Return the point in the middle of a box."""
    return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
