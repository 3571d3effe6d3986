"""Check the answers of the scripts in `script`, because a page can replace the functions that they call."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["copy_of", "end_of", "look_of"]


def look_of(answer: Any) -> Any:
    """Return the answer of LOOK, or the error."""
    return _checked(answer, _is_look)


def end_of(answer: Any) -> Any:
    """Return the answer of END, or the error."""
    return _checked(answer, _is_end)


def copy_of(answer: Any) -> Any:
    """Return the answer of COPY, or the error."""
    return _checked(answer, _is_copy)


def _checked(answer: Any, is_right: Callable[[Any], bool]) -> Any:
    if isinstance(answer, BaseException) or (isinstance(answer, Mapping) and is_right(answer)):
        return answer
    return TypeError("the page replaces functions of the browser: what the script of the recorder returns is wrong")


def _is_look(answer: Mapping[str, Any]) -> bool:
    return (
        isinstance(answer.get("title"), str)
        and _is_number(answer.get("device_pixel_ratio"))
        and _has_numbers(answer.get("viewport"), "width", "height")
        and _has_numbers(answer.get("scroll"), "x", "y")
        and _has_numbers(answer.get("extras"), "shadow", "top", "frames")
    )


def _is_end(answer: Mapping[str, Any]) -> bool:
    look = answer.get("look")
    is_known = isinstance(answer.get("changed"), bool) and _is_number(answer.get("typed"))
    return is_known and isinstance(look, Mapping) and _is_look(look)


def _is_copy(answer: Mapping[str, Any]) -> bool:
    parts = answer.get("parts")
    return (
        isinstance(answer.get("html"), str)
        and isinstance(parts, Mapping)
        and all(isinstance(html, str) for html in parts.values())
        and _is_list(answer.get("placed"), str)
        and _is_list(answer.get("absent"), str | None)
    )


def _has_numbers(value: Any, *names: str) -> bool:
    return isinstance(value, Mapping) and value.keys() == {*names} and all(map(_is_number, value.values()))


def _is_number(value: Any) -> bool:
    """Return True for a JSON number of a size that JavaScript can represent exactly."""
    return isinstance(value, (int, float)) and abs(value) <= 2**53  # not nan


def _is_list(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
