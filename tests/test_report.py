"""The report of real, small runs: everything that was promised stands on the page."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from pipeline.distill import distill
from pipeline.evaluate import evaluate
from pipeline.report import find_runs, report
from stores.errors import RefkdError
from stores.models import read_facts
from student.recipe import Recipe

QUICK = Recipe(hidden=16, epochs=2, batch=16, lr=3e-3, warmup=0.5)
VOID = {"meta"}


class Nesting(HTMLParser):
    """Checks that every opened element is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def runs(data_folder, cache_folder, tmp_path_factory):
    """A folder of one run."""
    out = tmp_path_factory.mktemp("runs")
    distill(data_folder, cache_folder, out, QUICK, device="cpu", threads=1)
    return out


@pytest.fixture(scope="module")
def page(data_folder, teacher_folders, runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "new" / "report.html"
    report(out, data=data_folder, teachers=teacher_folders, runs=[runs], device="cpu")
    return out.read_text()


def test_page_is_well_formed(page):
    """Every element is closed where it was opened."""
    nesting = Nesting()
    nesting.feed(page)

    assert nesting.open == []
    assert nesting.seen.count("table") == 3 + 2  # a split each, then data and models
    assert not re.search(r"(src|href)=|https?:", page)


def test_scores_are_evaluate_s(page, data_folder, runs):
    """The student's row of each split holds what `evaluate` returns, beside the three floors."""
    (run,) = find_runs([runs])
    result = evaluate(run, data_folder, device="cpu")

    for split, scores in result["splits"].items():
        table = re.search(rf"<caption>{split}: 36 pairs.*?</table>", page)[0]
        (row,) = re.findall(r'<tr><th scope="row">student</th>(.*?)</tr>', table)
        cells = re.findall(r"([\d.]+)</td>", row)
        assert cells[:4] == [f"{scores[m]:.2f}" for m in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")]
        assert table.count('class="floor"') == 3
        for name in ("ID teacher", "OOD teacher"):
            assert f'<th scope="row">{name}</th>' in table


def test_every_loss_term_has_a_curve(page, teacher_folders, runs):
    """Each term of each model's history is named in the legend of that model's chart."""
    models = {"ID teacher": teacher_folders["id"], "OOD teacher": teacher_folders["ood"]}
    models["student"] = find_runs([runs])[0]

    for name, folder in models.items():
        chart = re.search(rf"<figure><figcaption>Losses of {name} .*?</figure>", page)[0]
        terms = {term for entry in read_facts(folder)[0]["history"] for term in entry["losses"]}
        assert set(re.findall(r"</svg>([a-z_]+)</li>", chart)) == terms
    assert page.count("Validation mIoU:") == 1


def test_three_examples_of_test_ood(page, data):
    """Three different queries, each with the ground truth's row and one of every model."""
    examples = page[: page.index("<h2>What was run")].split('<div class="example">')[1:]

    assert len(examples) == 3
    assert len({re.search(r"in (test_ood_\d+)", example)[1] for example in examples}) >= 2
    for example in examples:
        labels = re.findall(r'<div class="row"><p>([^:]+):', example)
        assert labels == ["ground truth", "ID teacher", "OOD teacher", "student"]
        assert example.count("<polyline") == 3 * 2


def test_what_was_run(page, data, runs):
    """Recipe and data are told."""
    assert data.seal[:16] in page
    assert re.search(r'<th scope="row">rectify</th>.*?<td class="text">mixed</td>', page)
    assert "mixed" in page


def test_same_inputs_same_bytes(page, data_folder, teacher_folders, runs, tmp_path):
    """The page holds no time and no host, so a second one is the same, whatever knew the scores."""
    (run,) = find_runs([runs])
    known = {run: evaluate(run, data_folder, device="cpu")}

    again = report(
        tmp_path / "again.html",
        data=data_folder,
        teachers=teacher_folders,
        runs=[run],
        results=known,
        device="cpu",
    )
    assert again.read_text() == page


def test_real_features_are_not_called_simulated(page):
    """A data set of given features is not called simulated."""
    assert "imulated features" not in page


def test_simulated_is_said_wherever_scores_stand(make_data, runs, tmp_path):
    """On simulated features the page warns once and each table of scores says so."""
    data = make_data(tmp_path / "planted", simulated=True)
    text = report(tmp_path / "r.html", data=data, runs=[runs], device="cpu").read_text()

    assert text.count("pairs, simulated features</caption>") == 3
    assert "say nothing about real video" in text


def test_folder_without_runs(data_folder, tmp_path):
    """A folder without a finished run says what to run."""
    with pytest.raises(RefkdError, match=r"no finished run at .*; run `refkd distill` first"):
        report(tmp_path / "r.html", data=data_folder, runs=[tmp_path])


def test_runs_that_are_teachers(data_folder, teacher_folders, tmp_path):
    """Teachers alone make no report: a student is asked for."""
    with pytest.raises(RefkdError, match="no student is among the runs"):
        report(tmp_path / "r.html", data=data_folder, runs=[teacher_folders["id"]])


def test_find_runs(runs, tmp_path):
    """A path is a run, or a folder of runs, hidden ones left out."""
    copies = tmp_path / "copies"
    (run,) = find_runs([runs])
    for name in ("b", "a", ".c.building"):
        shutil.copytree(run, copies / name)

    assert find_runs([copies, run]) == [copies / "a", copies / "b", run]
