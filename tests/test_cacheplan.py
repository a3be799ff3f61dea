"""What would be done is what is then done: chunks found, asked for, stale, and bytes."""

import logging
import shutil
import subprocess
import sys

import pytest
from conftest import make_dataset
from planned import BLOCK_ROWS, CPU, Ask, all_bytes, build, make_plan
from untrained import save_teacher

from pipeline.cache import cache, plan
from pipeline.cacheplan import foresee
from pipeline.costs import read_costs
from pipeline.filling import fill
from stores.building import cache_folder
from stores.codecs import CODECS
from stores.errors import RefkdError
from stores.fingerprints import digest
from stores.parts import parse_part
from stores.unfinished import BUILDING

BYTES, TO_WRITE = "bytes of the cache, at most", "bytes to write, at most"


def told(out, planned, environment=CPU):
    return foresee(out, planned, lambda: environment)


def counts(found):
    """Chunks, hits, misses and stale ones of each array."""
    return {
        name: tuple(one[kind] for kind in ("chunks", "hits", "misses", "stale"))
        for name, one in found["arrays"].items()
    }


def size(folder):
    return sum(len(data) for data in all_bytes(folder).values())


def stop_at(out, planned, array, lo):
    """Build until the unit of an array that begins at a row, which fails."""
    with pytest.raises(RefkdError):
        build(out, planned, Ask(trouble={(array, lo): "nan"}))


def test_nothing_there(tmp_path):
    """Where nothing lies everything is a miss: all rows of both teachers."""
    found = told(tmp_path / "out", make_plan())

    assert counts(found) == {"id": (10, 0, 10, 0), "ood": (10, 0, 10, 0)}
    assert (found["rows to ask"], found["complete"]) == (600, False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("views", [0, 2])
def test_bytes(codec, views, tmp_path):
    """The bytes told beforehand are an upper bound; of uncompressed chunks within 5%."""
    planned = make_plan(codec=codec, views=views, num_rows=300)
    found = told(tmp_path, planned)
    built = size(build(tmp_path, planned))

    assert found[BYTES] == found[TO_WRITE]
    assert built <= found[BYTES]
    if codec == "raw":
        assert found[BYTES] <= 1.05 * built


def test_complete(tmp_path):
    """Of a finished cache everything is a hit, and nothing is written."""
    build(tmp_path, make_plan())
    found = told(tmp_path, make_plan())

    assert counts(found) == {"id": (10, 10, 0, 0), "ood": (10, 10, 0, 0)}
    assert (found["rows to ask"], found["complete"], found[TO_WRITE]) == (0, True, 0)


def test_damaged(tmp_path):
    """A damaged chunk of a finished cache is stale, and why is said."""
    folder = build(tmp_path, make_plan())
    (folder / "teachers/id/logits/c/9/0/0").write_bytes(b"")
    found = told(tmp_path, make_plan())

    assert counts(found) == {"id": (10, 9, 0, 1), "ood": (10, 10, 0, 0)}
    assert found["arrays"]["id"]["why"] == "damaged"
    assert (found["rows to ask"], found["complete"]) == (12, False)


@pytest.mark.parametrize("name", ["zarr.json", "samples/id/zarr.json", "samples/gt/c/0/0"])
def test_damaged_beside_the_logits(name, tmp_path):
    """A damaged file that holds no logits asks for no row; still the cache is not whole, nor free."""
    folder = build(tmp_path, make_plan())
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + b"?")
    found = told(tmp_path, make_plan())

    assert counts(found) == {"id": (10, 10, 0, 0), "ood": (10, 10, 0, 0)}
    assert (found["rows to ask"], found["complete"]) == (0, False)
    assert found["other files damaged"] == [name]
    assert len(whole) <= found[TO_WRITE] < 0.5 * found[BYTES]


