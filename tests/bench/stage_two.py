"""Row 6: what does `refkd weigh` cost beyond its arithmetic, and does it stay so on ten million rows?

- Against the bare kernel: the whole of `weigh` (open the cache, check every byte, write, seal, wait for
  the disk) and the same kernel by as many threads over one np.memmap, blocks of the same size, nothing
  checked, its result saved and waited for. Kernel and result are the same, bit for bit.
- Against the stock recipe: `da.from_zarr`, a textbook cross-entropy in NumPy by `map_blocks`, saved.
- Cost per sample and peak memory: the same stage on caches of 16 clips; memory in fresh processes.

Caches are built by the project's own writing path, by a teacher of one line.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from harness import Figure, Scale, ratio, take_turns

from pipeline.filling import fill
from pipeline.weigh import num_threads, weigh
from stores.cache import open_cache
from stores.cachekeys import ArrayPlan, CachePlan
from stores.fingerprints import digest
from stores.rowarrays import RowArray, rows_per_chunk
from stores.samples import Samples
from stores.weights import open_weights
from student.crossentropy import ground_truth_ce

ROWS = {"full": 1_000_000, "smoke": 2_000}
CLIPS = 64
GROWING = {"full": (100_000, 1_000_000, 10_000_000), "smoke": (500, 1_000, 2_000)}
FEW_CLIPS = 16
READ = {"float16": "raw", "float32": "float32"}  # caches that are read without a kernel too
LIMIT = (
    "reading the chunks and comparing their SHA-256 alone takes {:.2f} of the time of `weigh`{}. Tried "
    "without gain: reading into memory that is used again, mapping the files, digesting piece by piece "
    "between the kernel's blocks"
)
LIMIT_OF_STOCK = (
    "the kernel, faster than the recipe's, takes {:.2f} of the time of `weigh`, and SHA-256 and "
    "reading {:.2f}; the recipe compares CRC-32C alone, which tells no chunk from another. Torch has a "
    "faster kernel, of other bits, and takes longer to import than a million rows take"
)
PACKED = ("shuffle-zstd", "blosc", "zstd")
ENVIRONMENT = {"device": "cpu", "torch": "none"}
PEAK = """
import sys
from pathlib import Path
from pipeline.weigh import weigh
weigh(Path(sys.argv[1]))
status = Path("/proc/self/status").read_text()  # not ru_maxrss: that begins with the parent's
print(status.split("VmHWM:")[1].split()[0])
"""


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of row 6."""
    return [
        *against_memmap(folder / "memmap", ROWS[scale]),
        *growing(folder / "growing", *GROWING[scale]),
    ]


def against_memmap(folder: Path, rows: int) -> list[Figure]:
    """Time the stage on caches of each kind beside the kernel over a memmap, and the stock recipe."""
    caches = {codec: build(folder / codec, rows, CLIPS, codec=codec) for codec in ("raw", *PACKED)}
    caches["float32"] = build(folder / "float32", rows, CLIPS, dtype="float32")
    flat = {name: Flat(folder / f"{name}.bin", caches[name]) for name in ("raw", "float32")}
    competitors: dict[str, Callable[[], object]] = {
        **{name: timed_weigh(cache) for name, cache in caches.items()},
        "memmap": flat["raw"].weigh,
        "memmap float32": flat["float32"].weigh,
        "stock": stock(caches["raw"], folder / "stock.npy"),
        "reading float16": digests(caches["raw"]),
        "reading float32": digests(caches["float32"]),
    }
    seconds = take_turns(competitors)
    for name, held in flat.items():
        ce = open_weights(open_cache(caches[name])).ce["id"]
        assert np.load(held.saved).tobytes() == ce.tobytes(), "the same result, bit for bit"
    sizes = {name: size(cache) / size(caches["raw"]) for name, cache in caches.items()}
    shutil.rmtree(folder)
    details: dict[str, float | int | str] = {
        "rows": rows,
        "clips": CLIPS,
        "threads": num_threads(),
        **{f"{name} seconds": median(each) for name, each in seconds.items()},
    }
    shares = {name: ratio(seconds, "memmap", name) for name in PACKED}
    best = max(PACKED, key=lambda name: shares[name][0])
    others: dict[str, float | int | str] = {name: share for name, (share, _) in shares.items()}
    packed: dict[str, float | int | str] = {f"{name} size": sizes[name] for name in PACKED}
    reading = {name: ratio(seconds, f"reading {name}", cache)[0] for name, cache in READ.items()}
    details |= {f"reading and digests, share of `weigh`, {name}": x for name, x in reading.items()}
    return [
        reaches(
            "raw float16: kernel over a memmap / `weigh`",
            ratio(seconds, "memmap", "raw"),
            0.65,
            details,
            limit=LIMIT.format(reading["float16"], ""),
        ),
        reaches(
            "raw float32: kernel over a memmap / `weigh`",
            ratio(seconds, "memmap float32", "float32"),
            0.65,
            {},
            limit=LIMIT.format(
                reading["float32"], ", for twice the bytes of float16 and the same arithmetic"
            ),
        ),
        reaches(
            f"{best} float16: kernel over a memmap / `weigh`", shares[best], 0.45, others | packed
        ),
        reaches(
            "`da.from_zarr` recipe / `weigh`, raw float16",
            ratio(seconds, "stock", "raw"),
            2.0,
            {},
            limit=LIMIT_OF_STOCK.format(ratio(seconds, "memmap", "raw")[0], reading["float16"]),
        ),
    ]


