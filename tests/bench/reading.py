"""Rows 1, 2, 3 and 10: what does it cost to read a cache rather than a bare file?

- Row 1: random batches of 32 rows of two teachers, float16 on disk, through the class that `distill`
  trains from. Against np.memmap (one file per teacher), and Arrow IPC, LMDB, HDF5, torch.save per row,
  zarr-python (bench/peers.py), all into the same buffer [32, 2, 2, T] and from there to float32. HDF5,
  LMDB, torch.save and zarr-python on fewer rows, which can only help them. Rows of an np.memmap are
  picked by `take` of the plain array over it, as ours are: twice as fast as to index the np.memmap,
  which is told as "memmap, indexed". An Arrow file is read by Arrow's own `take`, and as "arrow, view"
  by NumPy's over the bytes of its columns, which makes of it a bare file with a header.
- Row 2: the same in windows of whole chunks, compressed, every digest compared in every epoch, whole
  epochs by the clock, against row 1's np.memmap asked for the same rows in the same order. Memory by a fresh
  process: its peak over an epoch above what it had before the first batch.
- Row 3: features of 32 random videos as float32, against np.memmap, and zarr-python in chunks of 16.
- Row 10: bytes and files of the caches above.

Opening is not in row 1's time: it checks every digest once, in the seconds that the details tell.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zarr
from harness import Figure, Scale, ratio, take_turns
from peers import (
    Reader,
    arrow,
    arrow_view,
    hdf5,
    lmdb_rows,
    memmap,
    memmap_take,
    plain_zarr,
    torch_files,
)
from stubbed import TEACHERS, stub_cache, stub_dataset

from stores.cache import Cache, open_cache
from stores.dataset import open_dataset
from stores.mapped import stored_logits
from stores.windows import Windows
from student.answers import Answers, HeldAnswers, WindowedAnswers
from student.batches import Gatherer

ROWS = {"full": 1_000_000, "smoke": 2_000}
FEWER_ROWS = {"full": 20_000, "smoke": 200}  # of peers with a file or a search per row
VIDEOS = {"full": 2_000, "smoke": 48}
CLIPS, CHANNELS, BATCH = 128, 1024, 32
BATCHES = {
    "memmap": 2_000,
    "memmap, indexed": 2_000,
    "ours": 2_000,
    "arrow": 1_000,
    "arrow, view": 2_000,
    "lmdb": 200,
    "hdf5": 20,
}
FEW_BATCHES = 3  # of torch.save and zarr-python
PACKED = ("shuffle-zstd", "blosc")
LIMIT_OF_ROWS = (
    "both sides are one `take` for each teacher over mapped pages, so what differs is where they lie; "
    "rows as one item of 512 bytes, `take` into memory that is there, and one copy less were no faster"
)
LIMIT_OF_PEERS = (
    "NumPy's take over the bytes of an Arrow column reads a bare file, as ours and np.memmap do, and no "
    "reader can be 1.5 times as fast as the very same copy; Arrow's own take is beaten {:.2f} times"
)
LIMIT_OF_WINDOWS = (
    "np.memmap copies rows and does nothing else, where every byte here is read from its file, its "
    "SHA-256 compared and decoded once an epoch, by threads that share the cores with the reader; "
    "reading into memory that is there saved nothing; against an indexed np.memmap it is {:.2f}"
)
GROWN = """
import sys
from pathlib import Path
import torch
from stores.cache import open_cache
from stores.windows import Windows
from student.answers import WindowedAnswers
def kib(field):  # not ru_maxrss: that begins with the parent's
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0])
cache, names = open_cache(Path(sys.argv[1])), sys.argv[2:]
windows = Windows(cache, names, slice(0, cache.num_rows))
answers = WindowedAnswers(windows, names, cache.num_clips)
torch.zeros(1).float(), cache.ids
before = kib("VmRSS")
for index in windows.batches(32, seed=0, epoch=0):
    torch.from_numpy(answers.rows(index)).float()
print(kib("VmHWM") - before)
"""

Batches = list[np.ndarray]


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of rows 1, 2, 3 and 10."""
    rows = ROWS[scale]
    caches = {
        codec: stub_cache(folder / codec, rows=rows, clips=CLIPS, codec=codec)
        for codec in ("raw", *PACKED)
    }
    return [
        *random_rows(folder / "peers", caches["raw"], fewer=FEWER_ROWS[scale]),
        *windows(folder / "windows", caches, BATCHES["memmap"] if scale == "smoke" else None),
        *features(folder / "features", VIDEOS[scale]),
        *sizes(caches, rows),
    ]


