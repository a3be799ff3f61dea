import dataclasses
import io
import logging
import time

import pytest
import torch
from torch import nn

import student.training
from stores.errors import RefkdError
from student.optimiser import AdamW
from student.recipe import Recipe
from student.training import describe_epoch, train

RECIPE = Recipe(epochs=4, lr=0.1, clip_norm=100.0)


class Slope(nn.Module):
    """y = a x, with dropout so that random numbers matter."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.0]))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.a * x)


class Line:
    """Fit y = 3 x; validation says what it is told to, epoch by epoch."""

    num_batches = 3

    def __init__(self, *, val=(1.0, 2.0, 3.0, 4.0), fail_at=None):
        self.network, self.val, self.fail_at, self.epoch, self.rates = Slope(), val, fail_at, 0, []

    def batches(self, epoch):
        self.epoch = epoch
        for step in range(self.num_batches):
            if (epoch, step) == self.fail_at:
                raise KeyboardInterrupt
            yield torch.arange(1.0, 9.0) + step

    def losses(self, batch, epoch):
        assert self.network.training
        return {"square": ((self.network(batch) - 3 * batch) ** 2).mean(), "zero": batch.sum() * 0}

    def diagnostics(self):
        return {}

    def validate(self):
        assert not self.network.training
        if self.val is None:
            return {}
        moved = {"mIoU": 10.0 * (self.epoch == 3), "R1@0.7": 0.0}
        return {"val": {"mIoU": self.val[self.epoch], "R1@0.7": 0.0}, "val_moved": moved}


def run(task, path, recipe=RECIPE):
    return train(task, recipe, path / "checkpoint", device="cpu", threads=1, name="line")


@pytest.mark.parametrize("fail_at", [(0, 1), (1, 0), (3, 2)])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, fail_at):
    """Stopped in any epoch and begun again by a fresh process, weights and history are the same."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = run(Line(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(Line(fail_at=fail_at), tmp_path / "stopped")
    torch.manual_seed(99)  # whatever the next process draws before
    stopped = run(Line(), tmp_path / "stopped")

    assert torch.equal(whole.best_weights["a"], stopped.best_weights["a"])
    assert whole.history == stopped.history
    assert [entry["epoch"] for entry in stopped.history] == [1, 2, 3, 4]


def test_the_bar_of_a_second_sitting_begins_where_the_first_ended(tmp_path, monkeypatch):
    """Epochs of another sitting are no speed of this one: 2 of 4 epochs are there at once."""
    with pytest.raises(KeyboardInterrupt):
        run(Line(fail_at=(2, 0)), tmp_path)
    made = []

    class Bar(student.training.tqdm):
        def __init__(self, *args, **how):
            made.append(how)
            super().__init__(*args, **how)

    monkeypatch.setattr(student.training, "tqdm", Bar)
    run(Line(), tmp_path)

    assert [how["initial"] / how["total"] for how in made] == [0.5]


def test_seconds_of_two_sittings_are_summed(tmp_path):
    """A sitting of two epochs that sleep .1 s and another of two more make at least .4 s."""

    class Slow(Line):
        def validate(self):
            time.sleep(0.1)
            return super().validate()

    with pytest.raises(KeyboardInterrupt):
        run(Slow(fail_at=(2, 0)), tmp_path)
    time.sleep(1.0)  # what lies between counts for nothing

    assert 0.4 <= run(Slow(), tmp_path).seconds < 1.4


@pytest.mark.parametrize(
    ("val", "best"), [((1.0, 4.0, 3.0, 2.0), 2), ((2.0, 2.0, 2.0, 2.0), 1), (None, 4)]
)
def test_the_best_epoch_is_kept(tmp_path, val, best, caplog):
    """The epoch of the highest val mIoU, the first of equals; the last one without a val split."""
    with caplog.at_level(logging.WARNING, "refkd"):
        progress = run(Line(val=val), tmp_path)

    assert progress.best_epoch == best
    assert ("no val split, so the last epoch is kept" in caplog.text) == (val is None)


def test_selection_by_val_and_val_moved(tmp_path):
    """Val alone prefers epoch 2 (4 against 2); the mean with val_moved prefers epoch 4 (2 + 10)."""
    val = (1.0, 4.0, 3.0, 2.0)
    both = dataclasses.replace(RECIPE, select="val+moved")

    assert run(Line(val=val), tmp_path, both).best_epoch == 4


def test_best_weights_are_those_of_the_best_epoch(tmp_path):
    """Training on changes nothing of what was kept: two epochs' weights, as if it had ended there."""
    (tmp_path / "more").mkdir()
    kept = run(Line(val=(1.0, 4.0, 3.0, 2.0)), tmp_path / "more").best_weights["a"]
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(Line(fail_at=(2, 0)), stopped)
    state = torch.load(io.BytesIO((stopped / "checkpoint").read_bytes()[32:]), weights_only=True)

    assert torch.equal(kept, state["network"]["a"])


def test_the_rate_falls_linearly_to_zero(tmp_path, monkeypatch):
    """Step i of n trains at lr (1 - i / n): the first at lr, the last at lr / n."""
    rates = []
    step = AdamW.step

    def recording(self):
        rates.append(self.lr)
        step(self)

    monkeypatch.setattr(AdamW, "step", recording)
    run(Line(), tmp_path)

    assert rates == pytest.approx([0.1 * (12 - i) / 12 for i in range(12)])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    """It names the term, the epoch and the rate."""

    class Broken(Line):
        def losses(self, batch, epoch):
            terms = super().losses(batch, epoch)
            return {**terms, "zero": terms["square"] * torch.nan} if epoch == 1 else terms

    with pytest.raises(
        RefkdError, match=r"loss square, zero is no longer a number in epoch 2.*--lr than 0.1"
    ):
        run(Broken(), tmp_path)


def test_one_line_names_every_term():
    """Epoch, each loss, then validation."""
    entry = {"epoch": 2, "losses": {"kl": 1.5, "side": 0.25}, "val": None}
    entry |= {"val": {"mIoU": 40.0}, "val_moved": {"mIoU": 30.0}}

    expected = "epoch 2/9  kl 1.5000  side 0.2500  val mIoU 40.00  val_moved mIoU 30.00"
    assert describe_epoch(entry, 9) == expected


def test_average_is_validated_and_kept(tmp_path):
    """With a running mean the kept weights are its own, also after a kill; training is not changed."""
    recipe = dataclasses.replace(RECIPE, average=0.9)
    for name in ("mean", "killed"):
        (tmp_path / name).mkdir()
    plain, averaged = run(Line(), tmp_path), run(Line(), tmp_path / "mean", recipe)
    with pytest.raises(KeyboardInterrupt):
        run(Line(fail_at=(2, 1)), tmp_path / "killed", recipe)
    resumed = run(Line(), tmp_path / "killed", recipe)

    assert plain.history[-1]["losses"] == averaged.history[-1]["losses"]
    assert averaged.best_weights["a"] < plain.best_weights["a"]  # it rises from 0 and the mean lags
    assert torch.equal(resumed.best_weights["a"], averaged.best_weights["a"])


def test_weights_that_are_no_numbers_stop_the_run(tmp_path):
    """The last step of all may break them: no loss is measured after it."""

    class Broken(Line):
        def validate(self):
            self.network.a.data.fill_(torch.inf if self.epoch == 3 else 1.0)
            return super().validate()

    with pytest.raises(
        RefkdError, match=r"weights are no longer a number in epoch 4; .*--lr than 0.1"
    ):
        run(Broken(), tmp_path)
