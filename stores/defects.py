"""Defects of annotations that are kept, never repaired: how many pairs show which.

| kind                           | the pair has                                                    |
| ------------------------------ | --------------------------------------------------------------- |
| end_after_duration             | a moment that ends 1e-6 s or more after the video               |
| end_after_duration_by_rounding | a moment that ends after the video, by less than 1e-6 s         |
| start_after_duration           | a moment that starts at or after the end: nothing can hit it    |
| start_before_zero              | a moment that starts before the video                           |
| reversed                       | a moment that ends before it starts                             |
| zero_length                    | a moment that ends where it starts                              |
| untrimmed_query                | a query with spaces around it                                   |

A pair is counted once under each kind that it shows, so kinds overlap: a moment that starts after
the end also ends after it. What pairs of one video contradict is told apart.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from stores.pairs import Pair

KINDS = (
    "end_after_duration",
    "end_after_duration_by_rounding",
    "start_after_duration",
    "start_before_zero",
    "reversed",
    "zero_length",
    "untrimmed_query",
)
ROUNDING_S = 1e-6


def count_defects(pairs: Sequence[Pair]) -> dict[str, int]:
    """Return the number of pairs that show each kind of defect, only kinds that occur, in the table's order."""
    counts = Counter(kind for pair in pairs for kind in set(_defects(pair)))
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def empty_moments(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs whose first window holds no part of the video: models are taught its first clip."""
    return [pair for pair in pairs if not _holds_some(*pair.windows[0], pair.duration_s)]


def _holds_some(start_s: float, end_s: float, duration_s: float) -> bool:
    return max(start_s, 0.0) < min(end_s, duration_s)


def contradictions(pairs: Mapping[str, Sequence[Pair]]) -> list[str]:
    """Return a sentence for what pairs of one video contradict: its duration, or the split it is of."""
    durations: dict[str, dict[str, None]] = {}
    splits: dict[str, dict[str, None]] = {}
    for split, some in pairs.items():
        for pair in some:
            durations.setdefault(pair.video, {})[f"{pair.duration_s:g} s"] = None
            splits.setdefault(pair.video, {})[split] = None
    told = []
    for what, found in (("have several durations", durations), ("are in several splits", splits)):
        several = [video for video, values in found.items() if len(values) > 1]
        if several:
            values = ", ".join(found[several[0]])
            told.append(f"{len(several)} videos {what}, as {several[0]}: {values}")
    return told


def _defects(pair: Pair) -> Iterator[str]:
    for start_s, end_s in pair.windows:
        if end_s > pair.duration_s:
            rounding = end_s - pair.duration_s < ROUNDING_S
            yield "end_after_duration_by_rounding" if rounding else "end_after_duration"
        if start_s >= pair.duration_s:
            yield "start_after_duration"
        if start_s < 0:
            yield "start_before_zero"
        if end_s < start_s:
            yield "reversed"
        if end_s == start_s:
            yield "zero_length"
    if pair.query != pair.query.strip():
        yield "untrimmed_query"