def random_rows(folder: Path, cache: Path, *, fewer: int) -> list[Figure]:
    """Row 1."""
    opened = open_cache(cache)
    began = time.perf_counter()
    arrays = [stored_logits(opened, name) for name in TEACHERS]
    opening_s = time.perf_counter() - began
    small = stub_cache(folder / "cache", rows=fewer, clips=CLIPS)
    few = [np.asarray(open_cache(small).logits(name)) for name in TEACHERS]
    readers: dict[str, tuple[Reader, int]] = {
        "memmap": (memmap_take(_new(folder / "memmap"), arrays), len(arrays[0])),
        "memmap, indexed": (memmap(_new(folder / "indexed"), arrays), len(arrays[0])),
        "arrow": (arrow(_new(folder / "arrow"), arrays), len(arrays[0])),
        "arrow, view": (arrow_view(_new(folder / "view"), arrays), len(arrays[0])),
        "hdf5": (hdf5(_new(folder / "hdf5"), few), fewer),
        "lmdb": (lmdb_rows(_new(folder / "lmdb"), few), fewer),
        "torch.save": (torch_files(_new(folder / "torch"), few), fewer),
        "zarr": (plain_zarr(small, list(TEACHERS)), fewer),
    }
    competitors = {
        name: _timed(_filled(read), _batches(rows, BATCHES.get(name, FEW_BATCHES)))
        for name, (read, rows) in readers.items()
    }
    order = _batches(opened.num_rows, BATCHES["ours"])
    competitors["ours"] = _timed(_asked(HeldAnswers(arrays, CLIPS)), order)
    seconds = take_turns(competitors, repeats=7)
    peers = [name for name in readers if not name.startswith("memmap")]
    against = {name: ratio(seconds, name, "ours") for name in peers}
    best = min(peers, key=lambda name: against[name][0])
    value, spread = ratio(seconds, "memmap", "ours")
    times = {f"{name}, us a batch": 1e6 * min(each) for name, each in seconds.items()}
    return [
        Figure(
            "1",
            "random rows of an uncompressed cache, speed against np.memmap read by take",
            value,
            0.75,
            "at least",
            spread=spread,
            details={
                "rows": opened.num_rows,
                "opening, s": opening_s,
                "against memmap, indexed": ratio(seconds, "memmap, indexed", "ours")[0],
                **times,
            },
            limit="" if value >= 0.75 else LIMIT_OF_ROWS,
        ),
        Figure(
            "1",
            f"the same against the best peer, {best}",
            against[best][0],
            1.5,
            "at least",
            spread=against[best][1],
            details={name: found for name, (found, _) in against.items()},
            limit="" if against[best][0] >= 1.5 else LIMIT_OF_PEERS.format(against["arrow"][0]),
        ),
    ]


def windows(folder: Path, caches: dict[str, Path], most: int | None) -> list[Figure]:
    """Row 2; `most` batches of an epoch, or all."""
    raw = open_cache(caches["raw"])
    arrays = [np.asarray(stored_logits(raw, name)) for name in TEACHERS]
    read = _filled(memmap_take(_new(folder / "take"), arrays))
    indexed = _filled(memmap(_new(folder / "indexed"), arrays))
    opened = {codec: open_cache(caches[codec]) for codec in PACKED}
    order = list(_windows(opened[PACKED[0]])[0].batches(BATCH, seed=0, epoch=0))[:most]
    competitors = {codec: _epoch(cache, most) for codec, cache in opened.items()}
    competitors |= {"memmap": _timed(read, order), "memmap, indexed": _timed(indexed, order)}
    seconds = take_turns(competitors)
    against = {codec: ratio(seconds, "memmap", codec) for codec in PACKED}
    best = max(PACKED, key=lambda codec: against[codec][0])
    of_indexed = ratio(seconds, "memmap, indexed", best)[0]
    memory = {codec: _peak_mb(caches[codec]) for codec in PACKED}
    rates = {f"{name}, rows a second": BATCH / min(seconds[name]) for name in competitors}
    return [
        Figure(
            "2",
            f"windows of a compressed cache ({best}), speed against np.memmap read by take in the "
            "same order",
            against[best][0],
            0.35,
            "at least",
            spread=against[best][1],
            details={
                **{codec: found for codec, (found, _) in against.items()},
                "against memmap, indexed": of_indexed,
                **rates,
            },
            limit="" if against[best][0] >= 0.35 else LIMIT_OF_WINDOWS.format(of_indexed),
        ),
        Figure(
            "2",
            "memory of an epoch in windows, above what opening took",
            max(memory.values()),
            160.0,
            "at most",
            unit="MB",
            details={**memory},
        ),
    ]


