"""The report's page: one HTML file with its style inside, and tables of scores beside floors."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pipeline.palette import DARK, LIGHT, css_variables
from student.metrics import MEASURES

Scores = Mapping[str, Any]

COLOURS = (
    f":root {{ color-scheme: light dark; {css_variables(LIGHT)} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {css_variables(DARK)} }} }}"
)
STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 70rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2, h3, caption, figcaption { break-after: avoid; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; } p { margin: .4rem 0; max-width: 46rem; }
small, .soft { color: var(--soft); font-size: .85rem; }
.note { background: var(--note); padding: .6rem .9rem; border-radius: .4rem; max-width: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0 1.2rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; white-space: nowrap; }
th:first-child, td.text { text-align: left; } th { font-weight: 600; }
th:first-child { position: sticky; left: 0; background: var(--paper); white-space: normal;
  min-width: 11rem; max-width: 24rem; }
table.scores td { min-width: 5.2rem; } table.facts th { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
table.facts > tbody > tr > * { vertical-align: top; }
thead th { border-bottom: 1px solid var(--rule); font-size: .85rem; }
tbody tr.floor { color: var(--soft); } tbody tr.floor th { font-weight: 400; }
tbody tr.first > * { border-top: 1px solid var(--rule); } td.best { font-weight: 700; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
  gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; overflow-wrap: anywhere; }
figcaption small { display: block; font-weight: 400; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--soft); }
@media print { body { max-width: none; font-size: 11pt; padding: 0; }
  table, figure { break-inside: avoid; } .wide { overflow: visible; } }
@media (max-width: 40rem) { table { font-size: .85rem; } table.scores td { min-width: 0; }
  th:first-child { min-width: 6rem; max-width: 9rem; } }
"""


BEST = '<td class="best">'


class Cell(NamedTuple):
    """A cell of a table, with what steps back in it; the best of its column stands out."""

    text: str
    small: str = ""
    is_best: bool = False


def document(title: str, sections: Sequence[str]) -> str:
    """Return the whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{COLOURS}{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a part of the page under its heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def paragraph(text: str, *, kind: str = "") -> str:
    """Return a paragraph; kind `note` stands out, `soft` steps back."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def score_table(
    caption: str, floors: Mapping[str, Scores], models: Mapping[str, Sequence[Scores]]
) -> str:
    """Return a table of one split: floors first, then models, every measure in percent.

    A model has its scores by seed: several show as mean and standard deviation. The best model of
    a column is bold; a model below the column's best floor carries an arrow.
    """
    highest = {m: max((floor[m] for floor in floors.values()), default=0.0) for m in MEASURES}
    means = {
        name: {m: fmean(scores[m] for scores in some) for m in MEASURES}
        for name, some in models.items()
    }
    best = {m: max(own[m] for own in means.values()) for m in MEASURES}
    rows = [
        _row(name, [Cell(f"{floor[m]:.2f}") for m in MEASURES], kind="floor")
        for name, floor in floors.items()
    ]
    for number, (name, some) in enumerate(models.items()):
        cells = []
        for m in MEASURES:
            arrow = "↓ " if means[name][m] < highest[m] else ""
            cells.append(
                Cell(
                    f"{arrow}{means[name][m]:.2f}",
                    _spread([scores[m] for scores in some]),
                    is_best=means[name][m] == best[m] and len(models) > 1,
                )
            )
        rows.append(_row(several(name, len(some)), cells, kind="" if number else "first"))
    return _table(caption, "percent", MEASURES, rows)


def number_table(
    caption: str, corner: str, head: Sequence[str], rows: Mapping[str, Sequence[Cell]]
) -> str:
    """Return a table whose cells stand to the right."""
    return _table(caption, corner, head, [_row(name, cells) for name, cells in rows.items()])


def several(name: str, count: int) -> str:
    """Return a name with how often it was trained, if more than once.

    >>> several("student", 3), several("student", 1)
    ('student (3 seeds)', 'student')
    """
    return f"{name} ({count} seeds)" if count > 1 else name


def mean_cell(values: Sequence[float]) -> Cell:
    """Return the mean of values, of several with their standard deviation.

    >>> tuple(mean_cell([1.0, 2.0])), tuple(mean_cell([1.0]))
    (('1.50', '± 0.71', False), ('1.00', '', False))
    """
    return Cell(f"{fmean(values):.2f}", _spread(values))


def _spread(values: Sequence[float]) -> str:
    return f"± {stdev(values):.2f}" if len(values) > 1 else ""


def _row(name: str, cells: Sequence[Cell], *, kind: str = "") -> str:
    told = "".join(
        (BEST if cell.is_best else "<td>")
        + escape(cell.text)
        + (f" <small>{escape(cell.small)}</small>" if cell.small else "")
        + "</td>"
        for cell in cells
    )
    attribute = f' class="{kind}"' if kind else ""
    return f"<tr{attribute}>{_name(name)}{told}</tr>"


def _table(caption: str, corner: str, head: Sequence[str], rows: Sequence[str]) -> str:
    columns = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return (
        f'<div class="wide"><table class="scores"><caption>{escape(caption)}</caption>'
        f'<thead><tr><th scope="col">{escape(corner)}</th>{columns}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _name(name: str) -> str:
    return f'<th scope="row">{escape(name)}</th>'


def facts_table(caption: str, columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of facts: a column per thing, a row per fact that any of them has."""
    names = list(dict.fromkeys(name for facts in columns.values() for name in facts))
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in columns)
    lines = "".join(
        f"<tr>{_name(name)}"
        + "".join(
            f'<td class="text">{escape(_said(facts.get(name)))}</td>' for facts in columns.values()
        )
        + "</tr>"
        for name in names
    )
    return (
        f'<div class="wide"><table class="facts"><caption>{escape(caption)}</caption>'
        f'<thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _said(value: Any) -> str:
    """Return a fact as a reader would say it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
