"""A small world on disk, whole from annotation lines to teachers, of which a test changes one thing.

Everything is written as a user would have it: jsonl, a folder of .npy, word vectors as text. The
teachers learned nothing. Shapes: n raw rows of a video, D channels.
"""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from untrained import save_teacher

from pipeline.prepare import prepare
from stores.dataset import open_dataset
from stores.folds import assign_folds
from student.model import model_facts, network_shape, save_model
from student.network import Network
from student.recipe import Recipe

WORDS = ("people", "jump", "run", "swim", "climb", "slowly")
PAIRS, CHANNELS, CLIPS, STEP_S = 72, 3, 8, 0.5
RECIPE = {"hidden": 8}


@dataclass(frozen=True)
class World:
    """Where everything lies, and how it is prepared and cached."""

    folder: Path
    teachers: dict[str, Path]
    prepared: dict = field(default_factory=dict)  # options of prepare
    cached: dict = field(default_factory=dict)  # options of cache

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations"

    @property
    def options(self) -> dict:
        """How `cache` is called on it."""
        return {"teachers": self.teachers, **self.cached}

    def how(self, **changes) -> "World":
        """This world, cached otherwise."""
        return replace(self, cached={**self.cached, **changes})

    def copied(self, to: Path) -> "World":
        """Its sources elsewhere, without its data set; its teachers stay."""
        shutil.copytree(self.folder, to, ignore=shutil.ignore_patterns("data", ".*"))
        return replace(self, folder=to)

    def prepare(self) -> "World":
        """Write its data set."""
        one_file = self.folder / "features.h5"
        options = {"grid": "fixed", "clips": CLIPS, **self.prepared}
        prepare(
            self.data,
            annotations=self.annotations,
            features=one_file if one_file.exists() else self.folder / "features",
            words=self.folder / "words.txt",
            **options,
        )
        return self

    def lines(self, split="train"):
        """The annotations of a split, one object a line."""
        text = (self.annotations / f"{split}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def write_lines(self, lines, split="train"):
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (self.annotations / f"{split}.jsonl").write_text(text)


def make_world(folder: Path, *, pairs=PAIRS) -> World:
    """A prepared world of so many training pairs, two a video, and two teachers."""
    world = World(folder, {})
    world.annotations.mkdir(parents=True)
    rng = np.random.default_rng(0)
    world.write_lines([_line("q", number, rng) for number in range(pairs)])
    world.write_lines([_line("v", number, rng) for number in range(6)], "val")
    (folder / "features").mkdir()
    for video in {line["vid"] for split in ("train", "val") for line in world.lines(split)}:
        write_features(world, video)
    words = {word: rng.normal(size=5) for word in (*WORDS, "never")}
    write_words(world, words)
    world.prepare()
    data = open_dataset(world.data)
    teachers = {
        name: save_teacher(folder / "teachers" / name, data, seed=seed, **RECIPE)
        for seed, name in enumerate(("id", "ood"))
    }
    return replace(world, teachers=teachers)


def _line(head, number, rng):
    start_s = STEP_S * int(rng.integers(0, 6))
    duration_s = STEP_S * int(12 + number // 2 % 5)
    verb = WORDS[1 + number % 4] if number % 10 else "glide"  # of which there is no vector
    return {
        "qid": f"{head}{number:03d}",
        "vid": f"{head}_video{number // 2:03d}",
        "query": f"people {verb}{' slowly' if number % 3 == 0 else ''}",
        "duration": duration_s,
        "relevant_windows": [[start_s, start_s + 2.0]],
    }


def write_features(world, video, *, seed=0):
    """Write the raw rows of a video, as many as its half seconds."""
    rng = np.random.default_rng([seed, *video.encode()])
    rows = rng.normal(size=(12 + int(video[-3:]) % 5, CHANNELS)).astype(np.float32)
    np.save(world.folder / "features" / f"{video}.npy", rows)


def write_words(world, vectors):
    lines = (f"{word} {' '.join(f'{x:.4f}' for x in vector)}" for word, vector in vectors.items())
    (world.folder / "words.txt").write_text("\n".join(lines) + "\n")


def read_words(world):
    lines = (line.split() for line in (world.folder / "words.txt").read_text().splitlines())
    return {word: [float(number) for number in numbers] for word, *numbers in lines}


def save_network(folder, data, *, seed=0, edit=None, folds=None, **facts):
    """Save a network that learned nothing; `edit` changes its weights, `facts` what is said of it.

    With `folds`, a list of lists of videos, it is cross-fitted: a network for each.
    """
    recipe = Recipe(**{**RECIPE, **{name: facts.pop(name) for name in _knobs(facts)}})
    shape = network_shape(data, recipe)
    weights = []
    for fold in range(1 + len(folds or ())):
        network = Network(shape, seed=[seed, seed + 100 * fold][fold > 0])
        network.standardise(data.channel_stats)
        weights.append(network.state_dict())
    if edit is not None:
        edit(weights)
    told = {**model_facts(data, shape), "kind": "teacher", "inputs": {}, **facts}
    if folds:
        told["folds"] = folds
    save_model(folder, weights[0], told, folds=weights[1:])
    return folder


def _knobs(facts):
    return [name for name in ("backbone", "hidden", "predictor") if name in facts]


def folds_of(data, number, *, seed=0):
    """The training videos in so many folds."""
    videos = [data.videos[video] for video in data.rows("train").video]
    return assign_folds(videos, number, seed=seed)
