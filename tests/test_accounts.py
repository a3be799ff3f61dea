"""The account of costs: what is noted, what is not, and the sum that the cache saved."""

import re
import shutil

import numpy as np
import pytest
from planned import Ask, build, make_plan

from pipeline.accounts import costs_section, count_parameters, saving
from pipeline.costs import read_costs
from pipeline.subjects import Member, Subject, find_runs, find_subjects
from stores.errors import RefkdError
from stores.files import write_json
from stores.models import read_facts
from student.model import load_model, network_shape
from student.network import Network
from student.recipe import Recipe


def rows(text, caption):
    table = re.search(rf"<caption>{caption}</caption>.*?</table>", text)[0]
    return {
        name: [re.sub(r"<[^>]+>", "", cell).strip() for cell in cells.split("</td>")[:-1]]
        for name, cells in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    }


@pytest.fixture
def subjects(runs_folder, teacher_folders, data):
    teachers = {name: [folder] for name, folder in teacher_folders.items()}
    return find_subjects([runs_folder], teachers, data)


def test_parameters(runs_folder, teacher_folders, data):
    """A student trains its side branches too and keeps what a network without them has."""
    run = find_runs([runs_folder])[0]
    trained, kept = count_parameters(read_facts(run)[0])
    branched = Network(network_shape(data, Recipe(hidden=16)), teachers=("id", "ood"))

    assert kept == sum(p.numel() for p in load_model(run).network.parameters())
    assert trained == sum(p.numel() for p in branched.parameters())
    assert trained > kept
    assert count_parameters(read_facts(teacher_folders["id"])[0]) == (kept, kept)


def test_every_stage_has_its_row(subjects, data_folder, teacher_folders, runs_folder):
    """Seconds as noted; of two seeds mean and deviation; what no one noted is said."""
    found = rows(costs_section(subjects, data_folder), "Stages")

    assert list(found) == [
        "prepare",  # the data of the tests are not made by a stage
        "teach: ID teacher",
        "teach: OOD teacher",
        "cache (stage one)",
        "weigh (stage two)",
        "distill (stage three): RefKD (2 seeds)",
        "distill (stage three): 0% warm-up",
    ]
    assert found["prepare"][0] == "not recorded"
    cost = read_costs(teacher_folders["id"])["teach"]
    told = found["teach: ID teacher"]
    assert told[0] == f"{cost['seconds']:.2f}"
    assert told[1] == f"{cost['peak_rss_bytes'] / 2**20:,.0f}"
    assert told[2:] == ["", "96", "3", "cpu", "1"]
    assert " ± " in found["distill (stage three): RefKD (2 seeds)"][0]
    assert found["cache (stage one)"][3] == "192"


def test_what_the_cache_saved(subjects, data_folder, cache_folder, tmp_path, monkeypatch):
    """192 answers took .96 s, so 5 ms each; three students of two epochs ask 3 x 2 x 192 times."""
    from pipeline import accounts

    def noted(folder):
        costs = read_costs(folder)
        if "cache" in costs:
            return {"cache": {**costs["cache"], "seconds": 0.96}, "weigh": {"seconds": 0.04}}
        return costs

    monkeypatch.setattr(accounts, "read_costs", noted)
    text = costs_section(subjects, data_folder)

    assert "3 students read what the teachers say of a pair 1,152 times" in text
    assert "at the 5.0 ms of stage one, would take 5.8 s" in text
    assert "took 1.0 s, once" in text


def test_parts_of_several_machines_count_together(subjects, data_folder, cache_folder, monkeypatch):
    """64 answers in .5 s and 128 in .46 s are 192 in .96 s; each part has its row."""
    from pipeline import accounts

    def noted(folder):
        costs = read_costs(folder)
        if "cache" not in costs:
            return costs
        parts = {"1/2": {"rows": 64, "seconds": 0.5}, "2/2": {"rows": 128, "seconds": 0.46}}
        told = {f"cache part {part}": {**costs["cache"], **own} for part, own in parts.items()}
        return {**told, "weigh": {**costs["weigh"], "seconds": 0.04}}

    monkeypatch.setattr(accounts, "read_costs", noted)
    text = costs_section(subjects, data_folder)

    assert "at the 5.0 ms of stage one, would take 5.8 s" in text
    assert "took 1.0 s, once" in text
    found = rows(text, "Stages")
    assert found["cache (stage one) part 1/2"][3] == "64"
    assert found["cache (stage one) part 2/2"][3] == "128"


