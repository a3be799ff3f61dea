"""Caches behind URLs: checked whole before use, fetched once, resumed after a kill."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from planned import all_bytes, build, expected, make_plan, weighed_chunks
from served import in_memory, over_http

from cli.main import refkd
from pipeline.caches import Lying
from pipeline.pruning import Prunable, find_prunable, prune
from pipeline.weigh import weigh
from stores.cache import open_cache
from stores.copies import local_cache
from stores.errors import RefkdError
from stores.weights import open_weights
from stores.weights_writer import write_weights

PLAN = make_plan()
CHUNK = "teachers/ood/logits/c/3/0/0"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A finished, weighed cache."""
    folder = build(tmp_path_factory.mktemp("built"), PLAN)
    weigh(folder)
    return folder


@pytest.fixture(autouse=True)
def copies(tmp_path, monkeypatch):
    """Where local copies go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home/refkd"


@pytest.fixture
def site(built, tmp_path):
    """The cache, served over HTTP from a copy that a test may spoil."""
    shutil.copytree(built, tmp_path / "served")
    with over_http(tmp_path / "served") as site:
        yield site


def spoil(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("protocol", ["http", "memory"])
def test_copy_is_the_cache(protocol, built, site, copies):
    """A copy has every byte of the cache behind the URL, weights too, and opens like any other."""
    url = site.url if protocol == "http" else in_memory(built, "caches/one")
    folder = local_cache(url)
    cache = open_cache(folder)

    assert all_bytes(folder) == all_bytes(built)
    assert folder == copies / open_cache(built).seal[:16]
    np.testing.assert_array_equal(cache.logits("ood"), expected("ood", PLAN))
    assert open_weights(cache).means == open_weights(open_cache(built)).means


def test_paths_are_as_they_are(built):
    """What is no URL is not touched."""
    assert local_cache(built) == built
    assert local_cache(str(built)) == built


def test_second_time_only_seals_are_asked_for(site):
    """A whole copy costs the two manifests and the name of the weights that count, nothing more."""
    local_cache(site.url)
    site.asked.clear()
    local_cache(site.url)

    (weights,) = (path.name for path in (site.folder / "weights").iterdir() if path.is_dir())
    manifests = ["manifest.json", "manifest.sha256"]
    assert sorted(site.asked) == sorted(
        [*manifests, "weights/current", *(f"weights/{weights}/{name}" for name in manifests)]
    )


def test_damaged_copy_is_fetched_again(built, site):
    """Files of the copy that are damaged or gone are fetched again, and no other."""
    folder = local_cache(site.url)
    spoil(folder / CHUNK)
    (folder / "samples/gt/c/0/0").unlink()
    site.asked.clear()

    assert all_bytes(local_cache(site.url)) == all_bytes(built)
    assert {name for name in site.asked if "/c/" in name} == {CHUNK, "samples/gt/c/0/0"}
    assert len(site.asked) == 5 + 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CHUNK, f"/{CHUNK} is damaged: its digest is not the recorded one; put it back there"),
        (
            "manifest.json",
            "/manifest.json is damaged: its digest is not the one in manifest.sha256",
        ),
        ("weights/current", r"/weights/current is damaged: it holds no seal; run `refkd weigh`"),
    ],
)
def test_damage_there(name, text, built, site, copies, monkeypatch):
    """A byte changed behind the URL is an error that names the file; nothing of it gets a name here."""
    monkeypatch.setattr("stores.remote.WAITS_S", (0.0,))
    if name == "weights/current":
        (site.folder / name).write_bytes(b"no seal\n")
    else:
        spoil(site.folder / name)
    with pytest.raises(RefkdError, match=text):
        local_cache(site.url)
    assert not list(copies.rglob(name))

    shutil.copy(built / name, site.folder / name)
    asked = set(site.asked)
    site.asked.clear()

    assert all_bytes(local_cache(site.url)) == all_bytes(built)
    kept = {file for file in asked if "/c/" in file} - {CHUNK}
    assert kept.isdisjoint(site.asked)


def test_weights_under_a_pinned_seal_stay(built, site):
    """Other weights put there do not replace those of a copy that is named by its seal, unless they are damaged."""
    pinned = f"{site.url}#{open_cache(built).seal}"
    folder = local_cache(pinned)
    first = open_weights(open_cache(folder)).seal
    other_weights(site.folder)
    other = open_weights(open_cache(site.folder)).seal
    local_cache(pinned)

    assert first != other
    assert open_weights(open_cache(folder)).seal == first
    spoil(folder / "weights" / first[:16] / "manifest.json")
    local_cache(pinned)
    assert open_weights(open_cache(folder)).seal == other


def test_a_folder_in_place_of_a_file_of_the_copy(built, site):
    """What lies in a copy and is no file gives way to what is fetched."""
    folder = local_cache(site.url)
    for name in (CHUNK, "manifest.sha256", "weights/current"):
        (folder / name).unlink()
        (folder / name).mkdir()

    assert all_bytes(local_cache(site.url)) == all_bytes(built)


def test_listed_file_missing_there(site):
    """A file that the manifest lists but that is not there is named."""
    (site.folder / CHUNK).unlink()

    with pytest.raises(RefkdError, match=f"/{CHUNK} is missing, though listed; put it back there"):
        local_cache(site.url)


def test_passing_troubles(built, site, monkeypatch):
    """A failure of the server, or bytes that come damaged, are asked for again before giving up."""
    monkeypatch.setattr("stores.remote.WAITS_S", (0.0, 0.0))

    def fails_once(times):
        if times == 1:
            raise OSError

    site.troubles[CHUNK] = fails_once
    site.troubles["zarr.json"] = lambda times: b"half" if times < 3 else None

    assert all_bytes(local_cache(site.url)) == all_bytes(built)
    assert (site.asked.count(CHUNK), site.asked.count("zarr.json")) == (2, 3)


def test_server_that_fails(site, monkeypatch):
    """A server that goes on failing is one sentence."""
    monkeypatch.setattr("stores.remote.WAITS_S", (0.0,))

    def fails(times):
        raise OSError

    site.troubles[CHUNK] = fails

    with pytest.raises(RefkdError, match=rf"{CHUNK} cannot be read \(500, .*mend that or run the"):
        local_cache(site.url)


def test_killed_while_it_fetches(built, site, copies):
    """Killed, it goes on: what lies here whole is not fetched again, and half a file never shows."""
    site.delay_s = 0.05
    code = "import sys; from stores.copies import local_cache; local_cache(sys.argv[1])"
    program = subprocess.Popen(
        [sys.executable, "-c", code, site.url],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    deadline = time.monotonic() + 60
    while sum(path.is_file() for path in copies.rglob("c/*/0/0")) < 8:
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    program.send_signal(signal.SIGKILL)
    program.wait()
    here = {p.relative_to(*copies.glob("[!.]*/")).as_posix() for p in copies.rglob("c/*/0/0")}
    (folder,) = copies.glob("[!.]*/")
    (folder / "samples/.x.tmp").write_bytes(b"left by a kill")
    unfinished = not (folder / "manifest.json").exists()
    site.delay_s = 0.0
    time.sleep(0.2)  # requests of the dead are answered first
    site.asked.clear()

    assert unfinished
    assert all_bytes(local_cache(site.url)) == all_bytes(built)
    assert here.isdisjoint(site.asked)


def test_prune_leaves_a_copy_that_is_fetched(built, site, copies):
    """Who fetches holds the lock that prune looks at; a copy that nobody fetches is a cache like any."""
    folder, found = local_cache(site.url), []
    (folder / CHUNK).unlink()

    def pruned(times):
        found.append(find_prunable(copies, runs=[], no_runs=True))
        found.append(prune(Prunable([Lying(folder, [], 0.0)], 0, {})))

    site.troubles[CHUNK] = pruned

    assert all_bytes(local_cache(site.url)) == all_bytes(built)
    assert found[0].kept == {str(folder): "is being worked on"}
    assert found[1] == []
    assert prune(find_prunable(copies, runs=[], no_runs=True)) == [str(folder)]


def test_two_at_once(built, site, caplog):
    """Two that want one cache fetch it once: the second says that it waits."""
    site.delay_s = 0.02
    found = []
    with caplog.at_level(logging.INFO, logger="refkd"):
        both = [
            threading.Thread(target=lambda: found.append(local_cache(site.url))) for _ in range(2)
        ]
        for one in both:
            one.start()
        for one in both:
            one.join()

    assert found[0] == found[1]
    assert all_bytes(found[0]) == all_bytes(built)
    assert site.asked.count(CHUNK) == 1
    assert f"another process is fetching {site.url}; waiting for it" in caplog.messages


def other_weights(folder):
    """Weigh a cache otherwise: other cross-entropies, another seal."""
    cache = open_cache(folder)
    ones_N2 = np.ones((cache.num_rows, 2), np.float32)
    write_weights(cache, weighed_chunks(cache, dict.fromkeys(cache.arrays, ones_N2)))


def test_weighed_anew_meanwhile(site):
    """Weights that are replaced while they are fetched are left for those that replaced them."""
    (old,) = (path.name for path in (site.folder / "weights").iterdir() if path.is_dir())
    site.troubles[f"weights/{old}/ce/id/c/5/0"] = lambda times: other_weights(site.folder)
    folder = local_cache(site.url)

    assert (open_weights(open_cache(folder)).ce["id"] == 1).all()
    assert not (site.folder / "weights" / old).exists()


def test_unweighed_cache_is_weighed_here(built, site):
    """Behind the URL of a cache without weights, `refkd weigh` weighs the copy."""
    shutil.rmtree(site.folder / "weights")
    ran = CliRunner().invoke(refkd, ["weigh", site.url, "--json"])
    weights = Path(json.loads(ran.stdout)["weights"])

    assert all_bytes(weights) == all_bytes(built / "weights")
    assert not (site.folder / "weights").exists()
    assert all_bytes(local_cache(site.url)) == all_bytes(built)


def test_seal_in_the_url(built, site):
    """`URL#SEAL` is that cache or an error, whoever has changed what lies behind the URL."""
    seal = open_cache(built).seal

    assert local_cache(f"{site.url}/#{seal}") == local_cache(f"{site.url}#{seal[:16]}")
    for wrong in ("0" * 64, seal[:8]):
        with pytest.raises(RefkdError, match=f"holds the cache with seal {seal}, expected {wrong}"):
            local_cache(f"{site.url}#{wrong}")


def test_commands_take_urls(cache_folder, data_folder, teacher_folders, tmp_path):
    """`inspect`, `verify` and `distill` say of a URL what they say of the folder behind it."""
    named = [
        w for name, folder in teacher_folders.items() for w in ("--teacher", f"{name}={folder}")
    ]
    quick = ("--hidden", "8", "--epochs", "1", "--threads", "1", "--device", "cpu")
    url = in_memory(cache_folder, "real")

    def told(*arguments):
        ran = CliRunner().invoke(refkd, [*map(str, arguments), "--json"])
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout.splitlines()[-1])

    def verified(place):
        return told("verify", place, data_folder, *named, "--device", "cpu")["teachers"]

    assert told("inspect", url) == told("inspect", cache_folder)
    assert verified(url) == verified(cache_folder)
    runs = [
        told("distill", data_folder, place, tmp_path / str(number), *quick)["run"]
        for number, place in enumerate([url, cache_folder])
    ]
    assert all_bytes(Path(runs[0])) == all_bytes(Path(runs[1]))
