"""Writing a prepared data set, video by video, so that it appears whole or not at all.

The manifest's facts: format, version, grid, clips, channels, words, chars (the sizes T, D, L, C),
simulated, word_file, counts and defects by split, queries_cut, features (a digest of all rows as
read), inputs (what the writer was asked for: they decide whether there is anything to do), and
what the stage adds.

Shapes: N pairs, L words.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.dataset import FORMAT, VERSION, WORDS_PATH
from stores.defects import contradictions, count_defects, empty_moments
from stores.errors import RefkdError
from stores.files import (
    describe_change,
    locked,
    publish,
    read_seal,
    real_place,
    seal_folder,
    write_json,
)
from stores.fingerprints import canonical_json, digest
from stores.grid import clip_span, grid_length
from stores.lexicon import MOST_WORDS, encode_words, most_chars, most_words, word_types
from stores.pairs import Pair, pair_to_json
from stores.removal import remove_folder, sweep
from stores.rows import RowSource, write_rows
from stores.words import WordFile

ELSEWHERE = "give another OUT, or delete this one"

_log = logging.getLogger("refkd")


def data_lock(out: Path) -> AbstractContextManager[bool]:
    """Return the lock to hold while looking at OUT and writing it.

    Raises RefkdError if no data set could appear there.
    """
    place = real_place(out)
    return locked(place.with_name(f".{place.name}.lock"))


def existing_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of the data set at OUT, or None if OUT is absent or an empty folder.

    Raises RefkdError if OUT is anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir():
        raise RefkdError(f"{out} is a file, expected a folder to write; {ELSEWHERE}")
    manifest, _ = read_seal(out, repair=ELSEWHERE)
    if manifest.get("format") != FORMAT:
        found = manifest.get("format", "something else")
        raise RefkdError(f"{out} holds {found}, not a data set; {ELSEWHERE}")
    return manifest


def check_inputs(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise RefkdError, naming what changed, if a data set was made from other inputs."""
    if before != now:
        change = describe_change(dict(before), dict(now))
        raise RefkdError(f"{out} was made from other inputs: {change}; {ELSEWHERE}")


def pair_digests(pairs: Mapping[str, Sequence[Pair]]) -> dict[str, str]:
    """Return a digest of each split's pairs, whatever their order, as `pairs of SPLIT`."""
    return {
        f"pairs of {split}": digest([pair_to_json(pair) for pair in sorted(some, key=pair_key)])
        for split, some in pairs.items()
    }


def pair_key(pair: Pair) -> tuple[str, str]:
    """Return what pairs are sorted by: split, then id."""
    return pair.split, pair.id


