"""Lines of a block, where their results are, and how a table of them is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from experiments.differences import Key
from experiments.evidence import Evidence, Found, distinct
from experiments.plan import Block, Experiment
from pipeline.ablations import Row

TESTS = ("test_iid", "test_ood")
DASH = "-"


@dataclass(frozen=True)
class Line:
    """A row of a block: its name there, and where its results are."""

    name: str
    experiment: Experiment
    row: Row

    @property
    def key(self) -> Key:
        """What tells it from other rows, whatever it is called."""
        return self.experiment.name, self.row.name

    def found(self, split: str, evidence: Evidence) -> Found:
        """Return its results on a split."""
        return evidence.of(self.experiment, self.row, split)

    def was_run(self, evidence: Evidence) -> bool:
        """Return whether it has a result on any test."""
        return any(self.found(split, evidence) for split in TESTS)


def lines_of(block: Block, evidence: Evidence) -> list[Line]:
    """Return the rows of a block, each once; the experiment's label tells those of several apart."""
    several = len({one.experiment for one in block.shown}) > 1
    lines: dict[Key, Line] = {}
    for shown in block.shown:
        experiment = evidence.plan.experiment(shown.experiment)
        for part in shown.parts or experiment.parts:
            for row in part.chosen:
                label = shown.label or experiment.label
                name = f"{label}: {row.name}" if several else row.name
                line = Line(name, experiment, row)
                lines.setdefault(line.key, line)
    return list(lines.values())


def runs(found: Mapping[str, Found]) -> str:
    """Return how many runs the tests show, of each if they differ."""
    counts = [str(len(distinct(found[split]))) for split in TESTS]
    return "/".join(counts if len(set(counts)) > 1 else counts[:1])


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation of a sample, or a dash for none."""
    if not values:
        return DASH
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of cells, the first row being its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])