def growing(folder: Path, few: int, many: int, most: int) -> list[Figure]:
    """Return the cost per sample of the largest cache over the smallest, and its memory over the middle one's."""
    caches = {rows: build(folder / str(rows), rows, FEW_CLIPS) for rows in (few, many, most)}
    flat = Flat(folder / "flat.bin", caches[most])
    competitors: dict[str, Callable[[], object]] = {
        **{str(rows): timed_weigh(caches[rows]) for rows in (few, most)},
        "memmap": flat.weigh,
    }
    seconds = take_turns(competitors)
    cost, (least, greatest) = ratio(seconds, str(most), str(few))
    scale = few / most
    peaks = {rows: peak_kib(caches[rows]) / 1024 for rows in (many, most)}
    micros = {
        f"us a sample, {rows:,}": median(seconds[str(rows)]) / rows * 1e6 for rows in (few, most)
    }
    mib = {f"MiB at {rows:,}": peak for rows, peak in peaks.items()}
    mib["MiB of logits"] = most * 2 * FEW_CLIPS * 2 / 2**20
    shutil.rmtree(folder)
    return [
        reaches(
            f"raw float16, {most:,} rows of 16 clips: kernel over a memmap / `weigh`",
            ratio(seconds, "memmap", str(most)),
            0.65,
            {},
        ),
        Figure(
            "6",
            f"`weigh`, cost per sample at {most:,} rows over {few:,}, 16 clips",
            cost * scale,
            1.2,
            "at most",
            spread=(least * scale, greatest * scale),
            details=dict(micros),
        ),
        Figure(
            "6",
            f"`weigh`, peak memory at {most:,} rows over {many:,}, 16 clips",
            peaks[most] / peaks[many],
            1.5,
            "at most",
            details=dict(mib),
        ),
    ]


def reaches(
    claim: str,
    found: tuple[float, tuple[float, float]],
    reach: float,
    details: dict[str, float | int | str],
    *,
    limit: str = "",
) -> Figure:
    """Return a figure that should not be below what is to reach; the limit is told if it is."""
    value, spread = found
    told = limit if value < reach else ""
    return Figure("6", claim, value, reach, "at least", spread=spread, details=details, limit=told)


def timed_weigh(cache: Path) -> Callable[[], float]:
    """Return what weighs a cache that has not been weighed, and says how long that took."""

    def run() -> float:
        shutil.rmtree(cache / "weights", ignore_errors=True)
        began = time.perf_counter()
        weigh(cache)
        return time.perf_counter() - began

    return run


class Flat:
    """The logits of a cache in one file, mapped, and the same kernel over it."""

    def __init__(self, path: Path, cache: Path) -> None:
        opened = open_cache(cache)
        opened.logits("id").tofile(path)
        self.path, self.dtype = path, opened.layout.dtype
        self.shape = (opened.num_rows, *opened.layout.row_shape)
        self.clips_N, self.gt_N2 = opened.clips, opened.gt
        self.rows = opened.layout.rows_per_chunk  # of a block, as in the stage
        self.saved = path.with_suffix(".npy")

    def weigh(self) -> None:
        logits_N2T = np.memmap(self.path, self.dtype, mode="r", shape=self.shape)
        ce_N2 = np.empty((len(logits_N2T), 2), np.float32)

        def part(lo: int) -> None:
            own = slice(lo, lo + self.rows)
            ce_N2[own] = ground_truth_ce(logits_N2T[own], self.clips_N[own], self.gt_N2[own])

        with ThreadPoolExecutor(num_threads()) as pool:
            list(pool.map(part, range(0, len(ce_N2), self.rows)))
        save(self.saved, ce_N2)


