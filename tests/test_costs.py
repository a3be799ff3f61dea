import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from pipeline.costs import measured, read_costs
from stores.files import write_json

MB = 2**20


def test_seconds_memory_and_what_the_stage_tells(tmp_path):
    """A stage that sleeps .2 s and holds 200 MB is noted with both, and with what it told."""
    with measured(tmp_path / "out", "weigh", rows=7) as cost:
        time.sleep(0.2)
        held = np.ones(25 * MB)
        cost["more"] = int(held[0])

    found = read_costs(tmp_path / "out")["weigh"]
    assert 0.2 <= found["seconds"] < 10
    assert found["peak_rss_bytes"] >= 200 * MB
    assert (found["rows"], found["more"]) == (7, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.cost"]


def test_a_later_stage_has_its_own_peak(tmp_path):
    """What an earlier stage held and gave back does not count for the next one."""
    with measured(tmp_path / "out", "one"):
        held = np.ones(25 * MB)
        del held
    with measured(tmp_path / "out", "two"):
        pass
    one, two = (read_costs(tmp_path / "out")[stage]["peak_rss_bytes"] for stage in ("one", "two"))

    assert one - two > 150 * MB


def test_stages_of_one_folder_stand_side_by_side(tmp_path):
    """Weighing a cache leaves what is noted of building it; building it anew replaces that."""
    for seconds in (3.0, 4.0):
        with measured(tmp_path / "c", "cache", seconds=seconds):
            pass
        with measured(tmp_path / "c", "weigh", seconds=1.0):
            pass

    assert {stage: cost["seconds"] for stage, cost in read_costs(tmp_path / "c").items()} == {
        "cache": 4.0,
        "weigh": 1.0,
    }


def test_a_stage_that_fails_is_not_noted(tmp_path):
    """Half a stage's seconds are nobody's cost."""
    with pytest.raises(KeyError), measured(tmp_path / "c", "cache"):
        raise KeyError

    assert read_costs(tmp_path / "c") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"cache": 3}', '{\n "cache": {\n  "sec', "\0"])
def test_a_damaged_note_costs_no_work(tmp_path, caplog, text):
    """It is left out with a warning, and the next stage notes itself beside it."""
    (tmp_path / "c.cost").write_text(text)
    with measured(tmp_path / "c", "weigh"):
        pass
    with caplog.at_level("WARNING", "refkd"):
        assert read_costs(tmp_path / "c").keys() == {"weigh"}

    assert caplog.text.count("c.cost is damaged") == 1


def sitting(folder, stage="cache", *, goes_on=None, **told):
    with measured(folder, stage, goes_on=goes_on, **told):
        pass


def test_sittings_add_up(tmp_path):
    """Of work that goes on seconds and rows are summed, the highest peak stands; no row, no note."""
    sitting(tmp_path / "c", goes_on=False, seconds=3.0, rows=100, peak_rss_bytes=7, device="cpu")
    sitting(tmp_path / "c", goes_on=True, seconds=1.5, rows=20, peak_rss_bytes=5, device="gpu")
    sitting(tmp_path / "c", goes_on=True, seconds=9.0, rows=0, peak_rss_bytes=9, device="?")
    found = read_costs(tmp_path / "c")["cache"]

    assert (found["seconds"], found["rows"]) == (4.5, 120)
    assert (found["peak_rss_bytes"], found["device"]) == (7, "gpu")


def test_work_begun_anew(tmp_path):
    """A cache that was deleted and is built again costs what the last building cost, parts forgotten."""
    sitting(tmp_path / "c", "cache part 1/2", goes_on=False, seconds=3.0, rows=100)
    sitting(tmp_path / "c", goes_on=True, seconds=3.0, rows=100)
    sitting(tmp_path / "c", "weigh", seconds=1.0, rows=9)
    sitting(tmp_path / "c", goes_on=False, seconds=5.0, rows=200)

    assert {stage: cost["seconds"] for stage, cost in read_costs(tmp_path / "c").items()} == {
        "cache": 5.0,
        "weigh": 1.0,
    }


def test_a_sitting_that_fails_is_noted_where_work_goes_on(tmp_path):
    """Its rows are kept, so its seconds count; those of stages that begin again do not."""
    noted = measured(tmp_path / "c", "cache", goes_on=False, rows=0)
    cost = noted.__enter__()
    cost["rows"] += 5
    noted.__exit__(KeyError, KeyError(), None)

    assert read_costs(tmp_path / "c")["cache"]["rows"] == 5


def test_notes_as_they_were_once(tmp_path):
    """One object for all stages is read, alone or with lines after it."""
    write_json(tmp_path / "c.cost", {"cache": {"seconds": 2.0, "rows": 7}, "weigh": {"seconds": 1}})
    assert read_costs(tmp_path / "c")["cache"] == {"seconds": 2.0, "rows": 7}
    sitting(tmp_path / "c", goes_on=True, seconds=1.0, rows=3)
    found = read_costs(tmp_path / "c")

    assert (found["cache"]["seconds"], found["cache"]["rows"]) == (3.0, 10)
    assert found["weigh"] == {"seconds": 1}


def test_a_torn_line_is_not_grown_onto(tmp_path):
    """What a kill has left of a line costs no other line."""
    sitting(tmp_path / "c", "one", seconds=1.0)
    with (tmp_path / "c.cost").open("a") as file:
        file.write('{"stage": "tw')
    sitting(tmp_path / "c", "three", seconds=3.0)

    assert read_costs(tmp_path / "c").keys() == {"one", "three"}


def note_part(folder, number):
    sitting(folder, f"cache part {number}/4", goes_on=False, rows=number, seconds=1.0)


def test_parts_that_end_together(tmp_path):
    """Of processes that note themselves in the same moment no note is lost."""
    numbers = [1, 2, 3, 4]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for trial in range(10):
            list(pool.map(note_part, [tmp_path / str(trial)] * 4, numbers))

    found = [read_costs(tmp_path / str(trial)) for trial in range(10)]
    assert [sorted(cost["rows"] for cost in costs.values()) for costs in found] == [numbers] * 10
