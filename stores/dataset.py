"""A prepared data set: everything later commands read, in one sealed folder.

    manifest.json, manifest.sha256   facts (see dataset_writer.py), digests of the files, the seal
    pairs.jsonl     one pair a line, sorted by (split, id)
    videos.json     {"videos": sorted ids, "rows": raw rows of each}
    words.json      {"words": sorted types, "characters": known characters in the order of their ids}
    tokens.npy      int32   [N, L]     words of each pair as type ids, 0 on padding
    labels.npy      int16   [N, 2]     first and last clip of each pair's moment
    vectors.npy     float32 [M, W]     known.npy bool [M]     chars.npy int16 [M, C]
    channels.npy    float32 [2, D]     mean and deviation of each channel over raw training rows
    rows.npy        float16 [R, D]     raw rows of all videos, one video after the other
    grid.npy        float16 [V, T, D]  rows on the clip grid, zero past a video's last clip
    .words.json     where the word vectors lay (not sealed)
    .stamps.json    size, times and place of the two big files when last found intact (not sealed)

Shapes: N pairs, V videos, R rows, T clips, D channels, L words, M types, W vector, C characters.
"""

import contextlib
import gc
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.datafiles import DataFiles
from stores.errors import RefkdError
from stores.files import read_seal
from stores.grid import grid_length
from stores.lexicon import Lexicon, encode_words
from stores.pairs import Pair, pair_from_json

__all__ = ["DataSet", "Lexicon", "Rows", "encode_words", "open_dataset"]

