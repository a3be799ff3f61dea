"""Recipe: every knob of a student run, with its default, its one-line help and its valid values."""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stores.errors import RefkdError

BACKBONES = {  # name: where the class is; the same file holds its VERSION
    "vslnet": "student.vslnet:VSLNet",
    "seqpan": "student.seqpan:SeqPAN",
    "mrtnet": "student.mrtnet:MRTNet",
}
PREDICTORS = ("rnn", "transformer")
BIASES = ("id", "ood")  # of teachers
# raise by hand when the same inputs would train other weights: tests/test_recorded.py
TRAINING = 1
RECTIFICATIONS = {  # name: whether it reads the side branches; functions in student/rectification.py
    "mixed": True,
    "pure-gt": False,
    "window": True,
    "none": False,
}
GRANULARITIES = ("sample", "dataset", "fixed")
FAVOURS = ("wrong", "right")
AUGMENTATIONS = ("none", "translate", "views")
VAL, MOVED = "val", "val_moved"  # the latter is no split of its own: student/validation.py makes it
SELECTIONS = {"val": (VAL,), "val+moved": (VAL, MOVED)}  # splits whose mean mIoU decides
TEACHER_KNOBS = (
    "backbone",
    "hidden",
    "predictor",
    "epochs",
    "batch",
    "lr",
    "weight_decay",
    "dropout",
    "clip_norm",
    "seed",
)  # the fields of Recipe that a teacher has too


def _knob(default: Any, help: str, **limits: Any) -> Any:
    """Return a dataclass field that carries its help and limits: choices, least, most, above."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train and how (defaults: the paper's); ablations are `dataclasses.replace` of it."""

    teachers: tuple[str, ...] = _knob(
        ("id", "ood"), "teachers in the cache to learn from, separated by commas"
    )
    backbone: str = _knob("vslnet", "kind of network", choices=tuple(BACKBONES))
    hidden: int = _knob(128, "width of the network, a multiple of 8", least=8)
    predictor: str = _knob("rnn", "span predictor", choices=PREDICTORS)
    epochs: int = _knob(100, "passes over the training split", least=1)
    batch: int = _knob(32, "pairs in a batch", least=1)
    lr: float = _knob(1e-3, "learning rate of AdamW, falling linearly to 0", above=0.0)
    weight_decay: float = _knob(0.0, "weight decay of AdamW", least=0.0)
    dropout: float = _knob(0.2, "probability of every dropout", least=0.0, most=0.9)
    clip_norm: float = _knob(1.0, "largest norm of the gradient", above=0.0)
    seed: int = _knob(0, "seed of every random generator", least=0)
    warmup: float = _knob(
        0.2,
        "fraction of the epochs taught by eq. 5 before eq. 12, rounded up to whole epochs",
        least=0.0,
        most=1.0,
    )
    rectify: str = _knob(
        "mixed",
        "label rectification: eq. 11, teacher below the threshold, eq. 13-14, none",
        choices=RECTIFICATIONS,
    )
    reweight: bool = _knob(True, "re-weight the teachers by affinity (eq. 12)")
    granularity: str = _knob(
        "sample",
        "introspective weights per sample, per data set, or fixed at 1/K",
        choices=GRANULARITIES,
    )
    favour: str = _knob(
        "wrong",
        "teacher that weighs more: the one more wrong of the pair (eq. 3-4), or the one more right",
        choices=FAVOURS,
    )
    hard: bool = _knob(False, "give all introspective weight to the teacher that is favoured")
    side_weight: float = _knob(
        0.1, "weight of each side branch's loss (eq. 8); 0 removes the branches", least=0.0
    )
    affinity_dropout_off: bool = _knob(
        False, "read affinity and confidence from a second pass without dropout"
    )
    tau: float = _knob(0.1, "width of the window of eq. 13, as a fraction of the clips", above=0.0)
    gt_threshold: float = _knob(
        0.3, "pure-gt replaces a teacher whose own span has a lower IoU", least=0.0, most=1.0
    )
    temperature: float = _knob(1.0, "temperature of the main and side KL losses", above=0.0)
    gt_ce_weight: float = _knob(
        0.0, "weight of the plain cross-entropy with the ground truth", least=0.0
    )
    augment: str = _knob(
        "none",
        "move the moment: features, labels and cached logits by one shift (translate), or in the "
        "raw rows, with the teachers' own answers to cached views",
        choices=AUGMENTATIONS,
    )
    augment_prob: float = _knob(
        0.5, "probability that a pair is augmented in an epoch", least=0.0, most=1.0
    )
    average: float = _knob(
        0.0,
        "decay of the running mean of the weights that is validated and kept; 0 keeps the weights",
        least=0.0,
        most=0.9999,
    )
    select: str = _knob("val", "split whose mIoU chooses the epoch", choices=tuple(SELECTIONS))

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check(knob.name, getattr(self, knob.name), knob.metadata)
        if self.hidden % 8:
            raise RefkdError(f"hidden must be a multiple of 8, got {self.hidden}")
        if len(set(self.teachers)) != len(self.teachers):
            raise RefkdError(f"teachers must differ, got {','.join(self.teachers)}")
        if not self.teachers and self.gt_ce_weight == 0:
            raise RefkdError(
                "no teachers means ground truth only: give --gt-ce-weight above 0 as well"
            )
        if self.side_weight == 0 and self.needs_side_branches:
            raise RefkdError(
                "side-weight 0 removes the side branches that rectify "
                f"{self.rectify} and re-weighting read; give --rectify none --no-reweight as well"
            )

    @property
    def num_warm(self) -> int:
        """How many epochs are taught by eq. 5, rounded up, before something else is."""
        return math.ceil(round(self.warmup * self.epochs, 9))  # 0.07 * 100 is 7.000000000000001

    @property
    def beyond_eq_5(self) -> bool:
        """Whether targets are other than eq. 5's once the warm-up is over."""
        return beyond_eq_5(vars(self))

    @property
    def needs_side_branches(self) -> bool:
        """Whether a target of this recipe reads the side branches (eq. 9 or eq. 10)."""
        return reads_branches(vars(self))


