"""Caches below a folder: what they take, who used them, and deleting those that nobody did."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from planned import Ask, all_bytes, build, make_plan

from cli.main import refkd
from pipeline.caches import caches, caches_text
from pipeline.pruning import find_prunable, prune
from pipeline.uses import find_uses
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.files import locked, seal_folder
from stores.locknames import building_lock_file
from stores.models import FORMAT as MODEL
from stores.placing import new_weights
from stores.removal import doomed_name
from stores.unfinished import BUILDING

ONE, BOTH, OTHER = make_plan(("id",)), make_plan(), make_plan(("id",), dtype="float16")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "out"
    for plan in (ONE, BOTH, OTHER):
        build(folder, plan)
    return folder


@pytest.fixture
def out(built, tmp_path):
    """A folder of three caches, two of which share the files of teacher id."""
    subprocess.run(["cp", "-a", built, tmp_path / "out"], check=True)  # names of one file stay so
    return tmp_path / "out"


def place(out, plan):
    return out / plan.key[:16]


def add_run(folder, key, *, kind="student"):
    """A sealed model folder that says which cache it used, if any."""
    folder.mkdir(parents=True)
    seal_folder(folder, {"format": MODEL, "kind": kind, **({"cache": key} if key else {})})
    return folder


def stop(out, plan):
    """Leave a build half done."""
    with pytest.raises(RefkdError):
        build(out, plan, Ask(trouble={("id", 64): "nan"}))
    return out / BUILDING / plan.key[:16]


def size(folder):
    return sum(map(len, all_bytes(folder).values()))


def call(*arguments, answer=""):
    return CliRunner().invoke(refkd, [str(word) for word in arguments], input=answer)


def listed(out):
    return {Path(one["folder"]).name for one in caches(out)["caches"]}


def test_sizes(out):
    """A file of two caches counts in each, and once in the sum: what `du` would say."""
    found = caches(out)
    sizes = {Path(one["folder"]).name: one["bytes"] for one in found["caches"]}
    shared = {Path(one["folder"]).name: one["shared bytes"] for one in found["caches"]}
    chunks = 10 * (32 * 2 * 8 * 4 + 4)

    assert sizes == {
        folder.name: size(folder) for folder in (place(out, p) for p in (ONE, BOTH, OTHER))
    }
    assert shared == {
        place(out, ONE).name: chunks,
        place(out, BOTH).name: chunks,
        place(out, OTHER).name: 0,
    }
    assert found["bytes"] == sum(sizes.values()) - chunks


def test_facts(out):
    """Teachers, rows, splits and form of each cache, as its manifest tells."""
    found = {Path(one["folder"]).name: one for one in caches(out)["caches"]}[place(out, BOTH).name]
    opened = open_cache(place(out, BOTH))

    assert (found["key"], found["seal"]) == (opened.key, opened.seal)
    assert (found["teachers"], found["rows"], found["views"]) == (["id", "ood"], 300, 0)
    assert (found["splits"], found["dtype"], found["codec"]) == (["train", "val"], "float32", "raw")
    assert found["weighed"] is False
    assert json.loads(json.dumps(found)) == found


def test_age(out):
    """The age is that of the seal, told in its largest unit."""
    seal = place(out, ONE) / "manifest.sha256"
    before = seal.stat().st_mtime - 3 * 86_400
    os.utime(seal, (before, before))
    ages = {Path(one["folder"]).name: one["age"] for one in caches(out)["caches"]}

    assert ages[place(out, ONE).name] == "3 days"
    assert ages[place(out, BOTH).name].endswith(("seconds", "minutes"))


def test_below(out, tmp_path):
    """Caches are found at any depth, and nothing else is taken for one."""
    add_run(tmp_path / "runs" / "x", ONE.key)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    place(out, ONE).rename(tmp_path / "deep" / "er" / "mine")

    assert listed(tmp_path) == {"mine", place(out, BOTH).name, place(out, OTHER).name}


def test_damaged_manifest(out):
    """A cache whose manifest is damaged is listed with its trouble."""
    (place(out, ONE) / "manifest.json").write_text("{}")
    (one,) = [one for one in caches(out)["caches"] if "trouble" in one]

    assert one["folder"] == str(place(out, ONE))
    assert "is damaged: its digest is not the one in manifest.sha256" in one["trouble"]
    assert "is damaged" in caches_text(caches(out))


def test_unfinished(out):
    """Half-built work is listed apart, with its size."""
    folder = stop(out, make_plan(("id",), codec="zstd"))
    (found,) = caches(out)["unfinished"]

    assert (found["folder"], found["bytes"]) == (str(folder), size(folder))


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_build_that_ends_while_we_look(when, out, monkeypatch):
    """Half-built work that goes before it is looked at is not listed, or as far as seen; nothing stops."""
    folder = stop(out, make_plan(("id",), codec="zstd"))
    walk, scandir = os.walk, os.scandir

    def ending(top, **how):
        for here, inside, files in walk(top, **how):
            if Path(here) == out / BUILDING and when == "before":
                folder.rename(out.parent / "elsewhere")
            yield here, inside, files

    def gone(path):
        if Path(path) == folder / "group" and when == "meanwhile":
            folder.rename(out.parent / "elsewhere")
        return scandir(path)

    monkeypatch.setattr(os, "walk", ending)
    monkeypatch.setattr(os, "scandir", gone)
    found = caches(out)

    assert len(found["caches"]) == 3
    assert [one["folder"] for one in found["unfinished"]] == [str(folder)] * (when == "meanwhile")


def test_runs(out, tmp_path):
    """Finished runs, killed ones and results at any depth name the cache that they used."""
    runs = tmp_path / "runs"
    add_run(runs / "deep" / "a", ONE.key)
    add_run(runs / "teacher", None, kind="teacher")
    (runs / ".b.building").mkdir()
    (runs / ".b.building" / "begun.json").write_text(json.dumps({"inputs": {"cache": BOTH.key}}))
    (runs / "results").mkdir()
    told = {"format": "refkd-result", "seals": {"cache_key": OTHER.key}}
    (runs / "results" / "c.json").write_text(json.dumps(told))
    (runs / "results" / "other.json").write_text("[1]")
    found = caches(out, runs=[runs, runs / "deep"])
    used = {Path(one["folder"]).name: one["runs"] for one in found["caches"]}

    assert used == {
        place(out, ONE).name: [str(runs / "deep" / "a")],
        place(out, BOTH).name: [str(runs / ".b.building")],
        place(out, OTHER).name: [str(runs / "results" / "c.json")],
    }
    assert found["runs looked at"] == 4
    assert "  used by " + str(runs / "deep" / "a") in caches_text(found).splitlines()


def test_a_run_that_was_being_taken_apart_is_none(out, runs):
    """What a kill left of the checkpoints of a run, or of a folder of runs, pins no cache."""
    left = runs / doomed_name(".b.building")
    add_run(left / "deep", OTHER.key)
    (left / "begun.json").write_text(json.dumps({"inputs": {"cache": BOTH.key}}))

    assert find_uses([runs]).by_key == {ONE.key: [str(runs / "a")]}
    assert find_uses([runs]).count == 1


def test_a_real_run(runs_folder, cache_folder, data_folder):
    """Runs that `distill` wrote are found by the cache that they learned from."""
    (found,) = caches(cache_folder.parent, runs=[runs_folder])["caches"]

    assert len(found["runs"]) == 3
    assert found["weighed"] is True


def test_nothing_there(tmp_path):
    """A folder that is not there is an error, an empty one is empty, and so is one of other things."""
    with pytest.raises(
        RefkdError, match=r"no folder at .*/none; give the one that `refkd cache` wrote"
    ):
        caches(tmp_path / "none")
    with pytest.raises(RefkdError, match=r"no folder of runs at .*/none"):
        find_uses([tmp_path / "none"])

    assert caches(tmp_path)["caches"] == []


def prunable(out, runs, **how):
    return find_prunable(out, runs=[runs], **how)


@pytest.fixture
def runs(tmp_path):
    """A folder of one run, which used the cache of one teacher."""
    add_run(tmp_path / "runs" / "a", ONE.key)
    return tmp_path / "runs"


def test_prune(out, runs):
    """What no run used is deleted with its notes; what shares files with it stays whole."""
    place(out, BOTH).with_name(f"{place(out, BOTH).name}.cost").write_text("{}")
    found = prunable(out, runs)
    free = size(place(out, BOTH)) + size(place(out, OTHER)) - 10 * (32 * 2 * 8 * 4 + 4)

    assert found.freed == free
    assert found.kept == {str(place(out, ONE)): f"used by {runs / 'a'}"}
    assert sorted(prune(found)) == sorted(str(place(out, plan)) for plan in (BOTH, OTHER))
    open_cache(place(out, ONE)).logits("id")
    assert {path.name for path in out.iterdir()} == {
        place(out, ONE).name,
        f"{ONE.key[:16]}.cost",
        BUILDING,
    }
    assert {path.suffix for path in (out / BUILDING).iterdir()} == {".lock"}


def test_prune_frees_shared_files_with_their_last_name(out, runs):
    """Where both caches go the bytes that they share are freed, once."""
    (runs / "a" / "manifest.json").unlink()
    (runs / "a" / "manifest.sha256").unlink()
    add_run(runs / "b", OTHER.key)
    before = caches(out)["bytes"]

    assert prunable(out, runs).freed == before - size(place(out, OTHER))


def test_prune_wants_runs(out, runs, tmp_path):
    """Without runs nothing is deleted unless it is said that there are none."""
    with pytest.raises(RefkdError, match="give --runs DIR for every folder of runs, or --no-runs"):
        find_prunable(out, runs=[])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefkdError, match=r"no run lies in .*empty; give the right --runs"):
        prunable(out, tmp_path / "empty")
    with pytest.raises(RefkdError, match="contradict"):
        prunable(out, runs, no_runs=True)

    assert len(find_prunable(out, runs=[], no_runs=True).doomed) == 3


@pytest.mark.parametrize("name", ["manifest.json", "begun.json", "results.json"])
def test_prune_stops_at_a_run_that_cannot_be_read(name, out, runs):
    """A damaged run may have used any cache: it is named, and nothing is deleted."""
    (runs / "a" / name).write_text("{")
    with pytest.raises(RefkdError, match=r"runs/a\S* may have used any cache and cannot be read"):
        prunable(out, runs)


def test_prune_sees_runs_behind_links(out, runs, tmp_path):
    """A run that was moved to a larger disk, a link in its place, keeps its cache; loops end."""
    add_run(tmp_path / "large" / "disk" / "b", BOTH.key)
    (runs / "moved").symlink_to(tmp_path / "large")
    (tmp_path / "large" / "disk" / "round").symlink_to(tmp_path / "large")
    (runs / "again").symlink_to(runs)
    found = prunable(out, runs)

    assert found.kept[str(place(out, BOTH))] == f"used by {runs}/moved/disk/b"
    assert [one.folder for one in found.doomed] == [place(out, OTHER)]
    assert find_uses([runs, tmp_path]).count == 2


@pytest.mark.parametrize("name", ["gone", "manifest.json"])
def test_prune_stops_at_a_link_that_leads_nowhere(name, out, runs, tmp_path):
    """A link to a disk that is not mounted may stand for a run of any cache."""
    (runs / "b").mkdir()
    (runs / "b" / name).symlink_to(tmp_path / "not mounted")
    with pytest.raises(RefkdError, match=r"runs/b\S* may have used any .* leads nowhere; mend or"):
        prunable(out, runs)


@pytest.mark.parametrize("hidden", ["a", ""])
def test_prune_stops_at_a_folder_that_cannot_be_listed(hidden, out, runs, monkeypatch):
    """Somebody else's folder among the runs, or all of it: nothing is deleted, then or later."""
    found, scandir = prunable(out, runs), os.scandir

    def refusing(path):
        if Path(path) == runs / hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for ask in (lambda: prunable(out, runs), lambda: prune(found)):
        with pytest.raises(RefkdError, match=r"it cannot be listed \(Permission denied\)"):
            ask()
    assert len(listed(out)) == 3


