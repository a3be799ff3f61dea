"""Simulate: a prepared data set whose features are made up from its annotations."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.costs import measured
from stores.annotations import read_annotations
from stores.dataset import VERSION
from stores.dataset_writer import (
    check_inputs,
    data_lock,
    existing_manifest,
    pair_digests,
    write_dataset,
)
from stores.demo import CHANNELS, CLIPS, demo_pairs
from stores.errors import RefkdError
from stores.grid import check_grid
from stores.lexicon import word_types
from stores.pairs import Pair
from stores.simulator import DEFAULT, EASY, Simulator
from stores.words import open_words

ANNOTATED_CHANNELS, ANNOTATED_CLIPS = 1024, 128  # as real I3D features have, and as published

_log = logging.getLogger("refkd")


def simulate(
    out: Path,
    *,
    annotations: Path | None = None,
    words: Path | None = None,
    clips: int | None = None,
    durations: Path | None = None,
    seed: int = 0,
) -> Path:
    """Write the data set folder `out`, or return it if it stands there, made from the same inputs.

    With `annotations`, the pairs are theirs and the features have 1024 channels; without, the
    built-in demo pairs with 256. `clips` is 128 or, for the demo, 32 unless given; `durations`
    serves Charades-STA text. Raises RefkdError if an input is wrong or `out` was made from others.
    """
    built_in = annotations is None
    clips = clips or (CLIPS if built_in else ANNOTATED_CLIPS)
    check_grid("fixed", clips)
    with data_lock(out):
        manifest = existing_manifest(out)
        pairs = _pairs(annotations, durations, seed)
        everything = [pair for some in pairs.values() for pair in some]
        word_file = open_words(words)
        simulator = Simulator(
            everything,
            word_file.vectors(word_types(pair.query for pair in everything)),
            channels=CHANNELS if built_in else ANNOTATED_CHANNELS,
            seed=seed,
            setting=EASY if built_in else DEFAULT,
        )
        inputs: dict[str, Any] = {
            **pair_digests(pairs),
            "simulator": simulator.facts(),
            "words": word_file.sha256,
            "grid": "fixed",
            "clips": clips,
            "version": VERSION,
        }
        if manifest is not None:
            check_inputs(out, manifest["inputs"], inputs)
            _log.info("%s is already simulated from these inputs", out)
            return out
        with measured(out, "simulate", rows=sum(map(len, pairs.values()))):
            return write_dataset(
                out,
                pairs,
                simulator,
                word_file,
                grid="fixed",
                clips=clips,
                simulated=True,
                inputs=inputs,
                facts={"seed": seed, "simulator": simulator.facts()},
            )


def _pairs(
    annotations: Path | None, durations: Path | None, seed: int
) -> Mapping[str, Sequence[Pair]]:
    """Return the pairs of each split."""
    if annotations is not None:
        return read_annotations(annotations, durations=durations)
    if durations is not None:
        raise RefkdError(f"--durations {durations} is for annotations; give those by --annotations")
    return demo_pairs(seed)
