"""Commands that train students: distill, ablate."""

from pathlib import Path

import click

from cli.idle import refuse_idle, refuse_idle_of_table
from cli.knobs import TellsRecipes, given_knobs, recipe_options
from cli.options import (
    compile_option,
    device_option,
    group_by_option,
    json_option,
    named,
    threads_option,
)
from cli.places import CACHE, PATH, WORK
from cli.printing import show
from pipeline.ablations import TABLES
from student.recipe import Recipe


@click.command(cls=TellsRecipes)
@click.argument("data", type=PATH)
@click.argument("cache", type=CACHE)
@click.argument("runs", type=WORK)
@recipe_options()
@device_option
@threads_option
@compile_option
@json_option
def distill(
    data: Path,
    cache: Path,
    runs: Path,
    *,
    recipe: Recipe,
    device: str,
    threads: int | None,
    compiled: bool,
    as_json: bool,
) -> None:
    """Train a student from a cache.

    The run goes into a folder of RUNS that is named by the digest of recipe, cache and data.
    """
    from pipeline.distill import distill as stage

    refuse_idle(recipe)
    folder = stage(data, cache, runs, recipe, device=device, threads=threads, compiled=compiled)
    show({"run": str(folder)}, str(folder), as_json=as_json)


@click.command(cls=TellsRecipes)
@click.argument("data", type=PATH)
@click.argument("caches", type=CACHE, nargs=-1, required=True, metavar="CACHE...")
@click.argument("runs", type=WORK)
@click.option(
    "--table",
    type=click.Choice(tuple(TABLES)),
    required=True,
    help="A table of the paper, its warm-up figure, the controls that it lacks, students of other "
    "sizes, or the named recipes (most want caches of `refkd cache --views 8`).",
)
@click.option(
    "--row",
    "rows",
    multiple=True,
    metavar="NAME",
    help="A row of the table to train, by its printed name; a wrong one lists all. Repeatable.  "
    "[default: all]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Students of each row, with --seed and those that follow.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Students trained at once, each on one CPU thread.",
)
@named(
    "--teacher",
    "NAME=DIR",
    "A teacher's folder, for the rows of teachers; a NAME again for each of several caches.",
    several=True,
)
@click.option(
    "--results",
    type=WORK,
    metavar="DIR",
    help="Where a JSON file of each finished run is kept.  [default: RUNS/results]",
)
@group_by_option
@recipe_options()
@device_option
@compile_option
@json_option
def ablate(
    data: Path,
    caches: tuple[Path, ...],
    runs: Path,
    *,
    table: str,
    rows: tuple[str, ...],
    seeds: int,
    jobs: int,
    teacher: dict[str, list[Path]],
    results: Path | None,
    group_by: str,
    recipe: Recipe,
    device: str,
    compiled: bool,
    as_json: bool,
) -> None:
    """Train and compare every row of a table.

    Each row changes the recipe given here and has several students. Caches whose teachers differ
    by seed alone share the students of a row; other caches make row groups of their own. What is
    finished is not repeated, in whichever table it stood.
    """
    from pipeline.ablate import ablate as stage
    from pipeline.ablation_table import ablation_table

    refuse_idle_of_table(recipe, TABLES[table], rows)
    result = stage(
        data,
        caches,
        runs,
        table=table,
        recipe=recipe,
        given=given_knobs(),
        seeds=seeds,
        jobs=jobs,
        teachers=teacher,
        results=results,
        rows=rows,
        group_by=group_by,
        device=device,
        compiled=compiled,
    )
    show(result, ablation_table(result), as_json=as_json)
