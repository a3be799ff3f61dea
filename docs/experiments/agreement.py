"""How alike the two teachers of each cache answer the training pairs, as agree.py found and kept it.

    RESULTS/agreement.json   by experiment, an entry for each cache
      cache, teachers   its key, and their names
      pairs, moved      what agree.py found on the pairs as they are, and on their moved views
      crossed           and on the pairs, of the first teacher and the second one of the next cache

`make experiments` writes it; what the numbers are says agree.py.
"""

from pathlib import Path
from typing import Any

from stores.files import read_json

NAME = "agreement.json"
Agreement = dict[str, Any]


def read_agreement(results: Path) -> dict[str, list[Agreement]]:
    """Return what is kept of each experiment in a folder of results."""
    path = results / NAME
    if not path.is_file():
        return {}
    found: dict[str, list[Agreement]] = read_json(
        path, repair="restore it from git, or run `make experiments`"
    )
    return found
