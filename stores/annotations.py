"""Annotation files to pairs: which file holds which split, and which reader reads it."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stores.errors import RefkdError
from stores.formats import read_cd, read_charades_sta, read_durations, read_jsonl
from stores.pairs import SPLITS, Pair, check_split, pair_from_json, pair_to_json

__all__ = [
    "SPLITS",
    "Pair",
    "check_split",
    "pair_from_json",
    "pair_to_json",
    "read_annotations",
    "read_pairs",
    "split_of_name",
    "warn_of_idle_durations",
]

SUFFIXES = (".json", ".jsonl", ".txt")
_SPLIT_WORD = re.compile(r"(?<![^_.-])(train|val|test_iid|test_ood|test)(?![^_.-])")
_log = logging.getLogger("refkd")


def read_annotations(
    path: Path, *, splits: Mapping[str, Path] | None = None, durations: Path | None = None
) -> dict[str, list[Pair]]:
    """Return the pairs of each split, in file order, from a file or a folder of files.

    A file's split is told by its name or given in `splits`, which wins; files in `splits` may lie
    elsewhere, or be named relative to `path`. `durations` serves Charades-STA text only.
    """
    files = _files_of_splits(path, dict(splits or {}), durations)
    warn_of_idle_durations(durations, files.values())
    return {
        split: read_pairs(files[split], split, durations=durations)
        for split in SPLITS
        if split in files
    }


def warn_of_idle_durations(durations: Path | None, files: Iterable[Path]) -> None:
    """Warn if durations are given that none of these annotation files needs."""
    if durations is not None and all(file.suffix != ".txt" for file in files):
        _log.warning("--durations %s is not used: no annotation is Charades-STA text", durations)


def read_pairs(path: Path, split: str, *, durations: Path | None = None) -> list[Pair]:
    """Return the pairs of one file, in file order, as belonging to a split."""
    check_split(split)
    if not path.is_file():
        raise RefkdError(f"no annotation file at {path}")
    if path.suffix == ".json":
        pairs = read_cd(path, split)
    elif path.suffix == ".jsonl":
        pairs = read_jsonl(path, split)
    elif path.suffix == ".txt":
        if durations is None:
            raise RefkdError(
                f"{path} is Charades-STA text, which has no durations; give them by --durations FILE"
            )
        if not durations.is_file():
            raise RefkdError(f"no file of durations at {durations}")
        pairs = read_charades_sta(path, split, read_durations(durations))
    else:
        raise RefkdError(
            f"{path} ends in {path.suffix or 'nothing'}, expected .json (Charades-CD, ActivityNet-CD), "
            ".jsonl (moment-detr) or .txt (Charades-STA)"
        )
    if not pairs:
        raise RefkdError(f"{path} holds no pairs, expected at least one")
    return pairs


def split_of_name(name: str) -> str | None:
    """Return the split that a file name tells, or None.

    >>> split_of_name("anet_train.reconstructed.json"), split_of_name("training.json")
    ('train', None)
    """
    found = sorted(set(_SPLIT_WORD.findall(name)))
    if len(found) > 1:
        raise RefkdError(
            f"file name {name} holds two split names ({' and '.join(found)}); "
            "rename it or say which by `refkd prepare --split NAME=FILE`"
        )
    return found[0] if found else None


def _files_of_splits(path: Path, given: dict[str, Path], durations: Path | None) -> dict[str, Path]:
    """Return the file of each split."""
    if not path.exists():
        raise RefkdError(f"no annotations at {path}, expected a file or a folder of them")
    files = {check_split(split): _locate(file, path) for split, file in given.items()}
    taken = {file.resolve() for file in (*files.values(), *([durations] if durations else []))}
    rest = [file for file in _candidates(path) if file.resolve() not in taken]
    named = [(split_of_name(file.name), file) for file in rest]
    nameless = [file for split, file in named if split is None]
    for split, file in named:
        if split in given:
            _log.info("%s is left out: --split names another file for %s", file, split)
        elif split in files:
            raise RefkdError(
                f"{files[split]} and {file} both claim the split {split}; "
                "say which is which by `refkd prepare --split NAME=FILE`"
            )
        elif split is not None:
            files[split] = file
    if nameless and (not files or path.is_file()):
        return {**files, "train": _lone(nameless, files)}
    for file in nameless:
        _log.info("%s is left out: its name tells none of the splits %s", file, ", ".join(SPLITS))
    if not files:
        raise RefkdError(f"no annotations in {path}, expected {', '.join(SUFFIXES)} files")
    return files


def _candidates(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _locate(file: Path, path: Path) -> Path:
    """Return a file given for a split, as it stands or inside the annotation folder."""
    if not file.exists() and (path / file).exists():
        return path / file
    return file


def _lone(nameless: Sequence[Path], files: Mapping[str, Path]) -> Path:
    """Return the one file whose name tells no split, which is then `train`."""
    if len(nameless) > 1:
        names = ", ".join(file.name for file in nameless)
        raise RefkdError(
            f"the names of {names} tell no split, expected one of {', '.join(SPLITS)} in each; "
            "rename them or give `refkd prepare --split NAME=FILE`"
        )
    if "train" in files:
        raise RefkdError(
            f"{files['train']} and {nameless[0]} both claim the split train; "
            "say which is which by `refkd prepare --split NAME=FILE`"
        )
    return nameless[0]
