"""Random generators that do not disturb each other: each is seeded from a seed and a role."""

import hashlib

import numpy as np

from stores.fingerprints import canonical_json


def seed_of(seed: int, *role: str | int) -> int:
    """Return a 63-bit seed for one role, such as ("order", epoch); other roles never share it."""
    data = hashlib.sha256(canonical_json([seed, *role]).encode()).digest()
    return int.from_bytes(data[:8], "big") >> 1


def generator(seed: int, *role: str | int) -> np.random.Generator:
    """Return a NumPy generator for one role."""
    return np.random.default_rng(seed_of(seed, *role))
