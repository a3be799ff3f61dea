"""What the arrays of a cache are called: what a teacher says of pairs, and of moved views of them.

    id           the pairs as they are   teachers/id/logits    ce/id in the weights
    id/views/1   the first view of each  teachers/id/views/1   views/1/id

Views are counted from 1; view 0 is the pair as it is.
"""

import re


def array_name(teacher: str, view: int) -> str:
    """Return the name of the array of a teacher and a view."""
    return f"{teacher}/views/{view}" if view else teacher


def array_parts(array: str) -> tuple[str, int]:
    """Return the teacher and the view of an array.

    >>> array_parts("id"), array_parts("id/views/2")
    (('id', 0), ('id', 2))
    """
    teacher, _, view = array.partition("/views/")
    return teacher, int(view or 0)


def logits_name(array: str) -> str:
    """Return where an array lies inside a cache."""
    return f"teachers/{array}" if array_parts(array)[1] else f"teachers/{array}/logits"


def ce_name(array: str) -> str:
    """Return where the cross-entropies of an array lie inside the weights."""
    teacher, view = array_parts(array)
    return f"views/{view}/{teacher}" if view else f"ce/{teacher}"


def view_samples(view: int) -> str:
    """Return where the labels and seeds of a view lie inside a cache."""
    return f"samples/views/{view}"


def spoken(array: str) -> str:
    """Return the name of an array in a sentence."""
    teacher, view = array_parts(array)
    return f"{teacher}, view {view}" if view else teacher


def chunk_of(file: str) -> tuple[str, int] | None:
    """Return the array and the chunk that a file of a cache holds; None if it holds no logits.

    >>> chunk_of("teachers/id/logits/c/3/0/0"), chunk_of("teachers/id/views/2/c/0/0/0")
    (('id', 3), ('id/views/2', 0))
    """
    found = re.fullmatch(r"teachers/([^/]+)/(?:logits|views/(\d+))/c/(\d+)/0/0", file)
    if found is None:
        return None
    return array_name(found[1], int(found[2] or 0)), int(found[3])
