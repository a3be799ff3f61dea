"""Commands around the teachers and what they say: teach, cache, weigh, verify."""

from pathlib import Path
from typing import Any

import click

from cli.knobs import recipe_options
from cli.options import (
    compile_option,
    device_option,
    json_option,
    named,
    threads_option,
)
from cli.places import CACHE, NEW, PATH, WORK
from cli.printing import show
from stores.errors import RefkdError
from student.recipe import BIASES, TEACHER_KNOBS, Recipe


@click.command()
@click.argument("data", type=PATH)
@click.argument("out", type=NEW)
@click.option(
    "--bias",
    type=click.Choice(BIASES),
    required=True,
    help="id: keeps the data's location bias; ood: sees every moment moved as well.",
)
@click.option(
    "--moved-span-loss",
    is_flag=True,
    help="Add the span loss of the moved view (ood only).",
)
@click.option(
    "--moved-stretch",
    type=float,
    default=1.0,
    show_default=True,
    help="Moved moments also change their length, at most by this factor (ood only).",
)
@click.option(
    "--folds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Cross-fit: K models more, each without one fold of the videos, for its pairs in a cache.",
)
@click.option(
    "--fold-by",
    default="",
    metavar="REGEX",
    help="Its first group finds in a video's id what the video was cut from: videos of one source lie "
    "in one fold.",
)
@recipe_options(*TEACHER_KNOBS, "select")
@device_option
@threads_option
@compile_option
@json_option
def teach(
    data: Path,
    out: Path,
    *,
    bias: str,
    moved_span_loss: bool,
    moved_stretch: float,
    folds: int,
    fold_by: str,
    recipe: Recipe,
    device: str,
    threads: int | None,
    compiled: bool,
    as_json: bool,
) -> None:
    """Train a teacher on a data set, into the folder OUT."""
    from pipeline.teach import teach as stage

    folder = stage(
        data,
        out,
        bias=bias,
        moved_span_loss=moved_span_loss,
        moved_stretch=moved_stretch,
        folds=folds,
        fold_by=fold_by,
        recipe=recipe,
        device=device,
        threads=threads,
        compiled=compiled,
    )
    show({"teacher": str(folder)}, str(folder), as_json=as_json)


@click.command()
@click.argument("data", type=PATH)
@click.argument("out", type=WORK)
@named("--teacher", "NAME=DIR", "A teacher and its name in the cache. Repeatable.", required=True)
@click.option(
    "--split",
    "splits",
    multiple=True,
    default=("train",),
    show_default=True,
    metavar="NAME",
    help="A split to cache. Repeatable.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the stored logits; float16 has the row maximum subtracted.",
)
@click.option(
    "--codec",
    default="raw",
    show_default=True,
    metavar="NAME",
    help="raw, zstd, gzip, blosc, shuffle-zstd or shuffle-lz4; a checksum always follows.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    show_default=True,
    help="Of the teachers' arithmetic.",
)
@click.option(
    "--views",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="V",
    help="Also ask about V views of each training pair, its moment moved.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that forward the teachers.",
)
@click.option(
    "--part",
    metavar="I/N",
    help="Do part I of N here, while other machines that share OUT do the others.",
)
@click.option(
    "--plan",
    is_flag=True,
    help="Only say what is at hand, what is stale and why, and how many bytes at most it takes.",
)
@device_option
@compile_option
@json_option
def cache(
    data: Path,
    out: Path,
    *,
    teacher: dict[str, Path],
    splits: tuple[str, ...],
    dtype: str,
    codec: str,
    precision: str,
    views: int,
    workers: int,
    part: str | None,
    plan: bool,
    device: str,
    compiled: bool,
    as_json: bool,
) -> None:
    """Write down what teachers say about a data set.

    The start and end logits go into a folder of OUT that is named by the digest of their inputs.
    """
    from pipeline.cache import cache as stage
    from pipeline.cache import plan as plan_stage
    from pipeline.listing import listing

    how: dict[str, Any] = {
        "teachers": teacher,
        "splits": splits,
        "dtype": dtype,
        "codec": codec,
        "precision": precision,
        "views": views,
        "device": device,
        "compiled": compiled,
    }
    if plan and (part is not None or workers > 1):
        own = f"--part {part}" if part is not None else f"--workers {workers}"
        raise RefkdError(
            f"--plan tells of the whole cache and asks nobody, got {own}; leave that out"
        )
    if plan:
        found = plan_stage(data, out, **how)
        show(found, listing(found), as_json=as_json)
        return
    folder = stage(data, out, **how, workers=workers, part=part)
    show({"cache": str(folder)}, str(folder), as_json=as_json)


@click.command()
@click.argument("cache", type=CACHE)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A running Dask scheduler.  [default: threads of this process]",
)
@json_option
def weigh(cache: Path, *, scheduler: str | None, as_json: bool) -> None:
    """Write how wrong each cached teacher is.

    The cross-entropies of equations 1 and 2, per pair and boundary, go into CACHE/weights. One thread
    for each core; DASK_NUM_WORKERS sets another number.
    """
    from pipeline.weigh import weigh as stage

    folder = stage(cache, scheduler=scheduler)
    show({"weights": str(folder)}, str(folder), as_json=as_json)


@click.command()
@click.argument("cache", type=CACHE)
@click.argument("data", type=PATH)
@named("--teacher", "NAME=DIR", "A teacher and its name in the cache. Repeatable.", required=True)
@click.option(
    "--repair",
    is_flag=True,
    help="First make damaged files again; only the very bytes recorded replace one.",
)
@device_option
@compile_option
@json_option
def verify(
    cache: Path,
    data: Path,
    *,
    teacher: dict[str, Path],
    repair: bool,
    device: str,
    compiled: bool,
    as_json: bool,
) -> None:
    """Ask the teachers again and compare with a cache."""
    from pipeline.listing import listing
    from pipeline.verify import verify as stage

    how: dict[str, Any] = {"repair": repair, "device": device, "compiled": compiled}
    result = stage(cache, data, teachers=teacher, **how)
    show(result, listing(result), as_json=as_json)
