import dataclasses

import pytest

from pipeline.evaluate import evaluate
from pipeline.teach import teach
from stores.errors import RefkdError
from stores.models import read_facts
from student.recipe import Recipe

QUICK = Recipe(hidden=32, epochs=8, batch=16, dropout=0.1, lr=3e-3)


@pytest.fixture(scope="module")
def id_teacher(data_folder, tmp_path_factory):
    return teach(
        data_folder, tmp_path_factory.mktemp("t") / "id", bias="id", recipe=QUICK, threads=1
    )


def test_a_teacher_learns_what_is_plain_to_see(id_teacher, data_folder):
    """The plain teacher beats every floor in distribution by 15 points of mIoU."""
    found = evaluate(id_teacher, data_folder, splits=["test_iid"])["splits"]["test_iid"]

    best = max(floor["mIoU"] for floor in found["floors"].values())
    assert found["mIoU"] > best + 15


def test_a_finished_teacher_is_returned_and_another_refused(id_teacher, data_folder):
    """The same command trains nothing; another seed under the same name is refused by the field."""
    before = (id_teacher / "manifest.json").stat().st_mtime_ns
    asked = {"bias": "id", "threads": 1}

    assert teach(data_folder, id_teacher, recipe=QUICK, **asked) == id_teacher
    assert (id_teacher / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(RefkdError, match=r"of other inputs: seed \(was 0, now 5\)"):
        teach(data_folder, id_teacher, recipe=dataclasses.replace(QUICK, seed=5), **asked)


def test_knobs_of_students_do_not_make_another_teacher(id_teacher, data_folder):
    """A recipe that differs in how a student is taught names the same teacher."""
    recipe = dataclasses.replace(QUICK, rectify="window", warmup=0.5, temperature=2.0)

    assert teach(data_folder, id_teacher, bias="id", recipe=recipe, threads=1) == id_teacher


def test_what_chooses_the_epoch_makes_another_teacher(id_teacher, data_folder):
    """Chosen on val, as teachers were before it could be said, it is not recorded."""
    recipe = dataclasses.replace(QUICK, select="val+moved")

    assert "select" not in read_facts(id_teacher)[0]["inputs"]
    with pytest.raises(
        RefkdError, match=r"of other inputs: select \(was nothing, now val\+moved\)"
    ):
        teach(data_folder, id_teacher, bias="id", recipe=recipe, threads=1)


def test_the_debiased_teacher_records_how(data_folder, tmp_path):
    """Bias, moved span loss and stretch stand in its facts; its history has every term."""
    recipe = dataclasses.replace(QUICK, hidden=8, epochs=1)
    out = teach(
        data_folder,
        tmp_path / "ood",
        bias="ood",
        moved_span_loss=True,
        moved_stretch=2.0,
        recipe=recipe,
        threads=1,
    )
    facts, _ = read_facts(out)

    assert (facts["kind"], facts["bias"]) == ("teacher", "ood")
    assert facts["inputs"]["moved_span_loss"] is True
    assert facts["inputs"]["moved_stretch"] == 2.0
    terms = {"span", "highlight", "moved_highlight", "consistency", "moved_span"}
    assert facts["history"][0]["losses"].keys() == terms


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bias": "OOD"}, "bias must be one of id, ood, got OOD"),
        ({"bias": "id", "moved_span_loss": True}, "--moved-span-loss is for --bias ood"),
        ({"bias": "id", "moved_stretch": 2.0}, "got 2 for --bias id"),
        ({"bias": "ood", "moved_stretch": 0.5}, "factor of 1 to 1000 .* got 0.5"),
        ({"bias": "ood", "moved_stretch": float("nan")}, "got nan for --bias ood"),
        ({"bias": "ood", "moved_stretch": 1e308}, "got 1e\\+308 for --bias ood"),
    ],
)
def test_options_of_the_debiased_teacher(data_folder, tmp_path, change, text):
    """They mean nothing to the plain one and are refused, not ignored."""
    with pytest.raises(RefkdError, match=text):
        teach(data_folder, tmp_path / "t", recipe=QUICK, **change)
    assert not (tmp_path / "t").exists()


def test_data_without_a_train_split(make_data, tmp_path):
    """There is nothing to learn from: the command that adds it is named."""
    folder = make_data(tmp_path / "data", train=0)

    with pytest.raises(
        RefkdError, match="has no train split; prepare it with training annotations"
    ):
        teach(folder, tmp_path / "t", bias="id", recipe=QUICK, threads=1)
