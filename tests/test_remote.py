"""Reading behind a URL: one sentence for whatever is not there, not ours, or cannot be read."""

import json
import sys
import zipfile

import fsspec
import pytest
from served import in_memory

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
