import warnings

import numpy as np
import pytest
import torch

from student.inputs import Inputs
from student.network import Network
from student.recipe import BACKBONES, PREDICTORS

every_backbone = pytest.mark.parametrize("backbone", BACKBONES)


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


@every_backbone
@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("num_clips", [40, 37])
def test_padding_never_leaks(backbone, predictor, num_clips, shape, make_inputs):
    """A pair gives the same logits alone, unpadded, and inside a batch of other lengths.

    In double precision, where a leak of one part in a billion would show.
    """
    clips, words = [num_clips, 7, 24, 23, 1, 33], [12, 3, 2, 1, 1, 5]
    shape |= {"backbone": backbone, "predictor": predictor, "num_clips": num_clips}
    inputs = make_inputs(shape, clips, words)
    inputs = inputs._replace(
        features_NTD=inputs.features_NTD.double(), vectors_NLW=inputs.vectors_NLW.double()
    )
    network = Network(shape, seed=1, teachers=("a",)).double().eval()
    with torch.no_grad():
        whole = network(inputs)
        for i, (num_clips, num_words) in enumerate(zip(clips, words, strict=True)):
            for alone in (row(inputs, i), cut(inputs, i, num_clips, num_words)):
                found = network(alone)

                torch.testing.assert_close(
                    found.logits_NBT[0, :, :num_clips],
                    whole.logits_NBT[i, :, :num_clips],
                    atol=1e-9,
                    rtol=1e-9,
                )
                torch.testing.assert_close(
                    found.side_logits_NKBT[0, :, :, :num_clips],
                    whole.side_logits_NKBT[i, :, :, :num_clips],
                    atol=1e-9,
                    rtol=1e-9,
                )


@every_backbone
def test_single_precision_agrees_to_1e_5(backbone, shape, make_inputs):
    """What is computed in float32, alone and in a batch, differs by rounding alone."""
    inputs = make_inputs(shape | {"backbone": backbone}, [40, 7, 24], [12, 3, 2])
    network = Network(shape | {"backbone": backbone}, seed=1).eval()
    with torch.no_grad():
        whole = network(inputs).logits_NBT
        for i in range(3):
            found = network(row(inputs, i)).logits_NBT[0]
            torch.testing.assert_close(found, whole[i], atol=1e-5, rtol=1e-4)


@every_backbone
def test_padding_never_leaks_into_losses(backbone, shape, make_inputs):
    """The auxiliary losses of a pair are the same with its padding and without."""
    clips, words, gt = (
        [40, 7, 23, 1],
        [12, 3, 1, 5],
        torch.tensor([[3, 30], [0, 6], [4, 4], [0, 0]]),
    )
    shape |= {"backbone": backbone}
    inputs = make_inputs(shape, clips, words)
    network = Network(shape, seed=1).eval()
    with torch.no_grad():
        for i, (num_clips, num_words) in enumerate(zip(clips, words, strict=True)):
            padded, bare = (
                network.backbone.auxiliary(network(one).encoded, gt[i : i + 1], one.clips_NT)
                for one in (row(inputs, i), cut(inputs, i, num_clips, num_words))
            )

            torch.testing.assert_close(padded, bare, atol=1e-5, rtol=1e-5)


@every_backbone
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_gradients_are_finite(backbone, predictor, shape, make_inputs):
    """One-clip videos, one-word queries and moments at both edges teach every weight a number."""
    shape |= {"backbone": backbone, "predictor": predictor, "num_clips": 37}
    inputs = make_inputs(shape, [37, 1, 2, 18], [1, 12, 1, 4])
    gt = torch.tensor([[0, 36], [0, 0], [1, 1], [3, 4]])
    network = Network(shape, seed=1).train()
    outputs = network(inputs)
    valid = inputs.clips_NT[:, None].expand_as(outputs.logits_NBT)
    losses = network.backbone.auxiliary(outputs.encoded, gt, inputs.clips_NT)
    (outputs.logits_NBT[valid].square().sum() + sum(losses.values())).backward()

    for name, weight in network.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.any() or weight.ndim == 1, f"{name} learns nothing"


@every_backbone
def test_garbage_on_padding_changes_nothing(backbone, shape, make_inputs):
    """Features on padded clips are never read, whatever they hold."""
    shape |= {"backbone": backbone}
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


def test_a_step_on_the_cpu_leaves_gpus_alone(shape, make_inputs, monkeypatch):
    """With two GPUs in the machine none is asked for its random state."""
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    inputs = make_inputs(shape, [40], [12])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns that it initialises every device
        Network(shape, seed=1, teachers=("id", "ood")).train()(inputs)

    assert asked == []


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_side_branches_move_no_mask(predictor, shape, make_inputs):
    """In training the main logits of every batch are those of a network without side branches."""
    shape |= {"predictor": predictor, "dropout": 0.5}
    inputs, found = make_inputs(shape, [40, 7], [12, 3]), []
    for teachers in ((), ("id", "ood")):
        network = Network(shape, seed=1, teachers=teachers).train()
        torch.manual_seed(5)
        found.append([network(inputs).logits_NBT for _ in range(3)])

    for alone, beside in zip(*found, strict=True):
        assert torch.equal(alone, beside)
    assert not torch.equal(found[0][0], found[0][1])  # there is dropout to be moved
