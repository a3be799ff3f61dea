"""The built wheel runs on its own: from a folder of its own, with the checkout out of reach."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command, env=None, cwd=None):
    told = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
        cwd=cwd,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The wheel, built offline by hatchling and unpacked by pip."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, *build, "--wheel-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("refkd-*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--target", folder / "unpacked", wheel)
    return folder / "unpacked"


@pytest.fixture
def refkd(unpacked, tmp_path):
    """Run the unpacked `refkd` in an empty folder; the checkout cannot be imported.

    -S leaves out the .pth file that makes an editable checkout importable.
    """
    places = [str(unpacked), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}

    def call(*arguments):
        return run(
            sys.executable, "-S", unpacked / "bin" / "refkd", *arguments, env=env, cwd=tmp_path
        )

    code = "import cli, pipeline, stores, student; print(cli.__file__, stores.__file__)"
    found = run(sys.executable, "-S", "-c", code, env=env, cwd=tmp_path)
    assert str(ROOT) not in found
    return call


def test_wheel_holds_the_four_packages_and_nothing_else(unpacked):
    """Four typed packages, the script, the licences; no test, no data set, no document."""
    names = {path.name for path in unpacked.iterdir()}

    assert {"stores", "student", "pipeline", "cli", "bin"} <= names
    assert all(
        name.endswith(".dist-info")
        for name in names - {"stores", "student", "pipeline", "cli", "bin"}
    )
    for layer in ("stores", "student", "pipeline", "cli"):
        suffixes = {path.suffix for path in (unpacked / layer).rglob("*") if path.is_file()}
        assert suffixes <= {".py", ".pyc", ".typed"}
        assert (unpacked / layer / "py.typed").is_file()
    assert sorted(path.name for path in unpacked.glob("*.dist-info/licenses/*")) == [
        "LICENSE",
        "NOTICE",
    ]


def test_help(refkd):
    """`refkd --help` lists the commands."""
    assert "distill" in refkd("--help")


def test_first_stages(refkd, tmp_path):
    """simulate and one short training of a teacher run from the wheel alone."""
    refkd("simulate", "data")
    told = refkd("teach", "data", "id", "--bias", "id", "--hidden", "8", "--epochs", "1", "--json")

    assert json.loads(told.splitlines()[-1]) == {"teacher": "id"}
    assert (tmp_path / "id" / "model.safetensors").is_file()
