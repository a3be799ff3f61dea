import pytest
import torch

from student.inputs import length_mask
from student.predictors import PREDICTOR_CLASSES


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_start_and_end_logits_of_every_clip(name):
    """Two rows of logits come back, and they differ: the end is read from what the start read."""
    torch.manual_seed(0)
    predict = PREDICTOR_CLASSES[name](16, 0.0, num_clips=20).eval()
    logits = predict(torch.randn(3, 20, 16), length_mask(torch.tensor([20, 4, 9]), 20))

    assert logits.shape == (3, 2, 20)
    assert not torch.allclose(logits[:, 0], logits[:, 1])


def test_the_recurrent_start_reads_no_later_clip():
    """The start LSTM runs forward: changing the last clip moves no earlier start logit."""
    torch.manual_seed(0)
    predict = PREDICTOR_CLASSES["rnn"](16, 0.0, num_clips=8).eval()
    mask, x = torch.ones(1, 8, dtype=torch.bool), torch.randn(1, 8, 16)
    changed = x.clone()
    changed[:, 7] += 1.0

    assert torch.equal(predict(x, mask)[:, :, :7], predict(changed, mask)[:, :, :7])
