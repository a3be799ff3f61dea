"""Everything that comes from a cache carries its seal, and a cache of another seal is refused by name."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from planned import weighed_chunks
from stopping import leave_half_done

from pipeline.ablations import TABLES
from pipeline.costs import read_costs
from pipeline.distill import distill
from pipeline.evaluate import evaluate
from pipeline.judging import Judge
from pipeline.planning import Planner
from pipeline.provenance import cache_of, check_cache_of
from pipeline.report import report
from pipeline.results import Results
from pipeline.score import score
from pipeline.sources import make_groups, open_sources
from pipeline.weigh import weigh
from stores.cache import open_cache
from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL, write_json
from stores.fingerprints import bytes_digest
from stores.models import read_facts
from stores.predictions import origin_file
from stores.weights import open_weights
from stores.weights_writer import write_weights
from student.checkpoint import load_checkpoint, save_checkpoint
from student.recipe import Recipe

QUICK = Recipe(hidden=16, epochs=2, batch=16, lr=3e-3)


@pytest.fixture
def elsewhere(cache_folder, tmp_path):
    """The cache as another machine would make it: same key, another seal; weighed."""
    folder = tmp_path / "caches" / cache_folder.name
    shutil.copytree(cache_folder, folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for array in manifest["arrays"].values():
        array["built"] = {"device": "cuda", "processor": "H", "torch": "1"}
    data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / SEAL).write_text(f"{bytes_digest(data)}\n")
    with pytest.raises(RefkdError, match="belongs to another cache"):
        open_weights(open_cache(folder))
    weigh(folder)
    return folder


@pytest.fixture
def runs(runs_folder, tmp_path):
    """The runs of one recipe, two seeds, in a folder of their own, as if they lay beside the cache."""
    shutil.copytree(runs_folder, tmp_path / "runs")
    return tmp_path / "runs"


def point_to(run, cache):
    """Note beside a run that its cache lies elsewhere."""
    costs = read_costs(run)
    costs["distill"]["cache"] = str(cache)
    write_json(run.with_name(f"{run.name}.cost"), costs)


def finished(runs):
    return sorted(path.parent for path in runs.glob(f"[!.]*/{MANIFEST}"))


def test_a_checkpoint_goes_on_from_its_own_cache_only(
    data_folder, cache_folder, elsewhere, tmp_path, monkeypatch
):
    """Half a training is not continued on logits of another seal; on its own it ends as it would have."""

    def train_it(data, out, *, cache):
        return distill(data, cache, out, QUICK, device="cpu", threads=1)

    runs = leave_half_done(
        train_it, data_folder, tmp_path / "runs", monkeypatch, cache=cache_folder
    )
    (checkpoint,) = runs.glob(".*.building/checkpoint")
    before = checkpoint.read_bytes()
    seals = rf"cache_seal \(was {open_cache(cache_folder).seal[:16]}…, now {open_cache(elsewhere).seal[:16]}…\)"
    with pytest.raises(
        RefkdError, match=f"learned from something else: {seals}; weights_seal .*; give"
    ):
        train_it(data_folder, runs, cache=elsewhere)

    assert checkpoint.read_bytes() == before
    run = train_it(data_folder, runs, cache=cache_folder)
    assert read_facts(run)[0]["cache_seal"] == open_cache(cache_folder).seal


def test_a_result_says_what_its_student_learned_from(
    data_folder, cache_folder, elsewhere, tmp_path
):
    """A finished run found by a cache made again keeps its own cache's seal, and so does its result."""
    runs, data = tmp_path / "runs", open_dataset(data_folder)
    run = distill(data_folder, cache_folder, runs, QUICK, device="cpu", threads=1)
    (source,) = open_sources([elsewhere], data, {})
    groups = make_groups([source], QUICK.teachers, twins=False)
    planner = Planner(data, QUICK, seeds=1, sources=[source], folders={})
    (row,) = planner.rows(replace(TABLES["3"], rows=TABLES["3"].rows[:1]), groups)
    Judge(data_folder, runs, runs / "results", "cpu")(row.trials[0])
    (result,) = Results(runs / "results").every()

    own = open_cache(cache_folder)
    assert (result["seals"]["cache"], result["seals"]["cache_key"]) == (own.seal, own.key)
    page = report(tmp_path / "page.html", data=data_folder, runs=[run, runs], device="cpu")
    assert own.seal[:16] in page.read_text()


