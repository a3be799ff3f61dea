"""A prepared data set written and read again, and everything that can be wrong with its folder."""

import json
import resource

import numpy as np
import pytest

from stores.dataset import open_dataset
from stores.dataset_writer import data_lock, existing_manifest, write_dataset
from stores.errors import RefkdError
from stores.files import seal_folder, write_json
from stores.grid import resample
from stores.pairs import Pair
from stores.removal import doomed_name
from stores.words import open_words

# videos sort as a, b, c; b is longer than the grid's four clips
ROWS = {
    "b": np.arange(12, dtype=np.float32).reshape(6, 2),
    "a": np.array([[1, 5], [3, 5]], np.float32),
    "c": np.full((1, 2), 5, np.float32),
}
PAIRS = {
    "train": [
        Pair("b#0", "train", "b", "the dog runs", ((0.0, 5.0),), 10.0),
        Pair("a#0", "train", "a", "A dog.", ((2.0, 4.0), (0.0, 1.0)), 4.0),
        Pair("a#1", "train", "a", "dog", ((3.0, 9.0),), 4.0),
    ],
    "test_iid": [Pair("c#0", "test_iid", "c", "zebra's Dog", ((7.0, 3.0),), 8.0)],
}


class Held:
    """Rows held in memory."""

    def __init__(self, rows):
        self.rows = rows

    def shape(self, video):
        return self.rows[video].shape

    def read(self, video):
        return self.rows[video]


SOURCE = Held(ROWS)


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("dog 1 2\nthe 3 4\nzebra's 5 6\ncat 7 8\n")
    return open_words(path)


@pytest.fixture
def write(tmp_path, words):
    def write(out=tmp_path / "data", *, pairs=PAIRS, source=SOURCE, grid="fixed", clips=4):
        with data_lock(out):
            return write_dataset(
                out,
                pairs,
                source,
                words,
                grid=grid,
                clips=clips,
                simulated=False,
                inputs={"clips": clips},
                facts={},
            )

    return write


def test_pairs_come_back_sorted(write):
    """Pairs are kept as written and sorted by split, then id."""
    data = open_dataset(write())

    assert data.table.ids == ["c#0", "a#0", "a#1", "b#0"]
    assert data.table.splits == ["test_iid", "train", "train", "train"]
    assert data.pairs["train"] == [PAIRS["train"][i] for i in (1, 2, 0)]
    assert list(data.pairs) == ["test_iid", "train"]
    assert data.videos == ["a", "b", "c"]
    assert data.table.video.tolist() == [2, 0, 0, 1]
    assert data.table.durations_s.tolist() == [8.0, 4.0, 4.0, 10.0]


def test_labels(write):
    """Labels are the clips of the first window, clipped to the video; reversed is (0, 0)."""
    data = open_dataset(write())

    assert data.table.gt.tolist() == [[0, 0], [2, 3], [3, 3], [0, 1]]
    assert data.table.clips.tolist() == [4, 4, 4, 4]


def test_features(write):
    """Features are the stored raw rows on the grid; raw rows are those of the source."""
    data = open_dataset(write())

    for index, video in enumerate("abc"):
        np.testing.assert_array_equal(data.raw_rows(index), ROWS[video])
        on_grid = resample(ROWS[video], 4).astype(np.float16)
        np.testing.assert_array_equal(data.features[index], on_grid)
    assert (data.num_clips, data.num_channels, data.features.dtype) == (4, 2, np.float16)


def test_cap_grid_pads_with_zeros(write):
    """On the cap grid a short video keeps its rows and zeros follow; labels use its own clips."""
    data = open_dataset(write(grid="cap"))

    assert data.video_clips.tolist() == [2, 4, 1]
    assert data.features[0].tolist() == [[1, 5], [3, 5], [0, 0], [0, 0]]
    assert data.table.gt.tolist() == [[0, 0], [1, 1], [1, 1], [0, 1]]


def test_channel_statistics(write):
    """Mean and deviation over the rows of train videos, each video once; not of test videos.

    Channel 0 holds 1, 3, 0, 2, 4, 6, 8, 10: mean 34/8, mean square 230/8.
    """
    data = open_dataset(write())

    mean, deviation = data.channel_stats
    np.testing.assert_allclose(mean[0], 34 / 8)
    np.testing.assert_allclose(deviation[0], np.sqrt(230 / 8 - (34 / 8) ** 2), rtol=1e-6)


def test_constant_channel_has_deviation_one(write):
    """A channel that never changes is not divided by zero, nor by rounding."""
    constant = {video: np.full((3, 2), 0.1, np.float32) for video in ROWS}

    data = open_dataset(write(source=Held(constant)))
    np.testing.assert_allclose(data.channel_stats, [[0.1, 0.1], [1, 1]], rtol=1e-3)
    assert data.channel_stats[1].tolist() == [1, 1]


