"""What a cache is made from, known before anything runs: inputs, their keys, and the work to do.

An array's key is the digest of its inputs, a cache's that of its arrays' keys and its sample
table. The inputs themselves stand in the manifest, so that a mismatch can name the field. Paths,
times, devices, workers and thread counts are no inputs.

Shapes: N rows, V videos, L words, M word types.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.codecs import check_codec
from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.fingerprints import array_digest, digest
from stores.models import WEIGHTS, check_fit
from stores.rowarrays import RowArray, rows_per_chunk
from stores.samples import Samples

FORMAT_VERSION = 1
DTYPES = ("float32", "float16")
PRECISIONS = ("float32", "bf16")
NETWORK = (  # facts of a model without which the same weights would give other logits
    "backbone",
    "backbone_version",
    "predictor",
    "hidden",
    "num_channels",
    "num_clips",
    "num_words",
    "num_chars",
    "word_width",
    "characters",
)

TEACHER = "teacher "  # heads the names of inputs that are a teacher's own
ROW_INPUTS = ("ids", "features", "queries", "clips")

Inputs = dict[str, Any]


@dataclass(frozen=True)
class ArrayPlan:
    """One teacher's array: its key, and the inputs whose digest that is."""

    key: str
    inputs: Inputs
    teacher_seal: str
    trained: Inputs = field(default_factory=dict)  # how the teacher was: told, but no input

    @property
    def settings(self) -> Inputs:
        """The inputs that are no rows: chunks of equal settings and equal rows are equal."""
        return {name: self.inputs[name] for name in self.inputs if name not in ROW_INPUTS}


@dataclass(frozen=True)
class CachePlan:
    """A cache as it must become."""

    key: str
    inputs: Inputs
    arrays: dict[str, ArrayPlan]
    layout: RowArray  # of each teacher's logits
    chunk_rows: list[str]  # digest of the rows that each chunk is asked about, ids included
    samples: Samples
    precision: str
    data_seal: str
    simulated: bool


def plan_cache(
    data: DataSet,
    teachers: Mapping[str, tuple[Inputs, str]],
    *,
    splits: Sequence[str],
    dtype: str,
    codec: str,
    precision: str,
) -> CachePlan:
    """Return what the cache of these splits and teachers (facts and seal by name) must be.

    Raises RefkdError if there is nothing to cache, a choice does not exist, or a teacher cannot
    read the data.
    """
    check_codec(codec)
    _check_choice("dtype", dtype, DTYPES)
    _check_choice("precision", precision, PRECISIONS)
    if not teachers:
        raise RefkdError("no teacher is given, expected at least one; add --teacher NAME=DIR")
    for name, (facts, _) in teachers.items():
        _check_name(name)
        check_fit(facts, data, name=f"teacher {name}")
    rows = data.rows(*splits)
    layout = RowArray(
        num_rows=len(rows.ids),
        row_shape=(2, data.num_clips),
        dtype=dtype,
        rows_per_chunk=rows_per_chunk(len(rows.ids)),
        codec=codec,
        dimensions=("sample", "boundary", "clip"),
    )
    how = {
        "format_version": FORMAT_VERSION,
        "dtype": dtype,
        "precision": precision,
        "codec": codec,
        "rows_per_chunk": layout.rows_per_chunk,
    }
    fields = _RowFields(data, rows)
    seen = {**how, **data_settings(data), **fields.inputs()}
    chunk_rows = [fields.chunk_digest(*layout.span(i)) for i in range(layout.num_chunks)]
    arrays = {}
    for name, (facts, seal) in sorted(teachers.items()):
        inputs = {**seen, **teacher_inputs(facts)}
        arrays[name] = ArrayPlan(digest(inputs), inputs, seal, facts.get("inputs", {}))
    inputs = {
        "format_version": FORMAT_VERSION,
        "teachers": {name: array.key for name, array in arrays.items()},
        "samples": sample_inputs(data, rows),
    }
    return CachePlan(
        key=digest(inputs),
        inputs=inputs,
        arrays=arrays,
        layout=layout,
        chunk_rows=chunk_rows,
        samples=Samples(rows.ids, rows.splits, rows.clips, rows.gt),
        precision=precision,
        data_seal=data.seal,
        simulated=data.simulated,
    )


