"""What stands together in a report: runs and results that differ by seed alone."""

import shutil

import pytest

from pipeline.results import Results, about_student, about_teachers, data_content
from pipeline.subjects import LOGITS, find_runs, find_subjects
from stores.errors import RefkdError
from stores.models import read_facts
from student.recipe import RECIPES, Recipe


def a_result(about, *seals, miou=50.0):
    """A result with the least that a report reads."""
    return {
        "format": "refkd-result",
        "version": 1,
        "about": about,
        "seals": {"models": list(seals)},
        "scores": {"test_ood": {"mIoU": miou}},
        "iou": {"test_ood": [miou / 100] * 36},
    }


@pytest.fixture(scope="module")
def settings(teacher_folders):
    """How each teacher was trained."""
    return {name: read_facts(folder)[0]["inputs"] for name, folder in teacher_folders.items()}


def named(subjects):
    return {subject.name: subject for subject in subjects}


def test_teachers_then_students_by_seed(runs_folder, teacher_folders, data):
    """Two seeds of a recipe are one subject; RefKD stands before other rows."""
    teachers = {name: [folder] for name, folder in teacher_folders.items()}
    subjects = find_subjects([runs_folder], teachers, data)

    assert [one.name for one in subjects] == [
        "ID teacher",
        "OOD teacher",
        "RefKD",
        "0% warm-up",
    ]
    assert [one.kind for one in subjects] == ["teacher", "teacher", "student", "student"]
    assert [[m.seeds for m in one.members] for one in subjects[2:]] == [[[0], [1]], [[0]]]


def test_runs_that_do_not_say_how_they_were_taught(runs_folder, data, tmp_path, monkeypatch):
    """Then the cache tells them apart, and those of one cache stay together."""
    from pipeline import subjects

    def older(folder):
        facts, seal = read_facts(folder)
        return {name: value for name, value in facts.items() if name != "taught_by"}, seal

    monkeypatch.setattr(subjects, "read_facts", older)
    found = find_subjects([runs_folder], {}, data)

    assert [len(one.members) for one in found] == [2, 1]


def test_a_teacher_of_another_seed_joins(runs_folder, teacher_folders, settings, data, tmp_path):
    """A result of a teacher that differs by seed alone stands with the one whose folder is given."""
    other = {"ood": {**settings["ood"], "seed": 4}}
    Results(tmp_path).keep(a_result(about_teachers(other, data), "aa"))
    subjects = find_subjects([runs_folder, tmp_path], {"ood": [teacher_folders["ood"]]}, data)

    teacher = named(subjects)["OOD teacher"]
    assert [one.seeds for one in teacher.members] == [[0], [4]]
    assert len(teacher.at_hand) == 1


def test_a_teacher_trained_otherwise_stands_apart(
    runs_folder, teacher_folders, settings, data, tmp_path
):
    """Two OOD teachers of different settings have the difference in their names."""
    other = {"ood": {**settings["ood"], "moved_span_loss": True}}
    Results(tmp_path).keep(a_result(about_teachers(other, data), "aa"))
    subjects = find_subjects([runs_folder, tmp_path], {"ood": [teacher_folders["ood"]]}, data)

    names = {"OOD teacher, moved-span-loss no", "OOD teacher, moved-span-loss yes"}
    assert names <= named(subjects).keys()


def test_results_of_a_run_go_with_it(runs_folder, settings, data, tmp_path):
    """In the folder `results` of the runs a result is found by the seal of its model."""
    copy = shutil.copytree(runs_folder, tmp_path / "runs")
    run = find_runs([copy])[0]
    facts, seal = read_facts(run)
    taught = facts["taught_by"]
    about = {
        "kind": "student",
        "recipe": facts["recipe"],
        "teachers": {n: {k: v for k, v in how.items() if k != "data"} for n, how in taught.items()},
        "logits": None,
        "data": data_content(data),
    }
    Results(copy / "results").keep(a_result(about, seal, miou=12.5))
    subjects = find_subjects([copy], {}, data)

    known = [m for one in subjects for m in one.members if m.result]
    assert [(m.folder, m.result["scores"]["test_ood"]["mIoU"]) for m in known] == [(run, 12.5)]
    assert sum(len(one.members) for one in subjects) == 3


