"""Which runs used which cache: finished ones, those under way, and results whose runs are gone."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.results import FORMAT as RESULT
from pipeline.walking import walk
from stores.errors import RefkdError
from stores.files import MANIFEST, read_seal
from stores.fingerprints import SHORT
from stores.models import FORMAT as MODEL
from stores.removal import undoomed

BEGUN = "begun.json"  # of a run that is under way, or was killed


@dataclass
class Uses:
    """Runs by the key of their cache, and what cannot be read and may be a run of any."""

    by_key: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[tuple[Path, str]] = field(default_factory=list)
    count: int = 0

    def of(self, key: str) -> list[str]:
        """Return the runs that used the cache of a key, or of the beginning of one."""
        return [
            run for own, some in self.by_key.items() if own[:SHORT] == key[:SHORT] for run in some
        ]

    def add(self, path: Path, key: str | None) -> None:
        """Count a run, whose cache has a key; a model that was taught by none has no key."""
        self.count += 1
        if key is not None:
            self.by_key.setdefault(key, []).append(str(path))


def find_uses(runs: Sequence[Path]) -> Uses:
    """Return the runs at any depth of some folders, each once, also those behind symbolic links.

    A link that leads nowhere and a folder that cannot be listed may stand for a run of any cache.
    Raises RefkdError if a folder is not there.
    """
    uses, seen = Uses(), set[str]()
    for folder in runs:
        if not folder.is_dir():
            raise RefkdError(
                f"no folder of runs at {folder}; give one that `refkd distill` wrote into"
            )
        for here, inside, files in walk(folder, uses.unknown, seen):
            if undoomed(here.name) == here.name:
                _look(here, files, uses)
            else:  # no run: a killed process was taking it apart
                inside.clear()
    return uses


def _look(folder: Path, files: Sequence[str], uses: Uses) -> None:
    """Add what a folder says of the caches that were used."""
    for name in files:
        path = folder / name
        try:
            if name == MANIFEST:
                for facts in _models(folder):
                    uses.add(folder, facts.get("cache"))
            elif name == BEGUN:
                begun = json.loads(path.read_bytes())
                uses.add(folder, begun["inputs"].get("cache"))
            elif path.suffix == ".json":
                for result in _results(path):
                    uses.add(path, result["seals"].get("cache_key"))
        except RefkdError as error:
            uses.unknown.append((folder, str(error)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            uses.unknown.append((path, f"it cannot be read ({error})"))


def _models(folder: Path) -> Iterator[dict[str, Any]]:
    facts, _ = read_seal(folder, repair="delete it, or put it back")
    if facts.get("format") == MODEL:
        yield facts


def _results(path: Path) -> Iterator[dict[str, Any]]:
    value = json.loads(path.read_bytes())
    if isinstance(value, dict) and value.get("format") == RESULT:
        yield value