def digests(cache: Path) -> Callable[[], None]:
    """Return what reads and checks every chunk, on as many threads, and does nothing with it."""

    def run() -> None:
        opened = open_cache(cache)
        with ThreadPoolExecutor(num_threads()) as pool:
            for _ in pool.map(partial(opened.chunk, "id"), range(opened.layout.num_chunks)):
                pass

    return run


def stock(cache: Path, out: Path) -> Callable[[], None]:
    """Return what one would write with Dask and nothing else."""
    import dask.array as da

    def textbook(
        logits_n2T: npt.NDArray[Any], clips_n11: npt.NDArray[Any], gt_n21: npt.NDArray[Any]
    ) -> npt.NDArray[np.float32]:
        valid_n1T = np.arange(logits_n2T.shape[2]) < clips_n11
        x_n2T = np.where(valid_n1T, logits_n2T.astype(np.float32), -np.inf)
        x_n2T = x_n2T - x_n2T.max(axis=2, keepdims=True)
        log_p_n2T = x_n2T - np.log(np.exp(x_n2T).sum(axis=2, keepdims=True))
        found: npt.NDArray[np.float32] = -np.take_along_axis(log_p_n2T, gt_n21.astype(int), axis=2)
        return found

    def run() -> None:
        logits = da.from_zarr(str(cache / "teachers/id/logits"))
        clips = da.from_zarr(str(cache / "samples/clips")).rechunk(logits.chunks[:1])
        gt = da.from_zarr(str(cache / "samples/gt")).rechunk(logits.chunks[:2])
        ce = da.map_blocks(
            textbook,
            logits,
            clips[:, None, None],
            gt[:, :, None],
            dtype=np.float32,
            chunks=(*logits.chunks[:2], (1,)),
        )
        save(out, ce.compute(scheduler="threads")[..., 0])

    return run


def save(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Write an array and wait for the disk, as the stage does."""
    with path.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())


def peak_kib(cache: Path) -> int:
    """Return the peak memory of a process that weighs a cache."""
    shutil.rmtree(cache / "weights", ignore_errors=True)
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(cache)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
    )
    return int(done.stdout)


def build(out: Path, rows: int, clips: int, *, codec: str = "raw", dtype: str = "float16") -> Path:
    """Return a cache of one teacher, of many rows."""
    each = rows_per_chunk(rows)
    layout = RowArray(rows, (2, clips), dtype, each, codec, ("sample", "boundary", "clip"))
    rng = np.random.default_rng(0)
    clips_N = rng.integers(clips // 2, clips + 1, rows).astype(np.int16)
    gt_N2 = np.sort(rng.integers(0, clips_N[:, None], (rows, 2)), axis=1).astype(np.int16)
    inputs = {"rows": rows, "clips": clips, "codec": codec, "dtype": dtype}
    train = rows - rows // 8
    plan = CachePlan(
        key=digest(inputs),
        inputs=inputs,
        arrays={"id": ArrayPlan(digest([inputs, "id"]), inputs, "seal of id")},
        layout=layout,
        chunk_rows=[digest([rows, chunk]) for chunk in range(layout.num_chunks)],
        samples=Samples(
            ids=[f"{row:08d}" for row in range(rows)],
            splits=["train"] * train + ["val"] * (rows - train),
            clips_N=clips_N,
            gt_N2=gt_N2,
        ),
        precision="float32",
        data_seal="seal of data",
        simulated=True,
    )

    def said(array: str, lo: int, hi: int) -> npt.NDArray[np.float32]:
        """Say of each boundary a bump about a place, and noise."""
        noise = np.random.default_rng(lo).standard_normal((hi - lo, 2, clips), np.float32)
        away = np.arange(clips, dtype=np.float32) - gt_N2[lo:hi, :, None].astype(np.float32)
        return noise + 8 * np.exp(-np.square(away / 4))

    with patch("os.fsync"):  # a thousand waits for the disk are no part of what is measured
        cache = fill(out, plan, lambda: said, ENVIRONMENT, block_rows=32, workers=1)
    os.sync()
    return cache


def size(cache: Path) -> int:
    """Return the bytes of a cache's logits."""
    return sum(path.stat().st_size for path in (cache / "teachers").rglob("*") if path.is_file())
