"""Answer one question about one video: the moments that a sentence describes, best first."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stores.dataset import read_words_path
from stores.errors import RefkdError
from stores.features import read_features
from stores.grid import resample, span_seconds
from stores.lexicon import encode_words
from stores.models import words_read
from stores.rows import half_precision
from stores.words import WordFile, open_words, tokenize
from student.batches import WordTable
from student.forward import intra_op_threads, resolve_device
from student.inputs import Inputs, length_mask
from student.model import load_model
from student.spans import masked_log_softmax, top_spans

log = logging.getLogger("refkd")


def predict(
    model: Path,
    *,
    features: Path,
    video: str = "",
    duration_s: float,
    query: str,
    words: Path | None = None,
    top: int = 1,
    device: str = "auto",
) -> list[dict[str, float]]:
    """Return the `top` best spans as {"start_s", "end_s", "score"}, scores being probabilities.

    `features` is a .npy file, or a folder or an HDF5 file of many videos that has this `video`.
    `words` is the word-vector file of training; without it the recorded one is used. Raises
    RefkdError if a file cannot be read or is not the one of training, or the query is empty.
    """
    if not duration_s > 0 or not np.isfinite(duration_s):
        raise RefkdError(f"duration must be above 0 seconds, got {duration_s:g}")
    if not tokenize(query):
        raise RefkdError(f"query {query!r} holds no word; describe the moment in a sentence")
    if top < 1:
        raise RefkdError(f"top must be at least 1, got {top}")
    device = resolve_device(device)
    asked = load_model(model, device=device)
    facts = asked.facts
    rows_nD = read_features(features, video=video, channels=facts["num_channels"])
    rows_nD = half_precision(video or features.stem, rows_nD)  # as in a data set
    grid_mD = resample(rows_nD, facts["num_clips"], grid=facts["grid"])
    word_file = _training_words(facts, words or read_words_path(model))
    inputs = _inputs(facts, grid_mD, query, word_file).to(device)
    with torch.inference_mode(), intra_op_threads(1):
        log_p_NBT = masked_log_softmax(asked.network(inputs).logits_NBT, inputs.clips_NT)
        found = top_spans(log_p_NBT[0].cpu(), inputs.clips_NT[0].cpu(), top)
    answers = []
    for s, e, score in found:
        start_s, end_s = span_seconds(s, e, duration_s, len(grid_mD))
        answers.append({"start_s": float(start_s), "end_s": float(end_s), "score": score})
    return answers


def _training_words(facts: dict[str, Any], words: Path | str | None) -> WordFile:
    """Return the word vectors that a model was trained with, known by their digest."""
    recorded, path = facts["word_file"], words
    if path is not None and not Path(path).is_file():
        raise RefkdError(
            f"no word vectors at {path}; give the file of training ({recorded['name']}) by --words"
        )
    found = open_words(None if path is None else Path(path))
    if found.sha256 != recorded["sha256"]:
        raise RefkdError(
            f"word vectors {found.name} have digest {found.sha256[:16]}, the model was trained "
            f"with {recorded['name']} of digest {recorded['sha256'][:16]}; give that file by --words"
        )
    return found


def _inputs(
    facts: dict[str, Any], grid_mD: npt.NDArray[np.float32], query: str, words: WordFile
) -> Inputs:
    """Return a batch of one pair, as the data set that the model was trained on would hold it."""
    told, most = tokenize(query), words_read(facts)
    if len(told) > most:
        log.warning(
            "the query has %d words, of which the model reads the first %d; left out: %s",
            *(len(told), most, " ".join(told[most:])),
        )
    known = words.vectors(told)
    if unknown := [word for word in told[:most] if word not in known]:
        log.warning("known by their letters alone, without a vector: %s", ", ".join(unknown))
    lexicon, words_NL = encode_words(
        [query],
        known,
        width=words.width,
        characters=facts["characters"],
        num_words=max(facts["num_words"], min(len(told), most)),
        num_chars=facts["num_chars"],
    )
    features_TD = np.zeros((facts["num_clips"], facts["num_channels"]), dtype=np.float16)
    features_TD[: len(grid_mD)] = grid_mD  # float16, as on disk
    table = WordTable(lexicon, facts["characters"], facts["characters"])
    looked_up = table.look_up(torch.from_numpy(words_NL.astype(np.int64)))
    mask_NT = length_mask(torch.tensor([len(grid_mD)]), facts["num_clips"])
    return Inputs(torch.from_numpy(features_TD)[None].float(), mask_NT, *looked_up)
