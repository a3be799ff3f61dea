"""Reading a cache of teachers' logits: sealed, complete, and never a byte that was not checked.

    CACHE/manifest.json, manifest.sha256    inputs and keys, digests of the files, the seal
    CACHE/zarr.json, samples/...            who the rows are (stores/samples.py)
    CACHE/teachers/<name>/logits/...        float32 or float16 [N, 2, T], raw logits, 0 on padding
    CACHE/teachers/<name>/views/<v>/...     the same of moved view v of each row, if there are views
    CACHE/weights/...                       how wrong each teacher is (stores/weights.py)

Shapes: N rows sorted by (split, id), 2 boundaries (start, end), T clips.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from stores.arraynames import array_parts, chunk_of, logits_name, spoken
from stores.cachekeys import FORMAT_VERSION
from stores.errors import RefkdError
from stores.files import read_seal
from stores.fingerprints import bytes_digest
from stores.rowarrays import RowArray
from stores.samples import decode_ids, sample_specs
from stores.unfinished import EXPECTED, refuse_unfinished

if TYPE_CHECKING:  # it takes a while to import, and most readers need none of it
    import zarr

FORMAT = "refkd-cache"

Logits = npt.NDArray[np.float32] | npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Cache:
    """An open cache: its manifest is checked, every other file is when it is read."""

    folder: Path
    seal: str
    manifest: dict[str, Any]

    @property
    def key(self) -> str:
        """The digest of what the cache was made from."""
        return str(self.manifest["key"])

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays, as in stores/arraynames.py: one for each teacher and view."""
        return sorted(self.manifest["arrays"])

    @property
    def teachers(self) -> list[str]:
        return [name for name in self.arrays if array_parts(name)[1] == 0]

    @property
    def read_as(self) -> dict[str, Any]:
        """The facts of the logits that change what a student reads: dtype and precision."""
        return {name: self.manifest[name] for name in ("dtype", "precision")}

    @property
    def num_views(self) -> int:
        """Moved views of each row; 0 if there are none."""
        return int(self.manifest.get("views", {}).get("number", 0))

    @property
    def num_rows(self) -> int:
        return int(self.manifest["num_rows"])

    @property
    def num_clips(self) -> int:
        return int(self.manifest["num_clips"])

    @property
    def layout(self) -> RowArray:
        """How each array of logits lies in chunks."""
        return RowArray(
            num_rows=self.num_rows,
            row_shape=(2, self.num_clips),
            dtype=self.manifest["dtype"],
            rows_per_chunk=self.manifest["rows_per_chunk"],
            codec=self.manifest["codec"],
            dimensions=("sample", "boundary", "clip"),
        )

    @cached_property
    def group(self) -> "zarr.Group":
        """The cache as a Zarr group, for any reader of Zarr; it reads checked bytes only."""
        from stores.verified import open_group

        return open_group(self.folder, self.manifest["files"], self.read)

    @cached_property
    def ids(self) -> list[str]:
        """Sample id of each row."""
        return decode_ids(self._samples("id"))

    @cached_property
    def splits(self) -> list[str]:
        """Split of each row."""
        names = self.manifest["splits"]
        return [names[code] for code in self._samples("split").tolist()]

    @cached_property
    def clips(self) -> npt.NDArray[np.int16]:
        """Clips of each row's video, shape (N,)."""
        return self._samples("clips")

    @cached_property
    def gt(self) -> npt.NDArray[np.int16]:
        """First and last clip of each row's moment, shape (N, 2)."""
        return self._samples("gt")

    def view_gt(self, view: int) -> npt.NDArray[np.int16]:
        """Return the first and last clip of each row's moment in a view, shape (N, 2); view 0 is `gt`."""
        return self._samples(f"views/{view}/gt") if view else self.gt

    def view_seeds(self, view: int) -> npt.NDArray[np.int64]:
        """Return the seed that the place of each row's moment in a view is drawn from, shape (N,)."""
        return self._samples(f"views/{view}/seed")

    def logits(self, array: str) -> Logits:
        """Return all logits of a teacher, or of another array by its name, shape (N, 2, T)."""
        layout = self.layout
        logits_NBT = np.empty((self.num_rows, *layout.row_shape), layout.dtype)
        for chunk in range(layout.num_chunks):
            lo, hi = layout.span(chunk)
            logits_NBT[lo:hi] = self.chunk(array, chunk)
        return logits_NBT

    def chunk(self, array: str, chunk: int) -> Logits:
        """Return the logits of one chunk's rows, shape (rows, 2, T), read-only."""
        rows: Logits = self.rows(logits_name(array), self.layout, chunk)
        return rows

    def rows(self, name: str, spec: RowArray, chunk: int) -> npt.NDArray[Any]:
        """Return the rows of one chunk of an array."""
        file = f"{name}/{spec.chunk_file(chunk)}"
        data = self.read(file)
        assert data is not None, "a chunk that is not listed is an error"
        return spec.rows(chunk, data)

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes after checking their digest; None if no file of this name belongs here.

        Raises RefkdError, naming the samples of a chunk, if the file is missing or changed.
        """
        entry = self.manifest["files"].get(name)
        if entry is None:
            if "/c/" in name:
                raise RefkdError(f"{self.folder} does not list {self.place(name)}; {self.mend}")
            return None
        with self.opened(name) as file:
            data = file.read()
        if bytes_digest(data) != entry["sha256"]:
            raise self.damage(name, "is damaged: its digest is not the recorded one")
        return data

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a listed file, not yet checked; one that is missing or cannot be read is damage."""
        try:
            with (self.folder / name).open("rb") as file:
                yield file
        except FileNotFoundError:
            raise self.damage(name, "is missing") from None
        except OSError as error:
            raise self.damage(name, f"cannot be read ({error.strerror})") from None

    def damage(self, name: str, what: str) -> RefkdError:
        """Return the error for a file that is not as the manifest says."""
        return RefkdError(f"{self.folder}: {self.place(name)} {what}; {self.mend}")

    @property
    def mend(self) -> str:
        """What to run where a file is not as recorded."""
        teachers = " ".join(f"--teacher {name}=DIR" for name in self.teachers)
        return (
            f"put it back with `refkd verify {self.folder} DATA {teachers} --repair`, or run the "
            "same `refkd cache` again"
        )

    def place(self, name: str) -> str:
        """Say what a file holds: which rows of which teacher, if it is a chunk of logits."""
        found = chunk_of(name)
        if found is None:
            return name
        array, chunk = found
        lo, hi = self.layout.span(chunk)
        try:
            samples = f"samples {self.ids[lo]} to {self.ids[hi - 1]}"
        except (RefkdError, IndexError):  # the sample table is damaged too
            samples = f"rows {lo} to {hi - 1}"
        return f"chunk {chunk} of teacher {spoken(array)} ({samples})"

    def _samples(self, name: str) -> npt.NDArray[Any]:
        width = self.manifest["id_bytes"]
        specs = sample_specs(self.num_rows, width, num_views=self.num_views)
        spec = specs[f"samples/{name}"]
        chunks = range(spec.num_chunks)
        return np.concatenate([self.rows(f"samples/{name}", spec, chunk) for chunk in chunks])

    def __reduce__(self) -> tuple[Callable[..., "Cache"], tuple[Path, str]]:
        return reopen_cache, (self.folder, self.seal)


