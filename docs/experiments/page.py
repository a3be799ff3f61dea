"""The page: generated blocks between markers, prose around them left as it is.

<!-- generated: NAME -->
...
<!-- end -->
"""

import re
from pathlib import Path

from experiments.evidence import Evidence
from experiments.plan import Plan
from experiments.tables import block_text
from stores.errors import RefkdError
from stores.files import write_atomic

MARKED = re.compile(r"(?s)<!-- generated: ([\w-]+) -->\n.*?<!-- end -->")


def write_page(plan: Plan, results: Path, page: Path) -> bool:
    """Write the generated parts of a page anew and return whether any of them changed.

    A page that is not there yet is made of all blocks.
    """
    blocks = all_blocks(plan, results)
    empty = "\n\n".join(marked(name, "") for name in blocks) + "\n"
    before = page.read_text() if page.exists() else empty
    after = fill_in(before, blocks)
    if page.exists() and after == before:
        return False
    write_atomic(page, after.encode())
    return True


def all_blocks(plan: Plan, results: Path) -> dict[str, str]:
    """Return every block of a plan by name; `results` holds a folder for each data set."""
    evidence = Evidence(plan, results)
    return {block.name: block_text(block, evidence) for block in plan.blocks}


def fill_in(text: str, blocks: dict[str, str]) -> str:
    """Return a page with its marked parts replaced.

    Raises RefkdError if a part has no block, or a block no part.
    """
    there = MARKED.findall(text)
    odd = sorted(set(there) ^ set(blocks))
    if odd or len(there) != len(set(there)):
        raise RefkdError(
            f"the page marks the parts {', '.join(there)}, the plan has {', '.join(blocks)}; "
            "mark each once, by <!-- generated: NAME --> and <!-- end -->"
        )
    return MARKED.sub(lambda found: marked(found[1], blocks[found[1]]), text)


def marked(name: str, text: str) -> str:
    """Return a block between its markers."""
    return f"<!-- generated: {name} -->\n\n{text}\n\n<!-- end -->"
