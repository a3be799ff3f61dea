"""Commands around what models answer: evaluate, predict, score, report; and demo, which is all at once."""

from pathlib import Path

import click

from cli.options import (
    device_option,
    durations_option,
    group_by_option,
    json_option,
    named,
    threads_option,
)
from cli.places import FILE, PATH, WORK
from cli.printing import show


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
    "--predictions", type=FILE, metavar="FILE.jsonl", help="Write every predicted window here."
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
    "--features",
    type=PATH,
    required=True,
    metavar="FILE|DIR",
    help="One video, a .npy file [rows, channels]; or, with --video, what prepare takes.",
)
@click.option(
    "--video", default="", metavar="ID", help="Which video of a folder or an HDF5 file it is."
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
    video: str,
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
        video=video,
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
@durations_option
@json_option
def score(
    predictions: Path,
    annotations: Path,
    *,
    convention: str,
    train: Path | None,
    durations: Path | None,
    as_json: bool,
) -> None:
    """Score a file of predictions, beside the floors.

    PREDICTIONS is moment-detr style jsonl; ANNOTATIONS is a file as `refkd prepare` reads them.
    """
    from pipeline.score import score as stage
    from pipeline.table import score_table

    result = stage(
        predictions, annotations, convention=convention, train=train, durations=durations
    )
    show(result, score_table(result), as_json=as_json)


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.argument("out", type=FILE)
@click.option("--data", type=PATH, required=True, metavar="DIR", help="Data set to score on.")
@named(
    "--teacher",
    "NAME=DIR",
    "A teacher to show beside the students; a NAME again for each of several seeds.",
    several=True,
)
@group_by_option
@device_option
@json_option
def report(
    runs: tuple[Path, ...],
    out: Path,
    *,
    data: Path,
    teacher: dict[str, list[Path]],
    group_by: str,
    device: str,
    as_json: bool,
) -> None:
    """Write one HTML page about runs.

    RUNS are run folders, or folders that hold run folders or results of `refkd ablate`; one run at
    least must be there. OUT is the page. Runs that differ by seed alone are shown together.
    """
    from pipeline.report import report as stage

    page = stage(out, data=data, teachers=teacher, runs=runs, group_by=group_by, device=device)
    show({"report": str(page)}, str(page), as_json=as_json)


@click.command()
@click.argument("out", type=WORK)
@device_option
@threads_option
@json_option
def demo(out: Path, *, device: str, threads: int | None, as_json: bool) -> None:
    """Run every stage on the built-in data set."""
    from pipeline.demo import demo as stage

    result = stage(out, device=device, threads=threads)
    show(result, result["table"], as_json=as_json)
