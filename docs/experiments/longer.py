"""Cut the videos of a test split shorter, so that their moments fill more of them: a length shift.

    python longer.py MOMENTS OUT

MOMENTS holds Charades-CD-style JSON by split and `features/<video>.npy` [rows, channels]. OUT gets the
same train, val and test_iid, and as test_ood the pairs of test_iid once more, other rows cut away at
both ends until those that the moment touches are a share drawn uniformly from 0.4 to 0.8 (of each pair by
its own seed). Before and after the moment as large a part is left, so that where it lies stays what it
was. A pair whose moment fills as much already stays whole. Stopped halfway, the same command does it again.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

SHARES = (0.4, 0.8)
COPIED = ("train", "val", "test_iid")
MADE, OF = "test_ood", "test_iid"


def cut(rows: int, start_s: float, end_s: float, duration_s: float, share: float) -> slice:
    """Return which rows of a video stay when its moment is to fill a share of it, all of the moment's."""
    row_s = duration_s / rows
    first, stop = int(start_s / row_s), min(rows, int(np.ceil(end_s / row_s)))
    free = max(0.0, (stop - first) / share - (stop - first))
    left = min(1.0, free / max(1, rows - (stop - first)))  # of what lies around the moment
    return slice(first - round(first * left), stop + round((rows - stop) * left))


def shortened(
    name: str, pair: dict[str, Any], rows_nD: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Return a video's annotation and rows after the cut."""
    duration_s, ((start_s, end_s),) = pair["video_duration"], pair["timestamps"]
    share = np.random.default_rng(zlib.crc32(name.encode())).uniform(*SHARES)
    stay = cut(len(rows_nD), start_s, end_s, duration_s, share)
    row_s = duration_s / len(rows_nD)
    begin_s, length_s = stay.start * row_s, (stay.stop - stay.start) * row_s
    window = [round(max(0.0, start_s - begin_s), 3), round(min(length_s, end_s - begin_s), 3)]
    return {**pair, "timestamps": [window], "video_duration": round(length_s, 4)}, rows_nD[stay]


def main(moments: Path, out: Path) -> None:
    """Write OUT, or what a killed process has left of it."""
    features = out / "features"
    features.mkdir(parents=True, exist_ok=True)
    for split in COPIED:
        pairs = json.loads((moments / f"{split}.json").read_text())
        (out / f"{split}.json").write_text(json.dumps(pairs))
        for name in pairs:
            link = features / f"{name}.npy"
            link.unlink(missing_ok=True)
            link.symlink_to((moments / "features" / link.name).resolve())
    made = {}
    for name, pair in json.loads((moments / f"{OF}.json").read_text()).items():
        new = name.replace(OF, MADE)
        made[new], rows_nD = shortened(new, pair, np.load(moments / "features" / f"{name}.npy"))
        np.save(features / f"{new}.npy", rows_nD)
    (out / f"{MADE}.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
