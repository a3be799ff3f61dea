"""The options that the fields of a Recipe become, and the recipes that have names."""

import functools
import logging
import shlex
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

import click
from click.core import ParameterSource

from cli.options import Command, Decorator
from pipeline.listing import said, settings_said
from student.recipe import RECIPES, Recipe

log = logging.getLogger("refkd")


class TellsRecipes(click.Command):
    """A command whose help ends with what each named recipe changes, as options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of recipes, the paper's first."""
        with formatter.section("Recipes"):
            formatter.write_dl(
                [
                    (name, _as_options(changes) or "the defaults")
                    for name, changes in RECIPES.items()
                ]
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


def _as_options(changes: Mapping[str, Any]) -> str:
    """Return changes of a recipe as the options that make them."""
    words = []
    for name, value in changes.items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        elif isinstance(value, tuple):
            words.append(f"--{dashed} {shlex.quote(','.join(value))}")
        else:
            words.append(f"--{dashed} {said(value)}")
    return " ".join(words)


def _recipe_option() -> Decorator:
    return click.option(
        "--recipe",
        "recipe_name",
        type=click.Choice(tuple(RECIPES)),
        metavar="NAME",
        default="paper",
        show_default=True,
        help="A named recipe to begin with, of those at the end; the options below, where given, "
        "override it.",
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