log = logging.getLogger("refkd")
FORMAT, VERSION = "refkd-data", 1
WORDS_PATH = ".words.json"
EXPECTED = (
    "expected a prepared data set; give one that `refkd prepare` or `refkd simulate` wrote, or run "
    "that again"
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Some pairs of a data set as arrays; `DataSet.rows` sorts them by (split, id)."""

    ids: list[str]
    splits: list[str]
    video: npt.NDArray[np.int32]  # [N], index into DataSet.videos
    words: npt.NDArray[np.int32]  # [N, L], type ids into the lexicon, 0 on padding
    clips: npt.NDArray[np.int16]  # [N], clips of the video
    gt: npt.NDArray[np.int16]  # [N, 2], first and last clip of the moment
    durations_s: npt.NDArray[np.float64]  # [N]

    def take(self, keep: Sequence[int]) -> "Rows":
        """Return the rows at these places, in this order."""
        places = list(keep)
        return Rows(
            ids=[self.ids[i] for i in places],
            splits=[self.splits[i] for i in places],
            video=self.video[places],
            words=self.words[places],
            clips=self.clips[places],
            gt=self.gt[places],
            durations_s=self.durations_s[places],
        )


@dataclass(frozen=True, eq=False)
class DataSet:
    """An open data set; the two big arrays stay on disk until they are read."""

    folder: Path
    seal: str
    manifest: dict[str, Any]
    pairs: dict[str, list[Pair]]  # by split, sorted by id
    videos: list[str]  # sorted
    video_clips: npt.NDArray[np.int16]  # [V]
    lexicon: Lexicon
    characters: str
    features: npt.NDArray[np.float16]  # [V, T, D], memory-mapped
    channel_stats: npt.NDArray[np.float32]  # [2, D], mean and deviation
    raw: npt.NDArray[np.float16]  # [R, D], memory-mapped
    raw_ends: npt.NDArray[np.int64]  # [V], one past each video's last raw row
    table: Rows  # every pair

    @property
    def grid(self) -> str:
        return str(self.manifest["grid"])

    @property
    def num_clips(self) -> int:
        return int(self.manifest["clips"])

    @property
    def num_channels(self) -> int:
        return int(self.manifest["channels"])

    @property
    def simulated(self) -> bool:
        return bool(self.manifest["simulated"])

    @property
    def left_out(self) -> dict[str, int]:
        """How many annotated pairs of each split are not there because their videos have no features."""
        return dict(self.manifest.get("left_out", {}).get("pairs", {}))

    @property
    def num_words(self) -> int:
        return int(self.manifest["words"])

    @property
    def num_chars(self) -> int:
        return int(self.manifest["chars"])

    @property
    def word_file(self) -> dict[str, Any]:
        """Name, sha256, width and last known path (None if packaged) of the word vectors."""
        return {**self.manifest["word_file"], "path": read_words_path(self.folder)}

    def rows(self, *splits: str) -> Rows:
        """Return the pairs of these splits (of all, if none is named), sorted by (split, id).

        Raises RefkdError if the data set has no such split.
        """
        for split in splits:
            if split not in self.pairs:
                raise RefkdError(f"{self.folder} has no split {split}; it has {self._splits()}")
        table = self.table
        return table.take(
            [i for i, split in enumerate(table.splits) if not splits or split in splits]
        )

    def raw_rows(self, video: int) -> npt.NDArray[np.float16]:
        """Return the raw feature rows of a video by its index, shape (n, D), as a view."""
        return self.raw[self.raw_ends[video - 1] if video else 0 : self.raw_ends[video]]

    def warn_of_left_out(self, splits: Iterable[str]) -> None:
        """Say which of these splits are not whole, before they are scored."""
        for split in splits:
            if gone := self.left_out.get(split, 0):
                log.warning(
                    "%d of %d pairs of %s have no features in %s and are left out of its scores, while "
                    "`refkd score` counts them as misses",
                    *(gone, gone + len(self.pairs.get(split, ())), split, self.folder),
                )

    def _splits(self) -> str:
        return ", ".join(self.pairs)


def read_words_path(folder: Path) -> str | None:
    """Return where the word vectors of a data set or a model lay; None if packaged or not known."""
    try:
        path: str | None = json.loads((folder / WORDS_PATH).read_bytes())
    except (OSError, ValueError):
        return None
    return path


def open_dataset(folder: Path, *, anew: bool = False) -> DataSet:
    """Return a prepared data set, every file checked against its digest before it is used.

    The two big files are read through for this only when their stamp has changed since, or `anew`.
    Raises RefkdError if the folder is no prepared data set, or a file of it is damaged.
    """
    if not folder.is_dir():
        raise RefkdError(f"no data set at {folder}; run `refkd prepare` or `refkd simulate` first")
    manifest, seal = read_seal(
        folder,
        repair=f"delete {folder} and run `refkd prepare` again",
        foreign=EXPECTED,
    )
    if manifest.get("format") != FORMAT:
        found = manifest.get("format", "something else")
        raise RefkdError(
            f"{folder} holds {found}, not a data set; give a folder that `refkd prepare` wrote"
        )
    if manifest["version"] != VERSION:
        raise RefkdError(
            f"{folder} has version {manifest['version']} of the data set format, "
            f"expected {VERSION}; delete it and run `refkd prepare` again"
        )
    files = DataFiles(folder, manifest, anew=anew)
    with _collector_at_rest():
        lines = files.text("pairs.jsonl").splitlines()
        pairs = [pair_from_json(pair) for pair in json.loads(f"[{','.join(lines)}]")]
    videos = json.loads(files.text("videos.json"))
    lengths = [grid_length(n, manifest["clips"], grid=manifest["grid"]) for n in videos["rows"]]
    place = {video: index for index, video in enumerate(videos["videos"])}
    video_N = np.array([place[pair.video] for pair in pairs], np.int32)
    video_clips = np.array(lengths, np.int16)
    return DataSet(
        folder=folder,
        seal=seal,
        manifest=manifest,
        pairs={
            split: [pair for pair in pairs if pair.split == split]
            for split in sorted({pair.split for pair in pairs})
        },
        videos=videos["videos"],
        video_clips=video_clips,
        lexicon=Lexicon(*(files.array(f"{name}.npy") for name in ("vectors", "known", "chars"))),
        characters=json.loads(files.text("words.json"))["characters"],
        features=files.mapped("grid.npy"),
        channel_stats=files.array("channels.npy"),
        raw=files.mapped("rows.npy"),
        raw_ends=np.cumsum(videos["rows"], dtype=np.int64),
        table=Rows(
            ids=[pair.id for pair in pairs],
            splits=[pair.split for pair in pairs],
            video=video_N,
            words=files.array("tokens.npy"),
            clips=video_clips[video_N],
            gt=files.array("labels.npy"),
            durations_s=np.array([pair.duration_s for pair in pairs], np.float64),
        ),
    )


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Make many objects that all stay, without Python going over them again and again for garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
