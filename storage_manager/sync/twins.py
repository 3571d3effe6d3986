"""Synchronous twins of asynchronous functions: signatures and docstrings are derived, and the work is the same."""

import functools
import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from storage_manager.storage import StorageManager
from storage_manager.sync.background import Call, iterate

__all__ = ["add_twins", "signature_of", "translated_text", "twin_of", "twin_of_method"]

_IDIOMS = {  # of docstrings
    r"`async with": "`with",
    r"\basync for\b": "for",
    r"\bawait ": "",
    r"\baclose\b": "close",
    r"called on the event loop": "called in your thread",
}


def translated_text(text: str | None) -> str | None:
    """Return the docstring of an asynchronous function, changed for its synchronous twin."""
    for idiom, translation in _IDIOMS.items():
        text = text and re.sub(idiom, translation, text)
    return text


def signature_of(function: Callable[..., Any], classes: Mapping[Any, type]) -> inspect.Signature:
    """Return the signature of a twin.

    Parameters:
        classes: the synchronous twin of each asynchronous class in the annotations.
    """

    def translated(annotation: Any) -> Any:
        if get_origin(annotation) is AsyncGenerator:
            return Generator[get_args(annotation)[0], None, None]  # type: ignore[misc]  # a value, not a type
        is_class = isinstance(annotation, type) and get_origin(annotation) is None
        return classes.get(annotation, annotation) if is_class else annotation

    signature = inspect.signature(function)
    parameters = [each.replace(annotation=translated(each.annotation)) for each in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=translated(signature.return_annotation))


def twin_of(function: Callable[..., Any], manager: Any, module: str) -> Callable[..., Any]:
    """Return the twin of a function that takes asynchronous managers. It takes synchronous ones.

    Parameters:
        manager: the synchronous StorageManager.
        module: where the user finds the twin.
    """
    arguments = _Arguments(function)

    def twin(*args: Any, **kwargs: Any) -> Any:
        call = Call[Any]()
        args, kwargs = arguments.translated(call, args, kwargs, manager)
        return call.run(function, *args, **kwargs)

    def generating(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        args, kwargs = arguments.translated(None, args, kwargs, manager)
        return iterate(function(*args, **kwargs))

    made = generating if inspect.isasyncgenfunction(function) else twin
    return _described(made, function, {StorageManager: manager}, module, function.__name__)


def twin_of_method(function: Callable[..., Any], module: str, owner: str) -> Callable[..., Any]:
    """Return the twin of a method. The object that does the work is the attribute `asynchronous` of its owner.

    Parameters:
        module, owner: where the user finds the twin.
    """
    arguments = _Arguments(function)

    def twin(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = Call[Any]()
        args, kwargs = arguments.translated(call, (self.asynchronous, *args), kwargs)
        return call.run(function, *args, **kwargs)

    def generating(self: Any, /, *args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        args, kwargs = arguments.translated(None, (self.asynchronous, *args), kwargs)
        return iterate(function(*args, **kwargs))

    def same(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(self.asynchronous, *args, **kwargs)

    made = generating if inspect.isasyncgenfunction(function) else twin
    made = made if inspect.iscoroutinefunction(function) or made is generating else same
    return _described(made, function, {}, module, f"{owner}.{function.__name__}")


def add_twins(cls: type, asynchronous: type, *, leave_out: Iterable[str] = ()) -> None:
    """Add twins to a class: of every public method and property of an asynchronous class that it does not define."""
    for name, member in vars(asynchronous).items():
        if name.startswith("_") or name in leave_out or name in vars(cls):
            continue
        if inspect.isfunction(member):
            setattr(cls, name, twin_of_method(member, cls.__module__, cls.__qualname__))
        elif isinstance(member, property):
            setattr(cls, name, _property(name, member))


def _property(name: str, member: property) -> property:
    return property(lambda self: getattr(self.asynchronous, name), doc=translated_text(member.__doc__))


def _described(
    twin: Callable[..., Any], function: Callable[..., Any], classes: Mapping[Any, type], module: str, name: str
) -> Callable[..., Any]:
    """Give a twin the name, docstring and signature for the user, without a trace of the coroutine that it wraps."""
    described: Any = functools.wraps(function)(twin)
    del described.__wrapped__
    described.__module__, described.__qualname__ = module, name
    described.__doc__ = translated_text(function.__doc__)
    described.__signature__ = signature_of(function, classes)
    described.__annotations__ = {
        key: each.annotation
        for key, each in described.__signature__.parameters.items()
        if each.annotation is not each.empty
    } | {"return": described.__signature__.return_annotation}
    return twin


class _Arguments:
    """Converts the arguments of a twin to those of its function, by the annotations of the parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = inspect.signature(function).parameters
        self._names = list(parameters)
        self._annotations = {name: each.annotation for name, each in parameters.items() if _is_special(each.annotation)}

    def translated(
        self, call: Call[Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any], manager: Any = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional arguments and keywords for the function."""
        if not self._annotations:
            return args, kwargs
        given = {**dict(zip(self._names, args, strict=False)), **kwargs}
        changed = {
            name: _translated(annotation, given[name], call, manager)
            for name, annotation in self._annotations.items()
            if name in given
        }
        positional = tuple(changed.get(name, value) for name, value in zip(self._names, args, strict=False))
        return positional + args[len(positional) :], {name: changed.get(name, value) for name, value in kwargs.items()}


def _members(annotation: Any) -> list[Any]:
    return list(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else [annotation]


def _origins(annotation: Any) -> set[Any]:
    return {get_origin(member) or member for member in _members(annotation)}


def _is_special(annotation: Any) -> bool:
    return not _origins(annotation).isdisjoint({StorageManager, Iterable, Callable})


def _translated(annotation: Any, value: Any, call: Call[Any] | None, manager: Any) -> Any:
    """Return one argument for the function. A value of a wrong type is returned unchanged. The function refuses it."""
    origins = _origins(annotation)
    if StorageManager in origins and manager:
        return _underneath(value, manager)
    if Callable in origins and callable(value) and call:
        return call.in_caller(value)
    if Iterable in origins and isinstance(value, Iterable) and _may_run_code(value):
        return call.items_of(value) if call and AsyncIterable in origins else list(value)
    return value


def _underneath(value: Any, manager: Any) -> Any:
    if isinstance(value, StorageManager):
        raise TypeError("storage must be a storage_manager.sync.StorageManager, not an asynchronous StorageManager")
    return value.asynchronous if isinstance(value, manager) else value


def _may_run_code(value: object) -> bool:
    """Return True for an iterable that may run code of the caller. Such code must not run on the background loop."""
    is_data = isinstance(value, (str, bytes, bytearray, memoryview, list, tuple, set, frozenset, Mapping))
    return not is_data and not isinstance(value, AsyncIterable)
