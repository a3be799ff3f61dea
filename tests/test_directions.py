"""Directions of queries: unit vectors that depend on content words, and on no library's whim."""

import numpy as np
from worded import random_vectors

from stores.directions import DECIMALS, query_directions

LENGTH = 8 * 0.5 * 10**-DECIMALS  # at most that far from 1: sqrt(64) parts, half a step each


def test_query_directions():
    """Queries are unit vectors; function words do not matter, rare words matter more."""
    queries = ["a man opens the door", "man opens door", "man", "door", "man jumps", "man runs"]
    vectors = random_vectors(queries)

    directions = query_directions(queries, vectors, seed=0)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, atol=LENGTH)
    agree = directions @ directions.T
    np.testing.assert_allclose(agree[0, 1], 1.0, atol=LENGTH)
    assert agree[0, 3] > agree[0, 2] + 0.1


def test_queries_without_known_words():
    """They get directions of their own, the same each time."""
    vectors = random_vectors(["a man jumps"])

    first = query_directions(["xyzzy", "plugh", "a man jumps"], vectors, seed=0)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=LENGTH)
    assert abs(first[0] @ first[1]) < 0.5
    np.testing.assert_array_equal(
        first, query_directions(["xyzzy", "plugh", "a man jumps"], vectors, seed=0)
    )
    assert query_directions(["xyzzy", "plugh"], {}, seed=0).shape[0] == 2


def test_sign_of_an_eigenvector_does_not_show(monkeypatch):
    """LAPACK may return any eigenvector turned round."""
    queries = ["a man opens the door", "a man jumps", "a dog runs"]
    vectors = random_vectors(queries)
    first = query_directions(queries, vectors, seed=0)
    eigh = np.linalg.eigh

    def turned(matrix):
        squares, directions = eigh(matrix)
        return squares, directions * np.where(np.arange(len(squares)) % 2, 1.0, -1.0)

    monkeypatch.setattr(np.linalg, "eigh", turned)
    np.testing.assert_array_equal(query_directions(queries, vectors, seed=0), first)
