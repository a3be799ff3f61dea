"""Running steps: teachers several at a time, everything else one after the other; nothing twice.

The commands run in this process or in its workers, inside the working folder of their data set.
What is finished is found by the commands themselves; a kill costs at most the epoch under way.
"""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, closing, redirect_stdout
from io import StringIO
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from cli.main import refkd
from experiments.evidence import OF_CODE
from experiments.floors import keep_floors
from experiments.plan import Data, Plan
from experiments.steps import Step, data_steps, experiment_steps
from pipeline.crew import Told, work_off
from pipeline.results import plain_settings
from stores.errors import RefkdError
from stores.files import SEAL
from stores.models import read_facts

log = logging.getLogger("refkd")
HERE = Path(__file__).resolve().parent  # $EXPERIMENTS_CODE in commands
OF_DATA_AND_CODE = ("data", *OF_CODE)


class Runner:
    """Runs the steps of experiments, each once, and remembers what they printed."""

    def __init__(self, *, source: Path | None, work: Path, results: Path, jobs: int) -> None:
        self._source, self._work, self._results = source, work.resolve(), results.resolve()
        self._jobs = jobs
        self._done: dict[Step, str] = {}

    def run(self, plan: Plan, names: Sequence[str]) -> Iterator[str]:
        """Run experiments in the order of the plan and yield the name of each that is finished.

        One that fails is told, and the others go on; raises RefkdError at the end.
        """
        failed = []
        for experiment in plan.experiments:
            if experiment.name not in names:
                continue
            log.info("experiment %s", experiment.name)
            data = plan.data_of(experiment)
            results = self._results / data.name
            try:
                self._make(data, results)
                steps = experiment_steps(plan, experiment, results=str(results), jobs=self._jobs)
                with chdir(self._work / data.name):
                    self._do(steps)
            except RefkdError as error:
                log.warning("experiment %s failed: %s", experiment.name, error)
                failed.append(experiment.name)
            else:
                yield experiment.name
        if failed:
            raise RefkdError(
                f"experiments that failed: {', '.join(failed)}; mend what stands above and run the "
                "same command again: finished work is kept"
            )

    def _make(self, data: Data, results: Path) -> None:
        """Make a data set, unless it is there, and keep its floors beside the results."""
        folder = self._work / data.name
        folder.mkdir(parents=True, exist_ok=True)
        with chdir(folder):
            if not Path("data", SEAL).is_file():
                self._do(data_steps(data))
            keep_floors(Path("data"), results, data.source)

    def _do(self, steps: Sequence[Step]) -> None:
        todo = list(dict.fromkeys(step for step in steps if step not in self._done))
        for is_teaching, some in groupby(todo, key=lambda step: "teach" in step.words[:2]):
            if is_teaching:
                self._teach([step for step in some if not _is_taught(step)])
                continue
            for step in some:
                log.info("$ %s", step)
                self._done[step] = _call(self._filled(step))

    def _filled(self, step: Step) -> list[str]:
        """Return the words of a step, with what variables stand for."""
        known = {f"${step.keeps}": output for step, output in self._done.items() if step.keeps}
        words = [known.get(word, word) for word in step.words]
        if any("$REFKD_DATA" in word for word in words):
            if self._source is None:
                raise RefkdError("this needs the real data; give its folder by --data DIR")
            words = [word.replace("$REFKD_DATA", str(self._source)) for word in words]
        return [word.replace("$EXPERIMENTS_CODE", str(HERE)) for word in words]

    def _teach(self, steps: Sequence[Step]) -> None:
        """Train teachers, several at a time."""
        if not steps:
            return
        for step in steps:
            log.info("$ %s", step)
        names, failed = [Path(step.words[3]).name for step in steps], []
        epochs: dict[str, int] = {}
        work = work_off([step.words for step in steps], teach, at_once=self._jobs)
        bar = tqdm(total=len(steps), unit="teacher", file=sys.stderr, dynamic_ncols=True)
        with bar, closing(work) as events:
            for told in events:
                name = names[told.job]
                _follow(told, name, epochs)
                bar.set_description(", ".join(f"{n} epoch {e}" for n, e in epochs.items()))
                if told.kind == "done":
                    bar.update()
                if told.kind == "failed":
                    failed.append(f"{name}: {told.value}")
        if failed:
            raise RefkdError(f"{len(failed)} of {len(steps)} teachers failed: {'; '.join(failed)}")


def _follow(told: Told, name: str, epochs: dict[str, int]) -> None:
    """Keep how far each teacher under way is."""
    if told.kind in ("begun", "epochs"):
        epochs[name] = told.value or 0
    elif told.kind == "notice":
        log.warning("%s: %s", name, told.value)
    elif told.kind in ("done", "failed", "waiting"):
        epochs.pop(name, None)


def teach(words: Sequence[str]) -> str:
    """Run `refkd teach` in a worker process."""
    return _call(words)


def _call(words: Sequence[str]) -> str:
    """Run a command and return the last line it prints, if any."""
    program, *arguments = words
    if program == "python":
        ran = subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=False)
        if ran.returncode:
            raise RefkdError(f"{' '.join(words)} failed with exit code {ran.returncode}")
        return ""
    with redirect_stdout(StringIO()) as printed:
        refkd.commands[arguments[0]].main(arguments[1:], standalone_mode=False)
    return (printed.getvalue().splitlines() or [""])[-1]


def _is_taught(step: Step) -> bool:
    """Return whether the folder of a step holds its teacher; another one is for `teach` to refuse."""
    folder = Path(step.words[3])
    if not (folder / SEAL).is_file():
        return False
    inputs = plain_settings(read_facts(folder)[0]["inputs"])
    found = {name: value for name, value in inputs.items() if name not in OF_DATA_AND_CODE}
    return found == plain_settings(step.settings)
