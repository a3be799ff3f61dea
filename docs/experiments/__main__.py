"""Run experiments and write the tables of docs/results.md: `make experiments DATA=DIR`."""

import logging
import os
import shlex
from pathlib import Path

import click

from cli.main import ToStderr
from cli.places import PATH
from experiments.full import FULL
from experiments.page import write_page
from experiments.plan import Plan
from experiments.smoke import SMOKE
from experiments.steps import Step, data_steps, experiment_steps
from stores.errors import RefkdError

DOCS = Path(__file__).resolve().parents[1]
PLANS = {"full": FULL, "smoke": SMOKE}

log = logging.getLogger("refkd")


@click.command("experiments")
@click.option("--data", type=PATH, metavar="DIR", help="The folder with the real data.")
@click.option(
    "--work",
    type=PATH,
    metavar="DIR",
    default=Path("build", "experiments"),
    show_default=True,
    help="Data sets, teachers, caches and runs, in a folder for each data set.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="At once.")
@click.option("--only", multiple=True, metavar="NAME", help="An experiment. Repeatable.")
@click.option("--tables", is_flag=True, help="Only write the page, from the kept results.")
@click.option("--commands", is_flag=True, help="Only print the commands.")
@click.option("--smoke", is_flag=True, help="The smallest plan, all of it inside --work.")
@click.option("--results", type=PATH, metavar="DIR", help="[default: docs/results]")
@click.option("--page", type=PATH, metavar="FILE", help="[default: docs/results.md]")
def main(
    data: Path | None,
    work: Path,
    jobs: int,
    only: tuple[str, ...],
    tables: bool,
    commands: bool,
    smoke: bool,
    results: Path | None,
    page: Path | None,
) -> None:
    """Run the experiments behind docs/results.md, going on where kept results stop."""
    plan, home = PLANS["smoke" if smoke else "full"], work if smoke else DOCS
    results, page = results or home / "results", page or home / "results.md"
    log.handlers = [ToStderr()]
    log.setLevel(logging.INFO)
    try:
        names = _chosen(plan, only)
        if commands:
            _print_commands(plan, names, results=results, jobs=jobs)
        elif not tables:
            _run(plan, names, data=data, work=work, jobs=jobs, results=results, page=page)
        else:
            write_page(plan, results, page)
    except RefkdError as error:
        raise click.ClickException(str(error)) from error


def _chosen(plan: Plan, only: tuple[str, ...]) -> list[str]:
    names = [experiment.name for experiment in plan.experiments]
    for name in only:
        if name not in names:
            raise RefkdError(f"no experiment {name}; there are {', '.join(names)}")
    return [name for name in names if not only or name in only]


def _run(
    plan: Plan,
    names: list[str],
    *,
    data: Path | None,
    work: Path,
    jobs: int,
    results: Path,
    page: Path,
) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
    from experiments.running import Runner

    source = data and data.resolve()
    for name in Runner(source=source, work=work, results=results, jobs=jobs).run(plan, names):
        changed = write_page(plan, results, page)
        log.info("experiment %s is finished%s", name, f"; {page} is new" if changed else "")


def _print_commands(plan: Plan, names: list[str], *, results: Path, jobs: int) -> None:
    """Print what would be run, each command once, for a shell in an empty folder."""
    shown: set[Step] = set()
    click.echo("EXPERIMENTS=$PWD")
    click.echo(f"EXPERIMENTS_CODE={shlex.quote(str(Path(__file__).resolve().parent))}")
    for experiment in plan.experiments:
        if experiment.name not in names:
            continue
        data = plan.data_of(experiment)
        own = str(results.resolve() / data.name)
        steps = [*data_steps(data), *experiment_steps(plan, experiment, results=own, jobs=jobs)]
        click.echo(f"# {experiment.name}")
        click.echo(f'mkdir -p "$EXPERIMENTS/{data.name}" && cd "$EXPERIMENTS/{data.name}"')
        for step in dict.fromkeys(steps):
            if step not in shown:
                shown.add(step)
                click.echo(str(step))


if __name__ == "__main__":
    main()
