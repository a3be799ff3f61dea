"""From rows of a prepared data set to tensors of a batch.

Shapes: N pairs of the batch, M word types, T clips, L words, C characters; the rest as in
student/inputs.py.
"""

import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stores.dataset import DataSet, Rows
from stores.lexicon import Lexicon
from stores.seeds import generator
from student.inputs import Inputs, length_mask, to_device

Item = TypeVar("Item")


class WordTable:
    """The data set's word types as tensors, spelled with the characters that a network knows."""

    def __init__(self, lexicon: Lexicon, written: str, known: str) -> None:
        respelled = respelling(written, known)[lexicon.chars]
        self.vectors_MW = torch.from_numpy(np.array(lexicon.vectors))
        self.known_M = torch.from_numpy(np.array(lexicon.known))
        self.chars_MC = torch.from_numpy(respelled)

    def look_up(self, words_NL: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return vectors [N, L, W], known [N, L], characters [N, L, C] and mask [N, L]."""
        vectors, known, chars = (
            t[words_NL] for t in (self.vectors_MW, self.known_M, self.chars_MC)
        )
        return vectors, known, chars, words_NL != 0


def respelling(written: str, known: str) -> npt.NDArray[np.int64]:
    """Return the character ids of one alphabet in another; 0 is padding, 1 an unknown character.

    >>> respelling("ab", "bc").tolist()
    [0, 1, 1, 2]
    """
    ids = {character: index for index, character in enumerate(known, start=2)}
    return np.array([0, 1, *(ids.get(character, 1) for character in written)], dtype=np.int64)


class Gatherer:
    """Gathers the inputs of chosen rows: features from the memory map, words from the table."""

    def __init__(
        self,
        data: DataSet,
        rows: Rows,
        *,
        characters: str,
        device: str,
        most_words: int | None = None,
    ) -> None:
        self.data, self.rows, self.device = data, rows, device
        self.words_NL = rows.words[:, :most_words]  # a network has no more positions
        self.table = WordTable(data.lexicon, data.characters, characters)
        with warnings.catch_warnings():  # of memory that cannot be written to; nobody here does
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._features_VTD = torch.from_numpy(np.asarray(data.features))

    def inputs(self, index_N: npt.NDArray[np.intp], *, trim: bool = False) -> Inputs:
        """Return the inputs of rows index_N; `trim` drops word columns that are padding for all."""
        return self.inputs_of(index_N, self.features(index_N), trim=trim)

    def features(self, index_N: npt.NDArray[np.intp]) -> Tensor:
        """Return the features of rows index_N on the grid, [N, T, D], for the device to make float32.

        For a CPU they are so at once: to copy and to cast each video in one go takes two thirds of
        the time of one after the other. To a GPU half the bytes go over.
        """
        dtype = torch.float32 if self.device == "cpu" else torch.float16
        features_NTD = torch.empty((len(index_N), *self._features_VTD.shape[1:]), dtype=dtype)
        for place, video in enumerate(self.rows.video[index_N].tolist()):
            features_NTD[place] = self._features_VTD[video]
        return features_NTD

    def inputs_of(
        self, index_N: npt.NDArray[np.intp], features_NTD: Tensor, *, trim: bool = False
    ) -> Inputs:
        """Return the inputs of rows index_N with these features in place of their own."""
        words_NL = torch.from_numpy(self.words_NL[index_N].astype(np.int64))
        if trim:
            words_NL = words_NL[:, : int((words_NL != 0).sum(dim=1).max())]
        clips_N = torch.from_numpy(self.rows.clips[index_N].astype(np.int64))
        features_NTD = to_device(features_NTD, self.device).float()
        vectors, known, chars, words = self.table.look_up(words_NL)
        mask_NT = length_mask(clips_N, self.data.num_clips)
        return Inputs(features_NTD, mask_NT, vectors, known, chars, words).to(self.device)

    def gt(self, index_N: npt.NDArray[np.intp]) -> Tensor:
        """Return the ground-truth clips of rows index_N, [N, 2] int64, on the CPU."""
        return torch.from_numpy(self.rows.gt[index_N].astype(np.int64))


class Order(Protocol):
    """Which rows make the batches of an epoch: a function of batch, seed and epoch."""

    def __call__(self, batch: int, *, seed: int, epoch: int) -> Iterable[npt.NDArray[np.intp]]: ...


def epoch_order(num_rows: int, batch: int, *, seed: int, epoch: int) -> list[npt.NDArray[np.intp]]:
    """Return the batches of one epoch as row indices: a function of (seed, epoch) alone."""
    order = generator(seed, "order", epoch).permutation(num_rows)
    return [order[first : first + batch] for first in range(0, num_rows, batch)]


def prefetch(items: Iterable[Item], *, ahead: int = 2) -> Iterator[Item]:
    """Yield the items in order while one thread prepares the next ones, without helpers of its own.

    Helpers would be one more thread for each core, and the step would wait for the slowest of its own.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "refkd-batches", torch.set_num_threads, (1,)) as pool:
        waiting = [pool.submit(list, islice(source, 1)) for _ in range(ahead)]
        while found := waiting.pop(0).result():
            waiting.append(pool.submit(list, islice(source, 1)))
            yield from found
