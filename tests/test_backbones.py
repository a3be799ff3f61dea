"""What every backbone must offer, whichever they are, and that a new one is one file and one line."""

import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.distill import distill
from pipeline.prepare import prepare
from pipeline.teach import teach
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.inputs import Inputs
from student.model import load_model
from student.network import Network, find_backbone
from student.recipe import BACKBONES, PREDICTORS, Recipe
from student.retrieval import retrieve, score_pairs

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("REFKD_DATA") or ROOT.parent / "shared/data")

# Start and end logits of two clips, by name, version and predictor. If the logits are no longer
# these, the same weights mean something else: raise VERSION and record the new numbers here.
RECORDED = {
    ("vslnet", 1, "rnn"): [0.194724, 0.225359, 0.508513, 0.52718],
    ("vslnet", 1, "transformer"): [0.076694, 0.121431, 0.663623, 0.915102],
    ("seqpan", 1, "rnn"): [0.023308, -0.059945, 0.594281, 0.53262],
    ("seqpan", 1, "transformer"): [0.392861, 0.196342, 1.093589, 1.103207],
    ("mrtnet", 1, "rnn"): [0.53638, 0.745743, 1.500016, 1.291475],
    ("mrtnet", 1, "transformer"): [0.323056, 0.481321, 0.736172, 0.518224],
}


def wave(*shape, phase=0.0):
    """Numbers between -1 and 1 that no random generator and no machine can change."""
    return torch.sin(phase + 0.7 * torch.arange(np.prod(shape), dtype=torch.float64)).view(shape)


def logits_of_waves(shape, inputs):
    """The logits of a network in float64 whose weights and inputs are waves."""
    network = Network(shape).double().eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            scale = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.5  # no softmax is sure
            weight.copy_(scale * wave(*weight.shape, phase=zlib.crc32(name.encode()) % 1000))
        inputs = inputs._replace(
            features_NTD=wave(*inputs.features_NTD.shape) * inputs.clips_NT[..., None],
            vectors_NLW=wave(*inputs.vectors_NLW.shape) * inputs.words_NL[..., None],
        )
        return network(inputs).logits_NBT


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_version_is_raised_with_the_maths(backbone, predictor, shape, make_inputs):
    """The same weights and inputs give the logits that this version gave when it was recorded."""
    shape |= {"backbone": backbone, "predictor": predictor, "num_clips": 21}
    logits = logits_of_waves(shape, make_inputs(shape, [21, 9], [4, 2]))
    found = logits[0, :, [0, 20]].flatten().tolist()

    _, version = find_backbone(backbone)
    what = f"{backbone}, version {version}, {predictor}: {[round(x, 6) for x in found]}"
    assert (backbone, version, predictor) in RECORDED, f"record the logits of {what}"
    expected = RECORDED[backbone, version, predictor]
    assert found == pytest.approx(expected, abs=6e-7), f"raise VERSION; the logits are now {what}"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_interface(backbone, shape, make_inputs):
    """A backbone gives blended features, 0 on padding, relevances, and named scalar losses."""
    check_interface({**shape, "backbone": backbone}, make_inputs)


def check_interface(shape, make_inputs):
    inputs = make_inputs(shape, [40, 9, 1], [4, 2, 1])
    network = Network(shape, seed=1)
    encoded = network(inputs).encoded
    gt = torch.tensor([[3, 30], [8, 8], [0, 0]])
    losses = network.backbone.auxiliary(encoded, gt, inputs.clips_NT)

    assert encoded.blended_NTH.shape == (3, 40, 16)
    assert not encoded.blended_NTH[~inputs.clips_NT].any()
    assert encoded.relevance_NT.shape == (3, 40)
    assert losses
    assert all(loss.shape == () and loss > 0 and loss.requires_grad for loss in losses.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_teachers_and_students(backbone, data_folder, cache_folder, tmp_path):
    """Each can be an OOD teacher, and a student of half its teachers' width and another backbone."""
    teacher = Recipe(backbone=backbone, hidden=16, epochs=1, predictor="transformer")
    student = replace(teacher, hidden=8, warmup=0.0)
    ood = teach(data_folder, tmp_path / "ood", bias="ood", recipe=teacher, device="cpu", threads=1)
    run = distill(data_folder, cache_folder, tmp_path, student, device="cpu", threads=1)

    taught, learned = (load_model(folder).facts["history"][0]["losses"] for folder in (ood, run))
    auxiliary = taught.keys() - {"span", "consistency"}
    assert {name for name in auxiliary if not name.startswith("moved_")} == (
        learned.keys() - {"kl", "side"}
    )
    assert len(auxiliary) == 2 * (len(learned) - 2)
    assert taught["consistency"] > 0


def test_unknown_backbone():
    """A model of a backbone that this version does not know is refused with those it knows."""
    with pytest.raises(RefkdError, match=r"backbone must be one of vslnet, .*, got resnet"):
        find_backbone("resnet")


def test_naming_backbones_needs_no_torch():
    """The command line lists backbones without importing one."""
    code = (
        "import sys, student.recipe; print('torch' in sys.modules, len(student.recipe.BACKBONES))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert found.stdout.split() == ["False", str(len(BACKBONES))], found.stderr


def test_the_example_of_architecture_works(tmp_path, monkeypatch, shape, make_inputs):
    """The backbone shown in ARCHITECTURE.md, one file and one line, is a backbone."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    (code,) = re.findall(r'```python\n("""The least a backbone.+?)```', text, flags=re.DOTALL)
    (name, place) = re.search(r'`"(\w+)": "student\.(\w+:\w+)"`', text).groups()
    (tmp_path / f"{place.partition(':')[0]}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKBONES, name, place)

    check_interface({**shape, "backbone": name}, make_inputs)
    check_alone({**shape, "backbone": name}, make_inputs)


def check_alone(shape, make_inputs):
    inputs = make_inputs(shape, [40, 9], [4, 2])
    network = Network(shape, seed=1).eval()
    with torch.no_grad():
        whole = network(inputs).logits_NBT[1, :, :9]
        alone = network(Inputs(*(tensor[1:, :9] for tensor in inputs))).logits_NBT[0]

    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def real_data(tmp_path_factory):
    """32 pairs of the real features, spread over the videos, on 64 clips."""
    source = DATA / "multithumos"
    if not source.is_dir():
        pytest.skip(f"no real data at {source}; set REFKD_DATA to the folder that holds it")
    out = tmp_path_factory.mktemp("moments")
    subprocess.run([sys.executable, source / "make_moments.py", out / "all"], check=True)
    videos = list(json.loads((out / "all/train.json").read_text()).items())
    annotations = out / "annotations"
    annotations.mkdir()
    few = dict(videos[:: len(videos) // 32][:32])
    (annotations / "train.json").write_text(json.dumps(few))
    return prepare(out / "data", annotations=annotations, features=out / "all/features", clips=64)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("backbone", BACKBONES)
def test_overfits_real_pairs(backbone, real_data, tmp_path):
    """32 real pairs are learned by heart: mIoU above 90, where 64 clips allow 95.7."""
    recipe = Recipe(backbone=backbone, hidden=64, epochs=60, batch=16, lr=1e-3, dropout=0.0)
    folder = teach(real_data, tmp_path / "id", bias="id", recipe=recipe, device="cpu", threads=1)
    data = open_dataset(real_data)
    spans, _ = retrieve(load_model(folder).network, data, data.rows("train"), device="cpu")

    assert len(spans) == 32
    assert score_pairs(spans, data.pairs["train"])["mIoU"] > 90