def test_half_built(tmp_path):
    """Chunks that a stopped build has finished are hits, and the build asks for no other."""
    out = tmp_path / "out"
    stop_at(out, make_plan(), "ood", 64)
    before = all_bytes(out)
    found = told(out, make_plan())
    ask = Ask(tmp_path / "notes")

    assert counts(found) == {"id": (10, 3, 7, 0), "ood": (10, 2, 8, 0)}
    assert all_bytes(out) == before
    build(out, make_plan(), ask)
    assert found["rows to ask"] == 300 - 96 + 300 - 64
    assert len(ask.asked()) == 7 + 8


def test_half_built_elsewhere(tmp_path):
    """What another torch version has half built is stale, and both versions are named."""
    stop_at(tmp_path, make_plan(), "ood", 64)
    found = told(tmp_path, make_plan(), {"device": "cpu", "torch": "3"})

    assert counts(found) == {"id": (10, 0, 7, 3), "ood": (10, 0, 8, 2)}
    assert found["arrays"]["id"]["why"] == "half-built elsewhere: torch (was 2, now 3)"


def test_parts(tmp_path):
    """What one part of two has done is a hit, whichever journal tells of it."""
    how = {"block_rows": BLOCK_ROWS, "workers": 1, "part": parse_part("1/2")}
    fill(tmp_path, make_plan(), Ask(), CPU, **how)

    assert counts(told(tmp_path, make_plan())) == {"id": (10, 5, 5, 0), "ood": (10, 5, 5, 0)}


def test_a_torn_journal_is_left_alone(tmp_path):
    """Planning beside a builder that is writing a line changes no byte of its journal."""
    stop_at(tmp_path, make_plan(), "ood", 64)
    journal = next((tmp_path / BUILDING).glob("*/journal.jsonl"))
    journal.write_bytes(journal.read_bytes()[:-5])
    before = journal.read_bytes()
    found = told(tmp_path, make_plan())

    assert counts(found)["id"] == (10, 2, 8, 0)
    assert journal.read_bytes() == before


def test_siblings(tmp_path):
    """A teacher that another cache holds is a hit, whichever machine asked it, and costs no bytes."""
    build(tmp_path, make_plan(("id",)))
    found = told(tmp_path, make_plan(), {"device": "cpu", "torch": "3"})

    assert counts(found) == {"id": (10, 10, 0, 0), "ood": (10, 0, 10, 0)}
    assert found["rows to ask"] == 300
    assert found[TO_WRITE] < 0.7 * found[BYTES]


def test_changed_rows_are_stale(tmp_path):
    """Where one sample changed its chunk is stale, the field named, and the others are hits."""
    one = make_plan(("id",))
    name = build(tmp_path, one).name
    rows = [*one.chunk_rows]
    rows[4] = digest("another feature")
    found = told(tmp_path, make_plan(("id",), rows=rows))

    assert counts(found) == {"id": (10, 9, 0, 1)}
    assert found["arrays"]["id"]["why"].startswith(f"not as in {name}: features (was ")


def test_changed_settings_are_stale(tmp_path):
    """A retrained teacher makes all of its chunks stale, and none of the other's."""
    build(tmp_path, make_plan())
    found = told(tmp_path, make_plan(salt={"id": "retrained"}))

    assert counts(found) == {"id": (10, 0, 0, 10), "ood": (10, 10, 0, 0)}
    assert found["arrays"]["id"]["why"].endswith(": teacher weights (was id, now retrained)")


def test_parts_made_elsewhere_are_no_hits(tmp_path):
    """Some chunks of another torch version are not mixed in: the plan knows, as the build does."""
    one = make_plan(("id",))
    folder = build(tmp_path, one)
    (folder / "teachers/id/logits/c/7/0/0").write_bytes(b"nothing")

    assert counts(told(tmp_path, make_plan()))["id"] == (10, 9, 1, 0)
    elsewhere = told(tmp_path, make_plan(), {"device": "cpu", "torch": "3"})
    assert counts(elsewhere)["id"] == (10, 0, 10, 0)