def teacher_inputs(facts: Inputs) -> Inputs:
    """Return what a teacher contributes to its array's key: weights, network, code version."""
    network = {f"{TEACHER}{name}": facts[name] for name in NETWORK}
    return {f"{TEACHER}weights": facts["files"][WEIGHTS]["sha256"], **network}


def named_inputs(inputs: Inputs, arrays: Mapping[str, Inputs]) -> Inputs:
    """Return all inputs of a cache as one flat record; a teacher's own are headed by its name."""
    flat = dict(inputs["samples"])
    for teacher, array in arrays.items():
        for name, value in array.items():
            own = name.startswith(TEACHER)
            flat[f"{teacher}: {name}" if own else name] = value
    return flat


def data_settings(data: DataSet) -> Inputs:
    """Return what a data set contributes to every array's key, whatever the rows."""
    return {
        "grid": data.grid,
        "num_clips": data.num_clips,
        "word vectors": data.word_file["sha256"],
        "num_words": data.num_words,
        "num_chars": data.num_chars,
    }


def row_inputs(data: DataSet, rows: Rows) -> Inputs:
    """Return what rows contribute to every array's key, a digest by field (see ROW_INPUTS)."""
    return _RowFields(data, rows).inputs()


def sample_inputs(data: DataSet, rows: Rows) -> Inputs:
    """Return the sample table as a digest by field."""
    windows = {(split, pair.id): pair.windows for split in data.pairs for pair in data.pairs[split]}
    names = list(zip(rows.splits, rows.ids, strict=True))
    return {
        "ids": digest(names),
        "timestamps": digest([windows[name] for name in names]),
        "durations": digest(rows.durations_s.tolist()),
        "clips": digest(rows.clips.tolist()),
        "gt": digest(rows.gt.tolist()),
    }


class _RowFields:
    """The inputs of rows as a digest of 32 bytes each, so that any run of rows is hashed at once."""

    def __init__(self, data: DataSet, rows: Rows) -> None:
        self.ids = list(zip(rows.splits, rows.ids, strict=True))
        self.clips_N = rows.clips
        self.features_N32 = _video_digests(data, rows.video)
        self.queries_N32 = _query_digests(data, rows.words)

    def inputs(self) -> Inputs:
        return {name: digest(value) for name, value in self._fields(0, len(self.ids)).items()}

    def chunk_digest(self, lo: int, hi: int) -> str:
        return digest(self._fields(lo, hi))

    def _fields(self, lo: int, hi: int) -> Inputs:
        return {
            "ids": self.ids[lo:hi],
            "features": array_digest(self.features_N32[lo:hi]),
            "queries": array_digest(self.queries_N32[lo:hi]),
            "clips": array_digest(self.clips_N[lo:hi]),
        }


def _video_digests(data: DataSet, video_N: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Return the digest of each row's features on the grid, shape (N, 32)."""
    used_U, place_N = np.unique(video_N, return_inverse=True)
    digests_U32 = np.empty((len(used_U), 32), np.uint8)
    for place, video in enumerate(used_U):
        rows_TD = np.ascontiguousarray(data.features[video, : data.video_clips[video]])
        digests_U32[place] = _sha256(rows_TD.tobytes())
    return digests_U32[place_N]


def _query_digests(data: DataSet, words_NL: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Return the digest of each row's words, shape (N, 32): their vectors and their spelling.

    Characters enter as code points, for their ids depend on words elsewhere in the data set.
    """
    lexicon = data.lexicon
    code_points = np.array([-1, -2, *map(ord, data.characters)], np.int32)  # padding, unknown
    spelled_MC = code_points[lexicon.chars]
    types_M32 = np.stack(
        [
            _sha256(bytes([known]) + spelled_C.tobytes() + vector_W.tobytes())
            for known, spelled_C, vector_W in zip(
                lexicon.known.tolist(), spelled_MC, lexicon.vectors, strict=True
            )
        ]
    )
    return np.stack([_sha256(types_M32[words_L].tobytes()) for words_L in words_NL])


def _sha256(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)


def _check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise RefkdError(f"{what} must be one of {', '.join(choices)}, got {value}")


def _check_name(name: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    if not name or not set(name) <= allowed:
        raise RefkdError(
            f"teacher name {name!r} is not made of a-z, 0-9, _ and -; give --teacher NAME=DIR"
        )
