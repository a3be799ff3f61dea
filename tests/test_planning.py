"""Which trials a table needs: seeds, pairs, names, folders."""

from dataclasses import replace

import pytest
from test_sources import pair, source, trained

from pipeline.ablations import TABLES
from pipeline.planning import Planner
from pipeline.sources import make_groups
from stores.errors import RefkdError
from student.recipe import RECIPES, Recipe
from student.views import VERSION

BASE = Recipe(seed=10, epochs=20)


@pytest.fixture
def plan(data):
    """A function: the planned rows of a table by (group, name)."""

    def planned(table, sources, *, base=BASE, seeds=2, folders=None, given=()):
        twins = table == "controls"
        groups = make_groups(sources, base.teachers, twins=twins)
        folders = folders or {}
        planner = Planner(data, base, given=given, seeds=seeds, sources=sources, folders=folders)
        rows = planner.rows(TABLES[table], groups)
        return {(row.group, row.name): row for row in rows}

    return planned


def test_an_ablation_has_its_students_on_one_cache(plan):
    """Seeds count up from the recipe's; every student learns from the one cache."""
    rows = plan("3", [pair("a", 0)], seeds=3)

    assert list(rows) == [("", name) for name in ("RefKD", "w/o LR", "w/o DR", "w/o both")]
    for row in rows.values():
        assert [trial.recipe.seed for trial in row.trials] == [10, 11, 12]
        assert [trial.cache.name for trial in row.trials] == ["a", "a", "a"]
    assert rows["", "w/o LR"].trials[1].name == "w/o LR s11"
    assert rows["", "w/o LR"].trials[1].recipe.rectify == "none"


def test_pairs_take_turns(plan):
    """Of three students on two pairs the third goes back to the first pair."""
    rows = plan("1", [pair("a", 0), pair("b", 1)], seeds=3)

    assert [trial.cache.name for trial in rows["", "RefKD"].trials] == ["a", "b", "a"]
    seeds = [trial.about["teachers"]["ood"]["seed"] for trial in rows["", "RefKD"].trials]
    assert seeds == [0, 1, 0]


def test_fewer_students_than_pairs(plan):
    """A pair that no student learned from would be no part of the claim."""
    with pytest.raises(RefkdError, match=r"3 caches .* differ by seed alone, .* give --seeds 3"):
        plan("1", [pair("a", 0), pair("b", 1), pair("c", 2)])


def test_teachers_of_every_pair(plan):
    """A row of teachers has one for each pair; table 5 takes the OOD teachers where moments move."""
    rows = plan("1", [pair("a", 0), pair("b", 1)])
    five = plan("5", [pair("a", 0), pair("b", 1)])["", "Teacher"]

    assert [trial.name for trial in rows["", "OOD teacher"].trials] == [
        "OOD teacher s0",
        "OOD teacher s1",
    ]
    biases = {
        split: [t.about["teachers"] for t in five.of_split(split)]
        for split in ("test_iid", "test_ood", "val")
    }
    assert [list(one) for one in biases["test_iid"]] == [["id"], ["id"]]
    assert [list(one) for one in biases["test_ood"]] == [["ood"], ["ood"]]
    assert biases["val"] == []


def test_a_teacher_of_two_caches_is_one_run(plan):
    """Two pairs that share their ID teacher: it counts once, the OOD teachers and averages twice."""
    shared = {"id": trained("id", 0), "ood": trained("ood", 1)}
    rows = plan("controls", [pair("a", 0), source("b", shared)])
    teachers = plan("1", [pair("a", 0), source("b", shared)])

    assert len(teachers["", "ID teacher"].trials) == 1
    assert len(teachers["", "OOD teacher"].trials) == 2
    assert len(rows["", "teachers averaged"].trials) == 2


