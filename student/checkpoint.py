"""Checkpoints of an unfinished training: one file that is either whole or refused."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stores.errors import RefkdError
from stores.files import describe_change, write_atomic

DIGEST_BYTES = 32
ORIGIN = "origin"


def save_checkpoint(
    path: Path, state: dict[str, Any], *, origin: Mapping[str, str] | None = None
) -> None:
    """Write tensors and plain values: their SHA-256, then what torch makes of them.

    `origin` are the digests of what they were learned from.
    """
    buffer = io.BytesIO()
    torch.save({**state, ORIGIN: dict(origin or {})}, buffer)
    data = buffer.getvalue()
    write_atomic(path, hashlib.sha256(data).digest() + data)


def load_checkpoint(
    path: Path, *, device: str, origin: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Return what `save_checkpoint` wrote, or None if there is no checkpoint.

    Raises RefkdError if the file is damaged, or was learned from something else than `origin`.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
        raise RefkdError(
            f"checkpoint {path} is damaged: its digest is not the recorded one; "
            "delete it and run the same command again to start over"
        )
    state: dict[str, Any] = torch.load(
        io.BytesIO(data[DIGEST_BYTES:]), map_location=device, weights_only=True
    )
    learned_from = state.pop(ORIGIN, None)
    now = dict(origin or {})
    told = {name: now[name] for name in now if name in (learned_from or {})}
    if learned_from is not None and learned_from != told:  # older ones do not say, or not all
        raise RefkdError(
            f"checkpoint {path} was learned from something else: "
            f"{describe_change(learned_from, told)}; give what it was learned from, or delete "
            f"{path.parent} and run the same command again to start over"
        )
    return state
