"""The files of a sealed data set: read whole, or mapped after a look at their stamp.

The big ones are read through for their digest only when their stamp, size, times and place, is not
the one they had when they were last found intact.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.errors import RefkdError
from stores.files import read_sealed, write_json
from stores.fingerprints import file_digest

STAMPS = ".stamps.json"


class DataFiles:
    """The files of a sealed data set, each checked before it is parsed or mapped."""

    def __init__(self, folder: Path, manifest: dict[str, Any], *, anew: bool) -> None:
        self.folder, self.manifest, self.anew = folder, manifest, anew
        command = "simulate" if manifest["simulated"] else "prepare"
        self.repair = f"delete {folder} and run `refkd {command}` again"

    def text(self, name: str) -> str:
        return read_sealed(self.folder, name, self.manifest, repair=self.repair).decode()

    def array(self, name: str) -> npt.NDArray[Any]:
        data = read_sealed(self.folder, name, self.manifest, repair=self.repair)
        loaded: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
        return loaded

    def mapped(self, name: str) -> npt.NDArray[Any]:
        """Return a memory-mapped array; its bytes are read for their digest if its stamp changed.

        Bits that a disk has lost change no stamp: `anew` they are always read.
        """
        path, recorded = self.folder / name, self.manifest["files"][name]["sha256"]
        if not path.is_file():
            raise RefkdError(f"{path} is missing; {self.repair}")
        facts = path.stat()
        written = [facts.st_mtime_ns, facts.st_ctime_ns]  # nobody can put back the second
        stamp = [recorded, facts.st_size, *written, facts.st_ino, facts.st_dev]
        stamps = self._stamps()
        if self.anew or stamps.get(name) != stamp:
            if file_digest(path) != recorded:
                raise RefkdError(
                    f"{path} is damaged: its digest is not the recorded one; {self.repair}"
                )
            with contextlib.suppress(OSError):  # a read-only folder is checked anew each time
                write_json(self.folder / STAMPS, {**stamps, name: stamp})
        loaded: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return loaded

    def _stamps(self) -> dict[str, Any]:
        """Return what is known of the big files; nothing, if that is not readable."""
        try:
            stamps = json.loads((self.folder / STAMPS).read_bytes())
        except (OSError, ValueError):
            return {}
        return stamps if isinstance(stamps, dict) else {}
