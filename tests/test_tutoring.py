"""Students of any of the teachers in a cache: one, two, three."""

import pytest
from untrained import save_teacher

from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.weigh import weigh
from stores.models import read_facts
from student.recipe import Recipe

QUICK = {"hidden": 16, "epochs": 2, "batch": 32, "lr": 3e-3}


@pytest.fixture(scope="module")
def teachers(data, teacher_folders, tmp_path_factory):
    """Two trained teachers and a third of another width that learned nothing."""
    third = tmp_path_factory.mktemp("third") / "teacher"
    return {**teacher_folders, "third": save_teacher(third, data, seed=5, hidden=8)}


@pytest.fixture(scope="module")
def make_cache(data_folder, teachers, tmp_path_factory):
    """A function that returns the weighed cache of some teachers; three are cached first."""
    out = tmp_path_factory.mktemp("caches")

    def make(*names):
        chosen = {name: teachers[name] for name in names}
        folder = cache(data_folder, out, teachers=chosen, device="cpu")
        weigh(folder)
        return folder

    make(*teachers)
    return make


@pytest.mark.parametrize(
    "names", [("third",), ("ood",), ("id", "third"), ("ood", "id"), ("third", "ood", "id")]
)
def test_any_teachers_of_a_cache(names, data_folder, make_cache, teachers, tmp_path):
    """K = 1, 2, 3 of three cached teachers teach what they would teach from a cache of their own."""
    recipe = Recipe(teachers=names, **QUICK)
    runs = [
        distill(data_folder, folder, tmp_path / "runs", recipe, device="cpu", threads=1)
        for folder in (make_cache(*teachers), make_cache(*names))
    ]
    facts = read_facts(runs[0])[0]

    assert facts["taught_by"].keys() == set(names)
    assert facts["history"][0]["losses"].keys() == {"kl", "side", "highlight"}
    assert len({(run / "model.safetensors").read_bytes() for run in runs}) == 1


def test_one_teacher_has_all_the_weight(data_folder, make_cache, tmp_path):
    """Plain distillation is K = 1: however wrong, the only teacher's introspective weight is 1."""
    recipe = Recipe(teachers=("ood",), **QUICK)
    run = distill(
        data_folder, make_cache("ood"), tmp_path / "runs", recipe, device="cpu", threads=1
    )
    facts = read_facts(run)[0]

    for entry in facts["history"]:
        assert entry["diagnostics"]["weight/ood"] == {"mean": 1.0, "quantiles": [1.0] * 5}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epochs": 1}, ["all 1 epochs are warm-up: targets are by eq. 5 throughout"]),
        ({"epochs": 2, "warmup": 0.5}, []),
        ({"epochs": 1, "rectify": "none", "reweight": False}, []),  # by eq. 5 on purpose
    ],
)
def test_a_warm_up_without_end_is_said(data_folder, make_cache, tmp_path, caplog, change, told):
    """A fifth of one epoch is a whole one: what the recipe does besides comes to nothing."""
    recipe = Recipe(**QUICK | change)
    distill(
        data_folder, make_cache("id", "ood"), tmp_path / "runs", recipe, device="cpu", threads=1
    )

    assert [message for message in caplog.messages if "are warm-up" in message] == told
