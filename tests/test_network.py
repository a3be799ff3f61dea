import numpy as np
import pytest
import torch

from student.inputs import Inputs
from student.network import Network


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
def test_padding_never_leaks(predictor, shape, make_inputs):
    """A pair gives the same logits alone, unpadded, and inside a batch of other lengths."""
    clips, words = [40, 7, 23, 1], [12, 3, 1, 5]
    inputs = make_inputs(shape, clips, words)
    network = Network({**shape, "predictor": predictor}, seed=1, teachers=("a",)).eval()
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


def test_garbage_on_padding_changes_nothing(shape, make_inputs):
    """Features on padded clips are never read, whatever they hold."""
    inputs = make_inputs(shape, [9], [4])
    network = Network(shape, seed=1).eval()
    garbage = torch.where(inputs.clips_NT[..., None], inputs.features_NTD, torch.tensor(1e6))
    with torch.no_grad():
        expected = network(inputs).logits_NBT[..., :9]
        found = network(inputs._replace(features_NTD=garbage)).logits_NBT[..., :9]

    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_side_branches_leave_the_rest_as_it_is(shape):
    """Weights outside the side branches depend on the seed alone, not on how many teachers there are."""
    plain, with_side = Network(shape, seed=3), Network(shape, seed=3, teachers=("id", "ood"))

    expected = plain.state_dict()
    found = {k: v for k, v in with_side.state_dict().items() if not k.startswith("side.")}
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_features_are_standardised_inside_the_network(shape, make_inputs):
    """A network that knows mean 2 and deviation 4 reads 2 + 4x as one that knows 0 and 1 reads x."""
    inputs = make_inputs(shape, [9, 40], [4, 2])
    plain, knowing = Network(shape, seed=1).eval(), Network(shape, seed=1).eval()
    knowing.standardise(np.stack([np.full(6, 2.0), np.full(6, 4.0)]).astype(np.float32))
    scaled = inputs._replace(features_NTD=2 + 4 * inputs.features_NTD)
    with torch.no_grad():
        torch.testing.assert_close(
            knowing(scaled).logits_NBT, plain(inputs).logits_NBT, atol=1e-5, rtol=1e-5
        )
