"""The student's targets against the equations written out in plain Python, and their properties."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from student import rectification
from student.introspection import introspective_weights
from student.recipe import RECTIFICATIONS, Recipe
from student.rectification import RECTIFIERS
from student.targets import student_targets

FULL = Recipe()
STRATEGIES = tuple(RECTIFIERS)
SHAPES = st.tuples(
    st.integers(0, 10_000),  # seed
    st.integers(1, 3),  # teachers
    st.integers(1, 12),  # clips of the longest video
    st.sampled_from([0.3, 2.0, 8.0]),  # how sure the teachers are
)


def batch(seed=0, teachers=2, num_clips=9, sure=2.0, pairs=4):
    """Return the arguments of `student_targets` but the recipe: random, with short videos in it."""
    random = torch.Generator().manual_seed(seed)
    shape = (pairs, teachers, 2, num_clips)
    clips = torch.randint(1, num_clips + 1, (pairs,), generator=random)
    gt = (torch.rand(pairs, 2, generator=random) * clips[:, None]).long().sort(dim=1).values
    ce = torch.rand(pairs, teachers, 2, generator=random) * 5
    return {
        "teacher_logits_NKBT": torch.randn(shape, generator=random) * sure,
        "weights_NKB": introspective_weights(ce, granularity="sample", hard=False),
        "side_logits_NKBT": torch.randn(shape, generator=random) * sure,
        "gt_N2": gt,
        "mask_NT": torch.arange(num_clips) < clips[:, None],
        "warm": False,
    }


def softmax(logits, temperature=1.0):
    top = max(logits)
    powers = [math.exp((x - top) / temperature) for x in logits]
    return [p / sum(powers) for p in powers]


def decoded(start, end):
    spans = [(i, j) for i in range(len(start)) for j in range(i, len(start))]
    return max(spans, key=lambda ij: start[ij[0]] + end[ij[1]])


def iou(a, b):
    a, b = (set(range(s, e + 1)) for s, e in (a, b))
    return len(a & b) / len(a | b)


def target_of_one(recipe, teachers, sides, w, gt, *, warm):
    """Work one pair's target out with floats and loops: [2][n] from logits [K][2][n], w [K][2]."""
    n, count = len(teachers[0][0]), len(teachers)
    pi, rho, own = [], [], []
    for teacher, side in zip(teachers, sides, strict=True):
        ce = [
            -sum(p * math.log(q) for p, q in zip(softmax(t), softmax(s), strict=True))
            for t, s in zip(teacher, side, strict=True)
        ]
        pi.append(sum(1 / max(c, 1e-6) for c in ce))
        rho.append(iou(decoded(*side), gt))
        own.append(iou(decoded(*teacher), gt))
    target = []
    for boundary in range(2):
        total = [0.0] * n
        for k in range(count):
            p = softmax(teachers[k][boundary], recipe.temperature)
            truth = [float(x == gt[boundary]) for x in range(n)]
            a = 1.0
            if not warm:
                if recipe.rectify == "mixed":
                    p = [rho[k] * x + (1 - rho[k]) * y for x, y in zip(p, truth, strict=True)]
                elif recipe.rectify == "pure-gt" and own[k] < recipe.gt_threshold:
                    p = truth
                elif recipe.rectify == "window":
                    gap = [(x - gt[boundary]) ** 2 / (recipe.tau * n) ** 2 for x in range(n)]
                    p = [x * math.exp(-(1 - rho[k]) * g) for x, g in zip(p, gap, strict=True)]
                    p = [x / sum(p) for x in p]
                if recipe.reweight:
                    a = 1 / pi[k]
            total = [t + w[k][boundary] * a * x for t, x in zip(total, p, strict=True)]
        target.append([t / sum(total) for t in total])
    return target


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("rectify", STRATEGIES)
@pytest.mark.parametrize("reweight", [False, True])
@pytest.mark.parametrize("teachers", [1, 2, 3])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_against_plain_python(warm, rectify, reweight, teachers, temperature):
    """Every strategy, with and without re-weighting, for 1 to 3 teachers, is its equation."""
    recipe = replace(FULL, rectify=rectify, reweight=reweight, temperature=temperature, tau=0.5)
    given = {**batch(seed=teachers, teachers=teachers, num_clips=7), "warm": warm}
    targets = student_targets(recipe, **given).targets_NBT

    for n, clips in enumerate(given["mask_NT"].sum(dim=1).tolist()):
        expected = target_of_one(
            recipe,
            given["teacher_logits_NKBT"][n, ..., :clips].tolist(),
            given["side_logits_NKBT"][n, ..., :clips].tolist(),
            given["weights_NKB"][n].tolist(),
            given["gt_N2"][n].tolist(),
            warm=warm,
        )
        np.testing.assert_allclose(targets[n, :, :clips], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rectify", STRATEGIES)
@settings(deadline=None, max_examples=30)
@given(shape=SHAPES, warm=st.booleans(), temperature=st.sampled_from([1.0, 4.0]))
def test_sum_to_one(rectify, shape, warm, temperature):
    """Targets are probabilities over the valid clips, 0 on padding whatever stands there."""
    recipe = replace(FULL, rectify=rectify, temperature=temperature)
    given = {**batch(*shape), "warm": warm}
    off = ~given["mask_NT"]
    for name in ("teacher_logits_NKBT", "side_logits_NKBT"):
        given[name] = given[name].masked_fill(off[:, None, None], 1e9)
    targets = student_targets(recipe, **given).targets_NBT

    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(4, 2), rtol=0, atol=1e-6)
    assert (targets >= 0).all()
    assert (targets.masked_select(off[:, None].expand_as(targets)) == 0).all()


