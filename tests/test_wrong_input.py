"""Every kind of wrong input, through the command line, as a user meets it."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import refkd

QUERIES = {"a": "people run", "b": "people swim"}


@pytest.fixture
def inputs(tmp_path, word_file):
    """Annotations of two videos, features of 6 channels and word vectors, all of it right."""
    videos = {
        video: {"sentences": [query], "timestamps": [[1.0, 2.0]], "video_duration": 6.0}
        for video, query in QUERIES.items()
    }
    (tmp_path / "charades_train.json").write_text(json.dumps(videos))
    (tmp_path / "features").mkdir()
    for video in videos:
        np.save(tmp_path / "features" / f"{video}.npy", np.ones((12, 6), np.float32))
    shutil.copy(word_file, tmp_path / "words.txt")
    return tmp_path


def prepare(inputs, *options):
    paths = ["--annotations", inputs, "--features", inputs / "features"]
    return run("prepare", inputs / "out", *paths, "--words", inputs / "words.txt", *options)


def run(*arguments):
    """Run a command in this process; a traceback would be an exception of another kind."""
    result = CliRunner().invoke(refkd, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result, *words):
    """The command failed with one sentence that holds these words, and nothing on stdout."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]

    assert result.exit_code == 1
    assert len(lines) == 1
    assert not lines[0].endswith(".")
    for word in words:
        assert word in lines[0]
    assert result.stdout == ""


def test_right_input_is_not_refused(inputs):
    """The fixture itself prepares, so that each refusal below is due to its one fault."""
    assert prepare(inputs, "--clips", 8).exit_code == 0


def test_missing_video(inputs):
    """The video is named, and the option that goes on without it; then it is counted as left out."""
    (inputs / "features" / "b.npy").unlink()
    refused(prepare(inputs), "b", "--allow-missing")
    assert not (inputs / "out").exists()

    allowed = prepare(inputs, "--allow-missing")
    assert allowed.exit_code == 0
    assert "1" in allowed.stderr


def test_wrong_feature_width(inputs):
    """Both videos and both widths are named."""
    np.save(inputs / "features" / "b.npy", np.ones((12, 5), np.float32))

    refused(prepare(inputs), "b", "5", "6")


def test_nan_features(inputs):
    """The video is named."""
    rows = np.ones((12, 6), np.float32)
    rows[3, 2] = np.nan
    np.save(inputs / "features" / "b.npy", rows)

    refused(prepare(inputs), "b", "nan")


def test_features_that_are_a_pickle(inputs):
    """An array of objects, which numpy stores as a pickle, is refused and never unpickled."""
    np.save(inputs / "features" / "b.npy", np.array([{}], dtype=object), allow_pickle=True)

    refused(prepare(inputs), "b")


def test_empty_query(inputs):
    """The pair is named."""
    path = inputs / "charades_train.json"
    path.write_text(path.read_text().replace("people swim", "  "))

    refused(prepare(inputs), "b", "charades_train.json")


def test_truncated_json(inputs):
    """The file is named."""
    path = inputs / "charades_train.json"
    path.write_text(path.read_text()[:-20])

    refused(prepare(inputs), "charades_train.json")


def test_unknown_split(inputs):
    """The splits that there are stand in the sentence, for --split NAME=FILE too."""
    refused(
        prepare(inputs, "--split", f"holdout={inputs / 'charades_train.json'}"),
        "holdout",
        "test_ood",
    )


def test_glove_line_of_the_wrong_width(inputs):
    """Line number, found and expected width."""
    with (inputs / "words.txt").open("a") as file:
        file.write("extra 1 2 3\n")

    refused(prepare(inputs), "words.txt", "line 6", "3", "8")


def test_cache_of_other_data(cache_folder, make_data, tmp_path):
    """distill and verify refuse it, naming what differs; no run folder appears."""
    other = make_data(tmp_path / "other", train=40)

    refused(run("distill", other, cache_folder, tmp_path / "runs"), "other data", "`refkd cache`")
    assert not (tmp_path / "runs").exists()


def test_cache_of_other_teachers(cache_folder, data_folder, teacher_folders, tmp_path):
    """Verifying with the teachers exchanged names the field that differs."""
    swapped = [
        "--teacher",
        f"id={teacher_folders['ood']}",
        "--teacher",
        f"ood={teacher_folders['id']}",
    ]

    refused(run("verify", cache_folder, data_folder, *swapped), "id: teacher weights")


@pytest.fixture
def cache_copy(cache_folder, tmp_path):
    copy = tmp_path / cache_folder.name
    shutil.copytree(cache_folder, copy)
    return copy


def test_flipped_bit_in_a_chunk(cache_copy, data_folder, tmp_path):
    """Teacher, chunk, samples and the command that mends it are named."""
    chunk = cache_copy / "teachers/id/logits/c/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[9] ^= 1
    chunk.write_bytes(data)

    refused(
        run("distill", data_folder, cache_copy, tmp_path / "runs"),
        "chunk 0 of teacher id (samples train_",
        "is damaged",
        "`refkd cache`",
    )


def test_deleted_chunk(cache_copy, data_folder, tmp_path):
    """No fill value is ever learned from."""
    (cache_copy / "teachers/ood/logits/c/2/0/0").unlink()

    refused(
        run("distill", data_folder, cache_copy, tmp_path / "runs"),
        "chunk 2 of teacher ood (samples train_",
        "is missing",
    )