def weigh_otherwise(folder):
    """Put other weights into a cache, whole and sealed."""
    cache = open_cache(folder)
    twos_N2 = np.full((cache.num_rows, 2), 2, np.float32)
    write_weights(cache, weighed_chunks(cache, dict.fromkeys(cache.arrays, twos_N2)))
    return open_weights(cache).seal


def test_a_checkpoint_goes_on_with_its_own_weights_only(
    data_folder, cache_folder, tmp_path, monkeypatch, caplog
):
    """Half a training is not continued with other weights of the same cache; a finished run says so."""
    folder = tmp_path / "caches" / cache_folder.name
    shutil.copytree(cache_folder, folder)

    def train_it(data, out):
        return distill(data, folder, out, QUICK, device="cpu", threads=1)

    runs = leave_half_done(train_it, data_folder, tmp_path / "runs", monkeypatch)
    before = open_weights(open_cache(folder)).seal
    after = weigh_otherwise(folder)
    message = (
        rf"something else: weights_seal \(was {before[:16]}…, now {after[:16]}…\); give what it"
    )
    with pytest.raises(RefkdError, match=message):
        train_it(data_folder, runs)
    shutil.rmtree(folder / "weights")
    shutil.copytree(cache_folder / "weights", folder / "weights")
    run = train_it(data_folder, runs)
    weigh_otherwise(folder)
    with caplog.at_level("WARNING", "refkd"):
        assert train_it(data_folder, runs) == run

    assert read_facts(run)[0]["weights_seal"] == before
    assert (
        f"other weights of its cache: their seal was {before[:16]}, now {after[:16]}" in caplog.text
    )


def test_older_checkpoints_tell_no_weights(data_folder, cache_folder, tmp_path, monkeypatch):
    """Half a training from before weights were recorded goes on, to a run that records them."""

    def train_it(data, out):
        return distill(data, cache_folder, out, QUICK, device="cpu", threads=1)

    runs = leave_half_done(train_it, data_folder, tmp_path / "runs", monkeypatch)
    (path,) = runs.glob(".*.building/checkpoint")
    opened, data = open_cache(cache_folder), open_dataset(data_folder)
    origin = {"data": data.seal, "cache": opened.key, "cache_seal": opened.seal}
    now = {**origin, "weights_seal": open_weights(opened).seal}
    save_checkpoint(path, load_checkpoint(path, device="cpu", origin=now), origin=origin)

    assert "weights_seal" in read_facts(train_it(data_folder, runs))[0]


