"""A small data set that a small network learns in seconds, made once for all tests."""

import os
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.teach import teach
from pipeline.weigh import weigh
from stores.dataset import open_dataset
from stores.dataset_writer import write_dataset
from stores.pairs import Pair
from stores.words import open_words
from student.inputs import Inputs, length_mask
from student.recipe import Recipe

collect_ignore = ["bench"]  # not tests: test_bench.py runs them, with what they need

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as a shell leaves it for what it runs behind
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start would inherit it

ACTIONS = ("jump", "run", "swim", "climb")
CHANNELS, CLIPS, STEP_S = 6, 16, 0.5


class PlantedRows:
    """Noise in which channel k is raised while action k happens: a moment is plain to see."""

    def __init__(self, pairs):
        self.moments = {}
        for pair in pairs:
            self.moments.setdefault(pair.video, []).append(pair)

    def shape(self, video):
        return round(self.moments[video][0].duration_s / STEP_S), CHANNELS

    def read(self, video):
        n, _ = self.shape(video)
        rows = np.random.default_rng(list(video.encode())).normal(0.0, 0.3, (n, CHANNELS))
        for pair in self.moments[video]:
            start_s, end_s = pair.windows[0]
            inside = slice(round(start_s / STEP_S), round(end_s / STEP_S))
            rows[inside, ACTIONS.index(pair.query.split()[-1])] += 2.0
        return rows.astype(np.float32)


def planted_pairs(split, count, *, late, seed):
    """Pairs whose moments lie early or late in videos of 6 to 12 seconds; some videos have two."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        video = f"{split}_{number:03d}"
        length_s = STEP_S * int(rng.integers(12, 25))
        moment_s = STEP_S * int(rng.integers(3, 8))
        room = int((length_s - moment_s) / STEP_S)
        place_s = STEP_S * int(rng.integers(0, room // 2 + 1))
        start_s = room * STEP_S - place_s if late else place_s
        first = int(rng.integers(4))
        for index in range(1 + number % 2):
            action = ACTIONS[(first + index) % 4]
            windows = ((start_s, start_s + moment_s),)
            pairs.append(
                Pair(f"{video}#{index}", split, video, f"people {action}", windows, length_s)
            )
            start_s, moment_s = max(0.0, start_s - 1.0), moment_s  # a second moment overlaps it
    return pairs


def write_words(path: Path):
    rng = np.random.default_rng(0)
    lines = (
        f"{word} {' '.join(f'{x:.4f}' for x in rng.normal(size=8))}"
        for word in ("people", *ACTIONS)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def make_dataset(
    out: Path,
    words: Path,
    *,
    train=64,
    grid="fixed",
    simulated=False,
    wordy=False,
    shared_ids=False,
):
    pairs = {
        "train": planted_pairs("train", train, late=False, seed=1),
        "val": planted_pairs("val", 24, late=False, seed=2),
        "test_iid": planted_pairs("test_iid", 24, late=False, seed=3),
        "test_ood": planted_pairs("test_ood", 24, late=True, seed=4),
    }
    source = PlantedRows([pair for some in pairs.values() for pair in some])
    if wordy:  # sentences longer than any network here knows positions for
        pairs = {
            split: [replace(pair, query=f"{'very ' * 20}{pair.query}") for pair in some]
            for split, some in pairs.items()
        }
    if shared_ids:
        pairs["test_ood"] = [
            replace(pair, id=other.id)
            for pair, other in zip(pairs["test_ood"], pairs["test_iid"], strict=True)
        ]
    return write_dataset(
        out,
        pairs,
        source,
        open_words(words),
        grid=grid,
        clips=CLIPS,
        simulated=simulated,
        inputs={"planted": train},
        facts={},
    )


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """No test can cut the power, so none waits until its bytes have reached the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def word_file(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words") / "glove.8d.txt")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory, word_file):
    """A prepared data set: 96 training pairs of 64 videos, 36 pairs in each other split."""
    return make_dataset(tmp_path_factory.mktemp("data") / "planted", word_file)


@pytest.fixture(scope="session")
def make_data(word_file):
    """A function that prepares another such data set: other numbers of pairs, another grid."""
    return lambda out, **change: make_dataset(out, word_file, **change)


@pytest.fixture(scope="session")
def data(data_folder):
    return open_dataset(data_folder)


PUBLISHED = {
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
SMALL = {**PUBLISHED, "hidden": 16, "num_channels": 6, "num_clips": 40, "word_width": 5}


@pytest.fixture(scope="session")
def teacher_folders(data_folder, tmp_path_factory):
    """Two quickly trained teachers by name; tests that damage one copy it first."""
    out = tmp_path_factory.mktemp("teachers")
    recipe = Recipe(hidden=16, epochs=3, batch=16, lr=3e-3)
    return {
        bias: teach(data_folder, out / bias, bias=bias, recipe=recipe, device="cpu", threads=1)
        for bias in ("id", "ood")
    }


@pytest.fixture(scope="session")
def cache_folder(data_folder, teacher_folders, tmp_path_factory):
    """A finished, weighed cache of both teachers' logits on the train split."""
    out = tmp_path_factory.mktemp("caches")
    folder = cache(data_folder, out, teachers=teacher_folders, device="cpu")
    weigh(folder)
    return folder


@pytest.fixture(scope="session")
def runs_folder(data_folder, cache_folder, tmp_path_factory):
    """A folder of three runs: two seeds of one recipe, and one without a warm-up."""
    out = tmp_path_factory.mktemp("runs")
    recipe = Recipe(hidden=16, epochs=2, batch=16, lr=3e-3)
    for change in ({}, {"seed": 1}, {"warmup": 0.0}):
        distill(data_folder, cache_folder, out, replace(recipe, **change), device="cpu", threads=1)
    return out


@pytest.fixture
def published():
    """The shape of VSLNet at its published widths on I3D features and 300-d GloVe."""
    return dict(PUBLISHED)


@pytest.fixture
def shape():
    """The shape of a small network."""
    return dict(SMALL)


@pytest.fixture
def make_inputs():
    """A function that returns random inputs of given numbers of clips and words."""
    return random_inputs


def random_inputs(shape, clips, words, *, seed=0):
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


@pytest.fixture
def lock_out(monkeypatch):
    """A function that makes a folder one that we may see but not look into, were we root or not."""
    stat = os.stat

    def lock_out(folder):
        def refusing(path, *args, **kwargs):
            if not isinstance(path, int) and Path(path).parent == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, *args, **kwargs)

        folder.mkdir()
        monkeypatch.setattr(os, "stat", refusing)

    return lock_out


@pytest.fixture
def quick_path():
    """A folder in memory where there is such a thing: waiting for the disk is not what is tested."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
