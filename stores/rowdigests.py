"""Digests of what teachers are asked about, row by row: features, queries, and what moves them.

Shapes: N rows, V videos, L words, M word types.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.dataset import DataSet, Rows
from stores.fingerprints import array_digest, digest
from stores.rowarrays import RowArray

Columns = Mapping[str, npt.NDArray[np.generic]]
NO_COLUMNS: Columns = {}
BLOCK_ROWS = 4096  # of queries spelled out at once


class RowFields:
    """The inputs of rows as a digest of 32 bytes each, so that any run of rows is hashed at once.

    `columns` are more of them, by name: an array with a value or a digest for each row.
    """

    def __init__(self, data: DataSet, rows: Rows) -> None:
        self.ids = list(zip(rows.splits, rows.ids, strict=True))
        self.clips_N = rows.clips
        self.features_N32 = _video_digests(data, rows.video)
        self.queries_N32 = _query_digests(data, rows.words)

    def inputs(self, columns: Columns = NO_COLUMNS) -> dict[str, Any]:
        """Return a digest of all rows by field."""
        fields = self._fields(0, len(self.ids), columns)
        return {name: digest(value) for name, value in fields.items()}

    def chunk_digests(self, layout: RowArray, columns: Columns = NO_COLUMNS) -> list[str]:
        """Return a digest of each chunk's rows, whatever the teacher."""
        spans = (layout.span(chunk) for chunk in range(layout.num_chunks))
        return [digest(self._fields(lo, hi, columns)) for lo, hi in spans]

    def _fields(self, lo: int, hi: int, columns: Columns) -> dict[str, Any]:
        return {
            "ids": self.ids[lo:hi],
            "features": array_digest(self.features_N32[lo:hi]),
            "queries": array_digest(self.queries_N32[lo:hi]),
            "clips": array_digest(self.clips_N[lo:hi]),
            **{name: array_digest(column_N[lo:hi]) for name, column_N in columns.items()},
        }


def _video_digests(data: DataSet, video_N: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Return the digest of each row's features on the grid, shape (N, 32)."""
    used_U, place_N = np.unique(video_N, return_inverse=True)
    shown = ((video, data.video_clips[video]) for video in used_U)
    digests_U32 = _row_digests(data.features[video, :clips].tobytes() for video, clips in shown)
    return digests_U32[place_N]


def moment_digests(data: DataSet, rows: Rows) -> npt.NDArray[np.uint8]:
    """Return the digest of what each row's moved views are made of, shape (N, 32)."""
    used_U, place_N = np.unique(rows.video, return_inverse=True)
    raw_U = [hashlib.sha256(data.raw_rows(int(v)).tobytes()).digest() for v in used_U]
    windows = {(split, p.id): p.windows[0] for split in data.pairs for p in data.pairs[split]}
    names = zip(rows.splits, rows.ids, strict=True)
    moments_N3 = np.column_stack([[windows[name] for name in names], rows.durations_s])
    both = zip(moments_N3.astype(np.float64), place_N.tolist(), strict=True)
    return _row_digests(raw_U[place] + moment_3.tobytes() for moment_3, place in both)


def _query_digests(data: DataSet, words_NL: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Return the digest of each row's words, shape (N, 32): their vectors and their spelling.

    Characters enter as code points, for their ids depend on words elsewhere in the data set.
    """
    lexicon = data.lexicon
    code_points = np.array([-1, -2, *map(ord, data.characters)], np.int32)  # padding, unknown
    spelled_MC = code_points[lexicon.chars]
    types_M32 = _row_digests(
        bytes([known]) + spelled_C.tobytes() + vector_W.tobytes()
        for known, spelled_C, vector_W in zip(
            lexicon.known.tolist(), spelled_MC, lexicon.vectors, strict=True
        )
    )
    return _row_digests(
        types_L32.data
        for lo in range(0, len(words_NL), BLOCK_ROWS)
        for types_L32 in types_M32[words_NL[lo : lo + BLOCK_ROWS]]
    )


def _row_digests(rows: Iterable[bytes | memoryview]) -> npt.NDArray[np.uint8]:
    """Return the digest of the bytes of each of N rows, shape (N, 32)."""
    digests = b"".join(hashlib.sha256(row).digest() for row in rows)
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)
