import torch

from student.layers import ContextQueryAttention, SelfAttention, softmax_where
from student.network import Network


def test_unknown_words_share_one_trainable_row(shape, make_inputs):
    """The vector of an unknown word is never read; the trained row stands in for it."""
    inputs = make_inputs(shape, [9], [4])._replace(known_NL=torch.zeros(1, 12, dtype=torch.bool))
    network = Network(shape, seed=1).eval()
    other = inputs._replace(vectors_NLW=inputs.vectors_NLW + 3)

    assert torch.equal(network(inputs).logits_NBT, network(other).logits_NBT)
    network(inputs).logits_NBT.sum().backward()
    assert network.embed.unknown.grad.abs().sum() > 0


def test_a_word_is_spelled_alike_whatever_the_padding(shape, make_inputs):
    """More character columns, all padding, change nothing; fewer than the widest filter are padded."""
    network = Network(shape, seed=1).eval()
    inputs = make_inputs(shape, [9], [4])
    longer = inputs._replace(chars_NLC=torch.nn.functional.pad(inputs.chars_NLC, (0, 9)))
    short = inputs._replace(chars_NLC=inputs.chars_NLC[..., :2])

    assert torch.equal(network.embed(longer), network.embed(inputs))
    assert network.embed(short).shape == (1, 12, 16)


def test_softmax_where_by_hand():
    """Equal scores share the probability among the positions that count."""
    mask = torch.tensor([[True, True, False]])

    assert softmax_where(torch.zeros(1, 3), mask, dim=1).tolist() == [[0.5, 0.5, 0.0]]


def test_attention_ignores_padded_keys():
    """With equal values on valid keys, whatever the queries, attention returns that value."""
    attention = SelfAttention(16, 0.0).eval()
    with torch.no_grad():
        attention.query_key_value[2].weight.copy_(torch.eye(16))
        x = torch.full((1, 5, 16), 2.0)
        x[:, 3:] = 100.0
        found = attention(x, torch.tensor([[True, True, True, False, False]]))

    torch.testing.assert_close(found[:, :3], torch.full((1, 3, 16), 2.0))


def test_context_query_attention_by_second_route():
    """The fused output equals the published formula written out clip by clip."""
    torch.manual_seed(0)
    layer = ContextQueryAttention(16, 0.0).eval()
    context, query = torch.randn(1, 4, 16), torch.randn(1, 3, 16)
    with torch.no_grad():
        ones = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
        found = layer(context, query, *ones)[0]
        c, q = context[0], query[0]
        w = torch.cat(
            [layer.context_weight[:, 0], layer.query_weight[:, 0], layer.product_weight[0]]
        )
        score = torch.stack(
            [
                torch.stack([w @ torch.cat([c[i], q[j], c[i] * q[j]]) for j in range(3)])
                for i in range(4)
            ]
        )
        a, b = score.softmax(dim=1), score.softmax(dim=0)
        c2q, q2c = a @ q, a @ b.T @ c
        expected = layer.output(torch.cat([c, c2q, c * c2q, c * q2c], dim=1))

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_attention_trains_on_what_it_answers_with():
    """Without dropout, the explicit sums of training and the fused ones of evaluation agree."""
    torch.manual_seed(0)
    attention = SelfAttention(16, 0.0)
    x, mask = torch.randn(2, 5, 16), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])

    torch.testing.assert_close(attention(x, mask), attention.eval()(x, mask))
