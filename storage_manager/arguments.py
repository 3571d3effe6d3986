"""Check the arguments of public functions, so that the error for a wrong type names the argument.

Without these checks, `concurrency="4"` would raise a TypeError about `<` deep in the code, `concurrency=2.5` would not
limit anything, and a string in place of a list would be read as a list of letters.
"""

import operator
from collections.abc import AsyncIterable, Iterable
from datetime import timedelta
from typing import Any, SupportsIndex

__all__ = ["check_callable", "check_several", "check_whole"]


def check_whole(value: SupportsIndex, name: str, least: int = 1, most: int | None = None) -> int:
    """Check that an argument is a whole number, and return it as an int.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is below `least`, or above `most`.
    """
    value_of_example = "1073741824 (1 GiB)" if name.endswith("_bytes") else max(least, 8)
    example = f"give a whole number, such as {name}={value_of_example}"
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {_kind(value)}: {example}")
    number = operator.index(value)
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be {limits}, not {number}")
    return number


def check_several(value: object, name: str, *, of: str, may_be_async: bool = False) -> None:
    """Check that an argument is a list or another iterable. A str or bytes would be read as single letters.

    Parameters:
        of: what the iterable must contain, for the message.
        may_be_async: an asynchronous iterable is accepted too.

    Raises:
        TypeError: it is not such an iterable.
    """
    is_text = isinstance(value, (str, bytes, bytearray, memoryview))
    kinds: tuple[Any, ...] = (Iterable, AsyncIterable) if may_be_async else (Iterable,)
    if is_text or not isinstance(value, kinds):
        raise TypeError(f"{name} must be a list or another iterable of {of}, not {_kind(value)}")


def check_callable(value: object, name: str, takes: str) -> None:
    """Check that an argument is a function or None.

    Raises:
        TypeError: it cannot be called.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function that takes {takes}, or None, not {_kind(value)}")


def _kind(value: object) -> str:
    """Return the type of a value, and its text if that is short. The value comes from the caller, not from a file."""
    text = repr(value) if isinstance(value, (str, bytes, int, float, timedelta, type(None))) else ""
    return f"{type(value).__name__} ({text})" if 0 < len(text) <= 40 else type(value).__name__
