"""The range of the time left: worked by hand on a clock that does what it is told."""

import numpy as np
import pytest

from pipeline.timeleft import TimeLeft, in_turns
from stores.units import Unit


def make_units(counts, *, rows=10):
    """Units of so many rows, so many of each array."""
    return [
        Unit(name, rows * place, rows * place + rows, (place,), [], np.ones(rows, np.int16))
        for name, count in counts.items()
        for place in range(count)
    ]


def ranges(units, seconds, *, workers=1):
    """The range after each unit, and the seconds that were in truth left, when units take `seconds`."""
    now = [0.0]
    left = TimeLeft(units, workers=workers, clock=lambda: now[0])
    free, ends = [0.0] * workers, []
    for unit, own_s in zip(units, seconds, strict=True):
        free.sort()
        free[0] += own_s
        ends.append((free[0], unit))
    ends.sort(key=lambda end: end[0])
    found = []
    for now[0], unit in ends:
        left.take(unit)
        found.append((*left.seconds, ends[-1][0] - now[0]))
    return np.array(found)


def test_arrays_take_turns():
    """One unit of each array, then the next of each, as long as there are any."""
    units = in_turns(make_units({"id": 3, "ood": 1}))

    assert [(unit.array, unit.lo) for unit in units] == [
        ("id", 0),
        ("ood", 0),
        ("id", 10),
        ("id", 20),
    ]


def test_the_first_unit_gives_a_range():
    """After one unit of 2 s of three: 2 units at 0.3 to 1.3 of its pace, and 2 s for the seal."""
    low_s, high_s, _ = ranges(make_units({"id": 3}), [2.0, 1.0, 1.0])[0]

    np.testing.assert_allclose([low_s, high_s], [2 * 0.3 * 2.0, 2 * 1.3 * 2.0 + 2.0])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("pace", [1.0, 3.0])
def test_steady_work_stays_inside(workers, pace):
    """Two teachers, one slower, whose first units load networks: the truth is always inside."""
    units = in_turns(make_units({"id": 40, "ood": 40}))
    took = [(pace if unit.array == "ood" else 1.0) * (2 if unit.lo == 0 else 1) for unit in units]
    found = ranges(units, took, workers=workers)

    assert (found[:, 0] <= found[:, 2]).all()
    assert (found[:, 2] <= found[:, 1]).all()
    half = len(units) // 2
    assert found[half, 1] - found[half, 0] < 0.5 * found[half, 2]


@pytest.mark.parametrize("seed", range(5))
def test_uneven_work_mostly_stays_inside(seed):
    """Units that differ by a quarter: inside at 95% of the observations, and wider than for steady work."""
    rng = np.random.default_rng(seed)
    units = in_turns(make_units({"id": 30, "ood": 30}))
    found = ranges(units, np.exp(rng.normal(0, 0.25, len(units))))
    inside = (found[:, 0] <= found[:, 2]) & (found[:, 2] <= found[:, 1])

    assert inside.mean() >= 0.95


def test_a_change_of_pace_is_followed():
    """When the machine becomes twice as slow, the range holds the truth again a few units later."""
    units = make_units({"id": 60})
    found = ranges(units, [1.0] * 20 + [2.0] * 40)

    assert (found[:18, 1] < found[:18, 2]).any()  # nobody knows what is to come
    assert ((found[26:, 0] <= found[26:, 2]) & (found[26:, 2] <= found[26:, 1])).all()


def test_a_short_last_unit_counts_by_its_rows():
    """Rows are what takes time: a unit of a tenth of the rows takes a tenth of it."""
    units = [*make_units({"id": 3}, rows=100), Unit("id", 300, 310, (3,), [], np.ones(10))]
    found = ranges(units, [1.0, 1.0, 1.0, 0.1])

    assert found[2, 0] <= 0.1 <= found[2, 1] <= 0.2 + 2.0


def test_nothing_left():
    """After the last unit there is nothing left but the seal."""
    found = ranges(make_units({"id": 2}), [1.0, 1.0])

    assert found[-1].tolist() == [0.0, 2.0, 0.0]


def test_words():
    """Rounded outward: 70 to 100 seconds are 1:10 to 1:40."""
    now = [0.0]
    units = make_units({"id": 2})
    left = TimeLeft(units, clock=lambda: now[0])
    now[0] = 100.0
    left.take(units[0])

    assert str(left) == "0:30-2:12 left"