def beyond_eq_5(knobs: Mapping[str, Any]) -> bool:
    """Return whether these fields of a recipe make targets other than eq. 5's after the warm-up."""
    rectified = bool(knobs["teachers"]) and knobs["rectify"] != "none"
    return rectified or _weighs_again(knobs)


def reads_branches(knobs: Mapping[str, Any]) -> bool:
    """Return whether a target that these fields of a recipe make reads the side branches."""
    rectified = bool(knobs["teachers"]) and RECTIFICATIONS[knobs["rectify"]]
    return rectified or _weighs_again(knobs)


def _weighs_again(knobs: Mapping[str, Any]) -> bool:
    return bool(knobs["reweight"]) and len(knobs["teachers"]) > 1


_GT: dict[str, Any] = {"gt_ce_weight": 1.0, "augment_prob": 0.7, "select": "val+moved"}
_EQ_5: dict[str, Any] = {"rectify": "none", "reweight": False, "side_weight": 0.0}
_VIEWS_GT: dict[str, Any] = {**_GT, **_EQ_5, "augment": "views"}
RECIPES: dict[str, dict[str, Any]] = {  # named changes to the defaults, which are the paper's
    "paper": {},  # what each reached: docs/results.md
    "best": {**_VIEWS_GT, "side_weight": 0.1},  # of all, on val and val_moved
    "views": {"augment": "views", "augment_prob": 0.7, "select": "val+moved"},
    "views-refkd-gt": {**_GT, "augment": "views"},
    "views-gt": _VIEWS_GT,
    "views-gt-side": {**_VIEWS_GT, "side_weight": 0.1},
    "views-gt-16": {**_VIEWS_GT, "batch": 16},
    "views-gt-average": {**_VIEWS_GT, "average": 0.99},
    "views-gt-right": {**_VIEWS_GT, "favour": "right"},
    "views-gt-ood": {**_VIEWS_GT, "teachers": ("ood",)},
    "views-gt-alone": {**_VIEWS_GT, "teachers": ()},
    "views-gt-16-alone": {**_VIEWS_GT, "batch": 16, "teachers": ()},
    "translate-refkd-gt": {**_GT, "augment": "translate"},
}


def _check(name: str, value: Any, limits: Any) -> None:
    """Raise RefkdError if a knob's value lies outside its limits."""
    option = name.replace("_", "-")
    if "choices" in limits and value not in limits["choices"]:
        raise RefkdError(f"{option} must be one of {', '.join(limits['choices'])}, got {value}")
    if "least" in limits and not value >= limits["least"]:
        raise RefkdError(f"{option} must be at least {limits['least']}, got {value}")
    if "above" in limits and not value > limits["above"]:
        raise RefkdError(f"{option} must be above {limits['above']}, got {value}")
    if value == float("inf"):
        raise RefkdError(f"{option} must be finite, got {value}")
    if "most" in limits and not value <= limits["most"]:
        raise RefkdError(f"{option} must be at most {limits['most']}, got {value}")


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as a JSON object; `recipe_from_json` is its inverse."""
    return {**asdict(recipe), "teachers": list(recipe.teachers)}


def recipe_from_json(values: dict[str, Any]) -> Recipe:
    """Return the recipe of a JSON object, every field given.

    Raises RefkdError if a field is unknown or missing.
    """
    names = {knob.name for knob in fields(Recipe)}
    if values.keys() != names:
        odd = sorted(values.keys() ^ names)
        raise RefkdError(
            f"recipe has other fields than this version of refkd knows: {', '.join(odd)}"
        )
    return Recipe(**{**values, "teachers": tuple(values["teachers"])})


def training_version() -> dict[str, int]:
    """Return what the inputs of a model say of the code that trains it: nothing of the first version."""
    return {"training_version": TRAINING} if TRAINING > 1 else {}


def backbone_version(name: str) -> int:
    """Return the number of a backbone's code version, read from its file: importing it needs torch."""
    spec = find_spec(BACKBONES[name].partition(":")[0])
    assert spec is not None, f"backbone {name} has no module"
    assert spec.origin is not None, f"backbone {name} has no file"
    found = re.search(r"^VERSION = (\d+)", Path(spec.origin).read_text(), re.MULTILINE)
    assert found is not None, f"the file of backbone {name} holds no VERSION"
    return int(found[1])


assert all(knob.default is not MISSING for knob in fields(Recipe)), "every knob has a default"