def test_prune_leaves_what_is_behind_a_link(out, runs, tmp_path, caplog):
    """A cache behind a link is listed once, and left: whoever works on it locks it where it lies."""
    (tmp_path / "disk").mkdir()
    place(out, BOTH).rename(tmp_path / "disk" / "b")
    (out / "b").symlink_to(tmp_path / "disk" / "b")
    (out / "a").symlink_to(place(out, OTHER))
    (out / "c").symlink_to(tmp_path / "not mounted")
    found = prunable(out, runs)

    assert listed(out) == {"b", place(out, OTHER).name, place(out, ONE).name}
    assert found.kept[str(out / "b")].startswith(
        f"is behind a symbolic link; prune {tmp_path}/disk"
    )
    assert prune(found) == [str(place(out, OTHER))]
    assert f"{out}/c: nobody can say whether caches lie there: it is a link that" in caplog.text


@pytest.mark.parametrize("lock", ["", "-weights"])
def test_prune_leaves_what_is_worked_on(lock, out, runs):
    """A cache that is being built, repaired or weighed stays, and that is said."""
    path = out / BUILDING / f"{BOTH.key[:16]}{lock}.lock"
    with locked(path):
        found = prunable(out, runs)

    assert found.kept[str(place(out, BOTH))] == "is being worked on"
    found = prunable(out, runs)
    with locked(path):
        assert prune(found) == [str(place(out, OTHER))]
    assert place(out, BOTH).exists()


