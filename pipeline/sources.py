"""Caches and what is known of their teachers, put into groups of teachers that were trained alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.listing import said
from pipeline.results import Settings, plain_settings
from stores.cache import Cache, open_cache
from stores.cachechecks import check_cache
from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.fingerprints import SHORT, canonical_json
from stores.models import read_facts
from stores.weights import open_weights


@dataclass(frozen=True)
class Source:
    """A cache, and how each of its teachers was trained."""

    cache: Cache
    trained: Mapping[str, Settings]

    def of_bias(self, bias: str, names: Sequence[str]) -> list[str]:
        """Return which of these teachers have a bias."""
        return [name for name in names if self.trained[name]["bias"] == bias]

    def twins(self, like: Settings | None = None) -> list[str]:
        """Return two ID teachers that differ by seed alone, if there are two, trained as `like` was."""
        names = self.of_bias("id", self.cache.teachers)
        for index, one in enumerate(names):
            own = but_seed(self.trained[one])
            others = [name for name in names[index + 1 :] if but_seed(self.trained[name]) == own]
            if others and (like is None or own == but_seed(like)):
                return [one, others[0]]
        return []

    @property
    def logits(self) -> dict[str, Any]:
        """The facts of the cache that change what a student reads."""
        return self.cache.read_as


@dataclass(frozen=True)
class Group:
    """Caches of teachers that differ by seed alone.

    The name says in what they differ from those of other groups; it is empty if there is no other.
    """

    name: str
    sources: list[Source]


def open_sources(
    caches: Sequence[Path], data: DataSet, folders: Mapping[str, Sequence[Path]]
) -> list[Source]:
    """Return caches, each checked against the data, with what is known of their teachers.

    Raises RefkdError if one is of other data, was not weighed, or comes twice.
    """
    sources: list[Source] = []
    for path in caches:
        cache = open_cache(path)
        check_cache(cache, data=data)
        open_weights(cache)
        if cache.key in [source.cache.key for source in sources]:
            raise RefkdError(f"{path} holds the same as another cache given; give each once")
        trained = {name: _settings(cache, name, folders) for name in cache.teachers}
        sources.append(Source(cache, trained))
    return sources


def _settings(cache: Cache, name: str, folders: Mapping[str, Sequence[Path]]) -> Settings:
    """Return how a cached teacher was trained, as the cache or the teacher's own folder says."""
    array = cache.manifest["arrays"][name]
    trained: dict[str, Any] = array.get("trained") or {}
    for folder in () if trained else folders.get(name, ()):
        facts, seal = read_facts(folder)
        if seal == array["teacher"]:
            trained = facts["inputs"]
    if not trained:
        raise RefkdError(
            f"{cache.folder} does not say how teacher {name} was trained; "
            f"give its folder by --teacher {name}=DIR, or run `refkd cache` anew"
        )
    return trained


def unlike(folder: Path, trained: Settings) -> str:
    """Return in what a teacher's folder is not the teacher that was trained so; empty if it is."""
    own, wanted = plain_settings(read_facts(folder)[0]["inputs"]), plain_settings(trained)
    return ", ".join(
        f"{name} {said(own.get(name, False))[:SHORT]}, expected "
        f"{said(wanted.get(name, False))[:SHORT]}"
        for name in {**wanted, **own}
        if own.get(name) != wanted.get(name)
    )


def make_groups(
    sources: Sequence[Source], names: Sequence[str], *, twins: bool, views: bool = False
) -> list[Group]:
    """Return the caches that hold the teachers of these names, by how those were trained.

    With `twins`, a cache may hold two ID teachers instead; with `views`, those with as many views
    are alike. Raises RefkdError if another lacks a teacher.
    """
    alike: dict[str, list[Source]] = {}
    for source in sources:
        if not (twins and source.twins()) or set(names) <= set(source.trained):
            check_cache(source.cache, teachers=names)
            trained = {name: but_seed(source.trained[name]) for name in names}
            read = [source.logits, source.cache.manifest.get("views") if views else None]
            alike.setdefault(canonical_json([trained, read]), []).append(source)
    if not alike:
        raise RefkdError(f"no cache given holds the teachers {', '.join(names)}; add one that does")
    flat = [_flat(sources[0], names, views=views) for sources in alike.values()]
    named = dict.fromkeys(name for own in flat for name in own)
    differ = [name for name in named if any(own.get(name) != flat[0].get(name) for own in flat)]

    def called(some: Sequence[str]) -> list[str]:
        return [", ".join(f"{name} {said(own.get(name, False))}" for name in some) for own in flat]

    calls = called([name for name in differ if "version" not in name])
    if len({*calls}) < len(flat):  # nothing but versions of code tells some of them apart
        calls = called(differ)
    return [Group(name, group) for name, group in zip(calls, alike.values(), strict=True)]


def _flat(source: Source, names: Sequence[str], *, views: bool) -> dict[str, Any]:
    """Return settings of teachers by name; those that all teachers share stand once."""
    trained = [but_seed(source.trained[name]) for name in names]
    found: dict[str, Any] = {**source.logits}
    if views:
        moved = source.cache.manifest.get("views") or {}
        found |= {"views": source.cache.num_views, "version of views": moved.get("version", 0)}
    for setting in dict.fromkeys(setting for own in trained for setting in own):
        values = [own.get(setting) for own in trained]
        if all(value == values[0] for value in values):
            found[setting] = values[0]
        else:
            found |= {f"{n} {setting}": v for n, v in zip(names, values, strict=True)}
    return found


def but_seed(trained: Settings) -> dict[str, Any]:
    """Return how a teacher was trained whatever its seed; its data, if named, by the first digits."""
    plain = {name: value for name, value in plain_settings(trained).items() if name != "seed"}
    return plain | ({"data": plain["data"][:SHORT]} if "data" in plain else {})


def backbone_of(source: Source, names: Sequence[str], *, asked: str = "") -> str:
    """Return the backbone of a cache's teachers, which is that of its students.

    Raises RefkdError if they have several, or not the one that was asked for, if any was.
    """
    found = {str(source.trained[name]["backbone"]) for name in names}
    if len(found) != 1:
        raise RefkdError(
            f"the teachers in {source.cache.folder} have the backbones {', '.join(sorted(found))}; "
            "for this table give caches whose teachers have one"
        )
    if asked and found != {asked}:
        raise RefkdError(
            f"--backbone {asked} has no effect: students of this table have their teachers' backbone, "
            f"which in {source.cache.folder} is {found.pop()}; leave it out"
        )
    return found.pop()
