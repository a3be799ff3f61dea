"""What a student loses where a cache keeps less than its teachers said: by hand, and live against cached."""

import numpy as np

from pipeline.fidelity import EXACT, Fidelity, fidelity

ONE = np.array([3], np.int16)


def logits(*p):
    """Logits [1, 2, 4] of these probabilities, at both boundaries, with a padded clip."""
    return np.array([[[*np.log(p), 99.0]] * 2])


def test_by_hand():
    """(1/2, 1/4, 1/4) kept as (1/4, 1/2, 1/4): 1/2 log 2 - 1/4 log 2 at each of two boundaries."""
    found = fidelity(logits(0.5, 0.25, 0.25), logits(0.25, 0.5, 0.25), ONE)

    np.testing.assert_allclose(found.logit_error, np.log(2))  # both rows' largest is 1/2
    np.testing.assert_allclose(found.loss_gap, 2 * 0.25 * np.log(2))


def test_a_student_who_knows_nothing():
    """(1/2, 1/4, 1/4) kept as a third each: its loss was log 3 less an entropy, and is now 0."""
    found = fidelity(logits(0.5, 0.25, 0.25), logits(1 / 3, 1 / 3, 1 / 3), ONE)

    np.testing.assert_allclose(found.loss_gap, 2 * (np.log(3) - 1.5 * np.log(2)))
    sure = np.array([[[0.0, -50.0, -50.0, 0.0]] * 2])
    less = np.array([[[0.0, -40.0, -40.0, 0.0]] * 2])
    np.testing.assert_allclose(fidelity(sure, less, ONE).logit_error, 10)
    assert fidelity(sure, less, ONE).loss_gap < 1e-12


def test_a_constant_changes_nothing():
    """Logits with a row's maximum subtracted, as float16 keeps them, are the same answers."""
    said = np.random.default_rng(0).normal(size=(20, 2, 7)) * 10
    clips = np.arange(1, 21) % 7 + 1
    found = fidelity(said, said - said.max(axis=2, keepdims=True), clips)

    np.testing.assert_allclose(found, EXACT, atol=1e-12)


def test_the_worst_of_both():
    """Of two comparisons the larger error and the larger gap, whichever they come from."""
    assert Fidelity(1.0, 2.0).worst(Fidelity(3.0, 0.5)) == Fidelity(3.0, 2.0)
