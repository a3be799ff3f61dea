"""An append-only list of finished chunks that survives a kill at any byte.

One JSON object a line: array, chunk, sha256 of its file, and on what it was built. A line counts
once it is whole; one that is torn or unreadable is a chunk to be made again. Each worker appends
the lines of its own chunks: one write to the end of a file, so that lines of two do not mix.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from stores.fingerprints import canonical_json

Environment = dict[str, str]  # device kind, processor, torch, if compiled: recorded, part of no key


@dataclass(frozen=True)
class Entry:
    """A chunk whose file was written whole before the line was; its digest tells whether it still is."""

    array: str
    chunk: int
    sha256: str
    built: Environment


class Journal:
    """The journal in a file; only processes of the one that holds the building's lock write it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self, *, mend: bool = True) -> list[Entry]:
        """Return the entries so far; a line that a kill has torn is cut off the file.

        Who does not hold the lock must not `mend`: the line may be one that is being written.
        """
        if not self.path.is_file():
            return []
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data) and mend:
            with self.path.open("r+b") as file:  # else the next line would grow onto the torn one
                file.truncate(len(whole))
        found = (_entry(line) for line in whole.splitlines())
        return [entry for entry in found if entry is not None]

    def append(self, entry: Entry, *, wait: bool = True) -> None:
        """Add an entry and, unless told not to wait for that, push it to the disk."""
        line = canonical_json(asdict(entry)).encode() + b"\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line)
            if wait:
                os.fsync(file.fileno())


def _entry(line: bytes) -> Entry | None:
    try:
        value = json.loads(line)
        return Entry(str(value["array"]), int(value["chunk"]), value["sha256"], value["built"])
    except (ValueError, KeyError, TypeError):
        return None
