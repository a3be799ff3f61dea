"""Options that commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.places import PATH
from stores.errors import RefkdError

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