@pytest.mark.parametrize("name", ["v1.2", "v1", ".hidden", "x.doomed"])
def test_prune_leaves_a_renamed_cache_that_is_weighed(name, out, runs):
    """Whatever a cache is called, and whatever is called nearly so: who weighs it is seen."""
    near = place(out, OTHER).rename(out / f"{name}.5")
    folder = place(out, BOTH).rename(out / name)
    with new_weights(folder) as growing:
        found = prunable(out, runs, unfinished=True)
        busy = [one for one, why in found.kept.items() if why == "is being worked on"]

        assert set(busy) == {str(folder), str(growing)}
        assert prune(found) == [str(near)]
    assert prune(prunable(out, runs)) == [str(folder)]


def test_prune_leaves_what_is_weighed_through_a_link(out, runs, tmp_path):
    """Who weighs a cache by a link to it holds the lock that prune looks at, where the cache lies."""
    (tmp_path / "mine").symlink_to(place(out, BOTH))
    with new_weights(tmp_path / "mine") as growing:
        assert growing.parent == out / BUILDING
        assert prune(prunable(out, runs)) == [str(place(out, OTHER))]
    assert place(out, BOTH).exists()


@pytest.mark.parametrize("name", ["v1.2", ".hidden"])
def test_prune_ends_what_a_killed_one_began(name, out, runs):
    """A doomed folder is taken apart unless somebody is at it, whose lock has the old name."""
    left = (out / BUILDING) / doomed_name(doomed_name(name))
    place(out, BOTH).rename(left)
    with locked(building_lock_file(out / name)):
        assert prunable(out, runs).kept[str(left)] == "is being worked on"
    assert str(left) in prune(prunable(out, runs))


