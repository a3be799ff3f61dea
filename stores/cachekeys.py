"""What a cache is made from, known before anything runs: inputs, their keys, and the work to do.

An array's key is the digest of its inputs, a cache's that of its arrays' keys and its sample
table. The inputs themselves stand in the manifest, so that a mismatch can name the field. Paths,
times, devices, workers and thread counts are no inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stores.arraynames import array_name, array_parts
from stores.codecs import check_codec
from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.fingerprints import digest
from stores.folds import fold_weights, folds_of_rows
from stores.models import WEIGHTS, check_fit
from stores.rowarrays import RowArray, rows_per_chunk
from stores.rowdigests import Columns, RowFields, moment_digests
from stores.samples import Samples, Views

FORMAT_VERSION = 1
DTYPES = ("float32", "float16")
PRECISIONS = ("float32", "bf16")
NETWORK = (  # facts of a model without which the same weights would give other logits
    "backbone",
    "backbone_version",
    "predictor",
    "hidden",
    "num_channels",
    "num_clips",
    "num_words",
    "num_chars",
    "word_width",
    "characters",
)

TEACHER = "teacher "  # heads the names of inputs that are a teacher's own
ROW_INPUTS = ("ids", "features", "queries", "clips")
FOLD_WEIGHTS = "teacher fold weights"  # of a cross-fitted teacher
FOLDS = "teacher folds"  # of a cross-fitted teacher: which of its models each row is asked of
OWN_ROW_INPUTS = ("moments", "seeds", FOLDS)  # of some arrays: what rows depend on beside those
VIEWED = "train"  # the split whose pairs have views

Inputs = dict[str, Any]


@dataclass(frozen=True)
class ArrayPlan:
    """What one teacher says of the rows, or of one view of them: the key, and the inputs it digests."""

    key: str
    inputs: Inputs
    teacher_seal: str
    trained: Inputs = field(default_factory=dict)  # how the teacher was: told, but no input
    chunk_rows: list[str] | None = None  # where the rows are more than those of the cache

    @property
    def settings(self) -> Inputs:
        """The inputs that are no rows: chunks of equal settings and equal rows are equal."""
        return array_settings(self.inputs)


@dataclass(frozen=True)
class CachePlan:
    """A cache as it must become."""

    key: str
    inputs: Inputs
    arrays: dict[str, ArrayPlan]  # by name: stores/arraynames.py
    layout: RowArray  # of each array
    chunk_rows: list[str]  # digest of the rows that each chunk is asked about, ids included
    samples: Samples
    precision: str
    data_seal: str
    simulated: bool

    def rows_of(self, array: str) -> list[str]:
        """Return the digest of what each chunk of an array is asked about."""
        return self.arrays[array].chunk_rows or self.chunk_rows


def array_settings(inputs: Inputs) -> Inputs:
    """Return the inputs of an array that are no rows."""
    rows = (*ROW_INPUTS, *OWN_ROW_INPUTS)
    return {name: value for name, value in inputs.items() if name not in rows}


def plan_cache(
    data: DataSet,
    teachers: Mapping[str, tuple[Inputs, str]],
    *,
    splits: Sequence[str],
    dtype: str,
    codec: str,
    precision: str,
    views: Views | None = None,
) -> CachePlan:
    """Return what the cache of these splits and teachers (facts and seal by name) must be.

    With `views`, each teacher has an array for each of them too; the other arrays' keys are those
    without. Raises RefkdError if there is nothing to cache, a choice does not exist, or a teacher
    cannot read the data.
    """
    check_codec(codec)
    _check_choice("dtype", dtype, DTYPES)
    _check_choice("precision", precision, PRECISIONS)
    if not teachers:
        raise RefkdError("no teacher is given, expected at least one; add --teacher NAME=DIR")
    for name, (facts, _) in teachers.items():
        _check_name(name)
        check_fit(facts, data, name=f"teacher {name}")
    rows = data.rows(*splits)
    layout = RowArray(
        num_rows=len(rows.ids),
        row_shape=(2, data.num_clips),
        dtype=dtype,
        rows_per_chunk=rows_per_chunk(len(rows.ids)),
        codec=codec,
        dimensions=("sample", "boundary", "clip"),
    )
    how = {
        "format_version": FORMAT_VERSION,
        "dtype": dtype,
        "precision": precision,
        "codec": codec,
        "rows_per_chunk": layout.rows_per_chunk,
        **data_settings(data),
    }
    fields = RowFields(data, rows)
    arrays = _plan_arrays(data, rows, fields, layout, teachers, settings=how, views=views)
    plain = {name: array.key for name, array in arrays.items() if name in teachers}
    inputs = {
        "format_version": FORMAT_VERSION,
        "teachers": plain,
        "samples": sample_inputs(data, rows),
    }
    if views is not None:
        inputs["views"] = {name: arrays[name].key for name in arrays if name not in plain}
    return CachePlan(
        key=digest(inputs),
        inputs=inputs,
        arrays=arrays,
        layout=layout,
        chunk_rows=fields.chunk_digests(layout),
        samples=Samples(rows.ids, rows.splits, rows.clips, rows.gt, views),
        precision=precision,
        data_seal=data.seal,
        simulated=data.simulated,
    )


def _plan_arrays(
    data: DataSet,
    rows: Rows,
    fields: RowFields,
    layout: RowArray,
    teachers: Mapping[str, tuple[Inputs, str]],
    *,
    settings: Inputs,
    views: Views | None,
) -> dict[str, ArrayPlan]:
    """Return the arrays of each teacher and view by name; `settings` are inputs that all share."""
    shown: list[tuple[Inputs, Columns]] = [(settings, {})]  # by view
    if views is not None:
        moments_N32, moved = moment_digests(data, rows), {"view version": views.version}
        shown += [
            ({**settings, **moved}, {"moments": moments_N32, "seeds": seeds_N})
            for seeds_N in views.seeds_VN
        ]
    arrays = {}
    for name, (facts, seal) in sorted(teachers.items()):
        own = {FOLDS: folds_of_rows(facts, data, rows)} if facts.get("folds") else {}
        for view, (how, seen) in enumerate(shown):
            columns = {**seen, **own}
            inputs = {**how, **fields.inputs(columns), **teacher_inputs(facts)}
            chunk_rows = fields.chunk_digests(layout, columns) if columns else None
            plan = ArrayPlan(digest(inputs), inputs, seal, facts.get("inputs", {}), chunk_rows)
            arrays[array_name(name, view)] = plan
    return arrays


def teacher_inputs(facts: Inputs) -> Inputs:
    """Return what a teacher contributes to its array's key: weights, network, code version."""
    found = {f"{TEACHER}{name}": facts[name] for name in NETWORK}
    found[f"{TEACHER}weights"] = facts["files"][WEIGHTS]["sha256"]
    if facts.get("folds"):
        files = [fold_weights(fold) for fold in range(len(facts["folds"]))]
        found[FOLD_WEIGHTS] = [facts["files"][file]["sha256"] for file in files]
    return found


