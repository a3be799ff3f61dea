"""Prediction files: what is written comes back, and what cannot be a prediction is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import RefkdError
from stores.predictions import Prediction, read_predictions, write_predictions

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WINDOWS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER), max_size=4).map(tuple)


def row(qid="v#0", windows=((1.5, 2.5, 0.75),)):
    return Prediction(qid, "v", "someone waits", tuple(windows))


def line(**changes):
    value = {"qid": 7, "vid": "v", "query": "q", "pred_relevant_windows": [[0, 1, 0.5]]}
    return json.dumps({**value, **changes})


def read(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return read_predictions(path)


def test_layout(tmp_path):
    """A line is moment-detr's object, UTF-8 and readable."""
    write_predictions(
        tmp_path / "p.jsonl", [Prediction("v#0", "v", "déjà vu", ((1.5, 2.5, 0.75),))]
    )

    assert (tmp_path / "p.jsonl").read_text(encoding="utf-8") == (
        '{"qid": "v#0", "vid": "v", "query": "déjà vu", '
        '"pred_relevant_windows": [[1.5, 2.5, 0.75]]}\n'
    )


@given(windows=WINDOWS)
def test_round_trip(windows, tmp_path_factory):
    """The same numbers come back to the last bit, in the same order."""
    path = tmp_path_factory.mktemp("p") / "p.jsonl"
    rows = [row("b#1", windows), row("a#0")]
    write_predictions(path, rows)

    assert list(read_predictions(path).values()) == rows


def test_best_window():
    """The highest score wins wherever it stands; among equals the first."""
    assert row(windows=[(0, 1, 0.1), (2, 3, 0.9), (4, 5, 0.9)]).best == (2, 3)
    assert row(windows=[(0, 1, -5.0)]).best == (0, 1)
    assert row(windows=[]).best is None


def test_windows_as_written(tmp_path):
    """Reversed, empty, negative and far windows are kept."""
    windows = [[9, 2, 0.5], [3, 3, 0.4], [-4, 1e9, 0.3]]
    found = read(tmp_path / "p.jsonl", line(pred_relevant_windows=windows))

    assert found["7"].windows == ((9.0, 2.0, 0.5), (3.0, 3.0, 0.4), (-4.0, 1e9, 0.3))


def test_lenient_rows(tmp_path):
    """A number as qid, blank lines, Windows line ends, further fields and no vid are all fine."""
    (tmp_path / "p.jsonl").write_bytes(
        b'\r\n{"qid": 7, "pred_relevant_windows": []}\r\n\n'
        b'{"qid": "8", "pred_relevant_windows": [[0, 1, 1]], "pred_saliency_scores": [1, 2]}'
    )
    found = read_predictions(tmp_path / "p.jsonl")

    assert list(found) == ["7", "8"]
    assert found["7"] == Prediction("7", "", "", ())


def test_empty_file(tmp_path):
    """A file without a line predicts nothing."""
    assert read(tmp_path / "p.jsonl") == {}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"qid": 1', "line 2: not complete JSON"),
        ("[1]", "line 2: found a JSON list, expected an object with qid, pred_relevant_windows"),
        ('{"qid": 1}', "line 2: field pred_relevant_windows is missing"),
        ('{"pred_relevant_windows": []}', "line 2: field qid is missing"),
        (line(qid=None), "line 2: qid is None, expected a whole number or a text"),
        (line(qid=""), "line 2: qid is '', expected a whole number or a text"),
        (line(qid=True), "line 2: qid is True, expected a whole number or a text"),
        (line(pred_relevant_windows="no"), "line 2: field pred_relevant_windows is text, expected"),
        (
            line(qid=1, pred_relevant_windows=[[0, 1]]),
            r"line 2: a window is \[0, 1\], expected \[start, end, score\]",
        ),
        (
            line(qid=1, pred_relevant_windows=[[0, "1", 2]]),
            "line 2: a window's number is '1', expected a number",
        ),
        (
            line(qid=1, pred_relevant_windows=[[0, float("nan"), 2]]),
            r"line 2: a window is \[0.0, nan, 2.0\], expected finite numbers",
        ),
        (
            line(qid=1, pred_relevant_windows=[[0, 1, float("inf")]]),
            "line 2: .* expected finite numbers",
        ),
        (line(qid="7"), "line 2: qid 7 stands on line 1 already"),
    ],
)
def test_faults_name_the_line(tmp_path, second, message):
    """Each fault is one sentence with file and line."""
    with pytest.raises(RefkdError, match=message) as caught:
        read(tmp_path / "p.jsonl", line(), second)

    assert str(caught.value).startswith(f"{tmp_path / 'p.jsonl'}, line 2: ")


def test_no_file(tmp_path):
    """A path without a file is named."""
    with pytest.raises(RefkdError, match=r"no predictions at .*p\.jsonl, expected a jsonl file"):
        read_predictions(tmp_path / "p.jsonl")


def test_two_answers_are_not_written(tmp_path):
    """Two predictions of one qid are refused before anything is written."""
    path = tmp_path / "p.jsonl"
    with pytest.raises(RefkdError, match="would hold qid v#0 twice"):
        write_predictions(path, [row(), row()])

    assert not path.exists()
