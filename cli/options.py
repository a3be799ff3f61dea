"""Options that commands share, and the options that the fields of a Recipe become."""

import functools
import logging
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cli.places import PATH
from pipeline.listing import settings_said
from stores.errors import RefkdError
from student.recipe import RECIPES, Recipe

log = logging.getLogger("refkd")
Command = Callable[..., None]
Decorator = Callable[[Command], Command]


class Named(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
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
        return name, PATH.convert(path, param, ctx)


def named(
    option: str, metavar: str, help: str, *, required: bool = False, several: bool = False
) -> Decorator:
    """Return a repeatable NAME=PATH option; the command receives a dict under the option's name.

    With `several` a name may be given more than once, and has a list of paths.
    """
    return click.option(
        option,
        metavar=metavar,
        help=help,
        type=Named(),
        multiple=True,
        required=required,
        callback=_paths_per_name if several else _one_path_per_name,
    )


Pairs = tuple[tuple[str, Path], ...]


def _one_path_per_name(ctx: click.Context, param: click.Parameter, pairs: Pairs) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, path in pairs:
        if name in paths:
            raise RefkdError(f"{param.opts[0]} {name} is given twice; give each name once")
        paths[name] = path
    return paths


def _paths_per_name(
    ctx: click.Context, param: click.Parameter, pairs: Pairs
) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {}
    for name, path in pairs:
        paths.setdefault(name, []).append(path)
    return paths


json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line of stdout."
)
durations_option: Decorator = click.option(
    "--durations",
    type=PATH,
    metavar="FILE",
    help="Seconds of each video, for annotations without them.",
)
device_option: Decorator = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)
group_by_option: Decorator = click.option(
    "--group-by",
    default="",
    metavar="REGEX",
    help="Its first group finds in a video's id what the video was cut from: intervals draw those "
    "instead of videos.",
)
compile_option: Decorator = click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the networks first, which takes minutes: for a GPU, on a CPU it does not pay.",
)
threads_option: Decorator = click.option(
    "--threads",
    type=click.IntRange(min=1, max=1024),  # what is begun with more crashes, and goes on with it
    help="CPU threads; the same number gives the same bits.  [default: torch's number]",
)


def recipe_options(*names: str) -> Decorator:
    """Give a command the options of a Recipe's fields (all, or those named) and pass it `recipe`.

    With all of them comes --recipe: a named recipe, which options that are given override.
    """
    knobs = [knob for knob in fields(Recipe) if not names or knob.name in names]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_recipe(**values: Any) -> None:
            changes = {} if names else _named_recipe(values.pop("recipe_name"))
            given, chosen = given_knobs(), {}
            for knob in knobs:
                value = values.pop(knob.name)
                chosen[knob.name] = value if knob.name in given else changes.get(knob.name, value)
            command(recipe=Recipe(**chosen), **values)

        decorated: Command = with_recipe
        for knob in reversed(knobs):  # click shows the option added last first
            decorated = _option(knob)(decorated)
        return decorated if names else _recipe_option()(decorated)

    return decorate


def given_knobs() -> list[str]:
    """Return the fields of a Recipe that the command under way was given as options."""
    context = click.get_current_context()
    known = [knob.name for knob in fields(Recipe) if knob.name in context.params]
    return [n for n in known if context.get_parameter_source(n) is not ParameterSource.DEFAULT]


def _named_recipe(name: str) -> dict[str, Any]:
    """Return what a named recipe changes of the paper's, and tell the user."""
    if changes := RECIPES[name]:
        log.info("recipe %s: %s", name, ", ".join(settings_said(changes)))
    return changes


def _recipe_option() -> Decorator:
    return click.option(
        "--recipe",
        "recipe_name",
        type=click.Choice(tuple(RECIPES)),
        default="paper",
        show_default=True,
        help="A named recipe to begin with; the options below, where given, override it.",
    )


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
