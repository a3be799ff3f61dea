"""docs/cache-format.md says enough to read a cache: a reader made by that page alone, on real caches.

What reads here uses json, hashlib, zarr and numpy; nothing of ours is asked but to build.
"""

import gzip
import hashlib
import json
import re
import shutil
import warnings
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from planned import build, make_plan
from untrained import save_teacher

from pipeline.cache import cache
from pipeline.filling import fill
from pipeline.weigh import weigh
from stores.cachekeys import plan_cache
from stores.codecs import CODECS
from stores.folds import assign_folds
from stores.models import read_facts
from student.forward import model_logits
from student.model import load_model
from student.views import plan_views

PAGE = (Path(__file__).parent.parent / "docs/cache-format.md").read_text()
HERE = {"device": "cpu", "processor": "x", "torch": "2"}


# The reader, section by section of the page.


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def json_digest(value):
    """The digest of a JSON value's canonical text."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii"))


class SealedReader:
    """A sealed folder: its manifest, and its files, each compared with its digest."""

    def __init__(self, folder):
        self.folder = folder
        data, seal = ((folder / f"manifest.{end}").read_bytes() for end in ("json", "sha256"))
        assert seal == f"{sha256(data)}\n".encode()
        assert len(seal) == 65
        self.seal, self.manifest = seal[:64].decode(), json.loads(data)
        for name, entry in self.manifest["files"].items():
            data = (folder / name).read_bytes()
            assert (sha256(data), len(data)) == (entry["sha256"], entry["size"])

    def array(self, name):
        with warnings.catch_warnings(action="ignore"):  # zarr warns of codecs that it adds to v3
            return zarr.open_group(self.folder, mode="r", zarr_format=3)[name][...]


class CacheReader(SealedReader):
    """A cache, read by the words of the page."""

    def __init__(self, folder):
        super().__init__(folder)
        assert (self.manifest["format"], self.manifest["format_version"]) == ("refkd-cache", 1)

    @property
    def ids(self):
        return [bytes(row).rstrip(b"\0").decode() for row in self.array("samples/id")]

    @property
    def splits(self):
        return [self.manifest["splits"][code] for code in self.array("samples/split")]

    def logits(self, array):
        name, _, view = array.partition("/views/")
        return self.array(f"teachers/{name}/views/{view}" if view else f"teachers/{name}/logits")

    def weights(self):
        current = (self.folder / "weights/current").read_bytes()
        found = SealedReader(self.folder / "weights" / current[:16].decode())
        assert current == f"{found.seal}\n".encode()
        assert (found.manifest["format"], found.manifest["format_version"]) == ("refkd-weights", 1)
        assert found.manifest["cache_seal"] == self.seal
        return found


def crc32c(data):
    """CRC-32C, bit by bit: the reversed Castagnoli polynomial is 0x82F63B78."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def unshuffle(data, size):
    return np.frombuffer(data, np.uint8).reshape(size, -1).T.tobytes()


