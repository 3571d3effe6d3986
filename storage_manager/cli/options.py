"""The decorator that makes a command, and the options that several commands have."""

from collections.abc import Callable, Sequence
from typing import Any

import click

__all__ = [
    "Command",
    "command",
    "common_options",
    "dry_run_option",
    "group",
    "json_option",
    "quiet_option",
    "root_option",
]


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.find_root().obj["debug"] = value


_debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    is_eager=True,
    help="Show the traceback of an error.",
)


def _take_root(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the root that was given after the command, else the one before it."""
    return ctx.find_root().obj.get("root") if value is None else value


_ROOT: dict[str, Any] = {
    "metavar": "URL",
    "help": "The root. Default: SM_ROOT; if it is not set, the other SM_* variables.",
}
root_option = click.option("--root", callback=_take_root, **_ROOT)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
dry_run_option = click.option("--dry-run", "-n", is_flag=True, help="Change nothing; print what would be done.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")


class Command(click.Command):
    """A command that refuses an empty value of an option or argument: a shell writes it for a variable that is not set.

    Without this, `--source-profile "$PROFILE"` would copy with the credentials of another profile.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments as click does, and refuse empty ones.

        Raises:
            UsageError: names the option or argument; or a root was given, and the command takes none.
        """
        ctx.find_root().obj["command"] = ctx.info_name
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:  # a shell completes the words
            return rest
        if "root" not in ctx.params and ctx.find_root().obj.get("root") is not None:
            advice = ": it takes both roots as arguments" if ctx.info_name == "cp" else ""
            raise click.UsageError(f"{ctx.info_name} takes no --root{advice}", ctx)
        _refuse_paths(ctx, self.params)
        for param in self.params:
            value = ctx.params.get(param.name or "")
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and not text.strip() and param.name not in _MAY_BE_EMPTY:
                    name = param.opts[0] if isinstance(param, click.Option) else param.make_metavar(ctx)
                    raise click.UsageError(f"{name} is empty ({text!r}): give a value, or leave it out", ctx)
        return rest


def _refuse_paths(ctx: click.Context, params: Sequence[click.Parameter]) -> None:
    """Refuse a path in place of an id, such as `run-1/` from completion with Tab, and say what to write."""
    for param in params:
        if isinstance(param, click.Argument) and param.name in ("session", "sessions", "step"):
            value = ctx.params.get(param.name) or ()
            for text in value if isinstance(value, tuple) else (value,):
                if "/" in text and (advice := _instead_of_path(text, takes_step=ctx.params.get("step", text) is None)):
                    raise click.UsageError(f"{text!r} is a path, and not an id: {advice}", ctx)


def _instead_of_path(path: str, *, takes_step: bool) -> str | None:
    """Return what to write instead of a path; None if no id is in it.

    Parameters:
        takes_step: True if the command can have a step, and has none.
    """
    from storage_manager.layout import is_id

    head, _, name = path.rstrip("/").rpartition("/")
    session = head.rpartition("/")[2]
    if not is_id(name):
        return None
    if takes_step and is_id(session) and name.startswith("step"):
        return f"give session and step separately: {session} {name}"
    return f"give the id only: {name}"


# The first two are refused with an explanation of their own. Every id begins with an empty prefix.
_MAY_BE_EMPTY = ("root", "host", "prefix")


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command that takes --debug and shows these examples below its help."""
    epilog = _epilog(examples)
    return lambda function: click.command(name, cls=Command, epilog=epilog)(_debug_option(function))


def _keep_root(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj["root"] = value


_early_root_option = click.option("--root", callback=_keep_root, expose_value=False, **_ROOT)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add to a group the options that may be given before the command, too."""
    return _early_root_option(_debug_option(function))


def group(*examples: str) -> Callable[[Callable[..., Any]], click.Group]:
    """Make a function a group of commands that shows these examples below its help."""
    epilog = _epilog(examples)
    return lambda function: click.group(epilog=epilog)(common_options(function))


def _epilog(examples: Sequence[str]) -> str:
    lines = [f"  storage-manager {example}" for example in examples]
    return "\b\n" + "\n".join(["Examples:", *lines])
