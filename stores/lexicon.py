"""Queries as numbers: word types with their vectors and characters, and queries as type ids.

Shapes: N queries, L words, M word types (row 0 is padding), W width of a vector, C characters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stores.errors import RefkdError
from stores.words import tokenize

MOST_WORDS = 128  # of a query; longer ones are cut
LEAST_CHARS, MOST_CHARS = 4, 40  # of a word; the character convolutions need four


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Word types; row 0 is padding and all zero."""

    vectors: npt.NDArray[np.float32]  # [M, W], zero where not known
    known: npt.NDArray[np.bool_]  # [M], has a vector in the word file
    chars: npt.NDArray[np.int16]  # [M, C]; 0 padding, 1 unknown, i + 2 is characters[i]


def word_types(queries: Iterable[str]) -> list[str]:
    """Return the distinct words of the queries, sorted; type id i + 1 is the i-th of them."""
    return sorted({word for query in queries for word in tokenize(query)})


def most_words(queries: Iterable[str]) -> tuple[int, int]:
    """Return L, the words of the longest query (at most 128), and how many queries are longer."""
    lengths = [len(tokenize(query)) for query in queries]
    return min(max(lengths), MOST_WORDS), sum(length > MOST_WORDS for length in lengths)


def most_chars(words: Iterable[str]) -> int:
    """Return C, the characters of the longest word, between 4 and 40."""
    return min(max([LEAST_CHARS, *map(len, words)]), MOST_CHARS)


def encode_words(
    queries: Sequence[str],
    vectors: Mapping[str, npt.NDArray[np.float32]],
    *,
    width: int,
    characters: str,
    num_words: int,
    num_chars: int,
) -> tuple[Lexicon, npt.NDArray[np.int32]]:
    """Return the lexicon of some queries and their words as type ids, shape (N, L), 0 on padding.

    `vectors` holds the known words, `characters` the known characters in the order of their
    ids; queries and words are cut to num_words and num_chars.
    Raises RefkdError if a query holds no word.
    """
    types = word_types(queries)
    lexicon = Lexicon(
        vectors=np.zeros((len(types) + 1, width), np.float32),
        known=np.array([False, *(word in vectors for word in types)]),
        chars=np.zeros((len(types) + 1, num_chars), np.int16),
    )
    char_ids = {character: index for index, character in enumerate(characters, start=2)}
    for row, word in enumerate(types, start=1):
        if word in vectors:
            lexicon.vectors[row] = vectors[word]
        spelled = [char_ids.get(character, 1) for character in word[:num_chars]]
        lexicon.chars[row, : len(spelled)] = spelled
    ids = {word: row for row, word in enumerate(types, start=1)}
    words_NL = np.zeros((len(queries), num_words), np.int32)
    for query, row_L in zip(queries, words_NL, strict=True):
        found = [ids[word] for word in tokenize(query)[:num_words]]
        if not found:
            raise RefkdError(f"query {query!r} holds no word, expected at least one")
        row_L[: len(found)] = found
    return lexicon, words_NL
