"""The built-in demo data set: templated captions of simulated videos, with a location bias.

In train, val and test_iid moments come early; test_ood is test_iid in a mirror, with other videos:
the same words and the same lengths of moments and videos, pair by pair, but the moments come late.
A model that learned where moments are, rather than what they show, fails there.
"""

import numpy as np

from stores.pairs import Pair
from stores.seeds import generator

CHANNELS, CLIPS = 256, 32
VIDEOS = {"train": 480, "val": 130, "test_iid": 150}  # every fifth video has two queries

SUBJECTS = ("a man", "a woman", "a boy", "a girl", "the person", "someone")
PLACES = (
    "",
    "",
    "in the kitchen",
    "in the garage",
    "in the bedroom",
    "by the window",
    "in the hallway",
)
ACTIONS = (  # as a sentence tells it, and as another tells the same
    ("opens the door", "is walking through a doorway"),
    ("washes the dishes", "is cleaning plates in the sink"),
    ("reads a book", "is turning the pages of a novel"),
    ("plays the guitar", "is making music with an instrument"),
    ("drinks a glass of water", "is sipping from a cup"),
    ("throws a pillow", "is tossing a cushion"),
    ("folds a blanket", "is putting away some towels"),
    ("climbs the stairs", "is going up the steps"),
    ("cooks soup on the stove", "is stirring a pot"),
    ("sweeps the floor", "is cleaning up dust with a broom"),
    ("eats a sandwich", "is having lunch"),
    ("feeds the dog", "is giving food to a puppy"),
    ("types on a laptop", "is working at the computer"),
    ("ties a shoe", "is putting on boots"),
    ("takes a photograph", "is holding a camera"),
    ("turns on the lamp", "is switching the light"),
    ("talks on the phone", "is making a telephone call"),
    ("laughs at the television", "is watching a funny movie"),
    ("paints the wall", "is brushing color on the house"),
    ("rides a bicycle", "is cycling"),
)


def demo_pairs(seed: int) -> dict[str, list[Pair]]:
    """Return the pairs of the built-in data set by split; the same seed gives the same pairs."""
    pairs = {
        split: [pair for number in range(count) for pair in _video(split, number, seed)]
        for split, count in VIDEOS.items()
    }
    return {**pairs, "test_ood": [_mirrored(pair) for pair in pairs["test_iid"]]}


def _video(split: str, number: int, seed: int) -> list[Pair]:
    """Return the one or two pairs of a video; of two, every other couple names one moment twice."""
    rng = generator(seed, "demo", split, number)
    duration_s = round(rng.uniform(18.0, 36.0), 1)
    first = rng.integers(len(ACTIONS))
    told = [(first, int(rng.integers(2)), _moment(rng, duration_s))]
    if number % 10 == 4:
        told.append((first, 1 - told[0][1], told[0][2]))
    elif number % 10 == 9:
        other = (first + rng.integers(1, len(ACTIONS))) % len(ACTIONS)
        told.append((other, int(rng.integers(2)), _moment(rng, duration_s)))
    return [
        Pair(
            id=f"{split}_{number:03d}#{index}",
            split=split,
            video=f"{split}_{number:03d}",
            query=_sentence(rng, ACTIONS[action][wording]),
            windows=(window,),
            duration_s=duration_s,
        )
        for index, (action, wording, window) in enumerate(told)
    ]


def _moment(rng: np.random.Generator, duration_s: float) -> tuple[float, float]:
    """Return a moment of 15 to 45 percent of the video: half of them early, the rest anywhere."""
    length_s = duration_s * rng.uniform(0.15, 0.45)
    start_s = (duration_s - length_s) * rng.beta(1.0, 4.0 if rng.random() < 0.5 else 1.0)
    return round(start_s, 1), round(start_s + length_s, 1)


def _sentence(rng: np.random.Generator, action: str) -> str:
    words = [SUBJECTS[rng.integers(len(SUBJECTS))], action, PLACES[rng.integers(len(PLACES))]]
    return " ".join(word for word in words if word)


def _mirrored(pair: Pair) -> Pair:
    """Return a pair of test_iid as test_ood has it: late where it was early."""
    name = pair.id.replace("test_iid", "test_ood")
    windows = tuple(
        (round(pair.duration_s - end_s, 1), round(pair.duration_s - start_s, 1))
        for start_s, end_s in pair.windows
    )
    video = name.partition("#")[0]
    return Pair(name, "test_ood", video, pair.query, windows, pair.duration_s)
