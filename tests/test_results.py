"""Results: kept as one small file each, found again by what they are about."""

import json
from dataclasses import replace

import pytest

from pipeline.results import (
    Results,
    about_key,
    about_student,
    about_teachers,
    data_content,
    plain_settings,
    result_name,
)
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.recipe import Recipe

RECIPE = Recipe(epochs=20, rectify="none", lr=5e-4, seed=3)


def trained(bias, *, seed=0, **more):
    return {
        "backbone": "vslnet",
        "epochs": 20,
        "seed": seed,
        "bias": bias,
        "moved_span_loss": False,
        "backbone_version": 1,
        **more,
    }


TAUGHT = {"id": trained("id"), "ood": trained("ood")}
LOGITS = {"dtype": "float32", "precision": "float32"}


def student(data, recipe=RECIPE, taught=TAUGHT, *, version=1, logits=LOGITS):
    return about_student(recipe, taught, data, backbone_version=version, logits=logits)


def result(about, **more):
    seals = {"models": []}
    return {
        "format": "refkd-result",
        "about": about,
        "seals": seals,
        "iou": {"test": [0.5]},
        **more,
    }


def test_kept_and_found(data, tmp_path):
    """What is kept is found by another process, and every key has a line of its own."""
    kept = result(student(data), scores={"val": {"mIoU": 50.0}})
    path = Results(tmp_path / "results").keep(kept)

    assert Results(tmp_path / "results").find(student(data)) == kept
    assert [line.split('"')[1] for line in path.read_text().splitlines()] == list(kept)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": replace(RECIPE, seed=4)},
        {"recipe": replace(RECIPE, rectify="mixed")},
        {"recipe": replace(RECIPE, teachers=("ood", "id"))},
        {"taught": {"id": trained("id"), "ood": trained("ood", moved_span_loss=True)}},
        {"taught": {"id": trained("id", seed=1), "ood": trained("ood")}},
        {"taught": {"id": trained("id", data="of another data set"), "ood": trained("ood")}},
        {"version": 2},
        {"logits": {"dtype": "float16", "precision": "float32"}},
    ],
    ids=str,
)
def test_another_run_is_not_found(data, tmp_path, change):
    """Another seed, recipe, teacher, backbone version or dtype of the logits is another run."""
    results = Results(tmp_path)
    results.keep(result(student(data)))

    assert results.find(student(data, **change)) is None


def test_another_data_set_is_another_run(data, make_data, tmp_path):
    """Its content counts, not where it lies: prepared again elsewhere it is the same."""
    again = open_dataset(make_data(tmp_path / "again"))
    other = open_dataset(make_data(tmp_path / "other", train=40))

    assert data_content(again) == data_content(data) != data_content(other)
    assert about_key(student(again)) == about_key(student(data)) != about_key(student(other))


def test_what_does_not_matter(data):
    """Teachers a student does not learn from, and a knob or setting that is newer than a result."""
    about = student(data)
    third = {**TAUGHT, "third": trained("ood")}
    older = {**about, "recipe": {k: v for k, v in about["recipe"].items() if k != "augment"}}
    newer = {"id": trained("id", moved_stretch=1.0, folds=0), "ood": trained("ood", other=None)}

    assert about_key(student(data, taught=third)) == about_key(about)
    assert about_key(older) == about_key(about)
    assert about_key(student(data, taught=newer)) == about_key(about)


def test_ground_truth_only_has_no_teachers(data):
    """Whichever cache it was trained beside."""
    recipe = Recipe(teachers=(), gt_ce_weight=1.0)
    other = {"id": trained("id", seed=9), "ood": trained("ood", seed=9)}
    half = {"dtype": "float16", "precision": "float32"}

    one = student(data, recipe)
    assert about_key(one) == about_key(student(data, recipe, other, logits=half))