def test_a_run_without_teachers_tells_no_weights(data_folder, cache_folder, tmp_path):
    """Who learns from no teacher uses no weights: none need be there, and none are named."""
    shutil.copytree(cache_folder, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache/weights")
    alone = replace(QUICK, teachers=(), gt_ce_weight=1.0, epochs=1)
    run = distill(data_folder, tmp_path / "cache", tmp_path / "runs", alone, device="cpu")

    assert "weights_seal" not in read_facts(run)[0]


def test_a_finished_run_says_that_its_cache_was_another(data_folder, elsewhere, runs, caplog):
    """A run is found by the key of its cache; that the seal was another is said, with both."""
    (run, *_) = finished(runs)
    recipe = replace(QUICK, **{k: read_facts(run)[0]["recipe"][k] for k in ("seed", "warmup")})
    with caplog.at_level("WARNING", "refkd"):
        again = distill(data_folder, elsewhere, runs, recipe, device="cpu", threads=1)

    assert again == run
    seals = (read_facts(run)[0]["cache_seal"][:16], open_cache(elsewhere).seal[:16])
    assert "learned from the same cache made elsewhere: its seal was {}, now {}".format(
        *seals
    ) in " ".join(caplog.messages)


def test_a_report_refuses_a_run_of_another_cache(data_folder, elsewhere, runs, tmp_path):
    """Where another cache lies by now than the one a run learned from, run, cache and seals are named."""
    run = finished(runs)[1]
    point_to(run, elsewhere)
    with pytest.raises(
        RefkdError,
        match=rf"{run} learned from a cache with seal {read_facts(run)[0]['cache_seal'][:16]}, but "
        rf"{elsewhere} now has seal {open_cache(elsewhere).seal[:16]}; train the run again",
    ):
        report(tmp_path / "page.html", data=data_folder, runs=[runs], device="cpu")

    assert not (tmp_path / "page.html").exists()


def test_a_report_names_the_seals(data_folder, cache_folder, runs, tmp_path):
    """The page holds the seals of the models and of their cache; a cache that is gone is no lie."""
    for run in finished(runs):
        point_to(run, tmp_path / "gone")
    page = report(tmp_path / "page.html", data=data_folder, runs=[runs], device="cpu").read_text()

    assert open_cache(cache_folder).seal[:16] in page
    for run in finished(runs):
        assert read_facts(run)[1][:16] in page


def test_a_result_that_contradicts_its_run(data_folder, cache_folder, runs, tmp_path):
    """A result that names another cache than its run does is refused."""
    from pipeline.provenance import check_member
    from pipeline.subjects import Member

    run = finished(runs)[0]
    facts, _ = read_facts(run)
    told = {"seals": {"cache": facts["cache_seal"]}}
    point_to(run, cache_folder)
    check_member(Member({}, run, facts, told))
    with pytest.raises(
        RefkdError, match=f"seal {facts['cache_seal'][:16]}, but its result says f00"
    ):
        check_member(Member({}, run, facts, {"seals": {"cache": "f00"}}))


def test_a_run_without_notes(runs):
    """Where nothing is noted of a run's cache there is nothing to contradict."""
    run = finished(runs)[0]
    run.with_name(f"{run.name}.cost").unlink()

    assert cache_of(run) is None
    check_cache_of(run)


@pytest.fixture
def predicted(data_folder, runs, data, tmp_path):
    """Predictions of a run on test_ood, and the annotations to score them against."""
    file, truth = tmp_path / "p.jsonl", tmp_path / "test_ood.jsonl"
    evaluate(finished(runs)[0], data_folder, splits=["test_ood"], predictions=file, device="cpu")
    rows = [
        {"qid": pair.id, "vid": pair.video, "query": pair.query, "duration": pair.duration_s}
        | {"relevant_windows": [list(window) for window in pair.windows]}
        for pair in data.pairs["test_ood"]
    ]
    truth.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file, truth


def test_predictions_carry_their_origin(predicted, cache_folder, data, runs):
    """Model, cache and data of predictions are told by their seals, and `score` passes them on."""
    cache, (_, seal) = open_cache(cache_folder), read_facts(finished(runs)[0])

    assert score(*predicted)["origin"] == {
        "seal": seal,
        "data": data.seal,
        "cache": cache.key,
        "cache_seal": cache.seal,
    }


def test_changed_predictions_are_refused(predicted):
    """One changed digit and the predictions are no longer the model's; without the claim they are scored."""
    file, truth = predicted
    text = file.read_text()
    file.write_text(text.replace('"qid": "', '"qid":  "', 1))
    with pytest.raises(
        RefkdError,
        match=r"p\.jsonl\.origin is about other predictions than those in .*p\.jsonl; run",
    ):
        score(file, truth)
    origin_file(file).unlink()

    assert score(file, truth)["origin"] is None


def test_predictions_of_another_model_bring_their_own_origin(predicted, data_folder, runs):
    """Written anew by another model, the file beside the predictions is the other model's."""
    file, truth = predicted
    other = finished(runs)[1]
    evaluate(other, data_folder, splits=["test_ood"], predictions=file, device="cpu")

    assert score(file, truth)["origin"]["seal"] == read_facts(other)[1]


def test_a_damaged_origin_is_refused(predicted):
    """What is no JSON tells nothing, and that is said."""
    file, truth = predicted
    origin_file(file).write_text("{")
    with pytest.raises(RefkdError, match=r"p\.jsonl\.origin is not complete JSON"):
        score(file, truth)
