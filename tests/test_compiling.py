"""Compiled networks: the same answers, within rounding, told apart from those that are not compiled.

Only slow tests have anything compiled, which takes up to minutes.
"""

import logging
import threading
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from planned import all_bytes
from stopping import leave_half_done

from cli.main import refkd
from pipeline import fitting
from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.teach import teach
from pipeline.verify import verify
from pipeline.weigh import weigh
from stores.cache import read_cache
from stores.errors import RefkdError
from stores.models import WEIGHTS, read_facts
from student import compiling, forward, training
from student.batches import Gatherer
from student.compiling import compile_network, compiled_parts, compiler
from student.forward import environment, model_logits
from student.inputs import Inputs
from student.model import load_model
from student.network import Network
from student.recipe import BACKBONES, Recipe

pytestmark = [  # what torch's compiler says of torch
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]
QUICK = Recipe(hidden=8, epochs=2, batch=48)
CLIPS, WORDS = [40, 7, 24], [12, 3, 1]
STEP = 1e-2  # of finite differences


@pytest.fixture
def uncompiled(monkeypatch):
    """There is a compiler by name, and whoever has a network compiled only notes it."""
    noted = []
    for module in (compiling, training):
        monkeypatch.setattr(module, "compile_network", noted.append)
    for module in (forward, fitting):
        monkeypatch.setattr(module, "compiler", lambda device: f"c++ for {device}")
    return noted


@pytest.fixture
def really():
    """Something is compiled, and nothing is left of earlier tests."""
    from torch._dynamo.utils import counters  # seconds

    torch.compiler.reset()
    counters.clear()
    yield
    assert counters["stats"]["unique_graphs"] > 0


def made(shape, **changes):
    return Network({**shape, **changes}, seed=1, teachers=("a", "b"))


def loss_of(network, inputs: Inputs):
    """Something that every parameter has a part in; of real clips alone."""
    torch.manual_seed(3)
    said, clips_NT = network(inputs), inputs.clips_NT
    seen = (said.logits_NBT * clips_NT[:, None], said.side_logits_NKBT * clips_NT[:, None, None])
    return sum(x.square().mean() for x in (*seen, said.encoded.relevance_NT * clips_NT))


def gradients(network, inputs: Inputs):
    network.zero_grad()
    loss_of(network, inputs).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_recurrent_predictors_are_left_as_they_are(shape):
    """LSTMs: embedding and backbone; transformers: the predictor and both side branches as well."""
    recurrent = made(shape, predictor="rnn")
    transformer = made(shape, predictor="transformer")

    assert compiled_parts(recurrent) == [recurrent.embed, recurrent.backbone]
    assert compiled_parts(transformer) == [
        transformer.embed,
        transformer.backbone,
        transformer.predict,
        *transformer.side,
    ]


@pytest.mark.parametrize(
    ("device", "needed"), [("cpu", r"a C\+\+ compiler"), ("cuda", "Triton and a GPU that it knows")]
)
def test_nothing_to_compile_with(device, needed, data_folder, tmp_path, monkeypatch):
    """What the compiler says is told with what helps; half a training that is there stays as it is."""

    def broken(*args, **options):
        raise RuntimeError("\nno such thing: cc\n  at line 3")

    def taught(data, out, **how):
        return teach(data, out, bias="id", recipe=QUICK, device="cpu", threads=1, **how)

    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    monkeypatch.setattr(torch, "compile", broken)
    compiler.cache_clear()
    reason = rf"{device} here \(no such thing: cc\); it needs {needed}, or leave"

    with pytest.raises(RefkdError, match=reason):
        compiler(device)
    with pytest.raises(RefkdError, match="cannot compile for cpu"):
        taught(data_folder, out, compiled=True)
    assert (out.with_name(".t.building") / "checkpoint").exists()


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("teach", "data out --bias id"),
        ("cache", "data out --teacher id=t"),
        ("verify", "cache data --teacher id=t"),
        ("distill", "data cache runs"),
        ("ablate", "data cache runs --table 1"),
    ],
)
def test_commands_pass_the_wish_on(stage, line, monkeypatch):
    """Each command that computes with networks asks its stage for compiled ones, or does not."""
    asked = []

    def stop(*what, compiled, **how):
        asked.append(compiled)
        raise RefkdError("seen")

    monkeypatch.setattr(import_module(f"pipeline.{stage}"), stage, stop)
    for wish in ([], ["--compile"]):
        told = CliRunner().invoke(refkd, [stage, *line.split(), *wish])
        assert "seen" in told.output
    assert asked == [False, True]


