"""Row 11: a training step of VSLNet, ours against its published structure in plain PyTorch.

Both learn from the ground truth: span and highlighting losses, the way back, clipping, AdamW. Ours is what
`refkd teach` runs, standardising features included; the other is tests/plain_vslnet.py with
`torch.optim.AdamW` as it comes. No clip, word or character is padding, and both run on two threads. Before
it is timed, both get the same weights: with dropout off, what they say and their gradients are compared.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from harness import Figure, Scale, ratio, take_turns
from plain_vslnet import PlainVSLNet, take_over
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from student.forward import intra_op_threads
from student.inputs import Inputs
from student.losses import gt_cross_entropy
from student.network import Network
from student.optimiser import AdamW
from student.vslnet import highlight_region

REACH = 1.2
THREADS = 2
REPEATS = 9
SIZES = {
    "full": {"batch": 32, "clips": 128, "channels": 1024, "words": 8, "characters": 10},
    "smoke": {"batch": 4, "clips": 16, "channels": 32, "words": 4, "characters": 5},
}
STEPS = {"full": 3, "smoke": 1}  # of a turn
WORD_WIDTH, NUM_WORD_TYPES, ALPHABET = 300, 1200, "abcdefghijklmnopqrstuvwxyz"
KINDS = {  # of work: part of the name of an operation, the outermost that is known decides
    "optimiser": ("clip and AdamW",),
    "dropout masks": ("_Masked", "aten::dropout"),
    "LSTM": ("lstm", "mkldnn_rnn", "MkldnnRnn", "Lstm"),
    "convolution": ("onvolution", "aten::conv"),
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm"),
}


class Lesson(NamedTuple):
    """A batch without padding, as ours is given it, and as the published network is."""

    inputs: Inputs
    words_NL: Tensor
    gt_N2: Tensor


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figure of row 11."""
    size = SIZES[scale]
    with intra_op_threads(THREADS):
        ours, plain, lesson = contestants(**size)
        agreement = differences(ours, plain, lesson)
        steps = {
            "ours": ours_step(ours, lesson),
            "plain": plain_step(plain, lesson),
        }
        turns = {name: repeated(step, STEPS[scale]) for name, step in steps.items()}
        seconds = take_turns(turns, repeats=REPEATS if scale == "full" else 3)
        shares = {name: work_shares(step) for name, step in steps.items()}
    value, spread = ratio(seconds, "plain", "ours")
    return [
        Figure(
            "11",
            "a training step of VSLNet in plain PyTorch over one of ours",
            value,
            REACH,
            "at least",
            spread=spread,
            details={
                **size,
                "threads": THREADS,
                **{f"{name} ms": 1000 * min(each) / STEPS[scale] for name, each in seconds.items()},
                **agreement,
                **{
                    f"{kind} in {name}": f"{100 * share:.0f}%"
                    for name, kinds in shares.items()
                    for kind, share in kinds.items()
                },
            },
        )
    ]


def contestants(
    *, batch: int, clips: int, channels: int, words: int, characters: int, dropout: float = 0.2
) -> tuple[Network, PlainVSLNet, Lesson]:
    """Return our VSLNet, the plain one with the same weights, and a batch for both."""
    shape = {
        "backbone": "vslnet",
        "predictor": "rnn",
        "hidden": 128,
        "dropout": dropout,
        "num_channels": channels,
        "num_clips": clips,
        "num_words": words,
        "num_chars": characters,
        "word_width": WORD_WIDTH,
        "characters": ALPHABET,
    }
    ours = Network(shape)
    torch.manual_seed(0)
    vectors_MW = torch.randn(NUM_WORD_TYPES, WORD_WIDTH)
    plain = PlainVSLNet(shape, vectors_MW)
    take_over(plain, ours)
    words_NL = torch.randint(1, 2 + NUM_WORD_TYPES, (batch, words))
    words_NL[0, 0] = 1  # one at least is unknown
    known_NL = words_NL > 1
    inputs = Inputs(
        torch.randn(batch, clips, channels),
        torch.ones(batch, clips, dtype=torch.bool),
        vectors_MW[(words_NL - 2).clamp(min=0)] * known_NL[..., None],
        known_NL,
        torch.randint(1, 2 + len(ALPHABET), (batch, words, characters)),
        torch.ones(batch, words, dtype=torch.bool),
    )
    gt_N2 = torch.randint(0, clips, (batch, 2)).sort(dim=1).values
    return ours, plain, Lesson(inputs, words_NL, gt_N2)