def lz4(data):
    """Decode a length of 4 bytes and one LZ4 block."""
    out, at = bytearray(), 4

    def extended(length):
        nonlocal at
        while length >= 15 and (more := data[at]) is not None:
            at, length = at + 1, length + more
            if more < 255:
                break
        return length

    while at < len(data):
        token, at = data[at], at + 1
        literals = extended(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at < len(data):
            distance, at = int.from_bytes(data[at : at + 2], "little"), at + 2
            for _ in range(extended(token & 15) + 4):
                out.append(out[-distance])
    assert len(out) == int.from_bytes(data[:4], "little")
    return bytes(out)


UNPACK = {  # from the bytes of one value and what stands before the checksum
    "raw": lambda size, data: data,
    "zstd": lambda size, data: numcodecs.Zstd().decode(data),
    "gzip": lambda size, data: gzip.decompress(data),
    "blosc": lambda size, data: numcodecs.Blosc().decode(data),
    "shuffle-zstd": lambda size, data: unshuffle(numcodecs.Zstd().decode(data), size),
    "shuffle-lz4": lambda size, data: unshuffle(lz4(data), size),
}


def chunk_rows(manifest, file):
    """Decode a chunk file of logits without Zarr."""
    data, dtype = file.read_bytes(), np.dtype(manifest["dtype"]).newbyteorder("<")
    assert int.from_bytes(data[-4:], "little") == crc32c(data[:-4])
    values = np.frombuffer(UNPACK[manifest["codec"]](dtype.itemsize, data[:-4]), dtype)
    return values.reshape(manifest["rows_per_chunk"], 2, manifest["num_clips"])


# What is read.


@pytest.fixture(scope="module")
def plain(data_folder, data, tmp_path_factory):
    """A raw float32 cache of two splits, and what its two teachers say when they are asked now."""
    place = tmp_path_factory.mktemp("plain")
    teachers = {name: save_teacher(place / name, data, seed=s) for s, name in enumerate(["a", "b"])}
    how = {"splits": ("train", "val"), "device": "cpu"}
    folder = cache(data_folder, place / "caches", teachers=teachers, **how)
    weigh(folder)
    rows = data.rows("train", "val")
    said = {
        name: model_logits(load_model(teacher).network, data, rows, 0, len(rows.ids))
        for name, teacher in teachers.items()
    }
    return CacheReader(folder), rows, said


def invented(array, lo, hi, num_clips=16):
    """Logits of rows lo to hi, a number for each place that depends on nothing else."""
    row, boundary, clip = np.ogrid[lo:hi, 0:2, 0:num_clips]
    angle = zlib.crc32(array.encode()) % 97 + row * 0.37 + boundary * 1.3 + clip * 2.1
    return (10 * np.sin(angle) + 100).astype(np.float32)


@pytest.fixture(scope="module")
def compressed(data, tmp_path_factory):
    """A compressed float16 cache of a cross-fitted teacher and its views, whose answers are invented."""
    place = tmp_path_factory.mktemp("compressed")
    facts, seal = read_facts(save_teacher(place / "t", data))
    facts["folds"] = assign_folds([data.videos[v] for v in data.rows("train").video], 2, seed=0)
    facts["files"] |= {f"folds/{fold}.safetensors": {"sha256": "0" * 64} for fold in (0, 1)}
    how = {"dtype": "float16", "codec": "shuffle-zstd", "precision": "float32"}
    views = plan_views(data, 2)
    plan = plan_cache(data, {"t": (facts, seal)}, splits=["train"], views=views, **how)
    folder = fill(place / "c", plan, lambda: invented, HERE, block_rows=32, workers=1)
    weigh(folder)
    return CacheReader(folder), data.rows("train"), views


def test_raw_logits(plain):
    """Read by the page, a raw float32 cache holds the bits of the teachers, rows in the page's order."""
    reader, rows, said = plain
    clips_N = reader.array("samples/clips")

    assert list(zip(reader.splits, reader.ids, strict=True)) == sorted(
        zip(rows.splits, rows.ids, strict=True)
    )
    np.testing.assert_array_equal(clips_N, rows.clips)
    np.testing.assert_array_equal(reader.array("samples/gt"), rows.gt)
    assert sorted(reader.manifest["arrays"]) == ["a", "b"]
    for name, logits_NBT in said.items():
        assert reader.logits(name).tobytes() == logits_NBT.tobytes()
        padding_NT = np.arange(16) >= clips_N[:, None]
        assert not reader.logits(name).transpose(0, 2, 1)[padding_NT].any()


def test_raw_chunk_is_the_array(plain):
    """As the page says, a raw chunk file is the array's bytes and four of checksum: it can be mapped."""
    reader, _, said = plain
    size = reader.manifest["rows_per_chunk"] * 2 * 16
    file = reader.folder / "teachers/b/logits/c/1/0/0"

    mapped = np.memmap(file, "<f4", mode="r", shape=(size,))

    assert file.stat().st_size == 4 * size + 4
    assert mapped.tobytes() == said["b"].reshape(-1)[size : 2 * size].tobytes()


def test_compressed_logits(compressed):
    """Read by the page, float16 is the row minus its largest valid logit; views lie where it says."""
    reader, rows, views = compressed
    valid_N1T = (np.arange(16) < rows.clips[:, None])[:, None]

    assert reader.manifest["views"] == {"number": 2, "version": views.version}
    assert sorted(reader.manifest["arrays"]) == ["t", "t/views/1", "t/views/2"]
    for array in reader.manifest["arrays"]:
        said_NBT = invented(array, 0, len(rows.ids))
        most_NB1 = np.where(valid_N1T, said_NBT, -np.inf).max(axis=2, keepdims=True)
        expected = np.where(valid_N1T, said_NBT - most_NB1, 0).astype(np.float16)
        assert reader.logits(array).tobytes() == expected.tobytes()
        assert (np.where(valid_N1T, reader.logits(array), -1).max(axis=2) == 0).all()
    for view in (1, 2):
        place = f"samples/views/{view}"
        np.testing.assert_array_equal(reader.array(f"{place}/gt"), views.gt_VN2[view - 1])
        np.testing.assert_array_equal(reader.array(f"{place}/seed"), views.seeds_VN[view - 1])


@pytest.mark.parametrize("which", ["plain", "compressed"])
def test_weights(which, request):
    """Cross-entropies and their means are those of the logits as they are read, views among them."""
    reader = request.getfixturevalue(which)[0]
    weights, clips_N = reader.weights(), reader.array("samples/clips")
    valid_N1T = (np.arange(16) < clips_N[:, None])[:, None]
    splits = np.array(reader.splits)

    assert weights.manifest["cache"] == reader.manifest["key"]
    assert weights.manifest["counts"] == {s: int((splits == s).sum()) for s in set(splits)}
    for array in reader.manifest["arrays"]:
        name, _, view = array.partition("/views/")
        gt_N2 = reader.array(f"samples/views/{view}/gt" if view else "samples/gt")
        shown = np.where(valid_N1T, np.exp(reader.logits(array).astype(np.float64)), 0)
        p_N2 = np.take_along_axis(shown, gt_N2[..., None].astype(int), 2)[..., 0] / shown.sum(2)
        ce_N2 = weights.array(f"views/{view}/{name}" if view else f"ce/{name}")
        np.testing.assert_allclose(ce_N2, np.maximum(-np.log(p_N2), 1e-12), rtol=1e-4, atol=1e-6)
        for split, means in weights.manifest["means"].items():
            expected = ce_N2[splits == split].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(means[array], expected, rtol=1e-12)


@pytest.mark.parametrize("which", ["plain", "compressed"])
def test_keys_and_sample_digests(which, request):
    """Keys and digests of the sample table can be made again from the manifest and the arrays."""
    reader, rows, _ = request.getfixturevalue(which)
    manifest, gt_N2 = reader.manifest, reader.array("samples/gt")
    inputs, arrays = manifest["inputs"], manifest["arrays"]
    names = [[split, name] for split, name in zip(reader.splits, reader.ids, strict=True)]

    assert manifest["key"] == json_digest(inputs)
    assert reader.folder.name == manifest["key"][:16]
    keys = {**inputs["teachers"], **inputs.get("views", {})}
    assert keys == {name: array["key"] for name, array in arrays.items()}
    assert all(array["key"] == json_digest(array["inputs"]) for array in arrays.values())
    assert inputs["samples"]["ids"] == json_digest(names)
    assert {array["inputs"]["ids"] for array in arrays.values()} == {json_digest(names)}
    assert inputs["samples"]["clips"] == json_digest(reader.array("samples/clips").tolist())
    assert inputs["samples"]["gt"] == json_digest(gt_N2.tolist())
    assert inputs["samples"]["durations"] == json_digest(rows.durations_s.tolist())
    assert (gt_N2[:, 0] <= gt_N2[:, 1]).all()
    assert (gt_N2[:, 1] < reader.array("samples/clips")).all()
    assert max(len(name.encode()) for name in reader.ids) == manifest["id_bytes"]
    chunks = -(-manifest["num_rows"] // manifest["rows_per_chunk"])
    for array in arrays.values():
        assert len(array.get("chunk_rows", manifest["chunk_rows"])) == chunks


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_codecs_without_zarr(codec, dtype, tmp_path):
    """Each codec decodes by the lines of the page, checksum first, to what Zarr reads; fill comes last."""
    folder = build(tmp_path, make_plan(("id",), dtype=dtype, codec=codec))
    reader = CacheReader(folder)
    expected = reader.logits("id")

    for chunk in range(10):
        found = chunk_rows(reader.manifest, folder / f"teachers/id/logits/c/{chunk}/0/0")
        rows = expected[chunk * 32 : chunk * 32 + 32]
        assert found[: len(rows)].tobytes() == rows.tobytes()
        assert np.isnan(found[len(rows) :]).all()
    assert len(rows) == 12
    assert (
        set(UNPACK)
        == set(CODECS)
        == set(re.findall(r"^\| `([a-z0-9-]+)` \| .* \|$", between("## Chunks"), re.M))
    )


@pytest.mark.parametrize("name", ["manifest.json", "zarr.json", "teachers/a/logits/c/1/0/0"])
def test_one_bit(name, plain, tmp_path):
    """Reading by the page notices one bit, wherever it is flipped."""
    shutil.copytree(plain[0].folder, tmp_path / "cache")
    data = bytearray((tmp_path / "cache" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "cache" / name).write_bytes(data)

    with pytest.raises(AssertionError):
        CacheReader(tmp_path / "cache")


# The page against what is there.


def between(heading):
    """The text of the page from a heading to the next of its rank."""
    found = re.search(rf"^{heading}$(.+?)(?=^## |\Z)", PAGE, re.M | re.S)
    return found[1]


def told(heading, first):
    """The rows of the table under a heading whose first column is called `first`: name and type."""
    _, _, after = between(heading).partition(f"| {first} | type | meaning |\n")
    table = after.partition("\n\n")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (\w+) \| .+ \|$", table, re.M))


TYPES = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "digest": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value),
}


def fields_of(value, fields, seen=(), path=()):
    """Every field of a manifest as the page calls it; those that it does not know as they are."""
    for key, inner in value.items():
        here = (*path, key)
        names = [name for name in fields if matches(name.split("."), here)]
        if not names and isinstance(inner, dict):
            yield from fields_of(inner, fields, seen, here)
            continue
        yield (names[0] if names else ".".join(here)), inner


def matches(pattern, path):
    return len(pattern) == len(path) and all(
        part == key or part.startswith("<") for part, key in zip(pattern, path, strict=True)
    )


def check_fields(manifests, fields):
    """Assert that the page names every field there is, no other, and each with its type."""
    found = [field for manifest in manifests for field in fields_of(manifest, fields)]
    wrong = {name for name, value in found if name in fields and not TYPES[fields[name]](value)}

    assert {name for name, _ in found} == set(fields)
    assert wrong == set()


def test_page_names_every_field(plain, compressed):
    """The page's table of the manifest is what manifests hold: no field more or less, types right."""
    manifests = [reader.manifest for reader, *_ in (plain, compressed)]

    check_fields(manifests, told("## The manifest of a cache", "field"))


def test_page_names_every_input(plain, compressed):
    """So is its table of what an array's key is made from."""
    manifests = [reader.manifest for reader, *_ in (plain, compressed)]
    inputs = [array["inputs"] for manifest in manifests for array in manifest["arrays"].values()]

    check_fields(inputs, told("## The manifest of a cache", "input"))


def test_page_names_every_field_of_weights(plain, compressed):
    """So is its table of the manifest of weights."""
    manifests = [reader.weights().manifest for reader, *_ in (plain, compressed)]

    check_fields(manifests, told("## Weights", "field"))


def test_page_draws_every_file(plain, compressed):
    """Each file of a cache lies where the page's picture says, and each array is of the type drawn."""
    picture = PAGE.partition("    CACHE/\n")[2].partition("\n\n")[0]
    drawn = re.findall(
        r"^ +((?:samples|teachers|ce|views)/\S+) +(?:(\w+) )?\[(.+?)\]", picture, re.M
    )
    letters = {"N": None, "W": "id_bytes", "2": 2, "T": "num_clips"}
    seen = set()
    for reader, *_ in (plain, compressed):
        shape_of = {**reader.manifest, None: reader.manifest["num_rows"], 2: 2}
        for folder in (reader, reader.weights()):
            metadata = [name for name in folder.manifest["files"] if name.endswith("zarr.json")]
            for name in metadata:
                facts = json.loads((folder.folder / name).read_bytes())
                if facts["node_type"] == "group":
                    continue
                path = name.removesuffix("/zarr.json").split("/")
                (found,) = [d for d in drawn if matches(d[0].split("/"), path)]
                seen.add(found[0])
                shape = [shape_of[letters[letter]] for letter in found[2].split(", ")]
                assert facts["shape"] == shape
                assert facts["data_type"] == (found[1] or reader.manifest["dtype"])
                assert facts["dimension_names"][0] == "sample"
    assert seen == {name for name, *_ in drawn}
