import numpy as np
import pytest

from student.model import network_shape
from student.network import Network
from student.recipe import Recipe
from student.retrieval import (
    ask_together,
    average_logits,
    best_spans,
    clip_seconds,
    decode,
    retrieve,
    score_pairs,
)


def test_spans_of_clips_in_seconds():
    """Clips 1 to 2 of 4 in a video of 8 s are 2 s to 6 s; one clip is never empty."""
    clips, durations, counts = np.array([[1, 2], [3, 3]]), np.array([8.0, 8.0]), np.array([4, 4])

    assert clip_seconds(clips, durations, counts).tolist() == [[2.0, 6.0], [6.0, 8.0]]


def test_decoding_never_chooses_padding():
    """The likeliest span among valid clips, with the product of its probabilities."""
    logits = np.zeros((1, 2, 5), np.float32)
    logits[0, 0, 1] = logits[0, 1, 2] = np.log(3)
    logits[0, :, 4] = 100.0  # padding
    spans, chances = decode(logits, np.array([4]))

    assert spans.tolist() == [[1, 2]]
    assert chances == pytest.approx([0.25])  # 3/6 of each boundary


def test_every_pair_is_answered_in_order(data):
    """One span per pair, inside its video, the same whether asked in one split or with others."""
    network = Network(network_shape(data, Recipe(hidden=16)), seed=1).eval()
    rows = data.rows("val")
    spans, chances = retrieve(network, data, rows, device="cpu")

    assert spans.shape == (36, 2)
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[:, 1] <= rows.durations_s + 1e-9).all()
    assert ((chances > 0) & (chances <= 1)).all()
    scores = score_pairs(spans, data.pairs["val"])
    assert scores["pairs"] == 36


def test_the_truth_scores_a_hundred(data):
    """Predicting each pair's own window gives 100 everywhere."""
    pairs = data.pairs["test_ood"]
    scores = score_pairs(np.array([pair.windows[0] for pair in pairs]), pairs)

    assert scores["mIoU"] == scores["R1@0.7"] == pytest.approx(100.0)


def test_averaging_by_hand():
    """Networks that say (3/4, 1/4) and (1/4, 3/4) say (1/2, 1/2) together; padding stays 0."""
    one, other = np.zeros((2, 1, 2, 3), np.float32)
    one[..., 0] = other[..., 1] = np.log(3)
    one[..., 2] = 50.0  # padding
    averaged = average_logits([one, other], np.array([2]))

    assert np.exp(averaged[0, :, :2]) == pytest.approx(np.full((2, 2), 0.5))
    assert averaged[0, :, 2].tolist() == [0.0, 0.0]


def test_a_network_with_itself_is_the_network(data):
    """Averaging equal answers changes no span; with another network some change."""
    shape = network_shape(data, Recipe(hidden=16))
    one, other = (Network(shape, seed=seed).eval() for seed in (1, 2))
    rows = data.rows("val")
    alone, chances = retrieve(one, data, rows, device="cpu")
    twice, same = best_spans(ask_together([one, one], data, rows, device="cpu"), rows)
    both, _ = best_spans(ask_together([one, other], data, rows, device="cpu"), rows)

    assert (twice == alone).all()
    assert same == pytest.approx(chances, rel=1e-5)
    assert (both != alone).any()
