"""Restoring a finished cache: the recorded bytes come back, or nothing changes."""

import shutil

import pytest
from planned import BLOCK_ROWS, CPU, Ask, all_bytes, build, make_plan, said

from pipeline.filling import fill, repair
from stores.cache import open_cache, read_cache
from stores.errors import RefkdError
from stores.parts import Part
from stores.removal import doomed_name

PLAN = make_plan()
CHUNKS = ["teachers/id/logits/c/3/0/0", "teachers/ood/logits/c/9/0/0"]
PLAIN = ["zarr.json", "samples/id/c/0/0", "teachers/ood/logits/zarr.json"]


@pytest.fixture
def folder(tmp_path):
    return build(tmp_path / "out", PLAN)


@pytest.fixture
def ask(tmp_path):
    return Ask(tmp_path / "notes")


def test_damaged_files_come_back(folder, ask):
    """Flipped, cut and lost files are made again byte for byte; only their rows are asked for."""
    whole = all_bytes(folder)
    (folder / CHUNKS[0]).write_bytes(whole[CHUNKS[0]][::-1])
    (folder / CHUNKS[1]).unlink()
    (folder / PLAIN[0]).write_bytes(whole[PLAIN[0]][:-1])
    (folder / PLAIN[1]).write_bytes(b"")
    (folder / PLAIN[2]).unlink()

    assert all_bytes(build(folder.parent, PLAN, ask)) == whole
    assert sorted(ask.asked()) == [("id", 96), ("ood", 288)]


def test_what_is_no_file_gives_way(folder, ask):
    """A folder in place of a file, with something in it, and a file in place of a folder are removed."""
    whole = all_bytes(folder)
    for name in (CHUNKS[0], PLAIN[1]):
        (folder / name).unlink()
        (folder / name).mkdir()
        (folder / name / "inside").write_bytes(b"?")
    shutil.rmtree(folder / "teachers/ood/logits/c/9")
    (folder / "teachers/ood/logits/c/9").write_bytes(b"?")

    assert all_bytes(build(folder.parent, PLAN, ask)) == whole
    assert sorted(ask.asked()) == [("id", 96), ("ood", 288)]
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("by", ["cache", "verify"])
def test_what_a_killed_repair_left_goes_with_the_next(by, folder):
    """Its temporary file, and what it was taking apart, but not what is being put into the weights."""
    whole = all_bytes(folder)
    (folder / CHUNKS[0]).write_bytes(b"damaged")
    (folder / CHUNKS[0]).with_name(".0.0a.tmp").write_bytes(b"half")
    (folder / doomed_name("samples") / "inside").mkdir(parents=True)
    (folder / "weights").mkdir()
    (folder / "weights" / ".current.0a.tmp").write_bytes(b"half")
    how = {"environment": CPU, "block_rows": BLOCK_ROWS}
    fill(folder.parent, PLAN, Ask(), **how, workers=1, part=Part(1, 2))
    assert len(list(folder.rglob(".*"))) == 3  # of a part that somebody else does, perhaps
    if by == "cache":
        build(folder.parent, PLAN)
    else:
        repair(folder, PLAN, Ask(), **how)

    assert all_bytes(folder) == {**whole, "weights/.current.0a.tmp": b"half"}
    assert len(list(folder.rglob(".*"))) == 1


def test_an_open_reader_notices_nothing(folder):
    """A chunk is renamed into place: who has the old file open or mapped keeps it."""
    (folder / CHUNKS[0]).write_bytes(b"damaged")
    with (folder / CHUNKS[0]).open("rb") as reader:
        build(folder.parent, PLAN)

        assert reader.read() == b"damaged"
    open_cache(folder).logits("id")


def test_a_linked_file_elsewhere_is_not_touched(folder):
    """A damaged file that another cache shares is replaced here, not written through."""
    other = build(folder.parent, make_plan(("id",)))
    (folder / CHUNKS[0]).write_bytes(b"damaged")
    build(folder.parent, PLAN)

    assert (other / CHUNKS[0]).read_bytes() == b"damaged"
    open_cache(folder).logits("id")


def test_what_cannot_come_back_stays(folder, monkeypatch):
    """If the teachers now say something else, the damaged cache is left as it is, and that is said."""
    (folder / CHUNKS[0]).write_bytes(b"damaged")
    before = all_bytes(folder)
    monkeypatch.setattr("planned.said", lambda teacher, lo, hi: 1 + said(teacher, lo, hi))
    message = (
        "c/3/0/0 cannot be restored: computed again it is not what was recorded; data, teachers, "
        "device kind, processor, torch version and compiler are those recorded; that file is left as it is"
    )
    with pytest.raises(RefkdError, match=message):
        build(folder.parent, PLAN)

    assert all_bytes(folder) == before


def test_another_machine_is_named(folder, monkeypatch):
    """Where a teacher says something else on another make of machine, both makes are told."""
    (folder / CHUNKS[1]).unlink()
    before = all_bytes(folder)
    monkeypatch.setattr("planned.said", lambda teacher, lo, hi: 1 + said(teacher, lo, hi))
    message = (
        r"c/9/0/0 cannot be .* recorded; teacher ood was asked elsewhere: torch \(was 2, now 3\); "
        "that file is left as it is, repair it where all is as recorded, or delete"
    )
    with pytest.raises(RefkdError, match=message):
        build(folder.parent, PLAN, environment={"device": "cpu", "torch": "3"})

    assert all_bytes(folder) == before


def test_another_machine_that_says_the_same(folder):
    """It is the bytes that decide: from another torch version too they are put back."""
    whole = all_bytes(folder)
    (folder / CHUNKS[1]).unlink()
    build(folder.parent, PLAN, environment={"device": "cpu", "torch": "3"})

    assert all_bytes(folder) == whole


def test_a_damaged_manifest_is_not_guessed(folder):
    """Without its manifest nobody knows what a cache was: it is refused, and stays for inspection."""
    (folder / "manifest.json").write_bytes(b"{}")
    before = all_bytes(folder)
    with pytest.raises(
        RefkdError, match=r"its digest is not the one in manifest\.sha256; delete .* "
    ):
        build(folder.parent, PLAN)

    assert all_bytes(folder) == before


def test_another_cache_under_the_name(folder, tmp_path):
    """A folder that holds another cache than its name says is refused, and the difference named."""
    other = build(tmp_path / "other", make_plan(salt={"id": "retrained"}))
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    other.rename(folder)
    message = (
        r"id: teacher weights \(was retrained, now id\); it has the name of another cache, delete "
        rf"{folder} and run `refkd cache` again"
    )
    with pytest.raises(RefkdError, match=message):
        build(folder.parent, PLAN)


def test_views_come_back(tmp_path, ask):
    """Logits, labels and seeds of views are restored like everything else."""
    plan = make_plan(views=2)
    folder = build(tmp_path / "out", plan)
    whole = all_bytes(folder)
    for name in ("teachers/id/views/2/c/3/0/0", "samples/views/1/seed/c/0", "zarr.json"):
        (folder / name).write_bytes(b"damaged")
    message = r"chunk 3 of teacher id, view 2 \(samples video048#0 to video063#1\) is damaged"
    with pytest.raises(RefkdError, match=message):
        read_cache(folder).logits("id/views/2")

    assert all_bytes(build(folder.parent, plan, ask)) == whole
    assert ask.asked() == [("id/views/2", 96)]