def write_dataset(
    out: Path,
    pairs: Mapping[str, Sequence[Pair]],
    source: RowSource,
    words: WordFile,
    *,
    grid: str,
    clips: int,
    simulated: bool,
    inputs: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Path:
    """Write a data set folder whole and return it; the caller holds `data_lock(out)`.

    `facts` go into the manifest but do not count as inputs; the word file's path stands outside it,
    so that the seal does not depend on where inputs lay.
    Raises RefkdError if a pair stands twice or a value of a video does not fit float16.
    """
    ordered = sorted((pair for some in pairs.values() for pair in some), key=pair_key)
    for one, other in pairwise(ordered):
        if pair_key(one) == pair_key(other):
            raise RefkdError(f"pair {one.id} stands twice in split {one.split}, expected once")
    videos = sorted({pair.video for pair in ordered})
    if not pairs.get("train"):
        _log.info(
            "there is no train split: channel statistics and characters come from all videos and "
            "queries, for models trained on other data"
        )
    taught = [pair for pair in ordered if pair.split == "train"] or ordered
    with _building(out) as folder:
        lengths, features = write_rows(
            folder, source, videos, {pair.video for pair in taught}, grid=grid, clips=clips
        )
        video_clips = {
            video: grid_length(n, clips, grid=grid)
            for video, n in zip(videos, lengths, strict=True)
        }
        _write_labels(folder, ordered, [video_clips[pair.video] for pair in ordered])
        _write_json(folder / "videos.json", {"videos": videos, "rows": lengths})
        sizes = _write_words(folder, ordered, taught, words)
        counts, defects = _count(pairs)
        written = {
            **facts,
            **sizes,
            "format": FORMAT,
            "version": VERSION,
            "grid": grid,
            "clips": clips,
            "channels": source.shape(videos[0])[1],
            "simulated": simulated,
            "features": features,
            "inputs": dict(inputs),
            "word_file": {"name": words.name, "sha256": words.sha256, "width": words.width},
            "counts": counts,
            "defects": defects,
        }
        seal_folder(folder, written)
        note_words_path(folder, words)
    return out


def note_words_path(folder: Path, words: WordFile) -> None:
    """Note, outside the seal, where the word vectors lie, so that `predict` finds them."""
    write_json(folder / WORDS_PATH, words.path and str(Path(words.path).resolve()))


@contextmanager
def _building(out: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes OUT when the block ends, and is removed if it fails.

    What a killed writer left is removed first: the lock says that nobody is at work on it.
    """
    place = real_place(out)
    folder = place.with_name(f".{place.name}.partial")
    sweep(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
        publish(folder, place)
    finally:
        remove_folder(folder)


def _count(
    pairs: Mapping[str, Sequence[Pair]],
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Return the pairs and videos of each split, and its defects, and tell the user."""
    counts, defects = {}, {}
    for split, some in pairs.items():
        counts[split] = {"pairs": len(some), "videos": len({pair.video for pair in some})}
        defects[split] = count_defects(some)
        named = "".join(f", {kind} {count}" for kind, count in defects[split].items())
        _log.info("%s: %d pairs of %d videos%s", split, *counts[split].values(), named)
        _warn_of_empty(split, some)
    for told in contradictions(pairs):
        _log.warning("%s", told)
    return counts, defects


def _warn_of_empty(split: str, pairs: Sequence[Pair]) -> None:
    empty = empty_moments(pairs)
    if not empty:
        return
    first = empty[0]
    start_s, end_s = first.windows[0]
    _log.warning(
        "%s: %d moments hold no part of their video and count as its first clip, as that of %s, "
        "%g to %g s of %g s%s",
        *(split, len(empty), first.id, start_s, end_s, first.duration_s),
        "; are the times in seconds?" if 2 * len(empty) > len(pairs) else "",
    )


def _write_labels(folder: Path, pairs: Sequence[Pair], clips: Sequence[int]) -> None:
    """Write pairs.jsonl, and labels.npy: the clips of each pair's first window."""
    lines = [canonical_json(pair_to_json(pair)) for pair in pairs]
    (folder / "pairs.jsonl").write_text("".join(f"{line}\n" for line in lines))
    start_s, end_s = np.array([pair.windows[0] for pair in pairs]).T
    labels = clip_span(start_s, end_s, np.array([pair.duration_s for pair in pairs]), clips)
    _save(folder / "labels.npy", np.stack(labels, axis=-1).astype(np.int16))


def _write_words(
    folder: Path, pairs: Sequence[Pair], taught: Sequence[Pair], words: WordFile
) -> dict[str, int]:
    """Write the lexicon and the pairs' words; return their sizes and the number of cut queries."""
    queries = [pair.query for pair in pairs]
    types = word_types(queries)
    characters = "".join(sorted(set("".join(word_types(pair.query for pair in taught)))))
    known = words.vectors(types)
    num_words, cut = most_words(queries)
    if cut:
        _log.warning("queries cut to their first %d words: %d", MOST_WORDS, cut)
    unknown = [word for word in types if word not in known]
    if 2 * len(unknown) > len(types):
        _log.warning(
            "%d of %d words have no vector in %s, as %s; give vectors of the queries' language by "
            "--words",
            *(len(unknown), len(types), words.name, ", ".join(unknown[:3])),
        )
    lexicon, words_NL = encode_words(
        queries,
        known,
        width=words.width,
        characters=characters,
        num_words=num_words,
        num_chars=most_chars(types),
    )
    _write_json(folder / "words.json", {"words": types, "characters": characters})
    _save(folder / "vectors.npy", lexicon.vectors)
    _save(folder / "known.npy", lexicon.known)
    _save(folder / "chars.npy", lexicon.chars)
    _save(folder / "tokens.npy", words_NL)
    return {"words": num_words, "chars": lexicon.chars.shape[1], "queries_cut": cut}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
