"""Checkpoints of an unfinished training: one file that is either whole or refused."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from stores.errors import RefkdError
from stores.files import write_atomic

DIGEST_BYTES = 32


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values: their SHA-256, then what torch makes of them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    write_atomic(path, hashlib.sha256(data).digest() + data)


def load_checkpoint(path: Path, *, device: str) -> dict[str, Any] | None:
    """Return what `save_checkpoint` wrote, or None if there is no checkpoint.

    Raises RefkdError if the file is damaged.
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
    return state