def open_cache(folder: Path) -> Cache:
    """Return a cache whose manifest is sealed and whose files all have their recorded size.

    Raises RefkdError if the folder is no cache, unfinished, or damaged.
    """
    cache = read_cache(folder)
    for name, entry in cache.manifest["files"].items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            raise cache.damage(name, "is missing") from None
        if size != entry["size"]:
            raise cache.damage(name, f"is damaged: {size} bytes, expected {entry['size']}")
    return cache


def read_cache(folder: Path) -> Cache:
    """Return a cache whose manifest is sealed, whatever has become of its other files.

    Raises RefkdError if the folder is no cache, unfinished, or its manifest is damaged.
    """
    refuse_unfinished(folder)
    manifest, seal = read_seal(
        folder, repair=f"delete {folder} and run `refkd cache` again", foreign=EXPECTED
    )
    if manifest.get("format") != FORMAT:
        found = manifest.get("format", "something else")
        raise RefkdError(f"{folder} holds {found}, not a cache; run `refkd cache` to make one")
    if manifest["format_version"] != FORMAT_VERSION:
        raise RefkdError(
            f"{folder} has version {manifest['format_version']} of the cache format, this refkd "
            f"reads version {FORMAT_VERSION}; run `refkd cache` again"
        )
    return Cache(folder, seal, manifest)


def reopen_cache(folder: Path, seal: str) -> Cache:
    """Return the cache of a seal again, in another process; raises RefkdError if it is another by now."""
    cache = open_cache(folder)
    if cache.seal != seal:
        raise RefkdError(f"{folder} has changed while it was in use; run the command again")
    return cache
