"""Caches beside each other: what one has, the next need not ask for."""

import logging

import pytest
from planned import CPU, Ask, all_bytes, build, expected, make_plan

from stores.building import cache_folder
from stores.cache import open_cache
from stores.cachechecks import damaged_files
from stores.fingerprints import digest
from stores.siblings import explain_miss, find_chunks, finished_caches, link_file

ONE, BOTH = make_plan(("id",)), make_plan(("id", "ood"))
ELSEWHERE = {"device": "cpu", "torch": "3"}


@pytest.fixture
def out(tmp_path):
    """A folder in which a cache of teacher id lies."""
    build(tmp_path / "out", ONE)
    return tmp_path / "out"


@pytest.fixture
def ask(tmp_path):
    return Ask(tmp_path / "notes")


def test_a_teacher_more_recomputes_nothing(out, ask, caplog):
    """The array that is there is linked, not asked for; the new cache is whole by itself."""
    with caplog.at_level(logging.INFO, logger="refkd"):
        folder = build(out, BOTH, ask)
    name = "teachers/id/logits/c/7/0/0"

    assert {teacher for teacher, _ in ask.asked()} == {"ood"}
    assert (folder / name).stat().st_ino == (cache_folder(out, ONE) / name).stat().st_ino
    assert f"teacher id: 10 chunks taken from {cache_folder(out, ONE)}" in caplog.messages
    assert open_cache(folder).logits("id").tobytes() == expected("id", BOTH).tobytes()


def test_linking_gives_the_bytes_of_building(out, tmp_path):
    """A cache that took an array over is, manifest included, the one that was built alone."""
    assert all_bytes(build(out, BOTH)) == all_bytes(build(tmp_path / "alone", BOTH))


def test_a_teacher_fewer(tmp_path, ask):
    """A cache of some of the teachers of another one asks nobody."""
    build(tmp_path, BOTH)
    build(tmp_path, ONE, ask)

    assert ask.asked() == []


def test_a_name_is_no_input(out, ask):
    """The same weights under another name are the same array."""
    folder = build(out, make_plan(("first",), salt={"first": "id"}), ask)

    assert ask.asked() == []
    assert open_cache(folder).teachers == ["first"]


def test_renamed_sibling_is_still_found(out, ask):
    """What a sibling's folder is called does not matter."""
    cache_folder(out, ONE).rename(out / "mine")
    build(out, BOTH, ask)

    assert {teacher for teacher, _ in ask.asked()} == {"ood"}


def test_damaged_chunk_is_not_taken(out, ask):
    """Of a damaged sibling only the intact chunks are taken."""
    (cache_folder(out, ONE) / "teachers/id/logits/c/7/0/0").write_bytes(b"nothing")
    folder = build(out, BOTH, ask)

    assert [lo for teacher, lo in ask.asked() if teacher == "id"] == [224]
    assert not damaged_files(open_cache(folder))


def test_unsealed_sibling_is_not_looked_at(out, ask):
    """A sibling whose manifest is damaged is no source and no error."""
    (cache_folder(out, ONE) / "manifest.sha256").write_text("0" * 64)
    build(out, BOTH, ask)

    assert len(ask.asked()) == 20


def test_changed_rows_alone_are_asked_again(out, ask):
    """Where some samples changed, only the chunks that they lie in are asked for again."""
    rows = [*ONE.chunk_rows]
    rows[4] = digest("another feature")
    folder = build(out, make_plan(("id",), rows=rows), ask)

    assert ask.asked() == [("id", 128)]
    assert open_cache(folder).manifest["chunk_rows"] == rows


def test_rows_that_moved_are_found(tmp_path):
    """A chunk is taken by what its rows are, not by where it stands."""
    build(tmp_path, ONE)
    rows = [*ONE.chunk_rows]
    rows[2], rows[3] = rows[3], rows[2]
    moved = make_plan(("id",), rows=rows)
    (found,) = find_chunks(moved, "id", finished_caches(tmp_path), CPU)

    assert found.files[2] == "teachers/id/logits/c/3/0/0"
    assert found.files[3] == "teachers/id/logits/c/2/0/0"


