"""How long a cache's building will still take: a range, from the first finished unit on.

Each array has a pace of its own, for its network may be another, so arrays take turns. An array's
first unit also loads the network and tells least: the range is wide until the second. Then it is as
wide as units differed so far, and a little for what no unit can tell: that the machine may be
busier, or less so, from now on.
"""

import math
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

from stores.units import Unit

UNSEEN = (0.4, 2.5)  # pace of an array that was not heard of, as a part of the others' extremes
FIRST = (0.3, 1.3)  # pace of an array after its first unit, as a part of that unit's
DRIFT = 0.1  # by which share all that is left may be faster or slower than what was
EXPECTED, WEIGHT = 0.1, 3  # spread of units before any is seen, and how many units that counts for
WIDTH = 2.3  # deviations to either side
SPANS, RECENT = 6, 4  # the pace may again be that of any such part of the past, of so many units
SEAL_S, SEAL_BYTES_PER_S = 2.0, 2e8  # to seal the finished cache, at most
SYNC = (0.2, 2.0)  # how long its syncs take, as a part of those that were measured

Range = tuple[float, float]  # at least, at most


def in_turns(units: Sequence[Unit]) -> list[Unit]:
    """Return units so that arrays take turns, those of each in their order."""
    by_array: dict[str, list[Unit]] = {}
    for unit in units:
        by_array.setdefault(unit.array, []).append(unit)
    turns = zip_longest(*by_array.values())
    return [unit for turn in turns for unit in turn if unit is not None]


class TimeLeft:
    """Told of each finished unit, it knows how many seconds are left, at least and at most.

    Workers take the units in their order, each the next one when it has finished one. After the last
    one `num_bytes` are digested, and files are synced, which took `syncs_s` for as many.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        workers: int = 1,
        num_bytes: int = 0,
        syncs_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._workers = clock, workers
        self._begun = [clock()] * workers  # when each unit was, by its place
        self._left = dict(enumerate(units))
        self._place = {(unit.array, unit.lo): place for place, unit in self._left.items()}
        self._pace: dict[str, list[float]] = {unit.array: [] for unit in units}  # seconds a row
        seal_s = SEAL_S + num_bytes / SEAL_BYTES_PER_S
        self._end_s = (SYNC[0] * syncs_s, seal_s + SYNC[1] * syncs_s)

    def take(self, unit: Unit) -> None:
        """Count a unit that ends now."""
        now, place = self._clock(), self._place[unit.array, unit.lo]
        del self._left[place]
        began = self._begun[min(place, len(self._begun) - 1)]  # two may end at once, in any order
        self._pace[unit.array].append((now - began) / unit.num_rows)
        self._begun.append(now)

    @property
    def seconds(self) -> Range:
        """The least and the most seconds that are left when a unit has just ended."""
        pace = self._paces()
        low_s, high_s, longest_s = 0.0, 0.0, 0.0
        for place, unit in self._left.items():
            low, high = (bound * unit.num_rows for bound in pace[unit.array])
            under_way_s = self._begun[-1] - self._begun[place] if place < len(self._begun) else 0.0
            low_s, high_s = low_s + max(low - under_way_s, 0.0), high_s + high
            longest_s = max(longest_s, high)  # no worker can help another with it
        workers = min(self._workers, max(len(self._left), 1))
        high_s = max(high_s / self._workers, longest_s)
        return low_s / workers + self._end_s[0], high_s + self._end_s[1]

    def __str__(self) -> str:
        low_s, high_s = self.seconds
        return f"{_clock_face(low_s, math.floor)}-{_clock_face(high_s, math.ceil)} left"

    def _paces(self) -> dict[str, Range]:
        """Return the likely mean pace of what is left of each array."""
        left = [unit.array for unit in self._left.values()]
        seen = {name: _likely(pace, left.count(name)) for name, pace in self._pace.items() if pace}
        least = UNSEEN[0] * min(low for low, _ in seen.values())
        most = UNSEEN[1] * max(high for _, high in seen.values())
        return {name: seen.get(name, (least, most)) for name in self._pace}


def _likely(pace: Sequence[float], units_left: int) -> Range:
    """Return the least and the most mean pace of the units that are left of an array."""
    if len(pace) == 1:
        return FIRST[0] * pace[0], FIRST[1] * pace[0]
    warm = pace[1:]
    size = max(RECENT, len(warm) // SPANS)
    spans = [warm[max(end - size, 0) : end] for end in range(len(warm), 0, -size)]
    means = [sum(some) / len(some) for some in (warm, *spans)]
    squares = sum((one / means[0] - 1) ** 2 for one in warm) + WEIGHT * EXPECTED**2
    spread = math.sqrt(squares / (len(warm) - 1 + WEIGHT))
    chance = WIDTH * spread * math.sqrt(1 / len(warm) + 1 / max(units_left, 1))
    return min(means) * max(1 - chance - DRIFT, FIRST[0]), max(means) * (1 + chance + DRIFT)


def _clock_face(seconds: float, round_to: Callable[[float], int]) -> str:
    """Return minutes and seconds, rounded outward as far as nobody would look.

    >>> _clock_face(69.2, math.floor), _clock_face(3605.0, math.ceil)
    ('1:09', '1:01:00')
    """
    step = 1 if seconds < 300 else 10 if seconds < 3600 else 60
    minutes, rest = divmod(step * round_to(seconds / step), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
