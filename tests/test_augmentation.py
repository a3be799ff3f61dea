"""Moving moments on the clip grid: hand-worked moves, and every clip keeps its features and logits."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from stores.grid import move_rows
from student.augmentation import draw_moves, move_permutation, translate


def moved(start, at, length, num_clips):
    arrays = (np.array([value]) for value in (start, at, length))
    return move_permutation(*arrays, num_clips)[0].tolist()


def test_permutation_by_hand():
    """Clips 1-2 of six, put to begin at 0, 1, 3 and 4."""
    assert moved(1, 0, 2, 6) == [1, 2, 0, 3, 4, 5]
    assert moved(1, 1, 2, 6) == [0, 1, 2, 3, 4, 5]
    assert moved(1, 3, 2, 6) == [0, 3, 4, 1, 2, 5]
    assert moved(1, 4, 2, 6) == [0, 3, 4, 5, 1, 2]


@given(st.integers(1, 9), st.integers(0, 3), st.data())
def test_permutation_against_cutting(clips, padding, data):
    """It is what cutting the rows out and putting them back gives; padding stays."""
    start = data.draw(st.integers(0, clips - 1))
    stop = data.draw(st.integers(start + 1, clips))
    at = data.draw(st.integers(0, clips - (stop - start)))
    expected = move_rows(np.arange(clips)[:, None], start, stop, at)[:, 0].tolist()

    found = moved(start, at, stop - start, clips + padding)
    assert found == [*expected, *range(clips, clips + padding)]


def example(pairs=40, teachers=2, num_clips=8, seed=0):
    """Return features, spans, logits and clip counts in which clip t of pair n reads n * 100 + t."""
    random = np.random.default_rng(seed)
    clips = torch.tensor(random.integers(1, num_clips + 1, pairs))
    gt = torch.tensor(np.sort(random.integers(0, clips[:, None].numpy(), (pairs, 2)), axis=1))
    label = torch.arange(pairs)[:, None] * 100.0 + torch.arange(num_clips)
    features = torch.stack([label, -label], dim=-1)
    factor = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[:teachers]
    return features, gt, label[:, None, None] * factor[:, :, None], clips


def test_everything_moves_together():
    """Inside the new span stand the features and logits of the old one, and nothing is lost."""
    features, gt, logits, clips = example()
    new, new_gt, new_logits = translate(
        features, gt, logits, clips_N=clips, probability=1.0, random=np.random.default_rng(1)
    )

    for n, count in enumerate(clips.tolist()):
        (s, e), (a, b) = gt[n].tolist(), new_gt[n].tolist()
        assert b - a == e - s
        assert 0 <= a <= b < count
        assert torch.equal(new[n, a : b + 1], features[n, s : e + 1])
        rest = [t for t in range(count) if not s <= t <= e]
        others = [t for t in range(count) if not a <= t <= b]
        assert torch.equal(new[n, others], features[n, rest])  # in their old order
        assert torch.equal(new[n, count:], features[n, count:])
        label = new[n, :, 0]
        for k, b_, factor in ((0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4)):
            assert torch.equal(new_logits[n, k, b_], label * factor)
    assert (new_gt != gt).any(dim=1).sum() > 10


def test_originals_are_untouched():
    """The cached arrays themselves are not written to."""
    features, gt, logits, clips = example()
    before = [tensor.clone() for tensor in (features, gt, logits)]
    translate(features, gt, logits, clips_N=clips, probability=1.0, random=np.random.default_rng(0))

    for old, now in zip(before, (features, gt, logits), strict=True):
        assert torch.equal(old, now)


def test_whole_video_stays():
    """A moment that fills its video has no other place."""
    permutation, gt = draw_moves(
        np.array([[0, 3]] * 20),
        np.array([4] * 20),
        num_clips=6,
        probability=1.0,
        random=np.random.default_rng(0),
    )

    assert (permutation == np.arange(6)).all()
    assert (gt == [0, 3]).all()


def test_probability():
    """0 moves nobody, 1 everybody who can move, 1/4 about a quarter of them."""
    gt, clips = np.array([[0, 0]] * 4000), np.array([1000] * 4000)
    counts = []
    for probability in (0.0, 0.25, 1.0):
        _, new = draw_moves(
            gt, clips, num_clips=1000, probability=probability, random=np.random.default_rng(0)
        )
        counts.append(int((new[:, 0] != 0).sum()))

    assert counts[0] == 0
    assert 900 < counts[1] < 1100  # 5 standard deviations are 137
    assert counts[2] > 3980


def test_places_are_uniform():
    """Three clips of seven begin at 0 to 4, each a fifth of the time, their old place included."""
    _, gt = draw_moves(
        np.array([[1, 3]] * 10_000),
        np.array([7] * 10_000),
        num_clips=9,
        probability=1.0,
        random=np.random.default_rng(0),
    )

    counts = np.bincount(gt[:, 0])
    assert len(counts) == 5
    assert (abs(counts - 2000) < 200).all()  # 5 standard deviations


def test_draws_do_not_depend_on_who_moves():
    """Another probability takes as many numbers from the generator, and moves go to the same places."""
    gt, clips = np.array([[2, 3]] * 50), np.array([20] * 50)
    after, places = [], []
    for probability in (0.3, 1.0):
        random = np.random.default_rng(5)
        _, new = draw_moves(gt, clips, num_clips=20, probability=probability, random=random)
        after.append(random.random())
        places.append(new[:, 0])

    assert after[0] == after[1]
    stayed = places[0] == 2
    assert 20 < stayed.sum() < 50
    assert (places[0][~stayed] == places[1][~stayed]).all()


def test_dtypes_and_no_teachers():
    """float16 features and int16 labels keep their types; a batch without teachers moves too."""
    features, gt, logits, clips = example(teachers=2)
    new, new_gt, new_logits = translate(
        features.half(),
        gt.short(),
        logits[:, :0],
        clips_N=clips,
        probability=1.0,
        random=np.random.default_rng(1),
    )

    assert new.dtype == torch.float16
    assert new_gt.dtype == torch.int16
    assert new_logits.shape == (40, 0, 2, 8)
