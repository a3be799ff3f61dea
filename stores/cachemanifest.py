"""What the manifest of a cache tells beside the digests of its files."""

from collections.abc import Mapping
from typing import Any

from stores.cache import FORMAT
from stores.cachekeys import FORMAT_VERSION, CachePlan
from stores.journal import Environment


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