def ours_loss(network: Network, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Return our loss, as `refkd teach` has it, and our logits [N, 2, T]."""
    clips_NT = lesson.inputs.clips_NT
    outputs = network(lesson.inputs)
    span = gt_cross_entropy(outputs.logits_NBT, lesson.gt_N2, clips_NT).sum(dim=1).mean()
    extra = network.backbone.auxiliary(outputs.encoded, lesson.gt_N2, clips_NT)
    return span + sum(extra.values()), outputs.logits_NBT


def plain_loss(plain: PlainVSLNet, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Return the published loss and logits [N, 2, T]."""
    clips_NT = lesson.inputs.clips_NT
    said = plain(lesson.inputs.features_NTD, clips_NT, lesson.words_NL, lesson.inputs.chars_NLC)
    inside_NT = highlight_region(lesson.gt_N2, clips_NT)
    return plain.losses(said, clips_NT, lesson.gt_N2, inside_NT), torch.stack(said[:2], dim=1)


def differences(ours: Network, plain: PlainVSLNet, lesson: Lesson) -> dict[str, float]:
    """Return how far logits and gradients lie apart at most, dropout off."""
    said = []
    for network, loss_of in ((ours, ours_loss), (plain, plain_loss)):
        network.eval()
        loss, logits = loss_of(network, lesson)
        loss.backward()
        said.append((logits, {name: p.grad for name, p in network.named_parameters()}))
        network.zero_grad()
    (logits, gradients), (plain_logits, plain_gradients) = said
    apart = [(gradients[k].view_as(g) - g).abs().max().item() for k, g in plain_gradients.items()]
    return {
        "largest difference of a logit": (logits - plain_logits).abs().max().item(),
        "largest difference of a gradient": max(apart),
        "largest gradient": max(g.abs().max().item() for g in plain_gradients.values()),
    }


def ours_step(network: Network, lesson: Lesson) -> Callable[[], None]:
    """Return a training step of ours."""
    network.train()
    optimiser = AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)

    def step() -> None:
        loss, _ = ours_loss(network, lesson)
        optimiser.zero_grad()
        loss.backward()
        with record_function("clip and AdamW"):
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()

    return step


def plain_step(plain: PlainVSLNet, lesson: Lesson) -> Callable[[], None]:
    """Return a training step of the published network."""
    plain.train()
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0)

    def step() -> None:
        loss, _ = plain_loss(plain, lesson)
        optimiser.zero_grad()
        loss.backward()
        with record_function("clip and AdamW"):
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimiser.step()

    return step


def repeated(step: Callable[[], None], times: int) -> Callable[[], None]:
    """Return what takes a step so many times."""

    def run() -> None:
        for _ in range(times):
            step()

    return run


def work_shares(step: Callable[[], None]) -> dict[str, float]:
    """Return the share of a step's time that each kind of work takes, seen from its main thread."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    spent: Counter[str] = Counter()
    for event in seen.events():
        spent[kind_of(event)] += event.self_cpu_time_total
    return {kind: spent[kind] / spent.total() for kind in (*KINDS, "all else")}


def kind_of(event) -> str:  # type: ignore[no-untyped-def] # a FunctionEvent, or None
    """Return the kind of work of an operation: that of the outermost operation it is part of."""
    found = "all else"
    while event is not None:
        for kind, names in KINDS.items():
            if any(name in event.name for name in names):
                found = kind
        event = event.cpu_parent
    return found