def test_a_model_trained_again_counts_once(runs_folder, teacher_folders, settings, data, tmp_path):
    """A result of the same teacher from elsewhere, of other bits, gives way to the one at hand."""
    Results(tmp_path).keep(a_result(about_teachers({"x": settings["ood"]}, data), "aa"))
    subjects = find_subjects([runs_folder, tmp_path], {"ood": [teacher_folders["ood"]]}, data)

    (member,) = named(subjects)["OOD teacher"].members
    assert member.folder == teacher_folders["ood"]
    assert member.result is None


def a_student(settings, data, *, dtype="float32", views=8, **seeds):
    """What the result of a student of `best` is about; `seeds` are its teachers', by their names."""
    taught = {name: {**how, "seed": seeds.get(name, 0)} for name, how in settings.items()}
    recipe = Recipe(**RECIPES["best"], epochs=20)
    logits = {"dtype": dtype, "precision": "float32"}
    about = about_student(recipe, taught, data, backbone_version=1, logits=logits)
    return {**about, "views": {"number": views, "version": 1}}


def test_students_that_read_otherwise_stand_apart(runs_folder, settings, data, tmp_path):
    """Of float16 logits or of two views: no other seeds of a student, and named by what differs."""
    kept = Results(tmp_path)
    for number, read in enumerate(({}, {"dtype": "float16"}, {"views": 2})):
        kept.keep(a_result(a_student(settings, data, **read), f"s{number}"))
    subjects = named(find_subjects([runs_folder, tmp_path], {}, data))
    best = {
        tuple(name.split(", ")[-2:]): len(subjects[name].members)
        for name in subjects
        if "best" in name
    }

    assert best == {
        ("dtype float32", "views 8"): 1,
        ("dtype float16", "views 8"): 1,
        ("dtype float32", "views 2"): 1,
    }


def test_the_plain_recipe_comes_before_its_variants(runs_folder, settings, data, tmp_path):
    """Of students of one row the first is the one that changes least, whichever was found first."""
    for place, more in (("a", {"gt_ce_weight": 2.0, "tau": 0.3}), ("b", {}), ("c", {"tau": 0.3})):
        recipe = Recipe(rectify="window", epochs=20, **more)
        about = about_student(recipe, settings, data, backbone_version=1, logits=LOGITS)
        Results(tmp_path / place).keep(a_result(about, place))
    paths = [runs_folder, *(tmp_path / place for place in "abc")]
    names = [one.name for one in find_subjects(paths, {}, data) if "Window" in one.name]

    assert [("tau" in name, "gt-ce" in name) for name in names] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_students_of_other_pairs_all_count(runs_folder, settings, data, tmp_path):
    """With one seed for all, students of three pairs of teachers are three runs, each kept once."""
    for place in ("here", "there"):
        for seed in range(3):
            about = a_student(settings, data, id=seed, ood=seed)
            Results(tmp_path / place).keep(a_result(about, f"{place} {seed}"))
    subjects = find_subjects([runs_folder, tmp_path / "here", tmp_path / "there"], {}, data)

    (best,) = (one for one in subjects if "best" in one.name)
    seals = sorted(one.result["seals"]["models"] for one in best.members)
    assert seals == [["here 0"], ["here 1"], ["here 2"]]


def test_averages_stand_last(runs_folder, settings, data, tmp_path):
    """Teachers asked together have no folder of their own."""
    Results(tmp_path).keep(a_result(about_teachers(settings, data), "aa", "bb"))
    subjects = find_subjects([tmp_path, runs_folder], {}, data)

    assert (subjects[-1].name, subjects[-1].kind) == ("teachers averaged", "average")
    assert subjects[-1].at_hand == []