def test_runs_without_notes(runs_folder, data, data_folder, tmp_path):
    """Copies of runs without what they cost still have their row, and nothing is made up."""
    for run in find_runs([runs_folder]):
        shutil.copytree(run, tmp_path / run.name)
    text = costs_section(find_subjects([tmp_path], {}, data), data_folder)
    found = rows(text, "Stages")

    assert {cells[0] for cells in found.values()} == {"not recorded"}
    assert found.keys() >= {"cache (stage one)", "distill (stage three): RefKD (2 seeds)"}
    assert "What the cache saved is not recorded" in text


def test_a_simulated_data_set_says_so(subjects, data_folder, tmp_path):
    """The first row is the stage that made the data."""
    write_json(tmp_path / "data.cost", {"simulate": {"seconds": 2.0, "rows": 7}})
    found = rows(costs_section(subjects, tmp_path / "data"), "Stages")

    assert found["simulate"] == ["2.00", "", "", "7", "", "", ""]
    assert "prepare" not in found


@pytest.fixture
def taught_from(tmp_path):
    """A function that returns a student of id and ood over 300 pairs and two epochs, from a cache."""

    def taught_from(cache):
        run = tmp_path / "run"
        told = {"seconds": 1.0, "rows": 300, "epochs": 2, "cache": str(cache)}
        write_json(tmp_path / "run.cost", {"distill": told})
        recipe = {"recipe": {"teachers": ["id", "ood"]}}
        return [Subject("RefKD", "student", (Member({}, run, recipe),))]

    return taught_from


def seconds(*caches):
    return sum(cost["seconds"] for cache in caches for cost in read_costs(cache).values())


def told_saving(subjects):
    """The milliseconds, the seconds of live teachers and of the cache, and what follows."""
    text = saving(subjects)
    assert "1 student reads what the teachers say of a pair 1,200 times" in text
    found = re.search(r"at the (\S+) ms of .* take (\S+) s; .* took (\S+) s, once\.(.*)</p>", text)
    return *(float(number.replace(",", "")) for number in found.groups()[:3]), found[4]


def test_a_cache_of_two_sittings(tmp_path, taught_from):
    """What a sitting that failed has asked counts with what the next one did: 600 answers, each once."""
    with pytest.raises(RefkdError):
        build(tmp_path / "out", make_plan(), Ask(trouble={("ood", 288): "nan"}, delay_s=0.02))
    cache = build(tmp_path / "out", make_plan(), Ask(delay_s=0.02))
    each, live, once, more = told_saving(taught_from(cache))

    assert seconds(cache) > 20 * 0.02
    np.testing.assert_allclose((live, once), (seconds(cache) * 2, seconds(cache)), atol=0.051)
    np.testing.assert_allclose(each, 1000 * seconds(cache) / 600, atol=0.051)
    assert more == ""


def test_a_cache_linked_from_others(tmp_path, taught_from):
    """What stands in it was asked for by those beside it: their seconds count, and its own few."""
    one, other, both = (
        build(tmp_path / "out", make_plan(names), Ask(delay_s=0.02))
        for names in (("id",), ("ood",), ("id", "ood"))
    )
    _, live, once, more = told_saving(taught_from(both))

    assert read_costs(both)["cache"]["rows"] == 0
    assert seconds(one) > 0.2 < seconds(other)
    whole = seconds(one, other, both)
    np.testing.assert_allclose((live, once), (2 * whole, whole), atol=0.051)
    assert more == ""


def test_a_cache_whose_source_is_gone(tmp_path, taught_from):
    """Of how many answers nobody knows the cost is said, and made up is nothing."""
    one = build(tmp_path / "out", make_plan(("id",)), Ask())
    both = build(tmp_path / "out", make_plan(), Ask(delay_s=0.02))
    shutil.rmtree(one)
    _, live, once, more = told_saving(taught_from(both))

    np.testing.assert_allclose((live, once), (4 * seconds(both), seconds(both)), atol=0.051)
    assert more.startswith(" Not counted is what 300 of 600 answers cost: they were taken from")


def test_students_of_no_teacher(runs_folder, data, data_folder):
    """Ground truth only reads no cache, so that none saved anything; no note is missed."""
    found = find_subjects([runs_folder], {}, data)
    for member in (one for subject in found for one in subject.at_hand):
        member.facts["recipe"]["teachers"] = []

    assert "No student at hand learned from teachers" in saving(found)