def test_another_cache_under_the_name(tmp_path):
    """A folder that holds another cache than its name says is refused, as it is by the build."""
    folder = cache_folder(tmp_path, make_plan())
    build(tmp_path, make_plan(("id",))).rename(folder)
    with pytest.raises(RefkdError, match="holds the teachers id, given were id, ood"):
        told(tmp_path, make_plan())


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("teachers")
    return {
        name: save_teacher(place / name, data, seed=seed) for seed, name in enumerate(["id", "ood"])
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory, data_folder, teachers):
    return cache(data_folder, tmp_path_factory.mktemp("caches"), teachers=teachers, device="cpu")


@pytest.mark.parametrize("how", [{}, {"views": 2}, {"splits": ("val", "test_ood")}])
def test_bytes_of_a_real_cache(how, data_folder, teachers, tmp_path):
    """With real teachers and a real manifest too, the bound is within 5% of what is then there."""
    found = plan(data_folder, tmp_path, teachers=teachers, device="cpu", **how)
    folder = cache(data_folder, tmp_path, teachers=teachers, device="cpu", **how)

    assert found["cache"] == str(folder)
    assert size(folder) <= found[BYTES] <= 1.05 * size(folder)
    assert found["rows to ask"] == read_costs(folder)["cache"]["rows"]


def test_views_and_another_teacher(built, data, data_folder, teachers, tmp_path):
    """Views more, and one teacher retrained, ask for those alone: as many rows as are then asked."""
    shutil.copytree(built.parent, tmp_path / "out")
    out = tmp_path / "out"
    others = {**teachers, "ood": save_teacher(tmp_path / "new", data, seed=9)}
    found = plan(data_folder, out, teachers=others, views=1, device="cpu")
    folder = cache(data_folder, out, teachers=others, views=1, device="cpu")

    assert counts(found) == {
        "id": (3, 3, 0, 0),
        "id, view 1": (3, 0, 3, 0),
        "ood": (3, 0, 0, 3),
        "ood, view 1": (3, 0, 3, 0),
    }
    assert "ood: teacher weights" not in found["arrays"]["ood"]["why"]
    assert f"not as in {built.name}: teacher weights (was " in found["arrays"]["ood"]["why"]
    assert found["rows to ask"] == read_costs(folder)["cache"]["rows"] == 3 * 96


def test_stale_data(built, teachers, word_file, tmp_path):
    """Of data without the last videos the last chunk alone is stale, and what changed is named."""
    other = make_dataset(tmp_path / "data", word_file, train=60)  # 90 of the 96 pairs
    found = plan(other, built.parent, teachers=teachers, device="cpu")

    assert counts(found)["id"] == (3, 2, 0, 1)
    for field in ("clips", "features", "ids", "queries"):
        assert f"{field} (was " in found["arrays"]["id"]["why"]


def test_no_torch(built, data, data_folder, teachers, tmp_path):
    """Whether everything is at hand, or nothing is, torch is not imported."""
    shutil.copytree(built.parent, tmp_path / "out")
    program = (
        "import sys; from pathlib import Path; from pipeline.cache import plan\n"
        f"named = { ({name: str(path) for name, path in teachers.items()})!r}\n"
        "named = {name: Path(path) for name, path in named.items()}\n"
        f"for out in ({str(tmp_path / 'out')!r}, {str(tmp_path / 'none')!r}):\n"
        f"    found = plan(Path({str(data_folder)!r}), Path(out), teachers=named)\n"
        "    print(found['rows to ask'], 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["0", "False", "192", "False"]


def test_a_build_explains_as_before(tmp_path, caplog):
    """The build tells a miss in the same words."""
    build(tmp_path, make_plan(("id",)))
    planned = make_plan(("id",), salt={"id": "retrained"})
    why = told(tmp_path, planned)["arrays"]["id"]["why"]
    with caplog.at_level(logging.INFO, logger="refkd"):
        build(tmp_path, planned)

    assert f"teacher id: {why}" in caplog.messages
