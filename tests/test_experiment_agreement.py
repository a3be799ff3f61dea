"""How alike two teachers answer, by hand, from a cache to the page."""

import json
from dataclasses import replace

import pytest
import torch
from experiments.agree import agreement, main, of_cache, rank_correlation
from experiments.agreement import NAME, read_agreement
from experiments.full import FULL
from experiments.plan import Experiment, Part
from experiments.smoke import SMOKE
from experiments.steps import experiment_steps
from experiments.tables import agreement_table

from pipeline.cache import cache
from pipeline.weigh import weigh
from stores.errors import RefkdError

ENTRY = {
    "cache": "c0ffee",
    "teachers": ["id", "ood"],
    "pairs": {"mIoU": [70.0, 60.0], "alike": 50.0, "correlation": 0.8, "weight": [0.4, 0.1, 0.7]},
}


@pytest.fixture
def viewed(data_folder, teacher_folders, tmp_path):
    """A cache of two teachers with two views of each pair, not weighed."""
    return cache(data_folder, tmp_path, teachers=teacher_folders, views=2, device="cpu")


def test_agreement_by_hand():
    """Three pairs: spans of whole clips, cross-entropies of start and end."""
    gt = torch.tensor([[0, 1], [2, 5], [4, 4]])
    first = torch.tensor([[0, 1], [2, 3], [0, 1]])  # IoU 1, 1/2, 0
    second = torch.tensor([[0, 3], [2, 5], [0, 1]])  # IoU 1/2, 1, 0
    # the first one's: 1 2, 3 4, 5 6; the second's the same but for the last two, exchanged
    ce = torch.tensor([[[1.0, 2], [1, 2]], [[3, 4], [3, 4]], [[5, 6], [6, 5]]])

    found = agreement(torch.stack([first, second], dim=1), ce, gt)

    assert found["mIoU"] == [50.0, 50.0]
    assert found["alike"] == pytest.approx(100 * (0.5 + 0.5 + 1) / 3, abs=0.01)
    # Spearman: 1 - 6 (1 + 1) / (6 * 35)
    assert found["correlation"] == pytest.approx(1 - 12 / 210, abs=0.001)
    # weights of the first: four halves, 5/11, 6/11
    assert found["weight"][0] == 0.5
    assert 5 / 11 < found["weight"][1] < 0.5 < found["weight"][2] < 6 / 11


def test_correlation_of_ranks_alone():
    """Only the order counts: opposite orders are -1 whatever the values."""
    assert rank_correlation([1.0, 2.0, 9.0], [8.0, 7.0, -100.0]) == pytest.approx(-1)


def test_of_a_cache(viewed, tmp_path):
    """Teachers of a cache on its pairs and on all their views; others' entries in the file stay."""
    weigh(viewed)
    (tmp_path / NAME).write_text(json.dumps({"before": [ENTRY]}))

    main.main([str(tmp_path / NAME), "own", str(viewed)], standalone_mode=False)
    kept = read_agreement(tmp_path)

    assert kept["before"] == [ENTRY]
    (own,) = kept["own"]
    assert own == of_cache(viewed)
    assert own["teachers"] == ["id", "ood"]
    assert own["pairs"] != own["moved"]
    for seen in ("pairs", "moved"):
        low, high = own[seen]["weight"][1:]
        assert 0 <= low <= own[seen]["weight"][0] <= high <= 1
        assert all(0 <= value <= 100 for value in (*own[seen]["mIoU"], own[seen]["alike"]))


def test_crossed(cache_folder, data_folder, teacher_folders, tmp_path):
    """The first teacher of a cache and the second of the next: of exchanged teachers, one and the same."""
    exchanged = {"a": teacher_folders["ood"], "b": teacher_folders["id"]}
    other = cache(data_folder, tmp_path, teachers=exchanged, device="cpu")
    weigh(other)

    main.main(
        ["--crossed", str(tmp_path / NAME), "own", str(cache_folder), str(other)],
        standalone_mode=False,
    )
    one, two = read_agreement(tmp_path)["own"]

    assert one["pairs"]["alike"] == two["pairs"]["alike"] < 100
    assert one["pairs"]["mIoU"] == two["pairs"]["mIoU"][::-1]
    for entry, right in ((one, one["pairs"]["mIoU"][0]), (two, one["pairs"]["mIoU"][1])):
        assert entry["crossed"]["alike"] == 100
        assert entry["crossed"]["mIoU"] == [right, right]
        assert entry["crossed"]["correlation"] == 1
        assert entry["crossed"]["weight"] == [0.5, 0.5, 0.5]


def test_a_cache_that_was_not_weighed(viewed):
    """It is named, and so is what to run."""
    with pytest.raises(RefkdError, match="refkd weigh"):
        of_cache(viewed)


def test_table_by_hand():
    """Means over caches; moved views have a row of their own where they were measured."""
    other = {
        **ENTRY,
        "pairs": {
            "mIoU": [72.0, 61.0],
            "alike": 54.0,
            "correlation": 0.9,
            "weight": [0.5, 0.2, 0.8],
        },
    }
    moved = {**ENTRY, "moved": ENTRY["pairs"]}

    lines = agreement_table({"plain": [ENTRY, other], "viewed": [moved], "none": []}).splitlines()

    assert lines[2] == (
        "| plain | pairs as they are | 71.0 / 60.5 | 52.0 | 0.85 | 0.45 (0.15 to 0.75) | 2 |"
    )
    assert [line.split(" | ")[:2] for line in lines[3:]] == [
        ["| viewed", "pairs as they are"],
        ["| viewed", "moved views"],
    ]
    assert agreement_table({"none": []}) == ""


def test_nothing_kept(tmp_path):
    """A folder without the file has no entries."""
    assert read_agreement(tmp_path) == {}


def test_which_caches_are_asked():
    """Those with views where a row shows views, twins where there are any, none unless asked for."""
    plan = replace(FULL, seeds=(0, 1))

    def asked(name):
        steps = map(str, experiment_steps(plan, plan.experiment(name), results="kept", jobs=1))
        return [step for step in steps if "agree.py" in step]

    assert asked("claims") == [
        "python $EXPERIMENTS_CODE/agree.py --crossed kept/agreement.json claims"
        " $MULTITHUMOS_ID_0_OOD_0_VIEWS_8 $MULTITHUMOS_ID_1_OOD_1_VIEWS_8"
    ]
    assert asked("controls")[0].endswith("controls $MULTITHUMOS_ID_0_ID_1 $MULTITHUMOS_ID_1_ID_0")
    assert asked("mrtnet")[0].endswith("$MULTITHUMOS_MRTNET_ID_1_MRTNET_OOD_1")
    assert asked("ablations") == []
    silent = Experiment("x", "x", (Part("1"),), data="built-in")
    assert not [
        s for s in experiment_steps(SMOKE, silent, results="k", jobs=1) if "agree" in str(s)
    ]
