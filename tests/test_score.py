"""Scoring prediction files against hand-worked annotations."""

import json
import logging

import pytest

from pipeline.score import score
from stores.annotations import read_pairs
from stores.errors import RefkdError
from stores.predictions import Prediction, write_predictions
from student.metrics import MEASURES, scores


@pytest.fixture
def annotations(tmp_path):
    """Charades-CD style: two pairs of video a (20 s), one of b (10 s), one of c (10 s, reversed)."""
    value = {
        "a": {
            "sentences": ["someone waits", "someone leaves"],
            "timestamps": [[0, 10], [10, 20]],
            "video_duration": 20,
        },
        "b": {"sentences": ["someone sits"], "timestamps": [[2, 6]], "video_duration": 10},
        "c": {"sentences": ["someone sits"], "timestamps": [[6, 2]], "video_duration": 10},
    }
    path = tmp_path / "test_iid.json"
    path.write_text(json.dumps(value))
    return path


def predictions(tmp_path, **windows):
    """Write predictions: qid with an underscore for the # -> windows."""
    path = tmp_path / "predictions.jsonl"
    rows = [
        Prediction(name.replace("_", "#"), name[0], "q", tuple(own))
        for name, own in windows.items()
    ]
    write_predictions(path, rows)
    return path


def test_by_hand(tmp_path, annotations):
    """Exact, half, and best-scored but wrong: IoU 1, 1/2, 0; c's reversed moment is 0 for anyone."""
    path = predictions(
        tmp_path,
        a_0=[(0, 10, 0.5)],
        a_1=[(5, 15, 0.1), (10, 15, 0.8), (10, 20, 0.7)],
        b_0=[(2, 6, 0.1), (7, 9, 0.3)],
        c_0=[(2, 6, 1.0)],
    )
    found = score(path, annotations)

    assert found["pairs"] == 4
    assert [found[key] for key in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")] == [50, 50, 25, 37.5]
    assert found["dR1@0.5"] == pytest.approx(25 * (1 + 0.75))  # ends 5 of 20 s early
    odd = ("missing", "unknown", "reversed", "zero_length")
    assert [found[key] for key in odd] == [0, 0, 0, 0]
    assert found["convention"] == "hull"


def test_odd_predictions(tmp_path, annotations, caplog):
    """Missing, unknown, reversed and empty predictions are counted, said and score 0."""
    path = predictions(
        tmp_path,
        a_0=[(10, 0, 0.5)],  # reversed
        a_1=[(15, 15, 0.5)],
        b_0=[],  # an empty list is no answer
        z_0=[(0, 1, 1.0)],
    )
    with caplog.at_level(logging.WARNING, logger="refkd"):
        found = score(path, annotations)

    odd = ("missing", "unknown", "reversed", "zero_length")
    assert [found[key] for key in odd] == [2, 1, 1, 1]
    assert all(found[measure] == 0 for measure in MEASURES)
    assert caplog.messages == [
        "pairs without a prediction, which are misses: 2 of 4",
        "predictions of no pair, which are left out: 1",
        "windows reversed or of length zero, which score 0: 2",
    ]


def test_defects_of_answers_only(tmp_path, annotations):
    """A reversed window that does not answer, or belongs to no pair, is not counted."""
    path = predictions(tmp_path, a_0=[(10, 0, 0.1), (0, 10, 0.9)], z_0=[(9, 1, 1.0)])
    found = score(path, annotations)

    assert found["reversed"] == 0
    assert found["mIoU"] == 25


def test_foreign_predictions(tmp_path, annotations, caplog):
    """If no qid is known at all, an example of each side shows why."""
    with caplog.at_level(logging.WARNING, logger="refkd"):
        score(predictions(tmp_path, z_0=[(0, 1, 1.0)]), annotations)

    assert caplog.messages[-1].endswith("share no qid: the first ones are z#0 and a#0")


def test_jsonl(tmp_path):
    """Of several windows of a row the best-overlapping one counts; a numeric qid is its text."""
    path = tmp_path / "truth.jsonl"
    row = {"query": "someone waits", "vid": "v", "duration": 40}
    path.write_text(
        json.dumps({**row, "qid": 1, "relevant_windows": [[20, 30], [0, 10]]})
        + "\n"
        + json.dumps({**row, "qid": 2, "relevant_windows": [[0, 8]]})
        + "\n"
    )
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"qid": 1, "pred_relevant_windows": [[0, 9, 0.5]]}\n')
    found = score(answers, path)

    assert found["pairs"] == 2
    assert found["missing"] == 1
    assert found["mIoU"] == pytest.approx(45)
    assert found["R1@0.7"] == 50
    assert found["floors"]["whole video"]["mIoU"] == pytest.approx(100 * (10 / 40 + 8 / 40) / 2)


