import h5py
import numpy as np
import pytest

from pipeline.predict import predict
from pipeline.teach import teach
from stores.errors import RefkdError
from stores.models import read_facts
from student.model import load_model
from student.recipe import Recipe
from student.retrieval import retrieve


@pytest.fixture(scope="module")
def model(teacher_folders):
    return teacher_folders["ood"]


@pytest.fixture
def clip_file(data, tmp_path):
    """The raw features of the first validation pair's video, as a user would have them."""
    video = int(data.rows("val").video[0])
    np.save(tmp_path / "video.npy", np.array(data.raw_rows(video)))
    return tmp_path / "video.npy"


def test_the_answer_is_the_data_sets_own(model, data, clip_file):
    """Asked about a video and a sentence of the data set, predict answers as evaluate does."""
    pair, rows = data.pairs["val"][0], data.rows("val")
    spans, chances = retrieve(load_model(model).network, data, rows, device="cpu")
    found = predict(
        model, features=clip_file, duration_s=pair.duration_s, query=pair.query, device="cpu"
    )

    assert len(found) == 1
    assert [found[0]["start_s"], found[0]["end_s"]] == pytest.approx(spans[0].tolist())
    assert found[0]["score"] == pytest.approx(chances[0], rel=1e-4)


@pytest.mark.parametrize("kind", ["folder", "hdf5"])
def test_a_video_among_others(model, clip_file, tmp_path, kind):
    """A place of many videos is asked about one of them, by its id."""
    question = {"duration_s": 8.0, "query": "people run", "device": "cpu"}
    rows, other = np.load(clip_file), np.zeros((9, 6), np.float32)
    place = tmp_path / ("features" if kind == "folder" else "features.h5")
    if kind == "folder":
        place.mkdir()
        np.save(place / "v1.npy", rows)
        np.save(place / "v2.npy", other)
    else:
        with h5py.File(place, "w") as file:
            file["v1"], file["v2"] = rows, other

    found = predict(model, features=place, video="v1", **question)
    assert found == predict(model, features=clip_file, **question)
    assert found != predict(model, features=place, video="v2", **question)
    with pytest.raises(RefkdError, match=r"features.* holds features of many videos; name one by"):
        predict(model, features=place, **question)
    with pytest.raises(RefkdError, match=r"^no features of video v3 in .*features"):
        predict(model, features=place, video="v3", **question)


def test_more_answers_come_best_first(model, clip_file):
    """Five different spans, their probabilities falling."""
    found = predict(
        model, features=clip_file, duration_s=8.0, query="people run", top=5, device="cpu"
    )
    scores = [answer["score"] for answer in found]

    assert scores == sorted(scores, reverse=True)
    assert len({(answer["start_s"], answer["end_s"]) for answer in found}) == 5


def test_words_that_training_never_saw_are_understood(model, clip_file, caplog):
    """An unknown word and an odd character are no error; those without a vector are told."""
    query = "péople who run"

    assert predict(model, features=clip_file, duration_s=8.0, query=query, device="cpu")
    (told,) = caplog.messages
    assert told == "known by their letters alone, without a vector: péople, who"


def test_a_question_longer_than_any_of_training(model, clip_file, caplog):
    """It is read as far as the network has positions, one for each clip; the words left out are told."""
    facts = read_facts(model)[0]
    longest = facts["num_clips"]
    assert facts["num_words"] < longest - 1

    def ask(*words):
        query = " ".join([*["people"] * (longest - len(words)), *words])
        return predict(model, features=clip_file, duration_s=8.0, query=query, device="cpu")

    assert ask("run")[0]["score"] != ask("swim")[0]["score"]  # the last word counts
    assert caplog.messages == []
    told = predict(
        model,
        features=clip_file,
        duration_s=8.0,
        query=" ".join([*["people"] * (longest - 1), "run", "and", "swim"]),
        device="cpu",
    )
    assert told == ask("run")
    assert caplog.messages == [
        f"the query has {longest + 2} words, of which the model reads the first {longest}; "
        "left out: and swim"
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"query": "   "}, "holds no word; describe the moment"),
        ({"duration_s": 0.0}, "duration must be above 0 seconds, got 0"),
        ({"duration_s": float("nan")}, "duration must be above 0 seconds, got nan"),
        ({"top": 0}, "top must be at least 1, got 0"),
    ],
)
def test_wrong_questions(model, clip_file, change, text):
    """Each is one sentence naming the value."""
    asked = {"features": clip_file, "duration_s": 8.0, "query": "people run", **change}

    with pytest.raises(RefkdError, match=text):
        predict(model, device="cpu", **asked)


def test_features_of_another_width_are_refused(model, tmp_path):
    """Found and expected widths are named."""
    np.save(tmp_path / "wide.npy", np.zeros((9, 7), np.float32))

    for place, video in ((tmp_path / "wide.npy", ""), (tmp_path, "wide")):
        with pytest.raises(RefkdError, match=r"7.*6"):
            predict(model, features=place, video=video, duration_s=8.0, query="run", device="cpu")


def test_the_recorded_word_file_is_used_and_known_by_its_digest(
    data_folder, word_file, clip_file, tmp_path, model
):
    """Moved away it must be named; another file in its place is refused by its digest."""
    asked = {"features": clip_file, "duration_s": 8.0, "query": "people run", "device": "cpu"}
    found = predict(model, words=word_file, **asked)
    other = tmp_path / "other.txt"
    other.write_text("run 1 2 3 4 5 6 7 8\n")

    assert found == predict(model, **asked)
    with pytest.raises(RefkdError, match=r"other.txt have digest .* give that file by --words"):
        predict(model, words=other, **asked)
    with pytest.raises(RefkdError, match=r"no word vectors at .*nowhere.txt"):
        predict(model, words=tmp_path / "nowhere.txt", **asked)


def test_cap_grid_models_answer_too(make_data, word_file, tmp_path):
    """On the cap grid a short video keeps its rows, and spans end where they end."""
    folder = make_data(tmp_path / "capped", grid="cap")
    recipe = Recipe(hidden=8, epochs=1, batch=48)
    teacher = teach(folder, tmp_path / "t", bias="id", recipe=recipe, device="cpu", threads=1)
    np.save(tmp_path / "short.npy", np.ones((5, 6), np.float32))
    found = predict(
        teacher,
        features=tmp_path / "short.npy",
        duration_s=10.0,
        query="swim",
        top=99,
        device="cpu",
    )

    assert len(found) == 15  # all spans of five clips
    assert {answer["end_s"] for answer in found} == {2.0, 4.0, 6.0, 8.0, 10.0}
