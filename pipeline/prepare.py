"""Prepare: annotations, features and word vectors in, one sealed data set folder out."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.costs import measured
from stores.annotations import read_annotations
from stores.dataset import VERSION
from stores.dataset_writer import (
    check_inputs,
    data_lock,
    existing_manifest,
    note_words_path,
    pair_digests,
    write_dataset,
)
from stores.errors import RefkdError
from stores.features import FeatureSource, open_features
from stores.fingerprints import file_digest
from stores.grid import check_grid
from stores.pairs import Pair
from stores.rows import rows_digest
from stores.words import open_words

_log = logging.getLogger("refkd")

Pairs = dict[str, list[Pair]]


def prepare(
    out: Path,
    *,
    annotations: Path,
    features: Path,
    splits: Mapping[str, Path] | None = None,
    words: Path | None = None,
    durations: Path | None = None,
    grid: str = "fixed",
    clips: int = 128,
    allow_missing: bool = False,
) -> Path:
    """Write the data set folder `out`, or return it if it stands there, made from the same inputs.

    Raises RefkdError if an input is wrong, a video has no features (unless `allow_missing`, which
    leaves its pairs out), or `out` was made from other inputs.
    """
    check_grid(grid, clips)
    with data_lock(out):
        manifest = existing_manifest(out)
        source = open_features(features)
        read = read_annotations(annotations, splits=splits, durations=durations)
        pairs, left_out = _with_features(read, source, features, allow_missing=allow_missing)
        word_file = open_words(words)
        inputs: dict[str, Any] = {
            **pair_digests(pairs),
            "durations": durations and file_digest(durations),
            "words": word_file.sha256,
            "grid": grid,
            "clips": clips,
            "version": VERSION,
        }
        if manifest is not None:
            videos = {pair.video for some in pairs.values() for pair in some}
            before = {**manifest["inputs"], "features": manifest["features"]}
            check_inputs(out, before, {**inputs, "features": rows_digest(source, videos)})
            note_words_path(out, word_file)  # it may have moved
            _log.info("%s is already prepared from these inputs", out)
            return out
        with measured(out, "prepare", rows=sum(map(len, pairs.values()))):
            return write_dataset(
                out,
                pairs,
                source,
                word_file,
                grid=grid,
                clips=clips,
                simulated=False,
                inputs=inputs,
                facts={"left_out": left_out},
            )


def _with_features(
    pairs: Pairs, source: FeatureSource, features: Path, *, allow_missing: bool
) -> tuple[Pairs, dict[str, Any]]:
    """Return the pairs whose video has features, and which videos and how many pairs have none."""
    videos = {pair.video for some in pairs.values() for pair in some}
    missing = source.missing(videos)
    if missing and not allow_missing:
        named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise RefkdError(
            f"{len(missing)} of {len(videos)} videos have no features in {features}: {named}; "
            "add them, or leave their pairs out with --allow-missing"
        )
    gone = set(missing)
    kept = {
        split: [pair for pair in some if pair.video not in gone] for split, some in pairs.items()
    }
    lost = {
        split: len(some) - len(kept[split])
        for split, some in pairs.items()
        if len(some) > len(kept[split])
    }
    if not any(kept.values()):
        raise RefkdError(
            f"none of the {len(videos)} videos has features in {features}; "
            "give the features of these annotations"
        )
    if missing:
        _log.warning(
            "%d of %d videos have no features and are left out, with %s",
            len(missing),
            len(videos),
            ", ".join(
                f"{count} of {len(pairs[split])} pairs of {split}" for split, count in lost.items()
            ),
        )
    return {split: some for split, some in kept.items() if some}, {"videos": missing, "pairs": lost}
