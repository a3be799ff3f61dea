"""What reports and scores rest on: the digests that runs and files of predictions carry."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.costs import read_costs
from pipeline.subjects import Member
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL, read_seal
from stores.models import read_facts

DIGITS = 16  # of a digest that are shown


def cache_of(run: Path) -> Path | None:
    """Return where the cache of a run lies, or lay, as noted beside the run."""
    cost = read_costs(run).get("distill")
    return None if cost is None else Path(run.parent / cost["cache"]).resolve()


def check_member(member: Member) -> None:
    """Raise RefkdError if the cache or the result of a student contradicts what its run says."""
    assert member.folder is not None, "only models at hand can be contradicted"
    check_cache_of(member.folder)
    if member.result is not None:
        told, own = member.result["seals"]["cache"], member.facts["cache_seal"]
        if told != own:
            raise RefkdError(
                f"{member.folder} learned from a cache with seal {own[:DIGITS]}, but its result says "
                f"{told[:DIGITS]}; delete the result and run `refkd ablate` again"
            )


def check_cache_of(run: Path) -> None:
    """Raise RefkdError if there lies another cache by now where the one of a run lay."""
    cache, (facts, _) = cache_of(run), read_facts(run)
    if cache is None or not all((cache / name).is_file() for name in (MANIFEST, SEAL)):
        return  # what is gone contradicts nobody
    _, seal = read_seal(cache, repair=f"run `refkd verify` on {cache}")
    if seal != facts["cache_seal"]:
        raise RefkdError(
            f"{run} learned from a cache with seal {facts['cache_seal'][:DIGITS]}, but {cache} now "
            f"has seal {seal[:DIGITS]}; train the run again from it, or move it away"
        )


def shown_seals(runs: Iterable[Path]) -> dict[str, Any]:
    """Return the seals of models, of the caches they learned from and of the weights in those.

    They are shortened, each once; older students do not tell their weights.
    """
    read = [read_facts(run) for run in runs]
    caches = dict.fromkeys(facts["cache_seal"][:DIGITS] for facts, _ in read if "cache" in facts)
    weights = dict.fromkeys(f["weights_seal"][:DIGITS] for f, _ in read if "weights_seal" in f)
    return {
        "seal": list(dict.fromkeys(seal[:DIGITS] for _, seal in read)),
        "cache seal": list(caches),
        "weights seal": list(weights),
    }