def named_inputs(inputs: Inputs, arrays: Mapping[str, Inputs]) -> Inputs:
    """Return all inputs of a cache as one flat record; a teacher's own are headed by its name."""
    flat = dict(inputs["samples"])
    for array, values in arrays.items():
        teacher, view = array_parts(array)
        for name, value in values.items():
            own = name.startswith(TEACHER)
            if not (own and view):  # as of the teacher's other arrays
                flat[f"{teacher}: {name}" if own else name] = value
    return flat


def data_settings(data: DataSet) -> Inputs:
    """Return what a data set contributes to every array's key, whatever the rows."""
    return {
        "grid": data.grid,
        "num_clips": data.num_clips,
        "word vectors": data.word_file["sha256"],
        "num_words": data.num_words,
        "num_chars": data.num_chars,
    }


def row_inputs(data: DataSet, rows: Rows, *, moments: bool = False) -> Inputs:
    """Return what rows contribute to every array's key, a digest by field (see ROW_INPUTS).

    With `moments` also what they contribute to those of their views.
    """
    columns = {"moments": moment_digests(data, rows)} if moments else {}
    return RowFields(data, rows).inputs(columns)


def sample_inputs(data: DataSet, rows: Rows) -> Inputs:
    """Return the sample table as a digest by field."""
    windows = {(split, pair.id): pair.windows for split in data.pairs for pair in data.pairs[split]}
    names = list(zip(rows.splits, rows.ids, strict=True))
    return {
        "ids": digest(names),
        "timestamps": digest([windows[name] for name in names]),
        "durations": digest(rows.durations_s.tolist()),
        "clips": digest(rows.clips.tolist()),
        "gt": digest(rows.gt.tolist()),
    }


def _check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise RefkdError(f"{what} must be one of {', '.join(choices)}, got {value}")


def _check_name(name: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    if not name or not set(name) <= allowed:
        raise RefkdError(
            f"teacher name {name!r} is not made of a-z, 0-9, _ and -; give --teacher NAME=DIR"
        )