def test_run_folder_that_is_no_run(data_folder, tmp_path):
    """An empty folder and one of another kind."""
    refused(run("evaluate", tmp_path, data_folder), "no finished model", "`refkd distill`")
    refused(run("evaluate", data_folder, data_folder), "refkd-data", "`refkd distill`")
    refused(run("inspect", tmp_path), str(tmp_path))


def test_wrong_knobs(data_folder, cache_folder, tmp_path):
    """A value out of range, knobs that exclude each other, and a teacher that is not there."""
    where = ("distill", data_folder, cache_folder, tmp_path / "runs")

    refused(run(*where, "--lr", "0"), "lr must be above 0.0, got 0.0")
    refused(run(*where, "--side-weight", "0"), "side-weight 0", "--rectify none")
    refused(run(*where, "--teachers", ""), "--gt-ce-weight")
    refused(run(*where, "--teachers", "id,third"), "id, ood", "third")
    assert not (tmp_path / "runs").exists()


def test_knobs_without_effect(data_folder, cache_folder, tmp_path):
    """distill and ablate refuse them before anything is trained."""
    runs = tmp_path / "runs"

    refused(run("distill", data_folder, cache_folder, runs, "--tau", "0.2"), "--rectify window")
    tables = ("ablate", data_folder, cache_folder, runs, "--table")
    refused(run(*tables, "warmup", "--warmup", "0.3"), "--warmup 0.3 has no effect")
    refused(run(*tables, "2", "--backbone", "seqpan"), "--backbone seqpan has no effect", "vslnet")
    assert not runs.exists()


def test_a_full_disk_keeps_what_was_done(data_folder, cache_folder, tmp_path, monkeypatch):
    """No space for the second checkpoint: one sentence; with space again the run ends as ever."""
    import errno

    from student import training

    save, calls = training.save_checkpoint, []

    def full(path, state, **origin):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, state, **origin)

    knobs = ["--hidden", 8, "--epochs", 3, "--batch", 48, "--device", "cpu", "--threads", 1]
    monkeypatch.setattr(training, "save_checkpoint", full)
    refused(
        run("distill", data_folder, cache_folder, tmp_path / "runs", *knobs),
        "no space left on the disk",
        "run the same command again",
    )
    resumed = run("distill", data_folder, cache_folder, tmp_path / "runs", *knobs)
    whole = run("distill", data_folder, cache_folder, tmp_path / "again", *knobs)

    assert "going on after epoch 1" in resumed.stderr
    first, second = (next((tmp_path / name).glob("[!.]*/")) for name in ("runs", "again"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert whole.exit_code == 0


def test_reversed_and_empty_moments_are_no_error(inputs):
    """prepare counts and keeps them."""
    path = inputs / "charades_train.json"
    videos = json.loads(path.read_text())
    videos["a"]["timestamps"], videos["b"]["timestamps"] = [[3.0, 2.0]], [[2.0, 2.0]]
    path.write_text(json.dumps(videos))
    result = prepare(inputs, "--clips", 8)

    assert result.exit_code == 0
    assert "reversed 1" in result.stderr
    assert "zero_length 1" in result.stderr


def test_a_question_longer_than_any_of_training(data_folder, teacher_folders, make_data, tmp_path):
    """Data with longer queries is read as far as the network reads: no traceback."""
    folder = make_data(tmp_path / "wordy", wordy=True)
    result = run(
        "evaluate", teacher_folders["id"], folder, "--split", "test_iid", "--device", "cpu"
    )

    assert result.exit_code == 0


def test_a_damaged_finished_model_is_not_called_complete(data_folder, teacher_folders, tmp_path):
    """The command that would train it says what to delete, so that running it again helps."""
    copy = tmp_path / "id"
    shutil.copytree(teacher_folders["id"], copy)
    (copy / "model.safetensors").write_bytes(b"")
    knobs = ["--bias", "id", "--hidden", 16, "--epochs", 3, "--batch", 16, "--lr", 3e-3]

    refused(run("teach", data_folder, copy, *knobs), "model.safetensors", "damaged", "delete")


def test_an_empty_folder_is_as_good_as_none(data_folder, tmp_path):
    """teach writes into it."""
    (tmp_path / "t").mkdir()
    knobs = ["--bias", "id", "--hidden", 8, "--epochs", 1, "--batch", 48, "--device", "cpu"]

    assert run("teach", data_folder, tmp_path / "t", *knobs).exit_code == 0
    assert (tmp_path / "t" / "model.safetensors").is_file()


def test_the_root_folder_is_no_place(data_folder):
    """A path without a name is a usage error, not a traceback."""
    assert run("teach", data_folder, "/", "--bias", "id").exit_code == 2


def test_splits_that_share_ids_cannot_share_a_file(teacher_folders, make_data, tmp_path):
    """Said before anything is computed, with the option that helps."""
    folder = make_data(tmp_path / "shared", shared_ids=True)

    refused(
        run("evaluate", teacher_folders["id"], folder, "--predictions", tmp_path / "p.jsonl"),
        "is in test_iid and in test_ood",
        "--split",
    )
    assert not (tmp_path / "p.jsonl").exists()
