"""A test of other lengths: rows cut away around a moment until it fills more of its video."""

import json

import numpy as np
import pytest
from experiments.longer import cut, main


@pytest.mark.parametrize(
    ("rows", "start_s", "end_s", "share", "stay"),
    [
        (
            20,
            4.0,
            8.0,
            0.5,
            slice(3, 11),
        ),  # 4 of 16 rows around it stay: 1 of 4 before, 3 of 12 behind
        (20, 0.0, 4.0, 0.5, slice(0, 8)),  # it stays at the beginning
        (20, 16.0, 20.0, 0.4, slice(10, 20)),  # and at the end
        (20, 4.5, 7.5, 0.5, slice(3, 11)),  # rows that it only touches are its own
        (20, 2.0, 18.0, 0.5, slice(0, 20)),  # it fills more already
        (20, 0.0, 20.0, 0.5, slice(0, 20)),
    ],
)
def test_which_rows_stay(rows, start_s, end_s, share, stay):
    """As large a part of what lies before it stays as of what lies behind it; rows of a second."""
    assert cut(rows, start_s, end_s, float(rows), share) == stay


def test_a_split_made_of_another(tmp_path):
    """The pairs of test_iid come once more, seconds counted from the rows left; others are copied."""
    moments = tmp_path / "moments"
    (moments / "features").mkdir(parents=True)
    rows_nD = np.arange(40, dtype=np.float16).reshape(20, 2)
    for split in ("train", "val", "test_iid"):
        pair = {"sentences": ["a"], "timestamps": [[4.0, 8.0]], "video_duration": 20.0}
        (moments / f"{split}.json").write_text(json.dumps({f"{split}_0": pair}))
        np.save(moments / "features" / f"{split}_0.npy", rows_nD)
    main(moments, tmp_path / "out")
    main(moments, tmp_path / "out")  # as after a kill
    made = json.loads((tmp_path / "out" / "test_ood.json").read_text())["test_ood_0"]
    left_nD = np.load(tmp_path / "out" / "features" / "test_ood_0.npy")
    ((start_s, end_s),) = made["timestamps"]

    assert end_s - start_s == 4.0
    assert made["video_duration"] == len(left_nD) < 20
    assert left_nD[int(start_s)].tolist() == rows_nD[4].tolist()
    assert 0.35 < 4.0 / made["video_duration"] < 0.85
    assert (tmp_path / "out" / "train.json").read_text() == (moments / "train.json").read_text()
    assert len(list((tmp_path / "out" / "features").iterdir())) == 4