def test_conventions(tmp_path, annotations):
    """A tie at the threshold is a hit by hull and a miss by shuffle, in the floors too."""
    path = predictions(tmp_path, a_0=[(0, 5, 1.0)])
    hull, shuffle = score(path, annotations), score(path, annotations, convention="shuffle")

    assert (hull["R1@0.5"], shuffle["R1@0.5"]) == (25, 0)
    assert shuffle["mIoU"] == pytest.approx(25 * 5 / 10.0001)
    whole = [found["floors"]["whole video"]["R1@0.5"] for found in (hull, shuffle)]
    assert whole == [50, 0]  # both moments of a are half of it


def test_floors_with_train(tmp_path, annotations):
    """The fitted spans come with a training file: [0, 1/2] here, which answers one pair of four."""
    train = tmp_path / "train.json"
    train.write_text(
        json.dumps({"t": {"sentences": ["x"], "timestamps": [[0, 30]], "video_duration": 60}})
    )
    path = predictions(tmp_path)
    found = score(path, annotations, train=train)["floors"]

    assert list(score(path, annotations)["floors"]) == ["whole video"]
    assert found["fixed span (mIoU)"]["span"] == [0.0, 0.5]
    assert found["fixed span (mIoU)"]["R1@0.7"] == 25
    assert found["fixed span (R1@0.5)"]["span"] == [0.0, 0.26]


def test_same_figures_as_in_memory(tmp_path, annotations):
    """Written and read back, in another order, windows give the very same bits."""
    pairs = sorted(read_pairs(annotations, "test"), key=lambda pair: pair.query)
    spans = [(0.1, 7.7), (1 / 3, 9.9), (2.2, 19.3), (0.0, 0.3)]
    path = tmp_path / "p.jsonl"
    write_predictions(
        path,
        [
            Prediction(pair.id, pair.video, pair.query, ((*span, 1.0),))
            for pair, span in zip(pairs, spans, strict=True)
        ],
    )
    found = score(path, annotations)
    expected = scores(spans, [pair.windows for pair in pairs], [pair.duration_s for pair in pairs])

    assert {key: found[key] for key in expected} == expected


def test_duplicates_are_refused(tmp_path, annotations):
    """Two predictions of one pair are an error, not a choice."""
    path = predictions(tmp_path, a_0=[(0, 10, 1.0)])
    path.write_text(path.read_text() * 2)

    with pytest.raises(RefkdError, match="line 2: qid a#0 stands on line 1 already"):
        score(path, annotations)


def test_a_train_split_of_several_windows(tmp_path):
    """Its pairs are one per window, `<qid>#<n>`, and so are the predictions that evaluate writes."""
    row = {"qid": 7, "query": "q", "vid": "v", "duration": 10, "relevant_windows": [[0, 2], [6, 8]]}
    truth, answers = tmp_path / "my_train.jsonl", tmp_path / "answers.jsonl"
    truth.write_text(json.dumps(row) + "\n")
    rows = [
        Prediction("7#0", "v", "q", ((0.0, 2.0, 1.0),)),
        Prediction("7#1", "v", "q", ((6.0, 7.0, 1.0),)),
    ]
    write_predictions(answers, rows)
    found = score(answers, truth)

    assert (found["pairs"], found["missing"], found["unknown"]) == (2, 0, 0)
    assert found["mIoU"] == 75.0  # 1 and 1/2
    write_predictions(answers, [Prediction("7", "v", "q", ((6.0, 8.0, 1.0),))])
    assert score(answers, truth)["mIoU"] == 100.0  # one answer to the query: its best window


def test_charades_sta_text(tmp_path, caplog):
    """It is scored with durations from another file, as prepare reads it; others need none."""
    text, seconds = tmp_path / "charades_sta_test.txt", tmp_path / "seconds.csv"
    text.write_text("AO8RW 0.0 5.0##a person sits\n")
    seconds.write_text("AO8RW,20\n")
    qid = read_pairs(text, "test", durations=seconds)[0].id
    answers = predictions(tmp_path, **{qid.replace("#", "_"): [(0.0, 10.0, 1.0)]})

    found = score(answers, text, train=text, durations=seconds)
    assert found["mIoU"] == pytest.approx(50.0)
    assert found["dR1@0.3"] == pytest.approx(75.0)  # an end that is 5 of 20 s late
    assert caplog.messages == []
    with pytest.raises(RefkdError, match="give them by --durations FILE"):
        score(answers, text)


def test_idle_durations(tmp_path, annotations, caplog):
    """Durations that nobody reads are told."""
    path = predictions(tmp_path, a_0=[(0, 10, 1.0)])
    score(path, annotations, durations=tmp_path / "seconds.csv")

    assert "seconds.csv is not used: no annotation is Charades-STA text" in caplog.messages[0]