def test_prune_leaves_what_is_used_by_now(out, runs):
    """A run that began while the question was open keeps its cache."""
    found = prunable(out, runs)
    add_run(runs / "b", BOTH.key)

    assert prune(found) == [str(place(out, OTHER))]


@pytest.mark.parametrize("begun", ["in time", "cannot be read"])
def test_prune_looks_again_before_each(begun, out, runs, monkeypatch):
    """A run that begins while another cache is taken apart keeps its own; a damaged one stops it all."""
    found, rmtree = prunable(out, runs), shutil.rmtree

    def meanwhile(path):
        rmtree(path)
        if not (runs / "b").exists():
            add_run(
                runs / "b", next(plan.key for plan in (BOTH, OTHER) if place(out, plan).exists())
            )
            if begun != "in time":
                (runs / "b" / "manifest.json").write_text("{")

    monkeypatch.setattr(shutil, "rmtree", meanwhile)
    if begun == "in time":
        assert prune(found) == [str(found.doomed[0].folder)]
    else:
        with pytest.raises(RefkdError, match=r"runs/b may have used any cache and cannot be read"):
            prune(found)
    assert listed(out) == {place(out, ONE).name, found.doomed[1].folder.name}


def test_prune_and_half_built_work(out, runs):
    """Half-built work stays unless asked for, and always while somebody is at it."""
    folder = stop(out, make_plan(("id",), codec="zstd"))
    assert prunable(out, runs).kept[str(folder)].startswith("is unfinished")
    with locked(folder.with_suffix(".lock")):
        assert str(folder) in prunable(out, runs, unfinished=True).kept

    assert str(folder) in prune(prunable(out, runs, unfinished=True))
    assert not folder.exists()


