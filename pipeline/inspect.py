"""Say what lies at a path: a data set, annotations, a cache, weights, a teacher, a run or results.

Every file that a manifest lists is read and compared with its digest.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.results import is_result, read_result
from stores.annotations import SUFFIXES, read_annotations
from stores.arraynames import spoken
from stores.cache import FORMAT as CACHE
from stores.cache import open_cache
from stores.cachechecks import damaged_files
from stores.cachekeys import FOLD_WEIGHTS
from stores.dataset import FORMAT as DATA
from stores.dataset import open_dataset
from stores.defects import count_defects
from stores.errors import RefkdError
from stores.files import MANIFEST, read_seal
from stores.fingerprints import SHORT, file_digest
from stores.models import FORMAT as MODEL
from stores.pairs import Pair
from stores.unfinished import CURRENT
from stores.weights import FORMAT as WEIGHTS
from stores.weights import open_weights

log = logging.getLogger("refkd")
LAYERS = ("stores", "student", "pipeline", "cli")
ANNOTATIONS = "annotations"
REPAIR = "write it again with the command that made it"
EXPECTED = (
    "expected a prepared data set, annotations (.json, .jsonl or .txt), a cache, its weights, "
    "a teacher, a run or results"
)


def inspect(path: Path, *, durations: Path | None = None) -> dict[str, Any]:
    """Return the facts of what lies at a path, `kind` first; `durations` serves Charades-STA text.

    Raises RefkdError if nothing of ours lies there, or a file of it is missing or damaged.
    """
    warn_of_other_owners()
    found = _found(path, durations)
    if durations is not None and found["kind"] != ANNOTATIONS:
        log.warning("--durations %s is not used: %s holds no annotations", durations, path)
    return found


def _found(path: Path, durations: Path | None) -> dict[str, Any]:
    if not path.exists():
        raise RefkdError(f"no file or folder at {path}; {EXPECTED}")
    if (path / MANIFEST).is_file():
        return _sealed(path)
    if (path / CURRENT).is_file():
        return _sealed(open_weights(open_cache(path.parent)).folder)
    results = [file for file in _json_files(path) if is_result(file)]
    if results:
        return _result_facts(results)
    if path.is_file() or any(file.suffix in SUFFIXES for file in path.glob("[!.]*")):
        return _annotations(path, durations)
    inside = sorted(child.parent.name for child in path.glob(f"[!.]*/{MANIFEST}"))
    if inside:
        raise RefkdError(f"{path} is a folder of folders; inspect one of {', '.join(inside[:5])}")
    raise RefkdError(f"{path} holds nothing that refkd knows; {EXPECTED}")


def warn_of_other_owners() -> None:
    """Warn if another installed distribution owns the name of one of our packages."""
    owners = packages_distributions()
    for layer in LAYERS:
        for owner in sorted({*owners.get(layer, [])} - {"refkd"}):
            log.warning(
                "the installed distribution %s also owns the package name %s, so that python may "
                "import the wrong one; give refkd an environment of its own",
                owner,
                layer,
            )


def _json_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in sorted(path.glob("[!.]*.json")) if file.is_file()]


def _result_facts(files: Sequence[Path]) -> dict[str, Any]:
    kinds = Counter(read_result(file)["about"]["kind"] for file in files)
    return {"kind": "results of refkd ablate", "models": dict(kinds)}


def _annotations(path: Path, durations: Path | None) -> dict[str, Any]:
    splits = read_annotations(path, durations=durations)
    return {
        "kind": ANNOTATIONS,
        "splits": {split: _counts(pairs) for split, pairs in splits.items()},
    }


def _counts(pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        "pairs": len(pairs),
        "videos": len({pair.video for pair in pairs}),
        "defects": count_defects(pairs),
    }


def _sealed(folder: Path) -> dict[str, Any]:
    """Return the facts of a sealed folder after its files were compared with their digests."""
    manifest, seal = read_seal(folder, repair=REPAIR)
    tell = FACTS.get(manifest.get("format", ""))
    if tell is None:
        raise RefkdError(f"{folder} holds {manifest.get('format', 'no format')}; {EXPECTED}")
    facts = tell(folder, manifest)
    _check_files(folder, manifest)
    size = sum(entry["size"] for entry in manifest["files"].values())
    files = f"{len(manifest['files'])} intact, {size / 2**20:.1f} MiB"
    return {**facts, "files": files, "seal": seal}


def _check_files(folder: Path, manifest: dict[str, Any]) -> None:
    for name, entry in manifest["files"].items():
        if not (folder / name).is_file():
            raise RefkdError(f"{folder / name} is missing; {REPAIR}")
        if file_digest(folder / name) != entry["sha256"]:
            raise RefkdError(
                f"{folder / name} is damaged: its digest is not the recorded one; {REPAIR}"
            )


def _data_facts(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    data = open_dataset(folder)
    rows_V = np.diff(data.raw_ends, prepend=0)
    lengths_s = {pair.video: pair.duration_s for pairs in data.pairs.values() for pair in pairs}
    seconds_V = np.array([lengths_s[video] for video in data.videos])
    return {
        "kind": "data set",
        "simulated": data.simulated,
        "grid": data.grid,
        "clips": data.num_clips,
        "channels": data.num_channels,
        "videos": len(data.videos),
        "raw rows per video": {
            "least": int(rows_V.min()),
            "median": float(np.median(rows_V)),
            "most": int(rows_V.max()),
        },
        "seconds per raw row": float(np.median(seconds_V / rows_V)),
        "word vectors": data.word_file["name"],
        "words": len(data.lexicon.known) - 1,
        "words without a vector": int((~data.lexicon.known[1:]).sum()),
        "queries cut": manifest["queries_cut"],
        "splits": {split: _counts(pairs) for split, pairs in data.pairs.items()},
        **({"pairs left out without features": data.left_out} if data.left_out else {}),
    }


def _model_facts(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    kind = "run" if manifest["kind"] == "student" else manifest["kind"]
    inputs = manifest["inputs"]
    settings = inputs.get("recipe") or {k: v for k, v in inputs.items() if k != "data"}
    kept = manifest["history"][manifest["best_epoch"] - 1]
    return {
        "kind": kind,
        "settings": settings,
        "data": manifest["data"],
        "cache": manifest.get("cache"),
        "simulated": manifest["simulated"],
        "epochs": len(manifest["history"]),
        "kept epoch": manifest["best_epoch"],
        "val": kept["val"],
        **({"folds": _fold_facts(manifest)} if "folds" in manifest else {}),
    }


def _fold_facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return how each model of a cross-fitted teacher was fitted: without which videos, how well."""
    both = zip(manifest["folds"], manifest["fold_courses"], strict=True)
    return {
        f"without fold {fold}": {
            "videos left out": len(videos),
            "kept epoch": course["best_epoch"],
            "val": course["history"][course["best_epoch"] - 1]["val"],
        }
        for fold, (videos, course) in enumerate(both, start=1)
    }


