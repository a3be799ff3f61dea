"""Word vectors for tests of the simulator."""

import numpy as np

from stores.lexicon import word_types


def random_vectors(queries, width=300):
    """Return a random vector for each word of some queries, the same ones each time."""
    rng = np.random.default_rng(0)
    return {word: rng.normal(size=width).astype(np.float32) for word in word_types(queries)}