def test_results_of_other_data_are_left_out(runs_folder, settings, data, tmp_path):
    """Scores on other pairs are not comparable."""
    about = {**about_teachers(settings, data), "data": "0" * 64}
    Results(tmp_path).keep(a_result(about, "aa", "bb"))

    assert all(one.kind == "student" for one in find_subjects([runs_folder, tmp_path], {}, data))


def test_a_folder_given_twice_counts_once(runs_folder, teacher_folders, data):
    """A run named by itself and in its folder, a teacher among the runs: one member each."""
    run = find_runs([runs_folder])[0]
    teacher = teacher_folders["id"]
    subjects = find_subjects([runs_folder, run, teacher], {"id": [teacher]}, data)

    assert sum(len(one.members) for one in subjects) == 4


def test_find_runs(runs_folder, tmp_path):
    """A path is a run, or a folder of runs, hidden ones left out."""
    run = find_runs([runs_folder])[0]
    for name in ("b", "a", ".c.building"):
        shutil.copytree(run, tmp_path / name)

    assert find_runs([tmp_path, run]) == [tmp_path / "a", tmp_path / "b", run]


def test_folder_without_runs(data, tmp_path):
    """A folder without a finished run says what to run."""
    with pytest.raises(RefkdError, match=r"no finished run at .*; run `refkd distill` first"):
        find_subjects([tmp_path], {}, data)


def test_runs_that_are_teachers(data, teacher_folders):
    """Teachers alone make no report: a student is asked for."""
    with pytest.raises(RefkdError, match="no student is among the runs"):
        find_subjects([teacher_folders["id"]], {}, data)


def test_students_of_other_data_stand_apart(runs_folder, data, monkeypatch):
    """Two seeds of one recipe on two data sets are no seeds of one student, and named by the data."""
    from pipeline import subjects

    def on_two(folder):
        facts, seal = read_facts(folder)
        if facts["recipe"]["seed"] == 0:
            return facts, seal
        taught = {name: how | {"data": "f" * 64} for name, how in facts["taught_by"].items()}
        return facts | {"data": "f" * 64, "taught_by": taught}, seal

    monkeypatch.setattr(subjects, "read_facts", on_two)
    found = named(find_subjects([runs_folder], {}, data))

    assert {name: len(one.members) for name, one in found.items()} == {
        "RefKD, trained-on these data": 1,
        "0% warm-up, trained-on these data": 1,
        f"RefKD, trained-on {'f' * 16}": 1,
    }


def test_a_teacher_called_by_the_other_bias(runs_folder, teacher_folders, data, caplog):
    """The name that was given wins, and what the folder holds is said."""
    swapped = {"id": [teacher_folders["ood"]], "mine": [teacher_folders["id"]]}
    found = named(find_subjects([runs_folder], swapped, data))

    assert {"ID teacher", "MINE teacher"} <= found.keys()
    assert [record.getMessage() for record in caplog.records] == [
        f"--teacher id is {teacher_folders['ood']}, a teacher of bias ood"
    ]


def test_a_file_among_the_runs(runs_folder, data):
    """As `runs/*` of a shell gives, notes of costs among them."""
    (note,) = list(runs_folder.glob("*.cost"))[:1]
    with pytest.raises(RefkdError, match=r"\.cost is a file, expected a folder of runs, or a run"):
        find_subjects([note], {}, data)


def test_a_student_of_no_teacher_counts_once(runs_folder, data, monkeypatch):
    """Whichever cache lay beside it when it was trained: here seeds 0 and 1, and 0 again."""
    from pipeline import subjects

    def alone(folder):
        facts, seal = read_facts(folder)
        recipe = facts["recipe"] | {"teachers": [], "gt_ce_weight": 1.0, "warmup": 0.2}
        return facts | {"recipe": recipe, "taught_by": {}, "logits": None}, seal

    monkeypatch.setattr(subjects, "read_facts", alone)
    (found,) = find_subjects([runs_folder], {}, data)

    assert [one.seeds for one in found.members] == [[0], [1]]
