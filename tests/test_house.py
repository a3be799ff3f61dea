"""The house keeps its promises: one-way imports, documented commands, a README that runs."""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from cli.main import refkd

ROOT = Path(__file__).parent.parent
ORDER = ("stores", "student", "pipeline", "cli")
MODULES = sorted(path for layer in ORDER for path in (ROOT / layer).rglob("*.py"))
PAPERS = ("README.md", "CONTRIBUTING.md", "docs/guide.md")
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def imported(path):
    """Return the names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add(node.module)
    return names


def shown_commands(program):
    """Return the different lines `$ program ...` of the papers, continued lines joined, `$(...)` unwrapped."""
    lines = []
    for paper in PAPERS:
        text = (ROOT / paper).read_text().replace("\\\n", " ")
        for line in re.findall(r"^\s*\$ (.+)$", text, flags=re.MULTILINE):
            line = re.sub(r"^[A-Z]+=\$\((.+)\)$", r"\1", line)
            if line.split()[0] == program:
                lines.append(line)
    return list(dict.fromkeys(lines))


def test_layers_are_where_they_are_said_to_be():
    """Each layer holds modules, so that the tests below look at something."""
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    """A module imports its own layer and those before it: stores <- student <- pipeline <- cli."""
    rank = ORDER.index(path.relative_to(ROOT).parts[0])
    layers = {name.partition(".")[0] for name in imported(path)} & set(ORDER)

    assert {layer for layer in layers if ORDER.index(layer) > rank} == set()


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "stores"], ids=str)
def test_stores_never_imports_torch(path):
    """What lies on disk can be read without torch."""
    tops = {name.partition(".")[0] for name in imported(path)}

    assert {"torch", "safetensors"} & tops == set()


@pytest.mark.parametrize("name", refkd.commands)
def test_command_is_documented(name):
    """Each command has help, a make target and a line in README's table."""
    command = refkd.commands[name]
    readme = (ROOT / "README.md").read_text()

    assert command.help
    assert name in TARGETS
    assert f"\n| `refkd {name}` |" in readme
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"--{option.name} has no help"


@pytest.mark.parametrize("name", refkd.commands)
def test_command_takes_json(name):
    """Each command has --json."""
    assert "as_json" in {option.name for option in refkd.commands[name].params}


@pytest.mark.parametrize("line", shown_commands("refkd"))
def test_shown_refkd_line_parses(line):
    """A `$ refkd` line of README, CONTRIBUTING or the guide names a real command with real options."""
    _, name, *arguments = shlex.split(line)

    context = refkd.commands[name].make_context(name, arguments)

    assert context.params


@pytest.mark.parametrize("line", shown_commands("make"))
def test_shown_make_line_parses(line):
    """A `$ make` line names real targets and sets variables that the Makefile reads."""
    words = shlex.split(line)[1:]
    variables = [word.partition("=")[0] for word in words if "=" in word]

    assert {word for word in words if "=" not in word} <= TARGETS
    for variable in variables:
        assert f"$({variable})" in MAKEFILE


def test_readme_shows_the_two_commands_of_a_fresh_machine():
    """README shows `make demo` and commands of refkd, so the tests above had lines to read."""
    assert "make demo" in shown_commands("make")
    assert len(shown_commands("refkd")) >= 4


def test_every_target_is_phony():
    """Every named target is .PHONY: the stages themselves know what is finished."""
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)[1].split()

    assert sorted(phony) == sorted(TARGETS)


def test_every_target_has_help():
    """`make help` has a line for every target."""
    told = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, flags=re.MULTILINE))

    assert told == TARGETS


def test_stage_is_a_module():
    """Every command has a module of its name in pipeline/ with a function of its name."""
    for name in refkd.commands:
        tree = ast.parse((ROOT / "pipeline" / f"{name}.py").read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions


def test_make_alone_prints_help():
    """`make` without a target lists every target and does nothing else."""
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert set(re.findall(r"^  make ([a-z-]+) ", told, flags=re.MULTILINE)) == TARGETS


def test_constraints_pin_every_dependency():
    """constraints.txt pins each package that pyproject.toml asks for, and no other."""
    asked = re.findall(r'"([a-z0-9-]+)>=', (ROOT / "pyproject.toml").read_text())
    pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert sorted(set(asked)) == sorted(pinned)


def make(folder, *words):
    """Run a target as if everything were installed, the tool itself being `words`' REFKD."""
    (folder / ".ready").touch()
    here = [f"VENV={folder}", f"CACHES={folder / 'caches'}"]
    return subprocess.run(["make", "-s", *here, *words], cwd=ROOT, capture_output=True, text=True)


def test_make_cache_notes_a_cache_and_nothing_else(tmp_path):
    """What `--plan` or `--json` print is shown; `.last` stays the folder that was written last."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "tool").write_text(f"cat {tmp_path / 'said'}")  # whatever it is asked
    for said in (tmp_path / "whole", "complete no", '{"cache": "x"}'):
        (tmp_path / "said").write_text(f"{said}\n")
        done = make(tmp_path, "cache", f"REFKD=sh {tmp_path / 'tool'}")
        assert done.stdout == f"{said}\n"

    assert (tmp_path / "caches" / ".last").read_text() == f"{tmp_path / 'whole'}\n"


def test_make_without_a_cache_names_what_makes_one(tmp_path):
    """`make weigh` before `make cache` is not a question of an argument that is missing."""
    assert "run `make cache` first, or give CACHE=" in make(tmp_path, "weigh", "REFKD=true").stderr


def test_makefile_recipes_are_one_line():
    """The Makefile is a front, not a second program: only the environment takes several lines."""
    counts = {}
    for name, recipe in re.findall(r"^([a-z-]+):.*\n((?:\t.+\n?)*)", MAKEFILE, flags=re.MULTILINE):
        counts[name] = len(recipe.splitlines())

    assert max(counts.values()) == 1


def test_the_page_of_promises_names_tests_that_are_there():
    """Nine promises, each with a test file of ours, and as many attacks as it says."""
    page = (ROOT / "docs" / "trust.md").read_text()
    rows = re.findall(r"^\| (\d) \| .+ \| (.+) \|$", page, flags=re.MULTILINE)
    attacks = (ROOT / "tests" / "test_false_reuse.py").read_text().count("\n    Attack(")

    assert [number for number, _ in rows] == list("123456789")
    for _, named in rows:
        files = re.findall(r"test_\w+\.py", named)
        assert files
        assert all((ROOT / "tests" / file).is_file() for file in files), named
    assert f"{attacks} changes" in rows[0][1]