def test_array_from_elsewhere_is_taken_whole(out, ask):
    """An array of another torch version serves as it is, and keeps where it was made."""
    folder = build(out, BOTH, ask, environment=ELSEWHERE)
    built = {name: facts["built"] for name, facts in open_cache(folder).manifest["arrays"].items()}

    assert {teacher for teacher, _ in ask.asked()} == {"ood"}
    assert built == {"id": CPU, "ood": ELSEWHERE}


def test_array_from_elsewhere_is_not_mixed(out, ask):
    """If not all of it is intact, no chunk of another torch version is taken: an array has one make."""
    (cache_folder(out, ONE) / "teachers/id/logits/c/7/0/0").write_bytes(b"nothing")
    build(out, BOTH, ask, environment=ELSEWHERE)

    assert len(ask.asked()) == 20


def test_own_make_comes_first(tmp_path):
    """Of two sources the one made here, with the most chunks, is tried first."""
    build(tmp_path, BOTH, environment=ELSEWHERE)
    (cache_folder(tmp_path, BOTH)).rename(tmp_path / "a")
    build(tmp_path / "elsewhere", ONE)
    cache_folder(tmp_path / "elsewhere", ONE).rename(tmp_path / "b")
    found = find_chunks(ONE, "id", finished_caches(tmp_path), CPU)

    assert [one.sibling.folder.name for one in found] == ["b", "a"]


def test_a_miss_is_explained(out, caplog):
    """When nothing can be taken over the field that differs is named, with both values."""
    with caplog.at_level(logging.INFO, logger="refkd"):
        build(out, make_plan(("id",), salt={"id": "retrained"}))
    name = cache_folder(out, ONE).name

    assert (
        f"teacher id: not as in {name}: teacher weights (was id, now retrained)" in caplog.messages
    )


def test_the_closest_sibling_explains(tmp_path):
    """Of several siblings the one with the fewest differences is told of."""
    for plan in (make_plan(("id",), salt={"id": "old"}, codec="zstd"), make_plan(("id",))):
        build(tmp_path, plan)
    plan = make_plan(("id",), dtype="float16")
    said = explain_miss("id", plan.arrays["id"], finished_caches(tmp_path))

    assert said.endswith(f"{cache_folder(tmp_path, ONE).name}: dtype (was float32, now float16)")
    assert explain_miss("ood", plan.arrays["id"], finished_caches(tmp_path)) is None


def test_no_siblings(tmp_path):
    """A folder that is not there, or holds other things, has no caches."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")

    assert finished_caches(tmp_path) == finished_caches(tmp_path / "none") == []


def test_a_folder_that_nobody_may_look_into(out, ask, lock_out):
    """`lost+found`, or a colleague's folder, beside the caches stops no build."""
    lock_out(out / "lost+found")
    build(out, BOTH, ask)

    assert {teacher for teacher, _ in ask.asked()} == {"ood"}


def test_linking_over_itself_leaves_nothing(tmp_path):
    """Linked twice, a file keeps its one second name, and no temporary one."""
    (tmp_path / "a").write_bytes(b"1")
    for _ in range(2):
        link_file(tmp_path / "a", tmp_path / "c/b")

    assert [path.name for path in (tmp_path / "c").iterdir()] == ["b"]
    assert (tmp_path / "c/b").read_bytes() == b"1"


def test_copied_where_links_are_refused(tmp_path, monkeypatch):
    """On a file system without hard links the bytes are copied."""
    (tmp_path / "a").write_bytes(b"1")

    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    link_file(tmp_path / "a", tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == b"1"
    assert (tmp_path / "b").stat().st_ino != (tmp_path / "a").stat().st_ino
    assert len(list(tmp_path.iterdir())) == 2
