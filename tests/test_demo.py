"""The built-in demo data set: sizes, words and the bias that turns around."""

import numpy as np

from stores.demo import demo_pairs
from stores.lexicon import word_types
from stores.words import open_words
from student.floors import floors


def places(pairs):
    """Where moments lie in the room they have, 0 at the start of the video and 1 at its end."""
    return np.array(
        [
            pair.windows[0][0] / (pair.duration_s - pair.windows[0][1] + pair.windows[0][0])
            for pair in pairs
        ]
    )


def test_sizes():
    """At least 512 training pairs, 150 to 200 in each other split, some videos with two queries."""
    pairs = demo_pairs(0)

    assert list(pairs) == ["train", "val", "test_iid", "test_ood"]
    assert len(pairs["train"]) >= 512
    assert all(150 <= len(pairs[split]) <= 200 for split in ("val", "test_iid", "test_ood"))
    videos = {split: {pair.video for pair in some} for split, some in pairs.items()}
    assert all(len(videos[split]) < len(pairs[split]) for split in pairs)
    assert len(set().union(*videos.values())) == sum(map(len, videos.values()))
    assert all(len({pair.id for pair in some}) == len(some) for some in pairs.values())


def test_moments_lie_within_their_videos():
    """No defect among the demo's pairs: every moment is inside and has a length."""
    for some in demo_pairs(0).values():
        for pair in some:
            ((start_s, end_s),) = pair.windows
            assert 0.0 <= start_s < end_s <= pair.duration_s


def test_the_bias_turns_around():
    """Moments come early everywhere but in test_ood, which mirrors test_iid pair by pair."""
    pairs = demo_pairs(0)

    for split in ("train", "val", "test_iid"):
        assert places(pairs[split]).mean() < 0.4
    assert places(pairs["test_ood"]).mean() > 0.6
    for iid, ood in zip(pairs["test_iid"], pairs["test_ood"], strict=True):
        assert (iid.query, iid.duration_s) == (ood.query, ood.duration_s)
        np.testing.assert_allclose(
            iid.windows[0][0], ood.duration_s - ood.windows[0][1], atol=0.051
        )


def test_floors_tell_the_shift():
    """The best fixed span of train is worth far less on test_ood; the whole video the same."""
    pairs = demo_pairs(0)

    iid, ood = (floors(pairs["train"], pairs[split]) for split in ("test_iid", "test_ood"))
    span = "fixed span (mIoU)"
    assert iid[span]["mIoU"] > ood[span]["mIoU"] + 15
    assert abs(iid["whole video"]["mIoU"] - ood["whole video"]["mIoU"]) < 0.1


def test_every_word_has_a_packaged_vector():
    """The captions use words that the packaged GloVe knows."""
    words = word_types(pair.query for some in demo_pairs(0).values() for pair in some)

    assert set(open_words(None).vectors(words)) == set(words)


def test_the_seed_decides():
    """The same seed gives the same pairs, another seed others."""
    assert demo_pairs(3) == demo_pairs(3)
    assert demo_pairs(3) != demo_pairs(4)
