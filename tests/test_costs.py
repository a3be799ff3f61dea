import time

import numpy as np
import pytest

from pipeline.costs import measured, read_costs

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


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_note_costs_no_work(tmp_path, caplog, text):
    """It is left out with a warning, and the next stage notes itself anew."""
    (tmp_path / "c.cost").write_text(text)
    with caplog.at_level("WARNING", "refkd"), measured(tmp_path / "c", "weigh"):
        pass

    assert "c.cost is damaged" in caplog.text
    assert read_costs(tmp_path / "c").keys() == {"weigh"}
