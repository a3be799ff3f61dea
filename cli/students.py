"""Commands around the students: distill, ablate, evaluate, predict, score, report, demo."""

from pathlib import Path

import click

from cli.options import (
    CACHE,
    PATH,
    compile_option,
    device_option,
    json_option,
    named,
    recipe_options,
    threads_option,
)
from cli.printing import show
from pipeline.ablations import TABLES
from student.recipe import Recipe


@click.command()
@click.argument("data", type=PATH)
@click.argument("cache", type=CACHE)
@click.argument("runs", type=PATH)
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

    folder = stage(data, cache, runs, recipe, device=device, threads=threads, compiled=compiled)
    show({"run": str(folder)}, str(folder), as_json=as_json)


@click.command()
@click.argument("data", type=PATH)
@click.argument("caches", type=CACHE, nargs=-1, required=True, metavar="CACHE...")
@click.argument("runs", type=PATH)
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
    help="A row of the table to train. Repeatable.  [default: all]",
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
    type=PATH,
    metavar="DIR",
    help="Where a JSON file of each finished run is kept.  [default: RUNS/results]",
)
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

    result = stage(
        data,
        caches,
        runs,
        table=table,
        recipe=recipe,
        seeds=seeds,
        jobs=jobs,
        teachers=teacher,
        results=results,
        rows=rows,
        device=device,
        compiled=compiled,
    )
    show(result, ablation_table(result), as_json=as_json)


@click.command()
@click.argument("model", type=PATH)
@click.argument("data", type=PATH)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    help="A split to score. Repeatable.  [default: all but train]",
)
@click.option(
    "--predictions", type=PATH, metavar="FILE.jsonl", help="Write every predicted window here."
)
@device_option
@json_option
def evaluate(
    model: Path,
    data: Path,
    *,
    splits: tuple[str, ...],
    predictions: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Score a teacher or a student, beside the floors.

    MODEL is a teacher or a run folder; the floors are those of each split of DATA.
    """
    from pipeline.evaluate import evaluate as stage
    from pipeline.table import evaluation_table

    result = stage(model, data, splits=splits, predictions=predictions, device=device)
    show(result, evaluation_table(result), as_json=as_json)


@click.command()
@click.argument("model", type=PATH)
@click.option(
    "--features", type=PATH, required=True, metavar="FILE.npy", help="One video, [rows, channels]."
)
@click.option(
    "--duration", type=float, required=True, metavar="SECONDS", help="Length of the video."
)
@click.option("--query", required=True, metavar="TEXT", help="What to look for.")
@click.option(
    "--words",
    type=PATH,
    metavar="FILE",
    help="Word vectors.  [default: the file MODEL was trained with]",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many windows to return, best first.",
)
@device_option
@json_option
def predict(
    model: Path,
    *,
    features: Path,
    duration: float,
    query: str,
    words: Path | None,
    top: int,
    device: str,
    as_json: bool,
) -> None:
    """Find a query in one video."""
    from pipeline.listing import listing
    from pipeline.predict import predict as stage

    windows = stage(
        model,
        features=features,
        duration_s=duration,
        query=query,
        words=words,
        top=top,
        device=device,
    )
    show({"windows": windows}, listing({"windows": windows}), as_json=as_json)


@click.command()
@click.argument("predictions", type=PATH)
@click.argument("annotations", type=PATH)
@click.option(
    "--convention",
    type=click.Choice(["hull", "shuffle"]),
    default="hull",
    show_default=True,
    help="hull: IoU with >=; shuffle: intersection / (union + 1e-4) with >.",
)
@click.option(
    "--train", type=PATH, metavar="FILE", help="Training annotations, for the fitted floors."
)
@json_option
def score(
    predictions: Path, annotations: Path, *, convention: str, train: Path | None, as_json: bool
) -> None:
    """Score a file of predictions, beside the floors.

    PREDICTIONS is moment-detr style jsonl; ANNOTATIONS jsonl or Charades-CD style JSON.
    """
    from pipeline.score import score as stage
    from pipeline.table import score_table

    result = stage(predictions, annotations, convention=convention, train=train)
    show(result, score_table(result), as_json=as_json)


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.argument("out", type=PATH)
@click.option("--data", type=PATH, required=True, metavar="DIR", help="Data set to score on.")
@named(
    "--teacher",
    "NAME=DIR",
    "A teacher to show beside the students; a NAME again for each of several seeds.",
    several=True,
)
@device_option
@json_option
def report(
    runs: tuple[Path, ...],
    out: Path,
    *,
    data: Path,
    teacher: dict[str, list[Path]],
    device: str,
    as_json: bool,
) -> None:
    """Write one HTML page about runs.

    RUNS are run folders, or folders that hold run folders or results of `refkd ablate`; OUT is the
    page. Runs that differ by seed alone are shown together.
    """
    from pipeline.report import report as stage

    page = stage(out, data=data, teachers=teacher, runs=runs, device=device)
    show({"report": str(page)}, str(page), as_json=as_json)


@click.command()
@click.argument("out", type=PATH)
@device_option
@threads_option
@json_option
def demo(out: Path, *, device: str, threads: int | None, as_json: bool) -> None:
    """Run every stage on the built-in data set."""
    from pipeline.demo import demo as stage

    result = stage(out, device=device, threads=threads)
    show(result, result["table"], as_json=as_json)
