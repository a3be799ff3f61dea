"""The command line: named paths, errors as sentences, JSON as the last line."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import Friendly, refkd
from cli.options import named
from stores.errors import RefkdError

HEAVY = {"torch", "zarr", "numpy", "dask", "distributed", "scipy", "h5py", "matplotlib", "pyarrow"}
HEAVY |= {"safetensors"}


def call(*arguments):
    return CliRunner().invoke(refkd, [str(argument) for argument in arguments])


def failing(error):
    """Return what a command of our group that raises this error prints and exits with."""

    @click.group(cls=Friendly)
    def group():
        pass

    @group.command()
    def fail():
        raise error

    return CliRunner().invoke(group, ["fail"])


def test_a_rename_that_fails_names_where_the_file_should_be(tmp_path):
    """Not the temporary file, which is gone by then."""
    (tmp_path / "runs").mkdir()
    (tmp_path / ".tmp").write_text("")
    with pytest.raises(IsADirectoryError) as error:
        (tmp_path / ".tmp").replace(tmp_path / "runs")
    result = failing(error.value)

    assert f"{tmp_path / 'runs'}: is a directory; mend the path" in result.output


def test_a_named_path_is_spelled_out(tmp_path, monkeypatch):
    """`--teacher id=.` from inside a teacher's folder: it is written beside, so it needs a name."""
    monkeypatch.chdir(tmp_path)
    received = []

    @click.command()
    @named("--teacher", "NAME=DIR", "help")
    def command(*, teacher):
        received.append(teacher)

    CliRunner().invoke(command, ["--teacher", "id=."])
    assert received == [{"id": tmp_path}]


def test_help_imports_nothing_heavy():
    """`refkd --help` and a command's help import no torch, zarr, numpy or the like."""
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from cli.main import refkd\n"
        "for arguments in (['--help'], ['distill', '--help'], ['report', '--help']):\n"
        "    assert CliRunner().invoke(refkd, arguments).exit_code == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert "click" in ran.stdout.split()
    assert HEAVY & set(ran.stdout.split()) == set()


def test_several_paths_of_a_name():
    """Where a name may come again, its paths stand in the order they were given."""
    received = []

    @click.command()
    @named("--teacher", "NAME=DIR", "Teachers.", several=True)
    def command(*, teacher):
        received.append(teacher)

    arguments = ["--teacher", "id=a", "--teacher", "ood=b", "--teacher", "id=c"]
    assert CliRunner().invoke(command, arguments).exit_code == 0

    assert received == [{"id": [Path("a"), Path("c")], "ood": [Path("b")]}]


def test_limits_are_the_recipe_s():
    """A value out of range is refused by the recipe's own sentence, before any stage is imported."""
    result = call("distill", "data", "cache", "runs", "--dropout", "0.95")

    assert result.exit_code == 1
    assert result.stderr == "Error: dropout must be at most 0.9, got 0.95\n"


def test_unknown_choice_is_a_usage_error():
    """A choice that does not exist lists those that do and exits with 2."""
    result = call("distill", "data", "cache", "runs", "--predictor", "lstm")

    assert result.exit_code == 2
    assert "rnn" in result.stderr
    assert "transformer" in result.stderr


def test_named_paths():
    """NAME=PATH options become a dict; a name without a path and a name given twice are refused."""
    received = []

    @click.group(cls=Friendly)
    def group():
        pass

    @group.command()
    @named("--teacher", "NAME=DIR", "A teacher.")
    def command(*, teacher):
        received.append({name: str(path) for name, path in teacher.items()})

    def told(*arguments):
        return CliRunner().invoke(group, ["command", *arguments])

    assert told("--teacher", "id=a/b", "--teacher", "ood=c=d").exit_code == 0
    assert received == [{"id": "a/b", "ood": "c=d"}]
    assert "expected NAME=PATH, got id" in told("--teacher", "id").stderr
    twice = told("--teacher", "id=a", "--teacher", "id=b")
    assert twice.exit_code == 1
    assert "--teacher id is given twice" in twice.stderr


def test_refkd_error_is_one_line():
    """A RefkdError is printed as one line on stderr and exits with 1."""
    result = failing(RefkdError("no data set at x; run `refkd prepare` first"))

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no data set at x; run `refkd prepare` first\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("4096 requested and 512 written"),  # numpy's words for a full disk
    ],
)
def test_full_disk_says_what_to_do(error):
    """A full disk, however it is reported, says to free space and run again."""
    result = failing(error)

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: no space left on the disk; free some and run the same command again: "
        "finished work is kept\n"
    )


def test_error_of_a_file_names_it():
    """Another error of the file system names the file and the reason in one line."""
    result = failing(PermissionError(errno.EACCES, "Permission denied", "out/data"))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: out/data: permission denied; mend the path")


def test_ctrl_c_says_how_to_go_on():
    """Ctrl-C says that the same command goes on, and exits with 130."""
    result = failing(KeyboardInterrupt())

    assert result.exit_code == 130
    assert result.stderr == "Error: stopped; run the same command again to go on\n"


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), OSError("no file, no number")])
def test_other_errors_keep_their_traceback(error):
    """An error that is nobody's input is not dressed up as a sentence."""
    assert failing(error).exception is error


def test_json_is_the_last_line_of_stdout(tmp_path):
    """With --json stdout ends in one JSON object; without, the same facts are a listing."""
    moments = {"v1": {"timestamps": [[0.0, 2.0]], "sentences": ["a dog"], "video_duration": 4.0}}
    (tmp_path / "charades_test_iid.json").write_text(json.dumps(moments))

    shown = call("inspect", tmp_path, "--json")
    listed = call("inspect", tmp_path)

    expected = {"test_iid": {"pairs": 1, "videos": 1, "defects": {}}}
    assert json.loads(shown.stdout.splitlines()[-1])["splits"] == expected
    assert "test_iid  pairs 1, videos 1, defects none" in listed.stdout


def test_errors_stay_off_stdout_with_json(tmp_path):
    """With --json an error is still a line on stderr and stdout stays empty."""
    result = call("inspect", tmp_path / "absent", "--json")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "no file or folder at" in result.stderr


def test_version():
    """`refkd --version` tells the version of the installed distribution."""
    assert call("--version").stdout == "refkd 0.1.0\n"