def test_prune_leaves_what_it_cannot_read(out, runs):
    """A cache with a damaged manifest is left for somebody to look at."""
    (place(out, BOTH) / "manifest.json").write_text("{}")

    assert "nobody knows" in prunable(out, runs).kept[str(place(out, BOTH))]


PROGRAM = """
import os, signal, sys
from pathlib import Path
from pipeline.pruning import find_prunable, prune
left = [int(sys.argv[3])]
def counted(change):
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*args, **kwargs)
    return call
found = find_prunable(Path(sys.argv[1]), runs=[Path(sys.argv[2])])
for name in ("replace", "rename", "unlink", "rmdir", "fsync"):
    setattr(os, name, counted(getattr(os, name)))
prune(found)
"""


@pytest.mark.parametrize("point", [1, 2, 3, 5, 20])
def test_a_killed_prune_leaves_nothing_that_looks_whole(point, out, runs, tmp_path):
    """Killed at any change of the disk, every cache is there whole or not at all, and pruning goes on."""
    whole = {plan.key[:16]: all_bytes(place(out, plan)) for plan in (ONE, BOTH, OTHER)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, out, runs, str(point)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    for name in listed(out):
        assert all_bytes(out / name) == whole[name]
    prune(prunable(out, runs))
    assert listed(out) == {ONE.key[:16]}
    assert {path.suffix for path in (out / BUILDING).iterdir()} == {".lock"}


def test_the_command_asks(out, runs):
    """`caches --prune` shows what would go and what that frees, and a no deletes nothing."""
    asked = call("caches", out, "--runs", runs, "--prune", answer="n\n")

    assert asked.exit_code == 0
    assert f"delete  {place(out, BOTH)}" in asked.stdout
    assert f"keep    {place(out, ONE)}  used by {runs / 'a'}" in asked.stdout
    freed = size(place(out, BOTH)) + size(place(out, OTHER)) - 10 * (32 * 2 * 8 * 4 + 4)
    assert f"2 to delete, which frees {freed / 1024:.1f} KiB" in asked.stdout
    assert asked.stdout.endswith("0 deleted\n")
    assert len(listed(out)) == 3
    assert call("caches", out, "--runs", runs, "--prune", answer="y\n").stdout.endswith(
        "2 deleted\n"
    )
    assert listed(out) == {ONE.key[:16]}


def test_the_command_for_scripts(out, runs):
    """--yes asks nothing, --json tells what went; without --prune those options are refused."""
    done = call("caches", out, "--runs", runs, "--prune", "--yes", "--json")
    found = json.loads(done.stdout.splitlines()[-1])

    assert sorted(found["deleted"]) == sorted(found["delete"])
    assert len(found["deleted"]) == 2
    assert found["bytes freed"] > 0
    assert "add --prune" in call("caches", out, "--yes").stderr
    assert json.loads(call("caches", out, "--json").stdout)["runs looked at"] is None
    assert "1 caches; files with several names are counted once" in call("caches", out).stdout
