"""The report of real, small runs: everything that was promised stands on the page."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from cli.main import refkd
from pipeline.evaluate import evaluate
from pipeline.report import _selection, report
from pipeline.subjects import Member, Subject, find_runs
from stores.errors import RefkdError
from stores.models import read_facts

VOID = {"meta"}
SECTIONS = [
    "Scores",
    "Warm-up",
    "Training",
    "What the student makes of its teachers",
    "Calibration",
    "Examples",
    "Costs",
    "What was run",
]


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
def teachers(teacher_folders):
    return {name: [folder] for name, folder in teacher_folders.items()}


@pytest.fixture(scope="module")
def page(data_folder, teachers, runs_folder, tmp_path_factory):
    """The page of two teachers and three runs of two recipes."""
    out = tmp_path_factory.mktemp("page") / "new" / "report.html"
    report(out, data=data_folder, teachers=teachers, runs=[runs_folder], device="cpu")
    return out.read_text()


@pytest.fixture(scope="module")
def plain(data_folder, runs_folder, tmp_path_factory):
    """The page of one run."""
    out = tmp_path_factory.mktemp("plain") / "report.html"
    runs = find_runs([runs_folder])[:1]
    return report(out, data=data_folder, runs=runs, device="cpu").read_text()


def test_page_is_well_formed(page):
    """Every element is closed where it was opened; nothing comes from elsewhere."""
    nesting = Nesting()
    nesting.feed(page)

    assert nesting.open == []
    assert not re.search(r'src=|href="(?!#)|https?:', page)
    assert "imulated features" not in page  # given ones are not called so


def test_every_picture_can_be_told(page):
    """Each picture has a caption and words for those who cannot see it."""
    pictures = re.findall(r"<figure><figcaption>.+?</figcaption><svg[^>]*>", page)

    assert len(pictures) == page.count("<svg") >= 15
    assert all(re.search(r'role="img" aria-label="[^"]+"', picture) for picture in pictures)


def test_sections(page, plain):
    """All sections in order; of one run there is no figure of warm-ups."""
    assert re.findall(r"<h2>(.*?)</h2>", page) == SECTIONS
    assert re.findall(r"<h2>(.*?)</h2>", plain) == [one for one in SECTIONS if one != "Warm-up"]


def test_scores_are_evaluate_s(plain, data_folder, runs_folder):
    """The student's row of each split holds what `evaluate` returns, beside the three floors."""
    (run, *_) = find_runs([runs_folder])
    result = evaluate(run, data_folder, device="cpu")

    for split, scores in {**result["splits"], "val_moved": result["val_moved"]}.items():
        table = re.search(rf"<caption>{split}: 36 pairs.*?</table>", plain)[0]
        (row,) = re.findall(r'<tr[^>]*><th scope="row">student</th>(.*?)</tr>', table)
        cells = re.findall(r"([\d.]+)</td>", row)
        assert cells[:4] == [f"{scores[m]:.2f}" for m in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")]
        assert table.count('class="floor"') == 3


def test_rows_of_several(page):
    """Teachers, then recipes by their names in the tables, seeds together."""
    for split in ("test_iid", "test_ood", "val", "val_moved"):
        table = re.search(rf"<caption>{split}: 36 pairs.*?</table>", page)[0]
        names = re.findall(r'<th scope="row">(.*?)</th>', table)[3:]
        assert names == ["ID teacher", "OOD teacher", "RefKD (2 seeds)", "0% warm-up"]
    assert "mIoU of RefKD (2 seeds) minus that of others" in page


def test_every_loss_term_has_a_curve(page, teacher_folders, runs_folder):
    """Each term of each model's history is told of in that model's chart."""
    histories = {"ID teacher": teacher_folders["id"], "RefKD": find_runs([runs_folder])[0]}

    for name, folder in histories.items():
        spoken = re.search(rf'aria-label="Losses of {name}: ([^"]*)"', page)[1]
        terms = {term for entry in read_facts(folder)[0]["history"] for term in entry["losses"]}
        assert {part.split(" from ")[0] for part in spoken.split("; ")} == terms


def test_examples_show_every_model(page):
    """Each of three queries has the ground truth's row, one of each teacher and the student's."""
    shown = re.findall(r'aria-label="“people [^"]*”; ([^"]*)"', page)

    assert len(shown) == 3
    for rows in shown:
        assert [row.split(":")[0] for row in rows.split("; ")] == [
            "ground truth",
            "ID teacher",
            "OOD teacher",
            "RefKD",
        ]


def test_what_was_run(page, data):
    """Recipe, seeds and data are told."""
    assert data.seal[:16] in page
    assert re.search(r'<th scope="row">rectify</th>.*?<td class="text">mixed</td>', page)
    assert re.search(r'<th scope="row">seed</th>.*?<td class="text">0, 1</td>', page)


def test_same_inputs_same_bytes(plain, data_folder, runs_folder, tmp_path):
    """The page holds no time and no host, so a second one is the same."""
    runs = find_runs([runs_folder])[:1]
    again = report(tmp_path / "again.html", data=data_folder, runs=runs, device="cpu")

    assert again.read_text() == plain


def test_what_intervals_draw(data_folder, runs_folder, teachers, tmp_path):
    """By --group-by the sources of videos, and the page says so."""
    arguments = ["report", str(runs_folder), str(tmp_path / "page.html"), f"--data={data_folder}"]
    arguments += [f"--teacher=id={teachers['id'][0]}", r"--group-by=_0(\d)\d$"]
    told = CliRunner().invoke(refkd, arguments, catch_exceptions=False)

    assert told.exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "a paired bootstrap over the sources of the videos of the split" in page


def test_simulated_is_said_wherever_scores_stand(make_data, runs_folder, tmp_path):
    """On simulated features the page warns once and each table of scores says so."""
    data = make_data(tmp_path / "planted", simulated=True)
    runs = find_runs([runs_folder])[:1]
    text = report(tmp_path / "r.html", data=data, runs=runs, device="cpu").read_text()

    captions = re.findall(r"<caption>((?:test|val)[^<]*)</caption>", text)
    assert len(captions) == 4 + 2
    assert all(caption.endswith(", simulated features") for caption in captions)
    assert "say nothing about real video" in text


def test_data_without_anything_to_score(data, runs_folder, tmp_path, monkeypatch):
    """Training pairs alone say nothing: what to prepare is named."""
    from pipeline import report as module

    bare = type(data)(**{**vars(data), "pairs": {"train": data.pairs["train"]}})
    monkeypatch.setattr(module, "open_dataset", lambda folder: bare)
    with pytest.raises(RefkdError, match="has no split but train; prepare it with val or test"):
        report(tmp_path / "r.html", data=tmp_path / "d", runs=[runs_folder], device="cpu")


def test_data_with_val_alone(data, runs_folder, tmp_path, monkeypatch):
    """Scores, curves and examples of val; nothing is said of tests that are not there."""
    from pipeline import report as module

    pairs = {split: data.pairs[split] for split in ("train", "val")}
    lone = type(data)(**{**vars(data), "pairs": pairs})
    monkeypatch.setattr(module, "open_dataset", lambda folder: lone)
    runs = find_runs([runs_folder])[:1]
    text = report(tmp_path / "r.html", data=tmp_path / "d", runs=runs, device="cpu").read_text()

    assert re.findall(r"<caption>(\w+): 36 pairs", text) == ["val", "val_moved"]
    assert "Pairs of val at the upper quartile" in text
    assert "Calibration" not in text


TAUGHT = Subject("s", "student", (Member({"kind": "student", "recipe": {"select": "val+moved"}}),))
PLAIN, MOVED = (
    Subject("t", "teacher", (Member({"kind": "teacher", "teachers": {"id": how}}),))
    for how in ({}, {"select": "val+moved"})
)


def blind(subject):
    """The same, trained without a val split."""
    told = [
        dataclasses.replace(one, facts={"history": [{"epoch": 1, "val": None}]})
        for one in subject.members
    ]
    return dataclasses.replace(subject, members=tuple(told))


@pytest.mark.parametrize(
    ("subjects", "said"),
    [
        (
            [PLAIN, TAUGHT],
            "Of each teacher the epoch with the best mIoU on val is kept, "
            "of each student the epoch with the best mIoU on val+moved",
        ),
        ([MOVED, TAUGHT], "Of each model the epoch with the best mIoU on val+moved is kept"),
        (
            [PLAIN, MOVED],
            "Of each model the epoch with the best mIoU on val or the epoch with the best mIoU on "
            "val+moved is kept",
        ),
        (
            [PLAIN, blind(TAUGHT)],
            "Of each teacher the epoch with the best mIoU on val is kept, "
            "of each student the last epoch (there was no val split)",
        ),
    ],
)
def test_what_chose_the_epoch(subjects, said):
    """Teachers may be chosen otherwise than students; what the data of today hold has no say."""
    assert _selection(subjects) == said
