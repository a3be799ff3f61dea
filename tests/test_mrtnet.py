import numpy as np
import pytest
import torch

from student.inputs import Encoded, length_mask
from student.mrtnet import MRTNet, doubled, halvings, hybrid_loss, structural_similarity
from student.network import Network

LOUD = 20.0  # a logit whose sigmoid is 1 in float32


def test_halvings_of_any_length():
    """A level's clip is true if either of its two is; the odd one out stands alone."""
    found = halvings(torch.tensor([[True, False, False, False, False, False, True]]))

    assert [level.int().tolist() for level in found] == [
        [[1, 0, 0, 0, 0, 0, 1]],
        [[1, 0, 0, 1]],
        [[1, 1]],
        [[1]],
    ]


def test_doubling_is_torchs_interpolation_on_whole_videos():
    """Without padding, doubling is linear interpolation as torch does it."""
    x_NTH = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        x_NTH.transpose(1, 2), scale_factor=2, mode="linear", align_corners=False
    ).transpose(1, 2)

    found = doubled(x_NTH, torch.ones(2, 7, dtype=torch.bool))
    torch.testing.assert_close(found, expected)


def test_doubling_never_reads_padding():
    """The valid clips of a padded video are doubled as if it ended there."""
    x_NTH = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0))
    padded = x_NTH.index_fill(1, torch.arange(4, 7), 1e6)

    found = doubled(padded, length_mask(torch.tensor([4]), 7))[:, :8]
    torch.testing.assert_close(found, doubled(x_NTH[:, :4], torch.ones(1, 4, dtype=torch.bool)))


def test_one_relevance_for_each_resolution(shape, make_inputs):
    """37 clips are judged at 37, 19 and 10; the coarsest, 5, is judged by none."""
    network = Network({**shape, "backbone": "mrtnet", "num_clips": 37}, seed=1)
    encoded = network(make_inputs({**shape, "num_clips": 37}, [37, 9], [4, 2])).encoded

    assert encoded.relevance_NT.shape == (2, 37)
    assert [level.shape for level in encoded.own] == [(2, 19), (2, 10)]


def test_similarity_by_hand():
    """Three valid clips lie in every window: one Gaussian mean, variance and covariance each."""
    a, b = [0.2, 0.9, 0.4], [0.0, 1.0, 1.0]
    padded = torch.tensor([[*a, 7.0, 7.0]]), torch.tensor([[*b, 7.0, 7.0]])
    found = structural_similarity(*padded, length_mask(torch.tensor([3]), 5))[0, :3]

    expected = []
    for centre in range(3):
        w = np.exp(-((np.arange(3) - centre) ** 2) / (2 * 1.5**2))
        w /= w.sum()
        x, y = np.array(a), np.array(b)
        mx, my = w @ x, w @ y
        vx, vy, cxy = w @ (x - mx) ** 2, w @ (y - my) ** 2, w @ ((x - mx) * (y - my))
        expected.append(
            (2 * mx * my + 1e-4) * (2 * cxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_windows_are_eleven_clips():
    """A difference 6 clips away is not seen, one 5 clips away is."""
    a, b = torch.zeros(1, 20), torch.zeros(1, 20)
    b[0, 10] = 1.0
    found = structural_similarity(a, b, torch.ones(1, 20, dtype=torch.bool))[0]

    assert (found < 0.9999).nonzero().flatten().tolist() == list(range(5, 16))


def test_hybrid_loss_by_hand():
    """At a logit of 0 and one of four clips inside: log 2, and IoU 0.5 / (4 * 0.5 + 1 - 0.5) = 0.2."""
    inside = torch.tensor([[True, False, False, False, False]])
    frame, _, sequence = hybrid_loss(torch.zeros(1, 5), inside, length_mask(torch.tensor([4]), 5))

    np.testing.assert_allclose([frame, sequence], [np.log(2), 1 - 0.2], rtol=1e-6)


def test_a_perfect_answer_costs_nothing():
    """Sure and right at every clip: all three losses vanish, whatever stands on padding."""
    inside, clips = torch.tensor([[False, True, True, False, False]]), [4]
    relevance = torch.where(inside, LOUD, -LOUD)
    relevance[0, 4] = LOUD
    found = hybrid_loss(relevance, inside, length_mask(torch.tensor(clips), 5))

    torch.testing.assert_close(found, torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_losses_are_means_over_resolutions(level):
    """Flat answers at one of three levels and perfect ones at the others cost a third of log 2."""
    clips = torch.ones(1, 12, dtype=torch.bool)
    levels = [
        torch.tensor([[i in (3, 4, 5) for i in range(12)]]),
        torch.tensor([[False, True, True, False, False, False]]),
        torch.tensor([[True, True, False]]),
    ]
    relevance = [torch.where(inside, LOUD, -LOUD) for inside in levels]
    relevance[level] = torch.zeros_like(relevance[level])
    backbone = MRTNet(8, 0.0, num_channels=2, num_clips=12, num_words=4)
    encoded = Encoded(torch.zeros(1, 12, 8), relevance[0], own=tuple(relevance[1:]))
    found = backbone.auxiliary(encoded, torch.tensor([[3, 5]]), clips)

    assert found.keys() == {"frame", "clip", "sequence"}
    np.testing.assert_allclose(found["frame"].item(), np.log(2) / 3, rtol=1e-5)
    assert found["clip"].item() > 0.01
    assert found["sequence"].item() > 0.1