def test_words(write):
    """Every word of any split is a type; characters are those of train; unknown words are zero."""
    data = open_dataset(write())

    types = json.loads((data.folder / "words.json").read_text())["words"]
    assert types == [".", "a", "dog", "runs", "the", "zebra's"]
    assert data.table.words.tolist() == [[6, 3, 0], [2, 3, 1], [3, 0, 0], [5, 3, 4]]
    assert data.lexicon.known.tolist() == [False, False, False, True, False, True, True]
    vectors = [[0, 0], [0, 0], [0, 0], [1, 2], [0, 0], [3, 4], [5, 6]]
    assert data.lexicon.vectors.tolist() == vectors
    assert data.characters == ".adeghnorstu"
    # z and b are not in train's words; the apostrophe is not either
    assert data.lexicon.chars[6].tolist() == [1, 5, 1, 10, 3, 1, 11]
    assert (data.num_words, data.num_chars) == (3, 7)


def test_manifest(write, tmp_path):
    """The manifest counts pairs, videos and defects, and says where the words came from."""
    data = open_dataset(write())

    assert data.manifest["counts"] == {
        "train": {"pairs": 3, "videos": 2},
        "test_iid": {"pairs": 1, "videos": 1},
    }
    assert data.manifest["defects"] == {
        "train": {"end_after_duration": 1},
        "test_iid": {"reversed": 1},
    }
    assert data.word_file["path"] == str(tmp_path / "words.txt")
    assert (data.word_file["name"], data.word_file["width"]) == ("words.txt", 2)
    assert not data.simulated


def test_long_queries_are_cut(write, caplog):
    """A query of 130 words keeps its first 128, and the manifest counts it."""
    long = Pair("a#0", "train", "a", "dog " * 128 + "the the", ((0.0, 1.0),), 4.0)
    caplog.set_level("INFO", "refkd")

    data = open_dataset(write(pairs={"train": [long]}))
    assert data.table.words.tolist() == [[1] * 128]
    assert data.manifest["queries_cut"] == 1
    assert "queries cut to their first 128 words: 1" in caplog.text


def test_rows_of_chosen_splits(write):
    """Rows of one split; of all splits if none is named; another name is an error."""
    data = open_dataset(write())

    assert data.rows("train").ids == ["a#0", "a#1", "b#0"]
    assert data.rows("train").gt.tolist() == [[2, 3], [3, 3], [0, 1]]
    assert data.rows().ids == data.table.ids
    with pytest.raises(RefkdError, match="has no split val; it has test_iid, train"):
        data.rows("val")


def test_same_inputs_give_the_same_bytes(write, tmp_path):
    """Two data sets from the same inputs, in whatever order, have the same seal."""
    turned = {split: PAIRS[split][::-1] for split in reversed(PAIRS)}

    first, second = write(tmp_path / "one"), write(tmp_path / "two", pairs=turned)
    assert open_dataset(first).seal == open_dataset(second).seal


def test_no_train_split(write, caplog):
    """Without a train split, statistics and characters come from all that is there, and it is said."""
    caplog.set_level("INFO", "refkd")

    data = open_dataset(write(pairs={"test_iid": PAIRS["test_iid"]}))
    assert data.characters == "'abdegorsz"
    assert data.channel_stats.tolist() == [[5, 5], [1, 1]]
    assert "there is no train split" in caplog.text


def test_half_precision_overflow(write, tmp_path):
    """A value beyond float16 names the video, and nothing is left behind."""
    rows = {**ROWS, "b": ROWS["b"] * 1e5}

    with pytest.raises(RefkdError, match=r"video b reach 1\.1e\+06, but float16 ends at 65504"):
        write(source=Held(rows))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_pair_that_stands_twice(write):
    """The same id twice in a split would give two pairs one place in a cache."""
    pairs = {"train": [PAIRS["train"][0], PAIRS["train"][0]]}

    with pytest.raises(RefkdError, match="pair b#0 stands twice in split train"):
        write(pairs=pairs)


def test_blank_query(write):
    """A query without a word cannot be asked."""
    blank = Pair("a#0", "train", "a", "  ", ((0.0, 1.0),), 4.0)

    with pytest.raises(RefkdError, match="query '  ' holds no word"):
        write(pairs={"train": [blank]})


def test_features_that_change_meanwhile(write):
    """Rows of another shape than announced would shift every later video."""

    class Growing(Held):
        def read(self, video):
            return np.concatenate([self.rows[video]] * 2)

    with pytest.raises(RefkdError, match=r"video a has shape \(4, 2\), expected \(2, 2\)"):
        write(source=Growing(ROWS))


