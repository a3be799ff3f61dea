"""Large caches and data sets, quickly made for benches: written as ever, but nobody is asked.

Shapes: N rows, T clips.
"""

from pathlib import Path

import numpy as np
from untrained import save_teacher

from pipeline.filling import fill
from stores.cachekeys import ArrayPlan, CachePlan, plan_cache
from stores.dataset import open_dataset
from stores.dataset_writer import write_dataset
from stores.demo import ACTIONS, SUBJECTS
from stores.fingerprints import digest
from stores.models import read_facts
from stores.pairs import Pair
from stores.rowarrays import RowArray, rows_per_chunk
from stores.samples import Samples
from stores.words import open_words

NOWHERE = {"device": "cpu", "torch": "none", "processor": "none"}
TEACHERS = ("id", "ood")
DURATION_S = 30.0


def stub_cache(out: Path, *, rows: int, clips: int, dtype="float16", codec="raw") -> Path:
    """Write a cache of two teachers about so many training pairs, all videos full, and return it."""
    layout = RowArray(
        rows, (2, clips), dtype, rows_per_chunk(rows), codec, ("sample", "boundary", "clip")
    )
    samples = Samples(
        ids=[f"video{row:08d}" for row in range(rows)],
        splits=["train"] * rows,
        clips_N=np.full(rows, clips, np.int16),
        gt_N2=np.tile(np.array([1, clips // 2], np.int16), (rows, 1)),
    )
    chunk_rows = [digest([rows, chunk]) for chunk in range(layout.num_chunks)]
    inputs = {"dtype": dtype, "codec": codec, "features": digest(chunk_rows)}
    own = {name: {**inputs, "teacher weights": name} for name in TEACHERS}
    arrays = {name: ArrayPlan(digest(own[name]), own[name], name) for name in TEACHERS}
    keys = {"teachers": {name: array.key for name, array in arrays.items()}}
    plan = CachePlan(
        key=digest(keys),
        inputs=keys,
        arrays=arrays,
        layout=layout,
        chunk_rows=chunk_rows,
        samples=samples,
        precision="float32",
        data_seal="none",
        simulated=True,
    )
    return fill_with_stub(out, plan)


def fill_with_stub(out: Path, plan: CachePlan) -> Path:
    """Build a planned cache from numbers that wander from clip to clip, as logits do."""
    shape, chunk = plan.layout.row_shape, plan.layout.rows_per_chunk

    def wander(teacher, lo, hi):
        rng = np.random.default_rng([len(teacher), lo])
        steps = rng.standard_normal((hi - lo, *shape), np.float32)
        return np.cumsum(steps, axis=-1, dtype=np.float32)

    return fill(out, plan, lambda: wander, NOWHERE, block_rows=chunk, workers=1)


class _Noise:
    """Features of videos that are all as long; nothing is in them."""

    def __init__(self, channels):
        self.channels = channels

    def shape(self, video):
        return 32, self.channels

    def read(self, video):
        rng = np.random.default_rng(list(video.encode()))
        return rng.standard_normal(self.shape(video), np.float32)


def stub_dataset(out: Path, *, pairs: int, videos: int, clips: int, channels: int = 16) -> Path:
    """Write a data set of so many training pairs, which take turns over the videos."""
    rng = np.random.default_rng(0)
    queries = [f"{subject} {form}" for subject in SUBJECTS for both in ACTIONS for form in both]
    start_N = rng.uniform(0.0, 20.0, pairs)
    end_N = start_N + rng.uniform(3.0, 10.0, pairs)
    query_N = rng.integers(len(queries), size=pairs)
    train = [
        Pair(
            f"pair{number:07d}",
            "train",
            f"video{number % videos:06d}",
            queries[query_N[number]],
            ((float(start_N[number]), float(end_N[number])),),
            DURATION_S,
        )
        for number in range(pairs)
    ]
    return write_dataset(
        out,
        {"train": train},
        _Noise(channels),
        open_words(None),
        grid="fixed",
        clips=clips,
        simulated=True,
        inputs={"stubbed": pairs},
        facts={},
    )


def stub_cache_of(data: Path, out: Path, teachers: Path, *, dtype="float32", codec="raw") -> Path:
    """Write a cache about a data set as if two teachers had been asked, and return it."""
    dataset = open_dataset(data)
    known = {
        name: read_facts(save_teacher(teachers / name, dataset, seed=seed))
        for seed, name in enumerate(TEACHERS)
    }
    plan = plan_cache(
        dataset, known, splits=("train",), dtype=dtype, codec=codec, precision="float32"
    )
    return fill_with_stub(out, plan)
