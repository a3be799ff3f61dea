"""What a row gains over another: the paired interval of each difference, and what it rests on.

Differences are in percent. Shapes: S runs, N pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.evidence import Found, distinct
from student.bootstrap import Interval, paired_intervals

LEAST_RUNS = 3  # below which nothing is bold: a claim wants three
Key = tuple[str, str]  # of a row: its experiment and its name there


@dataclass(frozen=True)
class Gap:
    """A row minus another on one split, for the pairs of teachers that both have."""

    gaps_SN: npt.NDArray[np.float64]
    runs: int  # results of the row, or of the other if those are fewer
    most: int  # how many one of the two has alone


Gaps = dict[tuple[Key, str, str], Gap]  # by row, the other row, split


def gap_of(one: Found, other: Found, split: str) -> Gap | None:
    """Return the difference of each test pair's IoU over the pairs of teachers both have, if any."""
    both = sorted(one.keys() & other.keys())
    if not both:
        return None
    first, second = (np.array([some[p]["iou"][split] for p in both]) for some in (one, other))
    shared = [len(distinct({place: some[place] for place in both})) for some in (one, other)]
    most = max(len(distinct(one)), len(distinct(other)))
    return Gap(100 * (first - second), min(shared), most)


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


def interval_cell(found: Interval, gap: Gap) -> str:
    """Return an interval, how many runs it rests on where others have more, and each run's part."""
    text = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    if gap.runs >= LEAST_RUNS and (found.low > 0 or found.high < 0):
        text = f"**{text}**"
    if gap.runs < gap.most:
        text += f" ({gap.runs} run{'s' if gap.runs > 1 else ''})"
    parts = gap.gaps_SN.mean(axis=1)
    alone = len(parts) < 2
    return text if alone else f"{text}; by pair {' '.join(f'{part:+.1f}' for part in parts)}"