def test_full_disk_leaves_nothing(write, tmp_path):
    """A write that the system refuses half way leaves no folder, hidden or not."""
    rows = {video: np.ones((4000, 2), np.float32) for video in ROWS}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(source=Held(rows))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_leftovers_of_a_killed_writer_do_not_hinder(write, tmp_path):
    """What a killed writer left in the hidden folder is not taken into the next one."""
    (tmp_path / ".data.partial").mkdir()
    (tmp_path / ".data.partial" / "junk").write_text("half")
    doomed = tmp_path / doomed_name(".data.partial")
    doomed.mkdir()

    folder = write()
    assert not doomed.exists()
    assert open_dataset(folder).table.ids
    assert not (folder / "junk").exists()
    assert not (tmp_path / ".data.partial").exists()


def test_an_empty_folder_is_filled(write, tmp_path):
    """An empty folder at OUT counts as absent."""
    (tmp_path / "data").mkdir()

    assert existing_manifest(tmp_path / "data") is None
    assert open_dataset(write()).table.ids


def test_a_link_to_an_empty_folder_is_filled(write, tmp_path):
    """OUT may lead to a larger disk: the data set is written there, under the lock of that place."""
    (tmp_path / "disk" / "big").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "big")

    assert open_dataset(write()).table.ids
    assert (tmp_path / "data").is_symlink()
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"big", ".big.lock"}


@pytest.mark.parametrize(
    "name", ["rows.npy", "grid.npy", "labels.npy", "pairs.jsonl", "words.json"]
)
def test_flipped_bit(write, name):
    """A changed byte in any file is noticed when the data set is opened, even the second time."""
    folder = write()
    open_dataset(folder)
    damaged = bytearray((folder / name).read_bytes())
    damaged[-1] ^= 1
    (folder / name).write_bytes(damaged)

    with pytest.raises(
        RefkdError, match=rf"{name} is damaged.*delete .* run `refkd prepare` again"
    ):
        open_dataset(folder)


@pytest.mark.parametrize("name", ["rows.npy", "tokens.npy", "manifest.json", "manifest.sha256"])
def test_missing_file(write, name):
    """A file that is gone is named."""
    folder = write()
    (folder / name).unlink()

    with pytest.raises(RefkdError, match=rf"{name} is missing"):
        open_dataset(folder)


@pytest.mark.parametrize("gone", [(), ("manifest.json",), ("manifest.sha256",)])
def test_a_wrong_folder_is_not_to_be_deleted(gone, write, tmp_path):
    """Annotations given for DATA, or a data set without its seal: what was expected, and no `delete`."""
    folder = write() if gone else tmp_path
    for name in gone:
        (folder / name).unlink()
    (tmp_path / "charades_train.json").write_text("{}")
    with pytest.raises(RefkdError) as caught:
        open_dataset(folder)

    lacking = gone[0] if gone else "manifest.sha256"
    assert str(caught.value) == (
        f"{folder} is unfinished or foreign: {lacking} is missing; expected a prepared data set; "
        "give one that `refkd prepare` or `refkd simulate` wrote, or run that again"
    )


def test_foreign_folders(tmp_path):
    """No folder, a folder of something else, and a file in its place are told apart."""
    with pytest.raises(RefkdError, match=r"no data set at .*run `refkd prepare`"):
        open_dataset(tmp_path / "nothing")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    for look in (open_dataset, existing_manifest):
        with pytest.raises(RefkdError, match="unfinished or foreign"):
            look(other)
    with pytest.raises(RefkdError, match=r"no data set at .*notes\.txt; run `refkd prepare`"):
        open_dataset(other / "notes.txt")
    with pytest.raises(RefkdError, match=r"notes\.txt is a file, expected a folder"):
        existing_manifest(other / "notes.txt")


def test_another_kind_of_sealed_folder(write, tmp_path):
    """A model or cache in a data set's place is named for what it is."""
    model = tmp_path / "model"
    model.mkdir()
    seal_folder(model, {"format": "refkd-model"})

    for look in (open_dataset, existing_manifest):
        with pytest.raises(RefkdError, match="holds refkd-model, not a data set"):
            look(model)


def test_another_version(write):
    """A data set of another version of the format is refused by number."""
    folder = write()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / ".stamps.json").unlink(missing_ok=True)
    seal_folder(folder, {**manifest, "version": 0})

    with pytest.raises(RefkdError, match="has version 0 of the data set format, expected 1"):
        open_dataset(folder)


def test_videos_do_not_share_rows(write):
    """Each video's raw rows end where the next one's begin."""
    data = open_dataset(write())

    assert data.raw_ends.tolist() == [2, 8, 9]
    assert [len(data.raw_rows(i)) for i in range(3)] == [2, 6, 1]


def test_write_json_is_not_needed_to_read(write, tmp_path):
    """A manifest edited by hand no longer belongs to its seal."""
    folder = write()
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", {**manifest, "simulated": True})

    with pytest.raises(RefkdError, match=r"manifest\.json is damaged"):
        open_dataset(folder)
