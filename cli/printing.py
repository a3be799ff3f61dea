"""What a command prints on stdout: a readable text, or with --json one object as the last line."""

import json
from typing import Any

import click


def show(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a command's result; notices and progress go to stderr, so stdout holds nothing else."""
    click.echo(json.dumps(result, allow_nan=False) if as_json else text)
