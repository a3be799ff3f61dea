import numpy as np
import pytest
import torch

from student.inputs import length_mask
from student.network import Network
from student.seqpan import GuidedAttention, gumbel, match_labels, match_loss, overlap


@pytest.fixture
def network(shape):
    return Network({**shape, "backbone": "seqpan", "dropout": 0.0}, seed=1)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (2, 6, "OBBBIEEEOO"),
        (2, 7, "OBBBIIEEEO"),
        (2, 5, "OBBBEEEOOO"),
        (2, 4, "OBBEEEOOOO"),
        (2, 3, "OBEEEOOOOO"),
        (2, 2, "OEEEOOOOOO"),
        (0, 0, "EEOOOOOOOO"),
        (0, 9, "BBIIIIIIEE"),
        (9, 9, "OOOOOOOOEE"),
    ],
)
def test_match_labels(start, end, expected):
    """Begin and end reach one clip to both sides; the end keeps what both claim."""
    labels = match_labels(torch.tensor([[start, end]]), torch.ones(1, 10, dtype=torch.bool))

    assert "".join("OBIE"[label] for label in labels[0].tolist()) == expected


def test_match_labels_stay_on_the_video():
    """Past a video's last clip there is no end."""
    labels = match_labels(torch.tensor([[1, 3]]), length_mask(torch.tensor([4]), 6))

    assert labels.tolist() == [[1, 1, 3, 3, 0, 0]]


def test_match_loss_by_hand():
    """Probability 1/2 of the right class on one clip, 1/4 on the other: 3/2 log 2; padding is free."""
    chances = torch.tensor([[[0.1, 0.2, 0.2, 0.5], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]])
    loss = match_loss(chances.log(), torch.tensor([[0, 0]]), length_mask(torch.tensor([2]), 3))

    np.testing.assert_allclose(loss.item(), 1.5 * np.log(2), rtol=1e-6)


def test_overlap_by_hand():
    """Orthogonal embeddings, of whatever length, cost nothing; one product of 3 counts twice."""
    embeddings = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert overlap(embeddings).item() == 0.0

    embeddings[1, 2] = 1.0
    np.testing.assert_allclose(overlap(embeddings).item(), np.sqrt(2 * 3.0**2), rtol=1e-6)


def test_auxiliary_loss_is_match_and_overlap(network, shape, make_inputs):
    """Cross-entropy of the classes and overlap of their embeddings count alike."""
    inputs, gt = make_inputs(shape, [40, 9], [4, 2]), torch.tensor([[3, 30], [8, 8]])
    with torch.no_grad():
        network.backbone.classes_CH += 0.1
        encoded = network(inputs).encoded
        found = network.backbone.auxiliary(encoded, gt, inputs.clips_NT)
        parts = (
            match_loss(encoded.own[0], gt, inputs.clips_NT),
            overlap(network.backbone.classes_CH),
        )

    assert parts[1] > 0.1
    assert found.keys() == {"match"}
    torch.testing.assert_close(found["match"], sum(parts))


def test_class_embeddings_begin_orthogonal(network):
    """At first the embeddings cost nothing and have length 1."""
    classes = network.backbone.classes_CH.detach()

    torch.testing.assert_close(classes @ classes.T, torch.eye(4), atol=1e-5, rtol=0)


def test_noise_is_gumbel():
    """Mean and variance are those of the standard Gumbel distribution, Euler's constant and pi^2/6."""
    torch.manual_seed(0)
    noise = gumbel(torch.empty(200_000))

    assert noise.mean().item() == pytest.approx(np.euler_gamma, abs=0.01)
    assert noise.var().item() == pytest.approx(np.pi**2 / 6, abs=0.03)


def test_noise_only_in_training(network, shape, make_inputs):
    """Training draws noise from torch's seed; evaluation draws none, and no relevance has any."""
    inputs = make_inputs(shape, [40, 9], [4, 2])
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = network(inputs), network(inputs)
        torch.manual_seed(0)
        again = network(inputs)
        torch.manual_seed(0)
        calm = network.eval()(inputs)
        state = torch.get_rng_state()
        network(inputs)

    assert torch.equal(first.logits_NBT, again.logits_NBT)
    assert not torch.allclose(first.logits_NBT, second.logits_NBT, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(
        first.encoded.relevance_NT, calm.encoded.relevance_NT, atol=1e-3, rtol=0
    )


def test_relevance_is_the_log_odds_of_the_classes(network, shape, make_inputs):
    """Its sigmoid is the probability of begin, inside or end."""
    with torch.no_grad():
        encoded = network.eval()(make_inputs(shape, [40, 9], [4, 2])).encoded

    chance_NT = encoded.own[0].exp()[..., 1:].sum(dim=-1)
    torch.testing.assert_close(torch.sigmoid(encoded.relevance_NT), chance_NT, atol=1e-6, rtol=1e-5)


def test_guided_attention_by_second_route():
    """The layer equals the published formulae written out for one head's width and one pair."""
    torch.manual_seed(0)
    layer = GuidedAttention(8, 0.0).eval()  # eight heads of width 1
    x, y = torch.randn(5, 8), torch.randn(3, 8)
    with torch.no_grad():
        every = torch.ones(1, 5, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
        found = layer(x[None], every[0], y[None], every[1])[0]
        a, b = layer.norm(x), layer.other_norm(y)
        query, key, value = (linear(a) for linear in layer.query_key_value)
        other_key, other_value = (linear(b) for linear in layer.other_key_value)
        heads = [
            (
                (query[:, h : h + 1] @ key[:, h : h + 1].T).softmax(dim=1) @ value[:, h],
                (query[:, h : h + 1] @ other_key[:, h : h + 1].T).softmax(dim=1)
                @ other_value[:, h],
            )
            for h in range(8)
        ]
        s = layer.own(torch.stack([own for own, _ in heads], dim=1))
        c = layer.cross(torch.stack([cross for _, cross in heads], dim=1))
        g = layer.guided(layer.own_gate(s).sigmoid() * c + layer.cross_gate(c).sigmoid() * s)
        (a1, a2), bias = layer.gated.weight.split(8), layer.gated.bias
        value = a @ a1[:, :8].T + g @ a1[:, 8:].T + bias[:8]
        gate = (a @ a2[:, :8].T + g @ a2[:, 8:].T + bias[8:]).sigmoid()
        z = x + layer.project(gate * value)
        expected = z + layer.output(layer.output_norm(z))

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_both_directions_read_the_layer_before(network, shape, make_inputs):
    """Video and query are updated in parallel: what one layer makes of the video, the query cannot see."""
    backbone = network.eval().backbone
    inputs = make_inputs(shape, [40], [4])
    seen = []
    for layer in backbone.layers:
        layer.register_forward_pre_hook(lambda _, args: seen.append(args))
    with torch.no_grad():
        network(inputs)

    for video_first, query_second in (seen[:2], seen[2:]):
        assert video_first[0] is query_second[2]
        assert video_first[2] is query_second[0]
