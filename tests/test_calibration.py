"""Calibration worked by hand, and against its meaning: how often is a model right that says 70%?"""

import numpy as np
import pytest

from student.calibration import (
    Bin,
    boundary_calibration,
    boundary_confidence,
    calibration,
    in_percent,
)


def test_two_bins_by_hand():
    """Bins (.2, .4) and (.6, .8) say .3 and .7 and are right half the time: the error is .2."""
    found = calibration(
        np.array([0.8, 0.2, 0.6, 0.4]), np.array([False, False, True, True]), num_bins=2
    )

    assert found.error == pytest.approx(0.2)
    assert found.confidence == pytest.approx(0.5)
    assert found.accuracy == 0.5
    for one, confidence in zip(found.bins, (0.3, 0.7), strict=True):
        assert one == pytest.approx(Bin(confidence, 0.5, 2))


def test_bins_count_by_their_size():
    """Five predictions in two bins are three and two: 3/5 |1/3 - .2| + 2/5 |1 - .9| = .12."""
    found = calibration(
        np.array([0.1, 0.2, 0.3, 0.85, 0.95]),
        np.array([True, False, False, True, True]),
        num_bins=2,
    )

    assert [one.num for one in found.bins] == [3, 2]
    assert found.error == pytest.approx(0.6 * (1 / 3 - 0.2) + 0.4 * 0.1)


def test_fewer_predictions_than_bins():
    """Each prediction is then a bin: .75 right and .25 wrong miss by a quarter."""
    found = calibration(np.array([0.75, 0.25]), np.array([True, False]))

    assert len(found.bins) == 2
    assert found.error == pytest.approx(0.25)


def test_chance_of_one_prediction():
    """Said .8: right (miss .2) in 8 of 10 draws, wrong (miss .8) in 2, so .32 by chance alone."""
    found = calibration(np.full(1, 0.8), np.array([True]), num_bins=1)

    assert found.by_chance == pytest.approx(0.32, abs=0.05)


def test_a_calibrated_model_errs_as_much_as_chance():
    """Hits drawn with the very confidences give the error of chance; hits at random do not."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.05, 0.95, 20_000)
    honest = calibration(sure, rng.random(20_000) < sure)
    boaster = calibration(sure, rng.random(20_000) < 0.5 * sure)

    assert honest.error == pytest.approx(honest.by_chance, abs=0.005)
    assert boaster.error == pytest.approx(0.25, abs=0.01)  # half of the mean confidence
    assert boaster.by_chance == honest.by_chance


def test_order_of_the_rows_means_nothing():
    """Rows in another order give the same error."""
    rng = np.random.default_rng(1)
    sure, hit = rng.random(100), rng.random(100) < 0.4
    order = rng.permutation(100)

    assert calibration(sure[order], hit[order]).error == pytest.approx(calibration(sure, hit).error)


def test_confidence_is_of_the_likeliest_clip():
    """Softmax over the video's own clips: .7 on the true clip, .6 on a wrong one, padding aside."""
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [[0.5, 0.5, 9.0], [1, 3, 99]]]))
    sure, hit = boundary_confidence(logits, np.array([3, 2]), np.array([[0, 1], [0, 1]]))

    np.testing.assert_allclose(sure, [[0.7, 0.6], [0.5, 0.75]])
    assert hit.tolist() == [[True, False], [True, True]]  # of equals the first


def test_boundaries_apart():
    """A model that always knows the start and never the end, and is always sure."""
    logits = np.zeros((4, 2, 5), np.float32)
    logits[:, :, 2] = 50.0
    found = boundary_calibration(logits, np.full(4, 5), np.array([[2, 3]] * 4))

    assert found["start"].error == pytest.approx(0.0, abs=1e-9)
    assert found["end"].error == pytest.approx(1.0)
    told = in_percent(found)["end"]
    assert told.keys() == {"error", "by_chance", "confidence", "accuracy"}
    assert (told["error"], told["accuracy"]) == (100.0, 0.0)
