"""What a cache holds beside logits: what its manifest tells, Zarr's metadata, the samples."""

from collections.abc import Mapping
from typing import Any

from stores.arraynames import logits_name
from stores.cache import FORMAT
from stores.cachekeys import FORMAT_VERSION, CachePlan
from stores.journal import Environment
from stores.rowarrays import array_files
from stores.samples import sample_arrays


def manifest_facts(plan: CachePlan, built: Mapping[str, Environment]) -> dict[str, Any]:
    """Return what the manifest of a cache tells beside its files, without times, hosts or paths.

    `built` says on what each array was made.
    """
    layout, views = plan.layout, plan.samples.views
    arrays = {
        name: {
            "key": array.key,
            "inputs": array.inputs,
            "teacher": array.teacher_seal,
            "trained": array.trained,
            "built": built[name],
            **({"chunk_rows": array.chunk_rows} if array.chunk_rows else {}),
        }
        for name, array in plan.arrays.items()
    }
    moved = {} if views is None else {"number": views.number, "version": views.version}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "key": plan.key,
        "inputs": plan.inputs,
        "arrays": arrays,
        "chunk_rows": plan.chunk_rows,
        "data": plan.data_seal,
        "simulated": plan.simulated,
        "splits": plan.samples.split_names,
        "id_bytes": plan.samples.id_bytes,
        "num_rows": layout.num_rows,
        "num_clips": layout.row_shape[1],
        "rows_per_chunk": layout.rows_per_chunk,
        "dtype": layout.dtype,
        "precision": plan.precision,
        "codec": layout.codec,
        **({"views": moved} if moved else {}),
    }


def plan_files(plan: CachePlan) -> dict[str, bytes]:
    """Return every file of a cache by name that holds no logits: Zarr's metadata, the samples."""
    arrays, values = sample_arrays(plan.samples)
    arrays |= {logits_name(name): plan.layout for name in plan.arrays}
    attributes = {"samples/split": {"names": plan.samples.split_names}}
    return array_files(arrays, values, attributes=attributes)
