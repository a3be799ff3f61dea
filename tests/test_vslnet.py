import numpy as np
import pytest
import torch

from student.inputs import Inputs, length_mask
from student.network import Network
from student.vslnet import highlight_loss, highlight_region

SHAPE = {
    "backbone": "vslnet",
    "predictor": "rnn",
    "hidden": 128,
    "dropout": 0.2,
    "num_channels": 1024,
    "num_clips": 128,
    "num_words": 12,
    "num_chars": 14,
    "word_width": 300,
    "characters": "abcdefghijklmnopqrstuvwxyz",
}
SMALL = {**SHAPE, "hidden": 16, "num_channels": 6, "num_clips": 40, "word_width": 5}


def make_inputs(shape, clips, words, *, seed=0):
    """Random inputs of the given numbers of clips and words, zero on padding."""
    rng = torch.Generator().manual_seed(seed)
    n, T, L = len(clips), shape["num_clips"], shape["num_words"]
    clips_NT, words_NL = length_mask(torch.tensor(clips), T), length_mask(torch.tensor(words), L)
    chars_NLC = torch.randint(1, 20, (n, L, shape["num_chars"]), generator=rng)
    lengths_NL = torch.randint(1, shape["num_chars"] + 1, (n, L), generator=rng)
    chars_NLC *= torch.arange(shape["num_chars"]) < lengths_NL[..., None]
    return Inputs(
        torch.randn(n, T, shape["num_channels"], generator=rng) * clips_NT[..., None],
        clips_NT,
        torch.randn(n, L, shape["word_width"], generator=rng) * words_NL[..., None],
        (torch.rand(n, L, generator=rng) < 0.8) & words_NL,
        chars_NLC * words_NL[..., None],
        words_NL,
    )


def row(inputs, i):
    return Inputs(*(tensor[i : i + 1] for tensor in inputs))


def cut(inputs, i, clips, words):
    """One row with its padding cut off: what it would be in a batch of its own length."""
    one = row(inputs, i)
    return Inputs(
        one.features_NTD[:, :clips],
        one.clips_NT[:, :clips],
        one.vectors_NLW[:, :words],
        one.known_NL[:, :words],
        one.chars_NLC[:, :words],
        one.words_NL[:, :words],
    )


@pytest.mark.parametrize("predictor", ["rnn", "transformer"])
def test_padding_never_leaks(predictor):
    """A pair gives the same logits alone, unpadded, and inside a batch of other lengths."""
    clips, words = [40, 7, 23, 1], [12, 3, 1, 5]
    inputs = make_inputs(SMALL, clips, words)
    network = Network({**SMALL, "predictor": predictor}, seed=1, teachers=("a",)).eval()
    with torch.no_grad():
        whole = network(inputs)
        for i, (num_clips, num_words) in enumerate(zip(clips, words, strict=True)):
            for alone in (row(inputs, i), cut(inputs, i, num_clips, num_words)):
                found = network(alone)

                torch.testing.assert_close(
                    found.logits_NBT[0, :, :num_clips],
                    whole.logits_NBT[i, :, :num_clips],
                    atol=1e-5,
                    rtol=1e-5,
                )
                torch.testing.assert_close(
                    found.side_logits_NKBT[0, :, :, :num_clips],
                    whole.side_logits_NKBT[i, :, :, :num_clips],
                    atol=1e-5,
                    rtol=1e-5,
                )


def test_garbage_on_padding_changes_nothing():
    """Features on padded clips are never read, whatever they hold."""
    inputs = make_inputs(SMALL, [9], [4])
    network = Network(SMALL, seed=1).eval()
    garbage = torch.where(inputs.clips_NT[..., None], inputs.features_NTD, torch.tensor(1e6))
    with torch.no_grad():
        expected = network(inputs).logits_NBT[..., :9]
        found = network(inputs._replace(features_NTD=garbage)).logits_NBT[..., :9]

    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("predictor", "millions"), [("rnn", 0.78), ("transformer", 0.67)])
def test_published_size(predictor, millions):
    """At the published widths the network has the published number of trainable weights."""
    network = Network({**SHAPE, "predictor": predictor})
    count = sum(weight.numel() for weight in network.parameters())

    assert count / 1e6 == pytest.approx(millions, abs=0.02)


def test_highlight_region_is_extended_by_a_tenth():
    """A moment of 10 clips grows by 1 on both sides; 5 clips by round(0.5) = 0; edges are clamped."""
    mask_NT = length_mask(torch.tensor([20, 20, 12]), 20)
    found = highlight_region(torch.tensor([[5, 14], [5, 9], [0, 11]]), mask_NT)

    expected = np.zeros((3, 20), bool)
    expected[0, 4:16] = True
    expected[1, 5:10] = True
    expected[2, 0:12] = True
    np.testing.assert_array_equal(found.numpy(), expected)


def test_highlight_loss_counts_the_moment_twice():
    """With a logit of 0 every clip costs log 2, inside the moment twice: (2 + 1 + 1) / 3 log 2."""
    mask_NT = length_mask(torch.tensor([3]), 5)
    loss = highlight_loss(torch.zeros(1, 5), torch.tensor([[1, 1]]), mask_NT)

    np.testing.assert_allclose(loss.item(), 4 / 3 * np.log(2), rtol=1e-6)


def test_unknown_words_share_one_trainable_row():
    """The vector of an unknown word is never read; the trained row stands in for it."""
    inputs = make_inputs(SMALL, [9], [4])._replace(known_NL=torch.zeros(1, 12, dtype=torch.bool))
    network = Network(SMALL, seed=1).eval()
    other = inputs._replace(vectors_NLW=inputs.vectors_NLW + 3)

    assert torch.equal(network(inputs).logits_NBT, network(other).logits_NBT)
    network(inputs).logits_NBT.sum().backward()
    assert network.embed.unknown.grad.abs().sum() > 0


def test_side_branches_leave_the_rest_as_it_is():
    """Weights outside the side branches depend on the seed alone, not on how many teachers there are."""
    plain, with_side = Network(SMALL, seed=3), Network(SMALL, seed=3, teachers=("id", "ood"))

    expected = plain.state_dict()
    found = {k: v for k, v in with_side.state_dict().items() if not k.startswith("side.")}
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_features_are_standardised_inside_the_network():
    """A network that knows mean 2 and deviation 4 reads 2 + 4x as one that knows 0 and 1 reads x."""
    inputs = make_inputs(SMALL, [9, 40], [4, 2])
    plain, knowing = Network(SMALL, seed=1).eval(), Network(SMALL, seed=1).eval()
    knowing.standardise(np.stack([np.full(6, 2.0), np.full(6, 4.0)]).astype(np.float32))
    scaled = inputs._replace(features_NTD=2 + 4 * inputs.features_NTD)
    with torch.no_grad():
        torch.testing.assert_close(
            knowing(scaled).logits_NBT, plain(inputs).logits_NBT, atol=1e-5, rtol=1e-5
        )