def test_table_2_takes_the_teachers_backbone(plan):
    """Each cache makes a group, whose students are of its backbone; elsewhere the recipe says."""
    sources = [pair("a", 0), pair("b", 0, backbone="seqpan")]
    two, three = plan("2", sources), plan("3", sources)

    assert two["backbone seqpan", "RefKD"].trials[0].recipe.backbone == "seqpan"
    assert two["backbone vslnet", "RefKD"].trials[0].recipe.backbone == "vslnet"
    assert three["backbone seqpan", "RefKD"].trials[0].recipe.backbone == "vslnet"
    assert two["backbone seqpan", "RefKD"].trials[0].name == "backbone seqpan RefKD s10"


def test_table_2_refuses_another_backbone_than_the_teachers(plan):
    """A default that nobody asked for gives way, what was asked for does not; elsewhere it counts."""
    cache, base = [pair("a", 0)], replace(BASE, backbone="seqpan")

    message = r"^--backbone seqpan has no effect: .*, which in caches/a is vslnet; leave it out$"
    with pytest.raises(RefkdError, match=message):
        plan("2", cache, base=base, given=["backbone"])
    own = plan("2", [pair("b", 0, backbone="seqpan")], base=base, given=["backbone"])
    assert own["", "RefKD"].trials[0].recipe.backbone == "seqpan"
    assert plan("2", cache, base=base)["", "RefKD"].trials[0].recipe.backbone == "vslnet"
    assert plan("3", cache, base=base, given=["backbone"])["", "RefKD"]


def test_controls_take_teachers_by_their_bias(plan, caplog):
    """Whatever teachers are called; without two ID teachers that row is left out, and it is said how."""
    named = source("a", {"x": trained("ood", 0), "y": trained("id", 0)})
    rows = plan("controls", [named], base=Recipe(teachers=("x", "y")))
    taught = {name: row.trials[0].recipe for (_, name), row in rows.items() if row.trials[0].recipe}

    assert taught["ID teacher only"].teachers == ("y",)
    assert taught["OOD teacher only"].teachers == ("x",)
    assert taught["fixed halves"].teachers == ("x", "y")
    assert taught["ground truth only"].teachers == ()
    assert ("", "two ID teachers") not in rows
    assert "row two ID teachers is left out: give one more CACHE" in caplog.text
    assert "with other --seed" in caplog.text


def test_controls_find_two_id_teachers(plan):
    """In a second cache, trained as the group's ID teacher was; another backbone's do not count."""
    twins = source("t", {"p": trained("id", 1), "q": trained("id", 2)})
    others = source("u", {n: trained("id", s, backbone="seqpan") for s, n in enumerate("pq")})
    rows = plan("controls", [pair("a", 0), others, twins])

    trial = rows["", "two ID teachers"].trials[1]
    assert trial.cache.name == "t"
    assert trial.recipe.teachers == ("p", "q")
    assert {t["seed"] for t in trial.about["teachers"].values()} == {1, 2}


def viewed(key, seed, *, number=2):
    """A pair's cache with views."""
    held = pair(key, seed)
    held.cache.manifest["views"] = {"number": number, "version": VERSION}
    return held


def test_tables_share_their_runs(plan):
    """The full method of every table is the same trial; so is w/o LR of tables 3 and 5."""
    tables = {name: plan(name, [viewed("a", 0)]) for name in TABLES}
    full = {rows["", TABLES[name].full].trials[0].key for name, rows in tables.items()}

    assert len(full) == 1
    assert tables["3"]["", "w/o LR"].trials[1].key == tables["5"]["", "w/o LR"].trials[1].key


def test_ground_truth_only_is_shared_by_all_caches(plan):
    """Without teachers it is the same trial beside whichever cache."""
    rows = plan("controls", [pair("a", 0), pair("b", 0, backbone="seqpan")])
    keys = {row.trials[0].key for (_, name), row in rows.items() if name == "ground truth only"}

    assert len(keys) == 1