@pytest.mark.slow
@pytest.mark.usefixtures("really")
@pytest.mark.parametrize(
    ("backbone", "predictor"),
    [*((backbone, "rnn") for backbone in BACKBONES), ("vslnet", "transformer")],
)
def test_compiled_networks_say_and_learn_the_same(backbone, predictor, shape, make_inputs):
    """Logits and, in training without dropout, gradients: equal to 1e-5 of the largest."""
    plain, compiled = (
        made(shape, backbone=backbone, predictor=predictor, dropout=0.0) for _ in range(2)
    )
    compile_network(compiled)
    inputs = make_inputs(shape, CLIPS, WORDS)
    with torch.inference_mode():
        said, expected = (one.eval()(inputs).logits_NBT for one in (compiled, plain))
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)

    # SeqPAN draws noise in training, which the compiler draws otherwise
    trained = backbone != "seqpan"
    found, wanted = (gradients(one.train(trained), inputs) for one in (compiled, plain))

    unread = found.keys() - wanted.keys()  # outputs that no loss read
    assert not any(found[name].any() for name in unread)
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * largest, rtol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("really")
@pytest.mark.parametrize("backbone", ["vslnet", "seqpan"])
def test_compiled_dropout_and_noise(backbone, shape, make_inputs):
    """A seed decides what is dropped; the gradient is that of the masks that were drawn: along it the
    loss rises as its square says, by finite differences, for each parameter alone."""
    network = made(shape, backbone=backbone, dropout=0.3).train()
    compile_network(network)
    inputs = make_inputs(shape, CLIPS, WORDS)
    once, again = (loss_of(network, inputs).item() for _ in range(2))
    torch.manual_seed(4)
    assert once == again
    assert not torch.equal(network(inputs).logits_NBT, network(inputs).logits_NBT)

    rounding = once * torch.finfo(torch.float32).eps / STEP  # of a finite difference
    found = {
        name: gradient
        for name, gradient in gradients(network, inputs).items()
        if gradient.norm() > 100 * rounding
    }
    assert len(found) > 20
    parameters = dict(network.named_parameters())
    for name, gradient in found.items():
        along, values = gradient / gradient.norm(), []
        for move in (STEP, -2 * STEP, STEP):  # there, to the other side, and back
            with torch.no_grad():
                parameters[name].add_(along, alpha=move)
            values.append(loss_of(network, inputs).item())
        rise = (values[0] - values[1]) / (2 * STEP)
        assert rise == pytest.approx(float(gradient.norm()), rel=0.05), name


