"""Facts as aligned plain text: a JSON-able dict in, indented lines out."""

from collections.abc import Mapping, Sequence
from typing import Any


def listing(facts: Mapping[str, Any], *, indent: int = 0) -> str:
    """Return a name and a value a line; dicts of dicts and lists of dicts stand indented below.

    >>> print(listing({"kind": "cache", "splits": {"train": {"pairs": 3}, "val": {"pairs": 12}}}))
    kind    cache
    splits
      train  pairs 3
      val    pairs 12
    """
    width = max((len(name) for name in facts), default=0)
    lines = []
    for name, value in facts.items():
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            lines += [" " * indent + name, listing(value, indent=indent + 2)]
        elif _is_rows(value):
            lines.append(" " * indent + name)
            lines += [" " * (indent + 2) + said(row) for row in value]
        else:
            lines.append(f"{' ' * indent}{name:<{width}}  {said(value)}".rstrip())
    return "\n".join(lines)


def said(value: Any) -> str:
    """Return a value in words: yes or no, a plain number, `name value` pairs separated by commas.

    >>> said({"pairs": 3, "simulated": True, "mIoU": 0.123456, "bad": None, "names": ["a", "b"]})
    'pairs 3, simulated yes, mIoU 0.123456, bad none, names a b'
    """
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_nested(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_nested(part) for part in value)
    return str(value)


def _nested(value: Any) -> str:
    return f"({said(value)})" if isinstance(value, Mapping) and value else said(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, Sequence) and any(isinstance(row, Mapping) for row in value)
