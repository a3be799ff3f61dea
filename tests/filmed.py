"""A simulated data set of a chosen size and of published widths, for benches and slow tests."""

import json
from pathlib import Path

import numpy as np

from pipeline.simulate import simulate
from stores.demo import ACTIONS, SUBJECTS

QUERIES_PER_VIDEO = 2  # Charades has 2.3


def film(folder: Path, *, clips: int = 128, seed: int = 0, **splits: int) -> Path:
    """Write so many pairs of each split, of 1024 channels, and return the data set's folder.

    >>> film(Path("data"), train=128, val=32)  # doctest: +SKIP
    """
    annotations = folder.with_name(f"{folder.name}-annotations")
    annotations.mkdir(parents=True, exist_ok=True)
    for split, count in splits.items():
        rng = np.random.default_rng([seed, *split.encode()])
        lines = [json.dumps(_pair(split, number, rng)) for number in range(count)]
        (annotations / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return simulate(folder, annotations=annotations, clips=clips, seed=seed)


def _pair(split: str, number: int, rng: np.random.Generator) -> dict[str, object]:
    duration_s = 30.0  # of every video: two queries of one must agree on it
    start_s, length_s = float(rng.uniform(0.0, 20.0)), float(rng.uniform(3.0, 10.0))
    subject = SUBJECTS[rng.integers(len(SUBJECTS))]
    action = ACTIONS[rng.integers(len(ACTIONS))][rng.integers(2)]
    return {
        "qid": f"{split}{number:06d}",
        "query": f"{subject} {action}",
        "vid": f"{split}{number // QUERIES_PER_VIDEO:06d}",
        "duration": duration_s,
        "relevant_windows": [[round(start_s, 2), round(start_s + length_s, 2)]],
    }