def test_sum_to_one_at_full_size():
    """Rounding over 128 clips stays below 1e-6."""
    targets = student_targets(FULL, **batch(num_clips=128, pairs=64)).targets_NBT

    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(64, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rectify", ["mixed", "window"])
@settings(deadline=None, max_examples=30)
@given(shape=SHAPES)
def test_full_confidence_and_equal_affinity_give_eq_5(rectify, shape):
    """Branches that hit the ground truth and resemble all teachers alike leave eq. 5 as it is."""
    given = batch(*shape)
    # a flat branch decodes to the first clip, and its CE is log n whatever the teacher says
    given["side_logits_NKBT"] = torch.zeros(given["side_logits_NKBT"].shape)
    given["gt_N2"] = torch.zeros(4, 2, dtype=torch.int64)
    found = student_targets(replace(FULL, rectify=rectify), **given)
    warm = student_targets(FULL, **{**given, "warm": True})

    assert torch.equal(found.diagnostics.confidence_NK, torch.ones(4, shape[1]))
    torch.testing.assert_close(found.targets_NBT, warm.targets_NBT, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(shape=SHAPES)
def test_no_confidence_gives_the_ground_truth(shape):
    """mixed with rho = 0 is the one-hot label whatever the weights and affinities."""
    seed, teachers, num_clips, sure = shape
    given = batch(seed, teachers, num_clips + 1, sure)
    given["mask_NT"][:] = True
    given["gt_N2"] = torch.tensor([[0, 0]] * 4)
    miss = torch.zeros(given["side_logits_NKBT"].shape)
    miss[..., num_clips] = torch.arange(3.0, 3.0 + teachers)[:, None]  # all at the far end
    given["side_logits_NKBT"] = miss
    found = student_targets(FULL, **given)

    assert torch.equal(found.diagnostics.confidence_NK, torch.zeros(4, teachers))
    expected = torch.zeros(4, 2, num_clips + 1)
    expected[..., 0] = 1.0
    torch.testing.assert_close(found.targets_NBT, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rectify", STRATEGIES)
@settings(deadline=None, max_examples=30)
@given(shape=SHAPES, random=st.randoms(use_true_random=False))
def test_exchanging_teachers(rectify, shape, random):
    """Exchanging the teachers exchanges their weights and leaves the targets."""
    recipe, given = replace(FULL, rectify=rectify), batch(*shape)
    order = random.sample(range(shape[1]), shape[1])
    names = ("teacher_logits_NKBT", "weights_NKB", "side_logits_NKBT")
    other = student_targets(recipe, **{**given, **{name: given[name][:, order] for name in names}})
    found = student_targets(recipe, **given)

    torch.testing.assert_close(other.targets_NBT, found.targets_NBT, rtol=0, atol=1e-6)
    for a, b in zip(other.diagnostics, found.diagnostics, strict=True):
        torch.testing.assert_close(a, b[:, order], rtol=1e-5, atol=1e-6)


def test_one_teacher_is_its_own_oracle():
    """K = 1 without rectification is that teacher, re-weighted or not."""
    given = batch(teachers=1)
    targets = student_targets(replace(FULL, rectify="none"), **given).targets_NBT

    for n, clips in enumerate(given["mask_NT"].sum(dim=1).tolist()):
        for b in range(2):
            expected = softmax(given["teacher_logits_NKBT"][n, 0, b, :clips].tolist())
            np.testing.assert_allclose(targets[n, b, :clips], expected, rtol=1e-5, atol=1e-7)


def test_without_side_branches():
    """A recipe that reads no side branch needs none, and then has no rho and no pi to show."""
    recipe = replace(FULL, rectify="none", reweight=False, side_weight=0.0)
    given = batch()
    found = student_targets(recipe, **{**given, "side_logits_NKBT": None})
    warm = student_targets(FULL, **{**given, "warm": True})

    assert torch.equal(found.targets_NBT, warm.targets_NBT)  # eq. 5 throughout
    assert found.diagnostics.confidence_NK is None
    assert found.diagnostics.affinity_NK is None


def test_warm_up_ignores_the_recipe():
    """During the warm-up rectification and re-weighting change nothing but are shown."""
    given = {**batch(), "warm": True}
    found = [student_targets(replace(FULL, rectify=name), **given) for name in STRATEGIES]

    for other in found[1:]:
        assert torch.equal(other.targets_NBT, found[0].targets_NBT)
    assert torch.equal(found[0].diagnostics.share_NK, found[0].diagnostics.weight_NK)
    assert (found[0].diagnostics.affinity_NK > 0).all()


def test_temperature_spares_affinity_and_confidence():
    """rho and pi are read at temperature 1, so a softer target shows the same ones."""
    given = batch()
    soft = student_targets(replace(FULL, temperature=5.0), **given).diagnostics
    plain = student_targets(FULL, **given).diagnostics

    for a, b in zip(soft, plain, strict=True):
        assert torch.equal(a, b)


def test_diagnostics():
    """Of each pair: weights as the mean of both boundaries, shares that sum to 1."""
    given = batch()
    found = student_targets(FULL, **given).diagnostics

    start, end = given["weights_NKB"].unbind(dim=-1)
    torch.testing.assert_close(found.weight_NK, (start + end) / 2)
    torch.testing.assert_close(found.share_NK.sum(dim=1), torch.ones(4))
    assert not torch.allclose(found.share_NK, found.weight_NK)


def test_constants():
    """Targets are float32 and carry no gradient, from half-precision logits that need one."""
    given = batch()
    for name in ("teacher_logits_NKBT", "side_logits_NKBT"):
        given[name] = given[name].half().requires_grad_()
    given["weights_NKB"] = given["weights_NKB"].double()
    found = student_targets(FULL, **given)

    for value in (found.targets_NBT, *found.diagnostics):
        assert value.dtype == torch.float32
        assert not value.requires_grad


def test_every_rectification_has_its_function():
    """The names that a recipe may have are those that can be computed."""
    assert list(RECTIFIERS) == list(RECTIFICATIONS)


def test_the_rectification_shown_in_the_architecture(monkeypatch):
    """It is one function and two lines: half of what the teacher gives the wrong clips goes to the right one."""
    text = (Path(__file__).parents[1] / "ARCHITECTURE.md").read_text()
    (code,) = re.findall(r"```python\n(def \w+\(seen: Evidence.+?)```", text, flags=re.DOTALL)
    name, place = re.search(r'`"(\w+)": (_\w+)`', text).groups()
    found = dict(vars(rectification))
    exec(code, found)  # the page's own words
    monkeypatch.setitem(RECTIFIERS, name, found[place])
    monkeypatch.setitem(RECTIFICATIONS, name, False)
    given = batch(teachers=1)
    given["weights_NKB"] = torch.ones_like(given["weights_NKB"])

    before = student_targets(Recipe(rectify="none"), **given).targets_NBT
    after = student_targets(replace(Recipe(), rectify=name), **given).targets_NBT

    right = torch.nn.functional.one_hot(given["gt_N2"], before.shape[-1])
    torch.testing.assert_close(after, (before + right) / 2)
