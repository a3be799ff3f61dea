"""Directions of queries in word-vector space, for the simulator: like sentences lie close together.

Shapes: Q queries; W word vector; K directions. A query's parts are rounded, so that no BLAS
kernel and no number of threads shows in them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.lexicon import word_types
from stores.seeds import generator
from stores.words import tokenize

Double = npt.NDArray[np.float64]

DIRECTIONS = 64  # of the query subspace, at most
DECIMALS = 4  # of a query's part in each of them
# fmt: off
STOP_WORDS = frozenset((
    "a", "an", "the", "of", "in", "on", "at", "to", "from", "into", "onto", "with", "by", "for",
    "and", "or", "then", "while", "as", "is", "are", "was", "be", "it", "its", "he", "she",
    "they", "him", "her", "his", "their", "them", "this", "that", "there", "some", "one", "up",
    "down", "out", "off", "over",
))
# fmt: on


def query_directions(
    queries: Sequence[str], vectors: Mapping[str, npt.NDArray[np.float32]], *, seed: int
) -> Double:
    """Return each query as a unit vector in the principal directions of all queries, (Q, K).

    A query is the sum of its content words' centred unit vectors, weighted by how rare they are.
    One without a known content word gets a direction of its own. Lengths are 1 to within DECIMALS.
    """
    known = {
        word: vectors[word].astype(np.float64) for word in word_types(queries) if word in vectors
    }
    width = len(next(iter(vectors.values()))) if vectors else DIRECTIONS
    mean_W = np.mean(list(known.values()), axis=0) if known else np.zeros(width)
    content = [[word for word in tokenize(query) if word in known] for query in queries]
    content = [[word for word in words if word not in STOP_WORDS] or words for words in content]
    counts: dict[str, int] = {}
    for words in content:
        for word in set(words):
            counts[word] = counts.get(word, 0) + 1
    sums_QW = np.zeros((len(queries), width))
    for row_W, query, words in zip(sums_QW, queries, content, strict=True):
        for word in words:
            rarity = math.log((1 + len(queries)) / counts[word])
            row_W += rarity * unit(known[word] - mean_W)
        if not row_W.any():
            row_W += generator(seed, "query", query).standard_normal(width)
    sums_QW /= np.linalg.norm(sums_QW, axis=1, keepdims=True)
    squares_W, directions_WW = np.linalg.eigh(sums_QW.T @ sums_QW)
    kept = np.flatnonzero(squares_W > 1e-9 * squares_W[-1])[-DIRECTIONS:]
    parts_QK = unit(sums_QW @ _turned(directions_WW[:, kept]))
    rounded: Double = np.round(parts_QK, DECIMALS) + 0.0  # -0 is 0
    return rounded


def _turned(directions_WK: Double) -> Double:
    """Return eigenvectors with their largest part positive: their sign is the library's whim."""
    largest_K = np.abs(directions_WK).argmax(axis=0)
    turned: Double = directions_WK * np.sign(
        np.take_along_axis(directions_WK, largest_K[None], axis=0)
    )
    return turned


def unit(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return vectors of length 1; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: npt.NDArray[Any] = vectors / np.where(norms > 0, norms, 1.0)
    return scaled
