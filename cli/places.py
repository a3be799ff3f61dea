"""Paths on the command line: what each may be, checked before any work."""

import os
from pathlib import Path
from typing import Any

import click


class Place(click.Path):
    """A path that has a last name, as everything does that we write beside: `.` is spelled out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        path = path if path.name not in ("", "..") else path.resolve()
        if not path.name:
            self.fail(f"{path} has no name to write beside; give a folder below it", param, ctx)
        return path


class NewPlace(Place):
    """A folder that a command makes: it may be there, but not inside one that is finished."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from stores.files import MANIFEST, SEAL  # imports numpy, which --help does not need

        path = super().convert(value, param, ctx)
        for place in self.not_sealed(path.resolve()):
            # unlike Path.is_file it does not raise for what nobody may look into
            if os.path.isfile(place / MANIFEST) and os.path.isfile(place / SEAL):
                self.fail(
                    f"{path} would be written into {place}, which is finished and sealed; give a "
                    "folder outside it",
                    param,
                    ctx,
                )
        return path

    def not_sealed(self, path: Path) -> list[Path]:
        """Return the folders that must not be finished."""
        return list(path.parents)


class WorkPlace(NewPlace):
    """A folder that a command makes folders in, so that it is no finished one itself."""

    def not_sealed(self, path: Path) -> list[Path]:
        return [path, *path.parents]


class CachePlace(Place):
    """A path, or the URL of a cache: a local copy of it is fetched and checked before any work."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if "://" in os.fsdecode(value):
            from stores.copies import local_cache  # imports zarr, which a path here does not need

            return local_cache(os.fsdecode(value))
        return super().convert(value, param, ctx)


PATH, CACHE = Place(), CachePlace()
NEW = NewPlace()  # what a command makes
WORK = WorkPlace(file_okay=False)  # where it makes it
FILE = Place(dir_okay=False)  # that a command writes
