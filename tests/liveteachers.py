"""Teachers who are asked while a student learns: what a cache stands in for, in tests and benches.

Shapes: N training pairs, n of them in a batch, K teachers, B = 2 boundaries, T clips.
"""

import numpy as np
import torch

from stores.seeds import seed_of
from stores.weights import open_weights
from student.batches import Gatherer
from student.crossentropy import ground_truth_ce
from student.distillation import Distillation
from student.forward import block_rows, intra_op_threads
from student.introspection import introspective_weights
from student.model import load_model, network_shape
from student.network import Network


class LiveTeachers:
    """Answers (student/answers.py) of teachers who are asked about every batch as it comes.

    They are asked in the blocks of stage one, and read each batch once for all of them. `asked`
    counts how often a teacher was asked about a pair.
    """

    def __init__(self, data, rows, folders):
        self.networks = [load_model(folder).network for folder in folders]
        characters, words = (self.networks[0].shape[name] for name in ("characters", "num_words"))
        self.gatherer = Gatherer(data, rows, characters=characters, most_words=words, device="cpu")
        self.asked = 0
        self.last = None  # the batch that was answered last, and the answers

    def rows(self, index_n):
        size = block_rows("cpu")
        blocks = [self._block(index_n[lo : lo + size], size) for lo in range(0, len(index_n), size)]
        self.last = index_n, np.concatenate(blocks)
        self.asked += len(index_n) * len(self.networks)
        return self.last[1].copy()

    @torch.inference_mode()
    def _block(self, index_n, size):
        filled = index_n[np.minimum(np.arange(size), len(index_n) - 1)]
        with intra_op_threads(1):
            inputs = self.gatherer.inputs(filled)
            off = ~inputs.clips_NT[:, None]
            said = [net(inputs).logits_NBT.masked_fill(off, 0.0) for net in self.networks]
        return torch.stack(said, dim=1)[: len(index_n)].numpy()


class LiveWeights:
    """Introspective weights made from the answers to each batch, in place of those of stage two."""

    def __init__(self, live, recipe):
        self.live, self.recipe = live, recipe

    def __getitem__(self, index_n):
        answered, logits_nKBT = self.live.last
        assert np.array_equal(answered, index_n), "weights are made from the answers to a batch"
        rows = self.live.gatherer.rows
        told = rows.clips[index_n], rows.gt[index_n]
        ce_KnB = [ground_truth_ce(each_nBT, *told) for each_nBT in logits_nKBT.swapaxes(0, 1)]
        return introspective_weights(
            torch.from_numpy(np.stack(ce_KnB, axis=1)),
            granularity=self.recipe.granularity,
            hard=self.recipe.hard,
            favour=self.recipe.favour,
        )


def student_of(data, recipe):
    """Return the network that `refkd distill` begins with."""
    branches = recipe.teachers if recipe.side_weight > 0 else ()
    own = seed_of(recipe.seed, "student")
    network = Network(network_shape(data, recipe), seed=own, teachers=branches)
    network.standardise(data.channel_stats)
    return network


def live_distillation(data, recipe, folders):
    """Return the task of learning from teachers who are asked about each batch, and them."""
    rows = data.rows("train")
    live = LiveTeachers(data, rows, [folders[name] for name in recipe.teachers])
    task = Distillation(
        student_of(data, recipe),
        data,
        rows,
        recipe,
        answers=live,
        weights_NKB=LiveWeights(live, recipe),
        device="cpu",
    )
    return task, live


def cached_distillation(data, recipe, cache):
    """Return the task of learning from a weighed cache, as `refkd distill` does."""
    from pipeline.tutoring import introspected, open_answers, train_rows

    rows, weights = data.rows("train"), open_weights(cache)
    found = train_rows(cache, rows)
    answers, order = open_answers(cache, recipe, found, views=[0])
    return Distillation(
        student_of(data, recipe),
        data,
        rows,
        recipe,
        answers=answers[0],
        weights_NKB=introspected(weights, recipe, found),
        order=order,
        device="cpu",
    )
