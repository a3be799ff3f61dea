"""Floors against hand-worked cases, a plain search, and the published annotation files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stores.annotations import read_annotations
from stores.pairs import Pair
from student.floors import BY_MIOU, BY_R1, WHOLE, fit_spans, floors

DATA = Path(os.environ.get("REFKD_DATA") or Path(__file__).parents[2] / "shared/data")
FIGURES = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")


def pair(*windows, duration=100.0, number=0):
    return Pair(f"v#{number}", "test", "v", "someone waits", tuple(windows), duration)


def random_pairs(count, seed=0):
    random = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        duration = random.uniform(5, 60)
        start, end = np.sort(random.uniform(0, duration * 1.1, 2))
        pairs.append(pair((start, end), duration=duration, number=number))
    return pairs


def test_whole_video_by_hand():
    """Moments of 3/4, 1/2 and 1/10 of their videos; one of 20 s past the end of 100 s has 80 / 120."""
    test = [pair((0, 75)), pair((50, 100)), pair((0, 1), duration=10.0), pair((20, 120))]
    found = floors(None, test)

    assert list(found) == [WHOLE]
    assert found[WHOLE]["pairs"] == 4
    assert [found[WHOLE][f"R1@{m}"] for m in (0.3, 0.5, 0.7)] == [75, 75, 25]
    assert found[WHOLE]["mIoU"] == pytest.approx(100 * (0.75 + 0.5 + 0.1 + 80 / 120) / 4)


def test_fit_by_hand():
    """Two moments [10, 30] of 100 s against one [60, 100]: both fits side with the majority."""
    train = [pair((10, 30)), pair((10, 30)), pair((60, 100))]
    found = floors(train, [pair((5, 15), duration=50.0), pair((50, 90))])

    assert found[BY_MIOU]["span"] == [0.1, 0.3]
    assert found[BY_MIOU]["R1@0.7"] == 50
    assert found[BY_MIOU]["mIoU"] == 50
    assert found[BY_R1]["span"] == [0.0, 0.26]  # the first at 1/2 or more: 16 of 30 s


def test_ties_go_to_the_first():
    """Where no span is better than another, the first is taken."""
    # a moment after the end of its video, which no span reaches
    assert fit_spans([pair((200, 300))]) == {BY_MIOU: (0.0, 0.02), BY_R1: (0.0, 0.02)}
    # two moments that mirror each other: 10 of 12 hundredths either way, were it not for rounding
    mirrored = [pair((x * 52.5, (x + 0.1) * 52.5), duration=52.5) for x in (0.19, 0.71)]
    assert fit_spans(mirrored)[BY_MIOU] == (0.18, 0.3)


def test_fit_against_search():
    """The spans are those of a search that scores every span in order."""
    train = random_pairs(30)
    best = {BY_MIOU: (-1.0, None), BY_R1: (-1.0, None)}
    for a in range(51):
        for b in range(a + 1, 51):
            ious = []
            for own in train:
                (start, end), d = own.windows[0], own.duration_s
                shared = max(0.0, min(end, b / 50 * d) - max(start, a / 50 * d))
                ious.append(shared / (max(end, b / 50 * d) - min(start, a / 50 * d)))
            for name, value in (
                (BY_MIOU, sum(ious) / len(ious)),
                (BY_R1, sum(iou >= 0.5 for iou in ious)),
            ):
                if value > best[name][0] + 1e-12:
                    best[name] = (value, (a / 50, b / 50))

    assert fit_spans(train) == {name: span for name, (_, span) in best.items()}


def test_convention():
    """Under shuffle a floor that ties with the threshold is no hit, in the fit neither."""
    train = [pair((0, 40))]  # half of it is 20 of 100 s
    spans = [fit_spans(train, convention=name)[BY_R1] for name in ("hull", "shuffle")]
    assert spans == [(0.0, 0.2), (0.0, 0.22)]
    shuffled = floors(train, train, convention="shuffle")
    assert shuffled[BY_R1]["span"] == [0.0, 0.22]

    test = [pair((0, 50))]

    assert floors(None, test)[WHOLE]["R1@0.5"] == 100
    assert floors(None, test, convention="shuffle")[WHOLE]["R1@0.5"] == 0


def test_several_windows():
    """Train and test both count the best-overlapping window."""
    both = [pair((0, 10), (60, 100)), pair((60, 100), (20, 30))]
    found = floors(both, both)

    assert found[BY_MIOU]["span"] == [0.6, 1.0]
    assert found[BY_MIOU]["mIoU"] == 100


@pytest.mark.slow
def test_seconds_at_full_size():
    """51,415 training pairs, as ActivityNet-CD has, are fitted in seconds."""
    train = random_pairs(51_415)
    start = time.process_time()
    fit_spans(train)

    assert time.process_time() - start < 30


def real(name):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set REFKD_DATA to the folder that holds {name}")
    return folder


def check(found, expected):
    for name, figures in expected.items():
        assert [found[name][key] for key in FIGURES] == pytest.approx(figures, abs=0.1), name


@pytest.mark.data
def test_charades_cd():
    """The floors of Charades-CD are the measured ones, with the spans 0-0.40 and 0-0.30."""
    splits = read_annotations(real("charades_cd"))
    iid = floors(splits["train"], splits["test_iid"])
    ood = floors(splits["train"], splits["test_ood"])

    for found in (iid, ood):
        assert found[BY_MIOU]["span"] == [0.0, 0.4]
        assert found[BY_R1]["span"] == [0.0, 0.3]
    check(iid, {WHOLE: [27.1, 0.0, 0.0, 25.6]})
    check(iid, {BY_R1: [40.2, 30.7, 13.6, 27.3], BY_MIOU: [47.4, 28.2, 13.6, 29.3]})
    check(ood, {WHOLE: [58.9, 0.1, 0.0, 30.6]})
    check(ood, {BY_R1: [20.8, 10.0, 4.8, 14.4], BY_MIOU: [29.9, 15.3, 5.3, 19.6]})


@pytest.mark.data
@pytest.mark.slow
def test_multithumos(tmp_path):
    """The floors of the MultiTHUMOS moments are the measured ones; whole videos score alike in both."""
    script = real("multithumos") / "make_moments.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    splits = read_annotations(tmp_path)
    iid = floors(splits["train"], splits["test_iid"])
    ood = floors(splits["train"], splits["test_ood"])

    assert [len(splits[name]) for name in splits] == [2422, 373, 858, 858]
    for found in (iid, ood):
        check(found, {WHOLE: [34.5, 9.0, 0.0, 26.1]})
        assert found[BY_MIOU]["span"] == [0.02, 0.6]
        assert found[BY_R1]["span"] == [0.02, 0.32]
    check(iid, {BY_MIOU: [46.5, 21.9, 8.7, 31.8], BY_R1: [35.9, 22.4, 10.0, 24.4]})
    check(ood, {BY_MIOU: [29.5, 11.9, 4.1, 21.3], BY_R1: [12.7, 5.9, 1.6, 9.3]})