def _cache_facts(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    opened = open_cache(folder)
    for error in damaged_files(opened).values():
        raise error
    counts = Counter(opened.splits)
    return {
        "kind": "cache",
        "simulated": manifest["simulated"],
        "splits": {split: {"pairs": counts[split]} for split in manifest["splits"]},
        "teachers": {
            name: {
                "key": array["key"][:SHORT],
                "folds": len(array["inputs"].get(FOLD_WEIGHTS, ())) or None,
                **array["built"],
            }
            for name, array in manifest["arrays"].items()
            if name in opened.teachers
        },
        "views": opened.num_views,
        "logits": f"{manifest['dtype']} [{opened.num_rows}, 2, {opened.num_clips}]",
        "codec": manifest["codec"],
        "precision": manifest["precision"],
        "chunks per array": opened.layout.num_chunks,
        "rows per chunk": manifest["rows_per_chunk"],
        "data": manifest["data"],
        "key": manifest["key"],
        "weighed": (folder / "weights" / CURRENT).is_file(),
    }


def _weights_facts(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    means = {
        f"{split}, {spoken(array)}": {"start": start, "end": end}
        for split, arrays in manifest["means"].items()
        for array, (start, end) in arrays.items()
    }
    facts = {"kind": "weights", "cache": manifest["cache"], "mean cross-entropies": means}
    if not (folder.parent / CURRENT).is_file():  # a copy without its cache
        return facts
    from pipeline.weightspread import weight_spreads  # torch, which nothing else here needs

    cache = open_cache(folder.parent.parent)
    return {**facts, "weights of eq. 4": weight_spreads(cache, open_weights(cache))}


FACTS: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    DATA: _data_facts,
    MODEL: _model_facts,
    CACHE: _cache_facts,
    WEIGHTS: _weights_facts,
}
