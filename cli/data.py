"""Commands that make and look at what lies on disk: prepare, simulate, inspect."""

from pathlib import Path
from typing import Any

import click

from cli.options import durations_option, json_option, named
from cli.places import CACHE, NEW, PATH
from cli.printing import show
from stores.errors import RefkdError


@click.command()
@click.argument("out", type=NEW)
@click.option(
    "--annotations",
    type=PATH,
    required=True,
    metavar="DIR|FILE",
    help="Charades-CD or ActivityNet-CD JSON, moment-detr jsonl or Charades-STA text.",
)
@click.option(
    "--features",
    type=PATH,
    required=True,
    metavar="DIR|FILE",
    help="A folder of <video>.npy [rows, channels], or one HDF5 file with a dataset per video.",
)
@named("--split", "NAME=FILE", "Take a split from this file, whatever its name. Repeatable.")
@click.option(
    "--words", type=PATH, metavar="FILE", help="Word vectors as GloVe text.  [default: 6B 50-d]"
)
@durations_option
@click.option(
    "--grid",
    type=click.Choice(["fixed", "cap"]),
    default="fixed",
    show_default=True,
    help="fixed: every video has --clips clips; cap: shorter videos keep their rows.",
)
@click.option(
    "--clips", type=click.IntRange(min=2), default=128, show_default=True, help="Clips of a video."
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Leave out pairs whose video has no features; say how many.",
)
@json_option
def prepare(
    out: Path,
    *,
    annotations: Path,
    features: Path,
    split: dict[str, Path],
    words: Path | None,
    durations: Path | None,
    grid: str,
    clips: int,
    allow_missing: bool,
    as_json: bool,
) -> None:
    """Write a data set from annotations, features and words.

    OUT is a folder; later commands read nothing else.
    """
    from pipeline.prepare import prepare as stage

    folder = stage(
        out,
        annotations=annotations,
        features=features,
        splits=split,
        words=words,
        durations=durations,
        grid=grid,
        clips=clips,
        allow_missing=allow_missing,
    )
    show({"data": str(folder)}, str(folder), as_json=as_json)


@click.command()
@click.argument("out", type=NEW)
@click.option(
    "--annotations",
    type=PATH,
    metavar="DIR",
    help="Make features for these annotations.  [default: the built-in demo data set]",
)
@click.option(
    "--words", type=PATH, metavar="FILE", help="Word vectors as GloVe text.  [default: 6B 50-d]"
)
@click.option(
    "--clips",
    type=click.IntRange(min=2),
    help="Clips of a video.  [default: 128, or 32 for the built-in data set]",
)
@durations_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
@json_option
def simulate(
    out: Path,
    *,
    annotations: Path | None,
    words: Path | None,
    clips: int | None,
    durations: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Write a data set whose features are simulated.

    OUT is a folder. The features encode the answers: they test the machinery, and scores on them
    say nothing about real video.
    """
    from pipeline.simulate import simulate as stage

    folder = stage(
        out, annotations=annotations, words=words, clips=clips, durations=durations, seed=seed
    )
    show({"data": str(folder)}, str(folder), as_json=as_json)


@click.command()
@click.argument("path", type=CACHE)
@durations_option
@json_option
def inspect(path: Path, *, durations: Path | None, as_json: bool) -> None:
    """Say what a file or folder holds, and its defects.

    PATH is a data set, annotations, a cache, weights, a teacher, a run or results of `refkd ablate`.
    """
    from pipeline.inspect import inspect as stage
    from pipeline.listing import listing

    facts: dict[str, Any] = stage(path, durations=durations)
    show(facts, listing(facts), as_json=as_json)


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--runs",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="Where runs or results of `refkd ablate` lie, at any depth. Repeatable.",
)
@click.option("--prune", is_flag=True, help="Delete what no run used, after asking.")
@click.option("--no-runs", is_flag=True, help="With --prune: there are no runs, all may go.")
@click.option("--unfinished", is_flag=True, help="With --prune: half-built work may go, too.")
@click.option("--yes", is_flag=True, help="With --prune: do not ask.")
@json_option
def caches(
    folder: Path,
    *,
    runs: tuple[Path, ...],
    prune: bool,
    no_runs: bool,
    unfinished: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """List the caches below a folder: size, age, teachers, and the runs that used each."""
    from pipeline.caches import caches as stage
    from pipeline.caches import caches_text
    from pipeline.pruning import find_prunable
    from pipeline.pruning import prune as delete

    if not prune:
        if no_runs or unfinished or yes:
            raise RefkdError("--no-runs, --unfinished and --yes say how to prune; add --prune")
        found = stage(folder, runs=runs)
        show(found, caches_text(found), as_json=as_json)
        return
    prunable = find_prunable(folder, runs=runs, no_runs=no_runs, unfinished=unfinished)
    click.echo(str(prunable), err=as_json)
    wanted = yes or (bool(prunable.doomed) and click.confirm("Delete these?", err=True))
    gone = delete(prunable) if wanted else []
    show({**prunable.told(), "deleted": gone}, f"{len(gone)} deleted", as_json=as_json)
