"""The page's tables: floors beside every score, every name escaped."""

import re

from pipeline.page import Cell, document, facts_table, number_table, score_table
from student.metrics import MEASURES


def scores(value):
    return dict.fromkeys(MEASURES, value)


def rows(table):
    """Return the cells of each body row as text, the name first."""
    body = table[table.index("<tbody>") :]
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr.*?</tr>", body)
    ]


def test_floors_stand_above_models():
    """Floors come first, in grey; then models in the given order."""
    table = score_table(
        "test_ood", {"whole video": scores(30.0)}, {"b": [scores(1.0)], "a": [scores(2)]}
    )

    assert [row[0] for row in rows(table)] == ["whole video", "b", "a"]
    assert table.count('<tr class="floor">') == 1


def test_below_a_floor_is_marked():
    """A model below the best floor of a column carries an arrow, the floor itself does not."""
    floors = {"whole video": scores(30.0), "fixed span": scores(40.0)}
    table = score_table("test_ood", floors, {"low": [scores(39.99)], "high": [scores(40.0)]})

    by_name = {name: cells for name, *cells in rows(table)}
    assert set(by_name["low"]) == {"↓ 39.99"}
    assert set(by_name["high"]) == {"40.00"}
    assert set(by_name["whole video"]) == {"30.00"}


def test_best_model_is_bold_but_not_alone():
    """The best of several models is bold; a lone model is not."""
    both = score_table("x", {}, {"a": [scores(1.0)], "b": [scores(2.0)]})
    alone = score_table("x", {}, {"a": [scores(1.0)]})

    assert both.count('class="best"') == len(MEASURES)
    assert 'class="best"' not in alone


def test_several_seeds():
    """Two seeds show as mean and standard deviation: 1 and 4 are 2.5 on average, off by 2.12."""
    floors = {"whole video": scores(3.0)}
    table = score_table("x", floors, {"a": [scores(1.0), scores(4.0)], "b": [scores(2.0)]})

    _, both, one = rows(table)
    assert both[:2] == ["a (2 seeds)", "↓ 2.50 ± 2.12"]
    assert one[:2] == ["b", "↓ 2.00"]
    assert table.count('<td class="best">↓ 2.50') == len(MEASURES)


def test_table_of_numbers():
    """Names, heads and cells are escaped; the best of a column is bold."""
    table = number_table("c & d", "", ["<a>"], {"<b>": [Cell("1 < 2", "± 3", is_best=True)]})

    assert "<a>" not in table
    assert rows(table) == [["&lt;b&gt;", "1 &lt; 2 ± 3"]]
    assert table.count('class="best"') == 1


def test_facts_of_several_things():
    """Every fact of any column has a row; what a column lacks stays empty; names are escaped."""
    table = facts_table(
        "models", {"<id>": {"lr": 0.001, "hard": False}, "b": {"names": ["x", "y"]}}
    )

    assert "<id>" not in table
    assert rows(table) == [["lr", "0.001", ""], ["hard", "no", ""], ["names", "", "x, y"]]


def test_document_needs_nothing_else():
    """The page has its style inside and asks for no other file."""
    page = document("T & C", ["<p>x</p>"])

    assert "<title>T &amp; C</title>" in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert not re.search(r"(src|href)=|url\(|@import|https?:", page)