def test_teachers_by_any_name(data):
    """A teacher is known by its training; two asked together are other than each alone."""
    one = about_teachers({"id": trained("id")}, data)
    renamed = about_teachers({"first": trained("id")}, data)
    both = about_teachers(TAUGHT, data)
    swapped = about_teachers({"a": trained("ood"), "b": trained("id")}, data)

    assert about_key(one) == about_key(renamed)
    assert about_key(both) == about_key(swapped) != about_key(one)
    assert (one["kind"], both["kind"]) == ("teacher", "average")


def test_trained_on_this_data(data):
    """On which data a teacher was trained is left out where it is the data set itself."""
    here, elsewhere = trained("id", data=data.seal), trained("id", data="elsewhere")

    assert about_teachers({"id": here}, data)["teachers"]["id"] == trained("id")
    assert about_teachers({"id": elsewhere}, data)["teachers"]["id"] == elsewhere


def test_settings_that_say_nothing():
    """Off, nothing and a factor of 1 are like settings that did not exist yet."""
    settings = {"epochs": 20, "moved_span_loss": False, "moved_stretch": 1.0, "seed": 0}

    assert plain_settings(settings) == {"epochs": 20}
    assert plain_settings({"moved_stretch": 1.5}) == {"moved_stretch": 1.5}


def test_names_can_be_read(data):
    """Backbone, what differs from the defaults, the seed, and a digest that tells the rest apart."""
    digest = about_key(student(data))[:8]

    name = f"vslnet_epochs-20_lr-0.0005_rectify-none-s3-{digest}.json"
    assert result_name(student(data)) == name
    assert result_name(student(data, Recipe())).startswith("vslnet-s0-")
    none = Recipe(teachers=(), gt_ce_weight=1.0, reweight=False, backbone="seqpan")
    assert result_name(student(data, none)).startswith(
        "seqpan_teachers-none_reweight-no_gt-ce-weight-1-s0-"
    )
    teacher = about_teachers({"id": trained("id", seed=2)}, data)
    assert result_name(teacher).startswith("teacher_id-vslnet-s2-")
    assert result_name(about_teachers(TAUGHT, data)).startswith(
        "average_id-vslnet_ood-vslnet-s0+0-"
    )


def test_other_files_are_left_alone(data, tmp_path):
    """JSON of something else is passed over; half a file is an error that names it."""
    (tmp_path / "notes.json").write_text(json.dumps({"format": "mine"}))
    (tmp_path / "list.json").write_text("[1, 2]")
    assert Results(tmp_path).find(student(data)) is None
    (tmp_path / "broken.json").write_text("[1")
    (tmp_path / "folder.json").mkdir()
    assert Results(tmp_path).every() == []
    (tmp_path / "half.json").write_text('{"format": "refkd-result", "ver')

    with pytest.raises(RefkdError, match=r"half\.json is not complete JSON .*delete it and run"):
        Results(tmp_path)


def test_a_result_written_by_another_program(data, tmp_path):
    """With its keys in another order, and spaces, it is found all the same."""
    kept = result(student(data), scores={})
    (tmp_path / "r.json").write_text(json.dumps(kept, sort_keys=True, indent=4))

    assert Results(tmp_path).find(student(data)) == kept


@pytest.mark.parametrize(
    ("more", "lacking"),
    [
        ("", "about lacks kind, data, teachers"),
        (', "about": ["kind"]', "about lacks kind, data, teachers"),
        (', "about": {"kind": "teacher"}', "about lacks data, teachers"),
        (', "about": {"kind": "x", "data": "", "teachers": {}}', "seals lacks models"),
    ],
)
def test_a_result_that_lacks_something(tmp_path, more, lacking):
    """A file that calls itself a result and is none of ours is named, with what to do."""
    (tmp_path / "r.json").write_text('{"format": "refkd-result"' + more + "}")

    with pytest.raises(RefkdError, match=rf"r\.json is damaged: {lacking}; delete it and run"):
        Results(tmp_path)
