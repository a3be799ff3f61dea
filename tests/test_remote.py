"""Reading behind a URL: one sentence for whatever is not there, not ours, or cannot be read."""

import json
import sys
import zipfile

import fsspec
import pytest
from planned import build, make_plan
from served import in_memory

from stores.cache import open_cache
from stores.copies import local_cache
from stores.errors import RefkdError
from stores.fingerprints import bytes_digest
from stores.remote import open_remote


@pytest.fixture(autouse=True)
def copies(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home/refkd"


def test_missing_package(monkeypatch):
    """Without the package for a protocol, the error names it; for http the extra that brings it."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RefkdError, match=r"s3:// cannot be read here \(Install s3fs.*pip install "):
        local_cache("s3://bucket/cache")

    def no_aiohttp(url):
        raise ImportError('HTTPFileSystem requires "requests" and "aiohttp" to be installed')

    monkeypatch.setattr(fsspec.core, "url_to_fs", no_aiohttp)
    with pytest.raises(RefkdError, match=r"https:// .*aiohttp.* pip install 'refkd\[remote\]' and"):
        local_cache("https://host/cache")


def test_unknown_protocol():
    """A URL of no known kind is named, with what would do."""
    with pytest.raises(RefkdError, match=r"foo://x cannot be opened \(Protocol not known: foo\); "):
        local_cache("foo://x")


def test_nothing_there(tmp_path):
    """A URL with nothing sealed behind it is no cache."""
    message = r"no logit cache at memory://nowhere: manifest.sha256 is missing; expected a folder"
    with pytest.raises(RefkdError, match=message):
        local_cache("memory://nowhere/")


def test_no_server(monkeypatch):
    """Without a server the reason is told, and what to do."""
    monkeypatch.setattr("stores.remote.WAITS_S", ())
    with pytest.raises(RefkdError, match=r"http://127.0.0.1:9/x/manifest.sha256 cannot be read"):
        local_cache("http://127.0.0.1:9/x")


def test_another_kind_of_folder(data_folder, copies):
    """A data set behind a URL is told for what it is, and nothing is fetched."""
    url = in_memory(data_folder, "data")

    with pytest.raises(
        RefkdError, match=r"memory://data holds refkd-data.*, not a cache; expected"
    ):
        local_cache(url)
    assert not copies.exists()


@pytest.mark.parametrize(
    "name", ["../../stolen", "/etc/passwd", "a/../b", "a//b", "a\\b", "./a", "a\0b", ""]
)
def test_names_that_lead_elsewhere(name, tmp_path, copies):
    """A manifest cannot have a file written outside the copy."""
    files = {name: {"size": 0, "sha256": bytes_digest(b"")}}
    data = json.dumps({"format": "refkd-cache", "files": files}).encode()
    (tmp_path / "manifest.json").write_bytes(data)
    (tmp_path / "manifest.sha256").write_text(f"{bytes_digest(data)}\n")
    url = in_memory(tmp_path, f"evil/{len(name)}")

    with pytest.raises(
        RefkdError, match=r"lists a file called .*, which no cache does; expected a"
    ):
        local_cache(url)
    assert not copies.exists()


def test_chained_urls(tmp_path):
    """URLs that fsspec chains, as into a ZIP file, are URLs too."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("folder/hello", "world")

    remote = open_remote(f"zip://folder::file://{tmp_path / 'x.zip'}")

    assert remote.read("hello") == b"world"


def sealed(files, url):
    """Put manifests with the seals that belong to them, and other files, behind a URL."""
    store = fsspec.filesystem("memory")
    for name, data in files.items():
        store.pipe_file(f"/{url}/{name}", data)
        if name.endswith("manifest.json"):
            seal = f"{bytes_digest(data)}\n".encode()
            store.pipe_file(f"/{url}/{name.replace('.json', '.sha256')}", seal)
    return f"memory://{url}"


def entry(data=b"x"):
    return {"size": len(data), "sha256": bytes_digest(data)}


@pytest.fixture(scope="module")
def true(tmp_path_factory):
    """The manifest of a cache that takes no files."""
    folder = build(tmp_path_factory.mktemp("true"), make_plan())
    return json.loads((folder / "manifest.json").read_bytes()) | {"files": {}}


FOREIGN = {
    "no JSON": (b"\xff", "holds no manifest"),
    "a list": ([], "holds no manifest"),
    "files that are a list": ({"files": ["a"]}, "has files that are no list of files"),
    "a file that is null": ({"files": {"a": None}}, "tells no size or no digest of a"),
    "a file without a digest": ({"files": {"a": {"size": 1}}}, "tells no size or no digest of a"),
    "a short digest": (
        {"files": {"a": {"size": 1, "sha256": "ab"}}},
        "tells no size or no digest of a",
    ),
    "itself": (
        {"files": {"manifest.json": entry()}},
        "lists a file called 'manifest.json', which no cache does",
    ),
    "a file that is a folder": (
        {"files": {"a": entry(), "a/b": entry()}},
        "lists a as a file and as a folder",
    ),
    "weights": (
        {"files": {"weights": entry()}},
        "lists weights, which has a seal of its own",
    ),
    "no version": ({"format_version": None}, "tells no format_version"),
    "no key": ({"key": None}, "tells no key"),
    "a number in words": ({"num_rows": "many"}, 'tells "many" as num_rows'),
    "no rows in a chunk": ({"rows_per_chunk": 0}, "says rows_per_chunk 0, expected 1 or more"),
    "an array without inputs": (
        {"arrays": {"id": {"key": "k"}}},
        "tells no arrays.id.inputs",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_manifests_of_others(kind, true, copies):
    """What is sealed but not written by us is told as that, in a sentence; nothing is fetched."""
    change, text = FOREIGN[kind]
    told = {**true, **change} if isinstance(change, dict) else change
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    url = sealed({"manifest.json": data}, f"odd/{kind.replace(' ', '-')}")
    with pytest.raises(RefkdError) as caught:
        local_cache(url)

    assert str(caught.value) == (
        f"{url}/manifest.json {text}; expected a folder that `refkd cache` wrote"
    )
    assert not copies.exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"means": 3}, "tells 3 as means"),
        ({"means": {"train": 3}}, "tells no means of split train"),
    ],
)
def test_weights_of_others(change, text, true):
    """The same of weights that are sealed and whole."""
    told = {"format_version": 1, "cache_seal": "", "means": {}, "files": {}, **change}
    data = json.dumps(told).encode()
    name = f"weights/{bytes_digest(data)[:16]}/manifest.json"
    files = {"manifest.json": json.dumps(true).encode(), name: data}
    url = sealed({**files, "weights/current": f"{bytes_digest(data)}\n".encode()}, "odd/weighed")
    with pytest.raises(RefkdError, match=rf"{url}/{name} {text}; expected a folder"):
        local_cache(url)


