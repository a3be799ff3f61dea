"""The sample table: ids as bytes, splits as codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.samples import Samples, Views, decode_ids, encode_ids, sample_arrays

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(TEXT, min_size=1))
def test_ids_come_back(ids):
    """Any text without a zero byte is the same after it was bytes, whatever its length or alphabet."""
    assert decode_ids(encode_ids(ids)) == ids


def test_ids_are_utf8():
    """An id is its UTF-8 bytes, filled up with zeros to the longest."""
    expected = [[0xC3, 0xA9, 0x23, 0x31], [0x61, 0, 0, 0]]

    assert encode_ids(["é#1", "a"]).tolist() == expected


def test_arrays():
    """Splits become indices into their sorted names; clips and labels are int16."""
    samples = Samples(
        ids=["b#0", "a#0", "c"],
        splits=["train", "val", "train"],
        clips_N=np.array([3, 1, 2]),
        gt_N2=np.array([[0, 2], [0, 0], [1, 1]]),
    )
    specs, values = sample_arrays(samples)

    assert samples.split_names == ["train", "val"]
    assert values["samples/split"].tolist() == [0, 1, 0]
    assert {name: spec.dtype for name, spec in specs.items()} == {
        "samples/id": "uint8",
        "samples/split": "uint8",
        "samples/clips": "int16",
        "samples/gt": "int16",
    }
    assert specs["samples/id"].row_shape == (3,)
    assert specs["samples/gt"].row_shape == (2,)


@pytest.mark.parametrize("count", [65_536, 65_537])
def test_few_files(count):
    """The table is cut into chunks of 65,536 rows."""
    samples = Samples(["a"] * count, ["val"] * count, np.ones(count), np.zeros((count, 2)))
    specs, _ = sample_arrays(samples)

    assert {spec.num_chunks for spec in specs.values()} == {1 if count == 65_536 else 2}


def test_views():
    """Each view has labels and 63-bit seeds beside the table, counted from 1."""
    gt_VN2 = np.array([[[0, 1]], [[1, 2]]])
    views = Views(1, gt_VN2, np.array([[2**62], [7]]))
    specs, values = sample_arrays(Samples(["a"], ["train"], np.ones(1), np.zeros((1, 2)), views))

    assert values["samples/views/2/gt"].tolist() == [[1, 2]]
    assert values["samples/views/1/seed"].tolist() == [2**62]
    assert specs["samples/views/1/seed"].dtype == "int64"
    assert specs.keys() == values.keys()
