"""Facts as aligned plain text: a JSON-able dict in, indented lines out."""

from collections.abc import Mapping, Sequence
from typing import Any


def listing(facts: Mapping[str, Any]) -> str:
    """Return a name and its value a line; of a dict of dicts or a list of dicts, a member a line.

    >>> print(listing({"kind": "cache", "splits": {"train": {"pairs": 3}, "val": {"pairs": 12}}}))
    kind    cache
    splits
      train  pairs 3
      val    pairs 12
    """
    lines = []
    for name, value in _columns(facts):
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            lines += [name.rstrip(), *(f"  {key}  {said(part)}" for key, part in _columns(value))]
        elif isinstance(value, Sequence) and any(isinstance(row, Mapping) for row in value):
            lines += [name.rstrip(), *(f"  {said(row)}" for row in value)]
        else:
            lines.append(f"{name}  {said(value)}")
    return "\n".join(lines)


def _columns(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return names, filled up to one width, and values."""
    width = max((len(name) for name in facts), default=0)
    return [(f"{name:<{width}}", value) for name, value in facts.items()]


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


def settings_said(settings: Mapping[str, Any]) -> list[str]:
    """Return settings in words, by the names of their options.

    >>> settings_said({"gt_ce_weight": 2.0, "reweight": False})
    ['gt-ce-weight 2', 'reweight no']
    """
    return [f"{name.replace('_', '-')} {said(value)}" for name, value in settings.items()]


def _nested(value: Any) -> str:
    return f"({said(value)})" if isinstance(value, Mapping) and value else said(value)
