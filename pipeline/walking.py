"""Every folder below one, also through symbolic links: what a plain walk skips in silence is told."""

import os
from collections.abc import Iterator
from pathlib import Path

Trouble = list[tuple[Path, str]]  # what could not be looked into, and why
Found = tuple[Path, list[str], list[str]]  # a folder, names of folders in it, names of files


def walk(top: Path, trouble: Trouble, seen: set[str] | None = None) -> Iterator[Found]:
    """Yield a folder and all below it, each real one once: first where it lies, then by links.

    Names are sorted; whoever removes one from the folders is not taken there. `trouble` gets the
    folders that cannot be listed and the links that lead nowhere; `seen` the real paths.
    """
    seen, tops = set() if seen is None else seen, [top]

    def note(error: OSError) -> None:
        trouble.append((Path(error.filename), f"it cannot be listed ({error.strerror})"))

    for begin in tops:
        for path, inside, files in os.walk(begin, onerror=note):  # which follows no links
            if os.path.realpath(path) in seen:
                inside.clear()
                continue
            seen.add(os.path.realpath(path))
            here = Path(path)
            trouble += [
                (here / name, "it is a link that leads nowhere")
                for name in files
                if (here / name).is_symlink() and not os.path.exists(here / name)
            ]
            inside.sort()
            yield here, inside, sorted(files)
            tops += [here / name for name in inside if (here / name).is_symlink()]
