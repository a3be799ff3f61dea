"""Finished teachers, asked for the logits of rows of a data set, as they are or moved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stores.arraynames import array_parts
from stores.dataset import DataSet, Rows, open_dataset
from stores.errors import RefkdError
from stores.folds import folds_of_rows
from stores.models import read_facts
from stores.samples import Views
from stores.units import Forward
from student.views import Viewer

if TYPE_CHECKING:  # torch takes seconds to import, and a finished cache needs none
    from student.forward import BlockReader, Features
    from student.network import Network

Facts = Mapping[str, tuple[dict[str, Any], str]]  # facts and seal of a model folder


def read_teachers(teachers: Mapping[str, Path]) -> Facts:
    """Return the facts and seal of each teacher's folder, without torch.

    Raises RefkdError if one holds no teacher.
    """
    found = {name: read_facts(folder) for name, folder in teachers.items()}
    for name, (facts, _) in found.items():
        if facts["kind"] != "teacher":
            raise RefkdError(
                f"{teachers[name]} holds a {facts['kind']}, expected a teacher; give a folder written "
                "by `refkd teach`"
            )
    return found


@dataclass(frozen=True)
class Asking:
    """Which teachers to ask about which rows, and how; can be sent to another process."""

    data: Path
    data_seal: str
    teachers: dict[str, Path]
    seals: dict[str, str]
    splits: tuple[str, ...]
    device: str
    precision: str
    views: Views | None = None
    compiled: bool = False

    def open(self) -> Forward:
        """Return the function that asks them; each network is loaded when it is first asked.

        A cross-fitted teacher's training pairs are asked of the model that did not see their video:
        each of its models runs the same fixed blocks, and only its own rows are taken. While one
        block runs, a thread reads the next.

        Raises RefkdError if the data or a teacher is not what it was when the work was planned.
        """
        from student.compiling import compile_network
        from student.forward import block_logits, network_reader
        from student.model import load_model

        data = open_dataset(self.data)
        _check_seal(self.data, data.seal, self.data_seal)
        rows = data.rows(*self.splits)
        shown = _shown(data, self.views)
        folds = {name: self._folds(name, data, rows) for name in self.teachers}
        networks: dict[tuple[str, int], Network] = {}
        readers: dict[str, BlockReader] = {}  # by array

        def network(teacher: str, fold: int) -> "Network":
            if (teacher, fold) not in networks:
                model = load_model(self.teachers[teacher], device=self.device, fold=fold)
                _check_seal(self.teachers[teacher], model.seal, self.seals[teacher])
                if self.compiled:
                    compile_network(model.network)
                networks[teacher, fold] = model.network
            return networks[teacher, fold]

        def forward(array: str, lo: int, hi: int) -> npt.NDArray[np.float32]:
            teacher, view = array_parts(array)
            logits_nBT = np.zeros((hi - lo, 2, data.num_clips), dtype=np.float32)
            for fold in np.unique(folds[teacher][lo:hi]).tolist():
                asked, wanted_N = network(teacher, fold), folds[teacher] == fold
                if array not in readers:
                    readers[array] = network_reader(
                        asked, data, rows, device=self.device, features=shown[view]
                    )
                reader, how = readers[array], self.precision
                every_nBT = block_logits(asked, reader, lo, hi, precision=how, wanted_N=wanted_N)
                logits_nBT[wanted_N[lo:hi]] = every_nBT[wanted_N[lo:hi]]
            return logits_nBT

        return forward

    def _folds(self, teacher: str, data: DataSet, rows: Rows) -> npt.NDArray[np.int16]:
        """Return which of a teacher's models each row is asked of."""
        facts, seal = read_facts(self.teachers[teacher])
        _check_seal(self.teachers[teacher], seal, self.seals[teacher])
        return folds_of_rows(facts, data, rows)


def _shown(data: DataSet, views: Views | None) -> list["Features | None"]:
    """Return what shows the features of rows in each view; view 0 is the data set's own."""
    if views is None:
        return [None]
    import torch

    viewer = Viewer(data, data.rows("train"))

    def show(seeds_N: npt.NDArray[np.int64]) -> "Features":
        return lambda index: torch.from_numpy(viewer.show(index, seeds_N[index]).features_NTD)

    return [None, *(show(seeds_N) for seeds_N in views.seeds_VN)]


def _check_seal(folder: Path, found: str, planned: str) -> None:
    if found != planned:
        raise RefkdError(f"{folder} has changed since this command started; run it again")
