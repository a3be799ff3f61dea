"""The report's page: one HTML file with its style inside, and tables of scores beside floors."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from student.metrics import MEASURES

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6570; --rule: #d5dae0; --paper: #fff;
  --note: #fff4d6; --c0: #0067a3; --c1: #c24e00; --c2: #00795a; --c3: #9a4791; --c4: #7d6200;
  --c5: #55606b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a3adb8; --rule: #3a424b;
  --paper: #15191d; --note: #3a3113; --c0: #5db7f0; --c1: #ff9d5c; --c2: #43cfa3; --c3: #e29bd9;
  --c4: #e6cf45; --c5: #b4bec8; } }
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
th:first-child { position: sticky; left: 0; background: var(--paper); }
table.scores td { min-width: 5.2rem; } table.facts th { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; }
thead th { border-bottom: 1px solid var(--rule); font-size: .85rem; }
tbody tr.floor { color: var(--soft); } tbody tr.floor th { font-weight: 400; }
tbody tr.first > * { border-top: 1px solid var(--rule); } td.best { font-weight: 700; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
  gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--rule); }
polyline { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
.legend { list-style: none; padding: 0; margin: .2rem 0 0; display: flex; flex-wrap: wrap;
  gap: .1rem 1rem; font-size: .85rem; }
.legend .key { display: inline-block; width: 24px; height: 8px; margin-right: .4rem; }
.example { border-top: 1px solid var(--rule); padding: .6rem 0 1rem; }
.row p { font-size: .85rem; margin: .5rem 0 .15rem; max-width: none; }
svg.time { height: 40px; border-bottom: 1px solid var(--rule); }
svg.time rect { opacity: .28; } svg.time polyline { stroke-dasharray: none; stroke-width: 1.5; }
svg.time polyline.end { stroke-dasharray: 4 3; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: .75rem; }
polyline.c0 { stroke: var(--c0); } circle.c0, rect.c0 { fill: var(--c0); }
polyline.c1 { stroke: var(--c1); stroke-dasharray: 7 3; } circle.c1, rect.c1 { fill: var(--c1); }
polyline.c2 { stroke: var(--c2); stroke-dasharray: 2 2; } circle.c2, rect.c2 { fill: var(--c2); }
polyline.c3 { stroke: var(--c3); stroke-dasharray: 9 3 2 3; }
circle.c3, rect.c3 { fill: var(--c3); }
polyline.c4 { stroke: var(--c4); stroke-dasharray: 4 4; } circle.c4, rect.c4 { fill: var(--c4); }
polyline.c5 { stroke: var(--c5); stroke-dasharray: 12 4; } circle.c5, rect.c5 { fill: var(--c5); }
@media print { body { max-width: none; font-size: 11pt; padding: 0; }
  table, figure, .example { break-inside: avoid; } .wide { overflow: visible; } }
@media (max-width: 40rem) { table { font-size: .85rem; } table.scores td { min-width: 0; } }
"""


def document(title: str, sections: Sequence[str]) -> str:
    """Return the whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
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
    caption: str,
    floors: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return a table of one split: floors first, then models, every measure in percent.

    The best model of a column is bold; a model below the column's best floor carries an arrow.
    """
    highest = {m: max((floor[m] for floor in floors.values()), default=0.0) for m in MEASURES}
    best = {m: max(scores[m] for scores in models.values()) for m in MEASURES}
    head = "".join(f'<th scope="col">{measure}</th>' for measure in MEASURES)
    lines = [
        f'<tr class="floor">{_name(name)}{"".join(f"<td>{floor[m]:.2f}</td>" for m in MEASURES)}</tr>'
        for name, floor in floors.items()
    ]
    for number, (name, scores) in enumerate(models.items()):
        cells = []
        for m in MEASURES:
            bold = ' class="best"' if scores[m] == best[m] and len(models) > 1 else ""
            arrow = "↓ " if scores[m] < highest[m] else ""
            cells.append(f"<td{bold}>{arrow}{scores[m]:.2f}</td>")
        kind = "" if number else ' class="first"'
        lines.append(f"<tr{kind}>{_name(name)}{''.join(cells)}</tr>")
    return (
        f'<div class="wide"><table class="scores"><caption>{escape(caption)}</caption>'
        f'<thead><tr><th scope="col">percent</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
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