def features(folder: Path, videos: int) -> list[Figure]:
    """Row 3."""
    data = open_dataset(
        stub_dataset(folder / "data", pairs=videos, videos=videos, clips=CLIPS, channels=CHANNELS)
    )
    rows = data.rows("train")
    gatherer = Gatherer(data, rows, characters=data.characters, device="cpu")
    grid = np.asarray(data.features)
    path = folder / "grid.bin"
    grid.tofile(path)
    mapped = np.memmap(path, grid.dtype, "r", shape=grid.shape)
    chunked = zarr.create_array(
        folder / "grid.zarr", data=grid, chunks=(16, CLIPS, CHANNELS), compressors=None
    )
    place_N = rows.video
    competitors = {
        "ours": _timed(gatherer.features, _batches(videos, 30)),
        "memmap": _timed(
            lambda index: torch.from_numpy(np.asarray(mapped[place_N[index]])).float(),
            _batches(videos, 30),
        ),
        "zarr": _timed(
            lambda index: torch.from_numpy(np.asarray(chunked.oindex[place_N[index]])).float(),
            _batches(videos, FEW_BATCHES),
        ),
    }
    seconds = take_turns(competitors, repeats=7)
    times = {f"{name}, ms a batch": 1e3 * min(each) for name, each in seconds.items()}
    found = {name: ratio(seconds, name, "ours") for name in ("memmap", "zarr")}
    return [
        Figure(
            "3",
            "features of random videos, speed against a float16 np.memmap with the same cast",
            found["memmap"][0],
            0.85,
            "at least",
            spread=found["memmap"][1],
            details={"videos": videos, **times},
        ),
        Figure(
            "3",
            "the same against zarr-python",
            found["zarr"][0],
            10.0,
            "at least",
            spread=found["zarr"][1],
        ),
    ]


def sizes(caches: dict[str, Path], rows: int) -> list[Figure]:
    """Row 10."""
    raw_bytes = rows * len(TEACHERS) * 2 * CLIPS * 2
    files = {
        codec: [path for path in cache.rglob("*") if path.is_file()]
        for codec, cache in caches.items()
    }
    found = {
        codec: sum(path.stat().st_size for path in some) / raw_bytes
        for codec, some in files.items()
    }
    details: dict[str, float | int | str] = {"rows": rows, **found}
    packed = min(found[codec] for codec in PACKED)
    most = max(len(some) for some in files.values())
    uncompressed = "bytes of an uncompressed cache of two teachers against those of its logits"
    return [
        Figure("10", uncompressed, found["raw"], 1.05, "at most", details=details),
        Figure("10", "bytes of a compressed cache against the same", packed, 0.99, "at most"),
        Figure("10", "samples for each file", rows / most, 256.0, "at least", unit="samples"),
    ]


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _batches(rows: int, count: int) -> Batches:
    return list(np.random.default_rng(0).integers(0, rows, (count, BATCH)))


def _timed(read: Callable[[np.ndarray], object], batches: Batches) -> Callable[[], float]:
    """Return a competitor: the seconds of one batch."""

    def turn() -> float:
        began = time.perf_counter()
        for index in batches:
            read(index)
        return (time.perf_counter() - began) / len(batches)

    return turn


def _filled(read: Reader) -> Callable[[np.ndarray], torch.Tensor]:
    """Return how training would read through a peer: a buffer of its own for each batch, then a cast."""

    def batch(index: np.ndarray) -> torch.Tensor:
        out = np.empty((len(index), len(TEACHERS), 2, CLIPS), np.float16)
        read(index, out)
        return torch.from_numpy(out).float()

    return batch


def _asked(answers: Answers) -> Callable[[np.ndarray], torch.Tensor]:
    """Return how `Distillation` reads a batch."""
    return lambda index: torch.from_numpy(answers.rows(index)).float()


def _windows(cache: Cache) -> tuple[Windows, Callable[[np.ndarray], torch.Tensor]]:
    found = Windows(cache, TEACHERS, slice(0, cache.num_rows))
    return found, _asked(WindowedAnswers(found, TEACHERS, CLIPS))


def _epoch(cache: Cache, most: int | None) -> Callable[[], float]:
    """Return a competitor: the seconds of one batch, over an epoch."""
    found, read = _windows(cache)

    def turn() -> float:
        began, count = time.perf_counter(), 0
        for count, index in enumerate(found.batches(BATCH, seed=0, epoch=0), start=1):
            read(index)
            if count == most:
                break
        return (time.perf_counter() - began) / count

    return turn


def _peak_mb(cache: Path) -> float:
    """Return by how much a fresh process grows while it reads an epoch in windows, in MB."""
    command = [sys.executable, "-c", GROWN, str(cache), *TEACHERS]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(told.stdout) * 1024 / 1e6
