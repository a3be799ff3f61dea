"""Examples: which queries are chosen, and what is shown of them."""

import numpy as np
import pytest

from pipeline.examples import answer, choose, examples_section
from student.metrics import pair_ious
from student.retrieval import best_spans


@pytest.fixture
def logits(data):
    """Random but sure answers to every row of test_ood."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(36, 2, data.num_clips)).astype(np.float32) * 4


def test_chosen_rows_stand_at_the_quartiles(data, logits):
    """Of 36 IoUs in order the 27th, the 18th and the 10th (places 26.25, 17.5 and 8.75, rounded)."""
    spans, _ = best_spans(logits, data.rows("test_ood"))
    ious = pair_ious(spans, [pair.windows for pair in data.pairs["test_ood"]])
    ordered = sorted(ious)

    assert [ious[row] for row in choose(logits, data, "test_ood")] == [
        ordered[26],
        ordered[18],
        ordered[9],
    ]


def test_answers(data, logits):
    """Each model's span and IoU are those of its logits, and its probabilities sum to 1."""
    chosen = choose(logits, data, "test_ood")
    examples = answer({"a": logits, "b": -logits}, data, "test_ood", chosen)
    spans, _ = best_spans(-logits, data.rows("test_ood"))

    assert [example.pair for example in examples] == [data.pairs["test_ood"][n] for n in chosen]
    for row, example in zip(chosen, examples, strict=True):
        assert list(example.answers) == ["a", "b"]
        found = example.answers["b"]
        assert found.span_s == tuple(spans[row])
        assert found.chances_BT.shape == (2, data.rows("test_ood").clips[row])
        np.testing.assert_allclose(found.chances_BT.sum(axis=1), 1.0)


def test_section_shows_every_row(data, logits):
    """Three time lines, each with the ground truth and both models, and the query in words."""
    text = examples_section(
        {"ID teacher": logits, "student": -logits}, data, "test_ood", student="student", suffix=""
    )
    chosen = choose(-logits, data, "test_ood")

    assert text.count("<figure>") == 3
    for row in chosen:
        pair = data.pairs["test_ood"][row]
        assert f"“{pair.query}”<small>in {pair.video}</small>" in text
        (window,) = pair.windows
        assert f"ground truth: {window[0]:.1f} to {window[1]:.1f} s; ID teacher: " in text
    assert text.count("; student: ") == 3
