"""On a GPU: what it says is what a CPU says within a tolerance, and either's cache serves the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from planned import all_bytes
from untrained import save_teacher

from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.evaluate import evaluate
from pipeline.teach import teach
from pipeline.verify import TOLERANCE, verify
from pipeline.weigh import weigh
from stores.cache import open_cache
from student.forward import (
    block_logits,
    block_rows,
    environment,
    model_logits,
    network_reader,
    resolve_device,
)
from student.model import load_model
from student.recipe import Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
RECIPE = Recipe(hidden=16, epochs=2, batch=16, lr=3e-3)


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_data):
    """A data set of more training pairs than two blocks of a GPU."""
    return make_data(tmp_path_factory.mktemp("many") / "data", train=800)


@pytest.fixture(scope="module")
def gpu_cache(data_folder, teacher_folders, tmp_path_factory):
    folder = cache(
        data_folder, tmp_path_factory.mktemp("gpu"), teachers=teacher_folders, device="cuda"
    )
    weigh(folder)
    return folder


def test_a_gpu_is_taken_where_there_is_one():
    """auto means cuda here; its name is recorded, and blocks are of 512 rows."""
    assert resolve_device("auto") == "cuda"
    assert environment("cuda")["processor"] == torch.cuda.get_device_name()
    assert block_rows("cuda") == 512


@pytest.mark.parametrize("backbone", ["vslnet", "seqpan", "mrtnet"])
@pytest.mark.parametrize("predictor", ["rnn", "transformer"])
def test_logits_are_those_of_a_cpu(backbone, predictor, many, tmp_path):
    """Every row of three blocks, the last one filled up, differs by the tolerance at most."""
    from stores.dataset import open_dataset

    data = open_dataset(many)
    rows = data.rows("train")
    folder = save_teacher(tmp_path / "teacher", data, backbone=backbone, predictor=predictor)
    said = {
        device: model_logits(
            load_model(folder, device=device).network, data, rows, 0, len(rows.ids), device=device
        )
        for device in ("cpu", "cuda")
    }

    assert len(rows.ids) > 2 * 512
    np.testing.assert_allclose(said["cuda"], said["cpu"], atol=TOLERANCE["float32"])


def test_logits_do_not_depend_on_who_asks(many, tmp_path):
    """On a GPU, too, a block gives the same bits alone, among others, and again."""
    from stores.dataset import open_dataset

    data = open_dataset(many)
    rows = data.rows("train")
    network = load_model(save_teacher(tmp_path / "teacher", data), device="cuda").network
    with network_reader(network, data, rows, device="cuda") as reader:
        whole = block_logits(network, reader, 0, len(rows.ids))
        again = block_logits(network, reader, 0, len(rows.ids))
        later = block_logits(network, reader, 512, 600)

    np.testing.assert_array_equal(again, whole)
    np.testing.assert_array_equal(later, whole[512:600])


def test_inputs_are_those_of_a_cpu(many, tmp_path):
    """Videos read once for all their rows and copied through pinned memory: the same bits."""
    from stores.dataset import open_dataset

    data = open_dataset(many)
    rows = data.rows("train")
    network = load_model(save_teacher(tmp_path / "teacher", data)).network
    with (
        network_reader(network, data, rows, device="cuda") as gpu,
        network_reader(network, data, rows, device="cpu") as cpu,
    ):
        large, small = gpu.read(0, then=512), cpu.read(0, then=32)

    assert all(tensor.is_cuda for tensor in large)
    assert all(torch.equal(a[:32].cpu(), b) for a, b in zip(large, small, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_built_twice(precision, dtype, many, tmp_path):
    """Two builds are the same bytes, manifest included, and `verify` demands the same bits here."""
    from stores.dataset import open_dataset

    data = open_dataset(many)
    teachers = {
        name: save_teacher(tmp_path / name, data, seed=seed)
        for seed, name in enumerate(("id", "ood"))
    }
    how = {"teachers": teachers, "precision": precision, "dtype": dtype, "device": "cuda"}
    first, second = (cache(many, tmp_path / str(turn), **how) for turn in range(2))
    found = verify(first, many, teachers=teachers, device="cuda")["teachers"]

    assert all_bytes(first) == all_bytes(second)
    assert all(one["same_bits"] and one["tolerance"] == 0 for one in found.values())


@pytest.mark.parametrize(("built", "asked"), [("cuda", "cpu"), ("cpu", "cuda")])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_verify_elsewhere(built, asked, precision, data_folder, teacher_folders, tmp_path):
    """On the other kind of device `verify` says where it was built, how far it is, and what is allowed."""
    how = {"teachers": teacher_folders, "precision": precision}
    folder = cache(data_folder, tmp_path, **how, device=built)
    found = verify(folder, data_folder, teachers=teacher_folders, device=asked)["teachers"]

    for one in found.values():
        assert f"device (was {built}, now {asked})" in one["elsewhere"]
        assert one["tolerance"] == TOLERANCE[precision]
        assert one["max_abs_error"] <= one["tolerance"]


def test_compiled(data_folder, tmp_path):
    """Teacher, cache and student, compiled for a GPU: `verify` finds the same bits where all is compiled,
    and logits within the tolerance where nothing is."""
    how = {"device": "cuda", "compiled": True}
    teacher = teach(data_folder, tmp_path / "id", bias="id", recipe=RECIPE, threads=1, **how)
    folder = cache(data_folder, tmp_path, teachers={"id": teacher}, **how)
    weigh(folder)
    distill(data_folder, folder, tmp_path, replace(RECIPE, teachers=("id",)), threads=1, **how)
    alike, plain = (
        verify(folder, data_folder, teachers={"id": teacher}, device="cuda", compiled=compiled)
        for compiled in (True, False)
    )

    assert alike["teachers"]["id"]["same_bits"]
    assert plain["teachers"]["id"]["elsewhere"].startswith("compiled (was triton ")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_cache_serves_students_of_any_device(
    device, data_folder, cache_folder, gpu_cache, tmp_path
):
    """A student learns on either device from a cache of the other, and is then scored on either."""
    other = gpu_cache if device == "cpu" else cache_folder
    built = open_cache(other).manifest["arrays"]["id"]["built"]["device"]
    run = distill(data_folder, other, tmp_path, RECIPE, device=device, threads=1)
    scores = [evaluate(run, data_folder, device=where) for where in ("cpu", "cuda")]

    assert built != device
    assert all(scores)


def test_training_twice(data_folder, gpu_cache, tmp_path):
    """Two trainings on a GPU end in the same weights, of a student and of a teacher."""
    how = {"device": "cuda", "threads": 1}
    runs = [distill(data_folder, gpu_cache, tmp_path / str(i), RECIPE, **how) for i in range(2)]
    teachers = [
        teach(data_folder, tmp_path / f"ood{i}", bias="ood", recipe=RECIPE, **how) for i in range(2)
    ]

    for first, second in (runs, teachers):
        weights = "model.safetensors"
        assert (first / weights).read_bytes() == (second / weights).read_bytes()


def test_views(data_folder, teacher_folders, tmp_path):
    """Views are asked about on a GPU like the pairs as they are."""
    folder = cache(data_folder, tmp_path, teachers=teacher_folders, views=1, device="cuda")
    found = verify(folder, data_folder, teachers=teacher_folders, device="cpu")["teachers"]

    assert found.keys() == {"id", "id, view 1", "ood", "ood, view 1"}