def test_folders_are_known_by_their_training(plan, teacher_folders, data):
    """Given in any order under any name, a folder stands for the teacher it was trained as."""
    from stores.models import read_facts

    own = {name: read_facts(folder)[0]["inputs"] for name, folder in teacher_folders.items()}
    folders = {"any": [teacher_folders["ood"], teacher_folders["id"]]}
    rows = plan("1", [source("a", own)], folders=folders)
    lacking = plan("1", [source("a", own)], folders={"id": [teacher_folders["id"]]})
    both = plan("controls", [source("a", own)], folders=folders)["", "teachers averaged"]

    assert rows["", "ID teacher"].trials[0].models == (teacher_folders["id"],)
    assert rows["", "OOD teacher"].trials[0].models == (teacher_folders["ood"],)
    assert lacking["", "OOD teacher"].trials[0].models == ()
    assert both.trials[0].models == (teacher_folders["id"], teacher_folders["ood"])


def test_views_that_are_shown_are_told(plan):
    """How many views a student draws from is part of what it is about, if it is shown views at all."""
    few, many = viewed("a", 0, number=2), viewed("b", 0, number=4)

    for augment, count in (("views", 2), ("translate", 1)):
        base = replace(BASE, augment=augment)
        trials = [plan("3", [one], base=base)["", "RefKD"].trials[0] for one in (few, many)]
        assert len({trial.key for trial in trials}) == count


def test_views_are_missed_before_anything_is_trained(plan):
    """A row that shows views, on one cache of two that holds none: the row and the cache are named."""
    text = r"^row recipe best cannot be trained: .*b holds no moved views .* --views V, or leave it out"
    with pytest.raises(RefkdError, match=text):
        plan("recipes", [viewed("a", 0), pair("b", 1)])
    old = viewed("c", 0)
    old.cache.manifest["views"]["version"] = VERSION + 1
    with pytest.raises(RefkdError, match=f"views moved by version {VERSION + 1} of the code"):
        plan("recipes", [old])


@pytest.mark.parametrize(
    ("table", "base", "text"),
    [
        ("5", {"rectify": "none"}, "rows RefKD and w/o LR of .* the same with rectify none; leave"),
        (
            "3",
            RECIPES["best"],
            "rows RefKD and w/o LR of .* with rectify none; leave that to --rec",
        ),
        (
            "light",
            {"backbone": "seqpan"},
            "rows RefKD and SeqPAN student of .* backbone seqpan; leave",
        ),
        ("recipes", RECIPES["best"], "rows RefKD and recipe best of .*, augment views; leave"),
        (
            "3",
            {"teachers": ("id",)},
            "rows RefKD and w/o DR of .* for the one teacher id; name several by --teachers",
        ),
        ("3", {"reweight": False}, "rows RefKD and w/o DR of .* with reweight no; leave that to"),
        (
            "5",
            {"teachers": (), "gt_ce_weight": 1.0},
            "rows RefKD and w/o LR of .* without teachers; name some by --teachers",
        ),
        (
            "warmup",
            {"teachers": ("id",), "rectify": "none"},
            "rows 0% warm-up and 5% warm-up of .* for the one teacher id with rectify none; name",
        ),
        (
            "warmup",
            {"epochs": 5},  # 5 and 10 percent are rounded up
            "rows 5% warm-up and 10% warm-up of .* with 1 of 5 epochs of warm-up; give more --epochs",
        ),
        (
            "warmup",
            {"rectify": "none", "reweight": False},  # eq. 5 in every epoch
            "rows 0% warm-up and 5% warm-up of .* with rectify none, reweight no; leave that",
        ),
    ],
)
def test_rows_that_are_the_same(plan, table, base, text):
    """A base recipe that leaves nothing to compare is refused, not trained under two names."""
    with pytest.raises(RefkdError, match=text):
        plan(table, [viewed("a", 0)], base=replace(BASE, **base))


def test_rows_of_groups_may_be_the_same(plan):
    """Ground truth only stands in the group of every backbone; in each it differs from other rows."""
    rows = plan("controls", [pair("a", 0), pair("b", 0, backbone="seqpan")])

    assert len([name for _, name in rows if name == "ground truth only"]) == 2