@pytest.mark.parametrize("status", [None, 403])
def test_weights_that_may_not_be_read(status, true, monkeypatch, caplog):
    """A store that refuses what is absent has no weights; anything else that is refused is an error."""
    url = sealed({"manifest.json": json.dumps(true).encode()}, "refusing")
    store = type(fsspec.filesystem("memory"))
    read = store.cat_file

    def cat_file(self, path, *args, **kwargs):
        if path.endswith(refused):
            error = PermissionError("no") if status is None else RuntimeError("no")
            error.status = status
            raise error
        return read(self, path, *args, **kwargs)

    monkeypatch.setattr(store, "cat_file", cat_file)
    refused = "weights/current"
    with caplog.at_level("INFO", "refkd"):
        assert local_cache(url).is_dir()
    assert f"{url}/weights/current is taken for absent" in caplog.text
    refused = "manifest.json"
    with pytest.raises(
        RefkdError, match=r"refusing/manifest.json cannot be read \(no\); mend that"
    ):
        local_cache(url)


def test_another_version_of_the_format(true):
    """What a later refkd wrote is refused by its number, whatever else its manifest tells."""
    told = {"format": "refkd-cache", "format_version": 2}
    url = sealed({"manifest.json": json.dumps(told).encode()}, "odd/later")
    with pytest.raises(
        RefkdError, match="has version 2 of the cache format, this refkd reads version 1"
    ):
        open_cache(local_cache(url))
