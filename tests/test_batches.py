import numpy as np
import pytest
import torch

from student.batches import Gatherer, epoch_order, prefetch, respelling


def test_order_is_a_permutation_of_seed_and_epoch_alone():
    """Every row comes once an epoch; the same seed and epoch give the same order, others another."""
    batches = epoch_order(10, 4, seed=1, epoch=0)

    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches)) == list(range(10))
    again, next_epoch = epoch_order(10, 4, seed=1, epoch=0), epoch_order(10, 4, seed=1, epoch=1)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(batches))
    assert not np.array_equal(np.concatenate(next_epoch), np.concatenate(batches))


def test_prefetch_keeps_order_and_passes_errors_on():
    """Items come in order; what the producer raises reaches the consumer after the items before it."""
    assert list(prefetch(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(prefetch([])) == []

    def failing():
        yield 1
        raise ValueError("no more")

    found = prefetch(failing())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_gathered_inputs_are_the_data_sets_own(data):
    """Features, masks, words and labels of chosen rows are those that the folder holds."""
    rows = data.rows("val")
    gatherer = Gatherer(data, rows, characters=data.characters, device="cpu")
    index = np.array([5, 0, 5])
    inputs = gatherer.inputs(index)

    for place, row in enumerate(index):
        expected = np.asarray(data.features[rows.video[row]], np.float32)
        np.testing.assert_array_equal(inputs.features_NTD[place], expected)
        vector = data.lexicon.vectors[rows.words[row, 1]]
        np.testing.assert_array_equal(inputs.vectors_NLW[place, 1], vector)
    assert inputs.clips_NT.sum(dim=1).tolist() == rows.clips[index].tolist()
    assert inputs.words_NL.sum(dim=1).tolist() == [2, 2, 2]
    np.testing.assert_array_equal(gatherer.gt(index), rows.gt[index])


def test_trimming_drops_only_words_that_are_padding_for_all(data):
    """Trimmed to the longest query of the batch; the words that stay are the same."""
    gatherer = Gatherer(data, data.rows("val"), characters=data.characters, device="cpu")
    whole, trimmed = (gatherer.inputs(np.array([1, 2]), trim=trim) for trim in (False, True))

    assert trimmed.words_NL.shape == (2, 2)
    assert torch.equal(trimmed.vectors_NLW, whole.vectors_NLW[:, :2])
    assert torch.equal(trimmed.chars_NLC, whole.chars_NLC[:, :2])


def test_words_are_respelled_in_the_networks_alphabet(data):
    """A network trained on other characters reads its own ids; characters it lacks are unknown."""
    rows, known = data.rows("val"), "pz"
    gatherer = Gatherer(data, rows, characters=known, device="cpu")
    spelled = gatherer.inputs(np.array([0])).chars_NLC[0, 0].tolist()

    assert data.pairs["val"][0].query.startswith("people")
    assert spelled[:6] == [2, 1, 1, 2, 1, 1]  # p e o p l e
    assert set(spelled[6:]) <= {0}
    assert respelling("ab", "ab").tolist() == [0, 1, 2, 3]
