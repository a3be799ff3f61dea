"""Paths on the command line: what is refused before any work."""

import os

import click
import pytest
from click.testing import CliRunner

from cli.places import FILE, NEW, WORK
from stores.files import seal_folder


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "caches" / "0123"
    folder.mkdir(parents=True)
    seal_folder(folder, {"format": "refkd-cache"})
    return folder


def given(kind, path):
    """Return what a command whose argument is of a kind prints for a path."""

    @click.command()
    @click.argument("out", type=kind)
    def command(*, out):
        click.echo(f"goes on with {out}")

    return CliRunner().invoke(command, [os.fspath(path)])


@pytest.mark.parametrize(
    ("kind", "name", "taken"),
    [
        (WORK, "caches", True),
        (WORK, "caches/0123", False),  # a forgotten RUNS: `refkd ablate data CACHE CACHE`
        (WORK, "caches/0123/runs", False),
        (WORK, "notes.txt", False),
        (NEW, "caches/0123", True),  # what a command makes may be there already
        (NEW, "caches/0123/teacher", False),
        (NEW, "new/teacher", True),
        (FILE, "caches", False),
        (FILE, "report.html", True),
    ],
)
def test_where_work_may_go(sealed, tmp_path, kind, name, taken):
    """Nothing is written into a finished folder, no folder where a file is, no file for a folder."""
    (tmp_path / "notes.txt").write_text("dear")
    result = given(kind, tmp_path / name)

    assert (result.exit_code == 0) == taken
    assert ("goes on with" in result.output) == taken


def test_the_finished_folder_is_named(sealed, tmp_path):
    """The sentence says where the path would lie, also through a link."""
    (tmp_path / "link").symlink_to(sealed)
    result = given(WORK, tmp_path / "link" / "runs")

    said = " ".join(result.output.split())
    assert f"would be written into {sealed}, which is finished and sealed; give a folder" in said
