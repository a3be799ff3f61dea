"""What a row gains over another: the paired interval of each difference, and what it rests on.

Differences are in percent. Shapes: S runs, N pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.evidence import Found, distinct
from pipeline.results import Result, plain_settings
from stores.fingerprints import canonical_json
from student.bootstrap import Interval, paired_intervals

LEAST_RUNS = 3  # below which nothing is bold: a claim wants three
Key = tuple[str, str]  # of a row: its experiment and its name there


@dataclass(frozen=True)
class Gap:
    """A row minus another on one split, for the pairs of teachers that both have."""

    gaps_SN: npt.NDArray[np.float64]
    runs: int  # results of the row, or of the other if those are fewer
    others: bool  # whether the two rest on teachers of the same settings but other weights


Gaps = dict[tuple[Key, str, str], Gap]  # by row, the other row, split


def gap_of(one: Found, other: Found, split: str) -> Gap | None:
    """Return the difference of each test pair's IoU over the pairs of teachers both have, if any."""
    both = sorted(one.keys() & other.keys())
    if not both:
        return None
    first, second = (np.array([some[p]["iou"][split] for p in both]) for some in (one, other))
    shared = [len(distinct({place: some[place] for place in both})) for some in (one, other)]
    others = any(_have_others(one[place], other[place]) for place in both)
    return Gap(100 * (first - second), min(shared), others)


def intervals(gaps: Gaps, groups: Mapping[str, Sequence[str]]) -> dict[tuple[Key, str, str], str]:
    """Return the cell of each difference; those of one split are resampled together."""
    found: dict[tuple[Key, str, str], str] = {}
    for split, own in groups.items():
        keys = [key for key in gaps if key[2] == split]
        if keys:
            means = np.stack([gaps[key].gaps_SN.mean(axis=0) for key in keys])
            for key, interval in zip(keys, paired_intervals(means, groups=own), strict=True):
                found[key] = interval_cell(interval, gaps[key])
    return found


def interval_cell(found: Interval | None, gap: Gap) -> str:
    """Return an interval, how many runs it rests on if they are few, and each run's part.

    Of a lone group there is the mean alone.
    """
    text = f"{found.mean if found else gap.gaps_SN.mean():+.2f}"
    text += f" [{found.low:+.2f}, {found.high:+.2f}]" if found else ""
    if found and gap.runs >= LEAST_RUNS and (found.low > 0 or found.high < 0):
        text = f"**{text}**"
    if gap.runs < LEAST_RUNS:
        text += f" ({gap.runs} run{'s' if gap.runs > 1 else ''})"
    if gap.others:
        text += " (other weights of the same teachers)"
    parts = gap.gaps_SN.mean(axis=1)
    alone = len(parts) < 2
    return text if alone else f"{text}; by pair {' '.join(f'{part:+.1f}' for part in parts)}"


def _have_others(one: Result, other: Result) -> bool:
    """Return whether a teacher that both name, of the same settings, was trained anew for one."""
    first, second = _weights(one), _weights(other)
    return any(first[key] != second[key] for key in first.keys() & second.keys())


def _weights(result: Result) -> dict[str, str]:
    """Return the seal of each teacher that a result is of or was taught by, by its settings."""
    teachers, seals = result["about"]["teachers"], result["seals"]
    own = seals.get("teachers")
    if own is None:  # of teachers themselves
        own = dict(zip(teachers, seals["models"], strict=True))
    return {canonical_json(plain_settings(teachers[name])): seal for name, seal in own.items()}
