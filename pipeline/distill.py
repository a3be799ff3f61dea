"""Train one student on the cached logits of its teachers; nothing of a teacher runs."""

import logging
from contextlib import suppress
from pathlib import Path

from stores.cache import Cache, open_cache
from stores.cachechecks import check_cache, check_plain_files
from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.fingerprints import SHORT, digest
from stores.models import is_finished, read_facts, tidy
from stores.unfinished import CURRENT
from student.recipe import Recipe, backbone_version, recipe_json, training_version
from student.views import VERSION

log = logging.getLogger("refkd")


def distill(
    data: Path,
    cache: Path,
    runs: Path,
    recipe: Recipe,
    *,
    device: str = "auto",
    threads: int | None = None,
    compiled: bool = False,
) -> Path:
    """Train a student and return its run folder, named in `runs` by the digest of its inputs.

    A finished run is returned as it is; a killed one goes on after its last whole epoch. Raises
    RefkdError if the cache is unfinished, damaged or of other data, has not been weighed, or is not
    the one, or not weighed as it was, when a run that would go on began.
    """
    dataset, logits = open_dataset(data), open_cache(cache)
    if not dataset.pairs.get("train"):
        raise RefkdError(f"{data} has no train split; prepare it with training annotations")
    views = VERSION if recipe.augment == "views" else None
    check_cache(logits, data=dataset, teachers=recipe.teachers, views=views)
    inputs = {
        "recipe": recipe_json(recipe),
        "cache": logits.key,
        "data": dataset.seal,
        "backbone_version": backbone_version(recipe.backbone),
        **training_version(),
    }
    folder = runs / digest(inputs)[:SHORT]
    if is_finished(folder, inputs):
        tidy(folder)
        _say_what_differs(folder, logits)
        return folder
    check_plain_files(logits)
    runs.mkdir(parents=True, exist_ok=True)

    from pipeline.tutoring import tutor  # torch, which a finished run does not need

    return tutor(
        folder,
        dataset,
        logits,
        recipe,
        inputs=inputs,
        device=device,
        threads=threads,
        compiled=compiled,
    )


def _say_what_differs(run: Path, cache: Cache) -> None:
    """Warn if a finished run learned from a cache of the same key, or weights in it, with another seal."""
    facts, _ = read_facts(run)
    learned_from = facts.get("cache_seal", cache.seal)
    if learned_from != cache.seal:
        log.warning(
            "%s learned from the same cache made elsewhere: its seal was %s, now %s",
            *(run, learned_from[:SHORT], cache.seal[:SHORT]),
        )
        return
    with suppress(OSError):  # there may be no weights by now, and none are needed
        now = (cache.folder / "weights" / CURRENT).read_text(errors="replace").strip()
        if (weighed := facts.get("weights_seal", now)) != now:
            log.warning(
                "%s learned with other weights of its cache: their seal was %s, now %s",
                *(run, weighed[:SHORT], now[:SHORT]),
            )