@pytest.mark.slow
@pytest.mark.usefixtures("really")
def test_every_shape_is_compiled(shape, make_inputs, monkeypatch):
    """Twelve sizes of a batch: two parts twelve times, where torch by itself stops after eight. Traced,
    no code being generated."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(compiling, "HOW", {"dynamic": False, "backend": "eager"})
    network = made(shape).eval()
    compile_network(network)
    with torch.inference_mode():
        for size in range(2, 14):
            network(make_inputs(shape, [7] * size, [3] * size))

    assert counters["stats"]["unique_graphs"] == 24


@pytest.mark.parametrize("compiled", [True, False])
def test_batches_keep_one_shape(compiled, data_folder, cache_folder, tmp_path, monkeypatch):
    """Columns of words that are padding for a whole batch are dropped, unless a network is compiled."""
    trimmed, inputs_of = set(), Gatherer.inputs_of

    def gathered(gatherer, *what, trim=False):
        if threading.current_thread().name.startswith("refkd-batches"):
            trimmed.add(trim)
        return inputs_of(gatherer, *what, trim=trim)

    def marked(network):
        network.compiled = True

    monkeypatch.setattr(Gatherer, "inputs_of", gathered)
    monkeypatch.setattr(training, "compile_network", marked)
    monkeypatch.setattr(fitting, "compiler", str)
    how = {"device": "cpu", "threads": 1, "compiled": compiled}
    teach(data_folder, tmp_path / "t", bias="ood", recipe=QUICK, **how)
    assert trimmed == {not compiled}

    trimmed.clear()
    distill(data_folder, cache_folder, tmp_path, QUICK, **how)
    assert trimmed == {not compiled}


def test_half_a_training_goes_on_as_it_began(
    data_folder, tmp_path, monkeypatch, caplog, uncompiled
):
    """Compiled and gone on without being asked for that, or the other way round: that is said."""

    def taught(data, out, *, compiled):
        how = {"device": "cpu", "threads": 1, "compiled": compiled}
        return teach(data, out, bias="id", recipe=QUICK, **how)

    for compiled, said in ((True, "going on compiled"), (False, "going on uncompiled")):
        out = leave_half_done(
            taught, data_folder, tmp_path / str(compiled), monkeypatch, compiled=compiled
        )
        caplog.clear()
        uncompiled.clear()
        with caplog.at_level(logging.INFO, "refkd"):
            taught(data_folder, out, compiled=not compiled)

        assert f"{said}, as the run began" in caplog.text
        assert "going on after epoch 1" in caplog.text
        assert len(uncompiled) == compiled
        told = read_facts(out)[0]["how"].get("compiled")
        assert told == ("c++ for cpu" if compiled else None)


@pytest.mark.usefixtures("uncompiled")
def test_half_a_training_of_another_compiler_is_refused(data_folder, tmp_path, monkeypatch):
    """It would end in other bits: it is refused, and what is there stays."""

    def taught(data, out):
        return teach(data, out, bias="id", recipe=QUICK, device="cpu", threads=1, compiled=True)

    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    monkeypatch.setattr(fitting, "compiler", lambda device: "newer")

    with pytest.raises(RefkdError, match=r"otherwise: compiled \(was c\+\+ for cpu, now newer\)"):
        taught(data_folder, out)
    assert (out.with_name(".t.building") / "checkpoint").exists()


@pytest.mark.usefixtures("uncompiled")
def test_a_cache_says_that_its_teachers_were_compiled(data_folder, teacher_folders, tmp_path):
    """Under the same key: `verify` allows a tolerance where the arithmetic was another, and says so."""
    folder = cache(data_folder, tmp_path, teachers=teacher_folders, device="cpu", compiled=True)
    plain = cache(data_folder, tmp_path / "plain", teachers=teacher_folders, device="cpu")
    built = {array["built"]["compiled"] for array in read_cache(folder).manifest["arrays"].values()}
    alike, elsewhere = (
        verify(folder, data_folder, teachers=teacher_folders, device="cpu", compiled=compiled)
        for compiled in (True, False)
    )

    assert folder.name == plain.name
    assert built == {"c++ for cpu"}
    assert environment("cpu", compiled=True) == {**environment("cpu"), "compiled": "c++ for cpu"}
    for teacher in teacher_folders:
        assert alike["teachers"][teacher]["tolerance"] == 0
        told = elsewhere["teachers"][teacher]
        assert told["elsewhere"] == "compiled (was c++ for cpu, now nothing)"
        assert told["tolerance"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("really")
def test_compiled_from_the_teacher_to_the_student(data_folder, tmp_path, monkeypatch):
    """With the real compiler: a training that was stopped ends in the same weights, two builds are the
    same bytes, `verify` finds the same bits, an uncompiled machine nearly the same logits."""
    recipe, how = replace(QUICK, hidden=16), {"device": "cpu", "threads": 1, "compiled": True}

    def taught(data, out):
        return teach(data, out, bias="id", recipe=recipe, **how)

    whole = taught(data_folder, tmp_path / "whole")
    stopped = leave_half_done(taught, data_folder, tmp_path / "stopped", monkeypatch)
    taught(data_folder, stopped)
    assert (stopped / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert read_facts(whole)[0]["how"]["compiled"] == compiler("cpu")

    teachers = {"id": whole, "again": stopped}
    asked = {"teachers": teachers, "device": "cpu", "compiled": True}
    folder = cache(data_folder, tmp_path / "one", **asked)
    other = cache(data_folder, tmp_path / "two", workers=2, **asked)
    assert all_bytes(folder) == all_bytes(other)
    found = verify(folder, data_folder, **asked)["teachers"]["id"]
    assert found["same_bits"]

    from stores.dataset import open_dataset

    data = open_dataset(data_folder)
    rows, kept = data.rows("train"), read_cache(folder)
    now = model_logits(load_model(whole).network, data, rows, 0, len(rows.ids))
    np.testing.assert_allclose(kept.logits("id"), now, atol=1e-4)

    weigh(folder)
    student = replace(recipe, teachers=("id", "again"), dropout=0.0)
    losses = [
        read_facts(distill(data_folder, folder, tmp_path / runs, student, **changed))[0]["history"]
        for runs, changed in (("runs", how), ("plain", {**how, "compiled": False}))
    ]
    for found, expected in zip(*losses, strict=True):
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-3)
