"""Options that commands share, and the options that the fields of a Recipe become."""

import functools
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from stores.errors import RefkdError
from student.recipe import Recipe

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

PATH: click.Path = click.Path(path_type=Path)


class Named(click.ParamType[tuple[str, Path]]):
    """A name and a path, written NAME=PATH."""

    name = "named path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        if isinstance(value, tuple):
            return value
        name, equals, path = str(value).partition("=")
        if not (name and equals and path):
            self.fail(f"expected NAME=PATH, got {value}", param, ctx)
        return name, Path(path)


def named(option: str, metavar: str, help: str, *, required: bool = False) -> Decorator:
    """Return a repeatable NAME=PATH option; the command receives a dict under the option's name."""
    return click.option(
        option,
        metavar=metavar,
        help=help,
        type=Named(),
        multiple=True,
        required=required,
        callback=_one_path_per_name,
    )


def _one_path_per_name(
    ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, Path], ...]
) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, path in pairs:
        if name in paths:
            raise RefkdError(f"{param.opts[0]} {name} is given twice; give each name once")
        paths[name] = path
    return paths


json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line of stdout."
)
device_option: Decorator = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)
threads_option: Decorator = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads; the same number gives the same bits.  [default: torch's number]",
)


def recipe_options(*names: str) -> Decorator:
    """Give a command the options of a Recipe's fields (all, or those named) and pass it `recipe`."""
    knobs = [knob for knob in fields(Recipe) if not names or knob.name in names]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_recipe(**values: Any) -> None:
            chosen = {knob.name: values.pop(knob.name) for knob in knobs}
            command(recipe=Recipe(**chosen), **values)

        decorated: Command = with_recipe
        for knob in reversed(knobs):  # click shows the option added last first
            decorated = _option(knob)(decorated)
        return decorated

    return decorate


def _option(knob: Field[Any]) -> Decorator:
    """Return the click option of one field: its type and choices from the default and limits."""
    dashed = knob.name.replace("_", "-")
    help = f"{knob.metadata['help'][0].upper()}{knob.metadata['help'][1:]}."
    if isinstance(knob.default, bool):
        flags = f"--{dashed}/--no-{dashed}"
        return click.option(flags, default=knob.default, show_default=True, help=help)
    if isinstance(knob.default, tuple):
        return click.option(
            f"--{dashed}",
            default=",".join(knob.default),
            show_default=True,
            metavar="NAME,...",
            callback=_comma_list,
            help=help,
        )
    choices = knob.metadata.get("choices")
    kind = click.Choice(choices) if choices else type(knob.default)
    return click.option(
        f"--{dashed}", type=kind, default=knob.default, show_default=True, help=help
    )


def _comma_list(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())
