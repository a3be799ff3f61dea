"""Options that change nothing are refused before anything is read; those that matter pass."""

import click
import pytest

from cli.idle import refuse_idle, refuse_idle_of_table
from cli.knobs import recipe_options
from pipeline.ablations import TABLES
from stores.errors import RefkdError


def distill(*arguments):
    _call(lambda recipe: refuse_idle(recipe), arguments)


def ablate(table, *arguments, rows=()):
    _call(lambda recipe: refuse_idle_of_table(recipe, TABLES[table], rows), arguments)


def _call(check, arguments):
    @click.command()
    @recipe_options()
    def command(*, recipe):
        check(recipe)

    command.main(list(arguments), standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--augment-prob 0.9", "--augment-prob is for --augment translate or views, got none"),
        ("--tau 0.2", "--tau is for --rectify window, got mixed"),
        ("--gt-threshold 0.2 --rectify none", "--gt-threshold is for --rectify pure-gt, got none"),
        ("--granularity fixed --hard", "--hard is for --granularity sample or dataset, got fixed"),
        (
            "--granularity fixed --favour right",
            "--favour is for --granularity sample or dataset, got fixed",
        ),
        (
            "--teachers= --gt-ce-weight 1 --temperature 3",
            "--temperature is for students of teachers, got none by --teachers",
        ),
        ("--teachers=id --hard", "--hard is for several teachers, got --teachers id"),
        (
            "--teachers= --gt-ce-weight 1 --rectify window",
            "--rectify is for students of teachers, got none by --teachers",
        ),
        (
            "--teachers= --gt-ce-weight 1 --side-weight 0.7",
            "--side-weight is for students of teachers, got none by --teachers",
        ),
        (
            "--teachers=id --rectify none --warmup 0.5",
            "--warmup is for targets by eq. 12, got --rectify none for the one teacher id, which is "
            "eq. 5 in every epoch",
        ),
        (
            "--affinity-dropout-off --rectify pure-gt --no-reweight",
            "--affinity-dropout-off is for targets that read side branches, got --rectify pure-gt "
            "without re-weighting",
        ),
        (
            "--rectify none --no-reweight --warmup 0.5",
            "--warmup is for targets by eq. 12, got --rectify none --no-reweight, which is eq. 5 in "
            "every epoch",
        ),
        (
            "--recipe best --augment none --augment-prob 0.9",
            "--augment-prob is for --augment translate or views, got none",
        ),
    ],
)
def test_a_student_that_would_be_the_same(arguments, message):
    """The knob is named with what it needs and what was found."""
    with pytest.raises(RefkdError) as found:
        distill(*arguments.split())

    assert str(found.value) == message


@pytest.mark.parametrize(
    "arguments",
    [
        "--augment views --augment-prob 0.9",
        "--recipe best --augment-prob 0.9",
        "--recipe best --augment none",  # what the named recipe says besides was not given
        "--recipe views-gt-right --granularity fixed",
        "--granularity fixed --no-hard",
        "--teachers= --gt-ce-weight 1 --rectify none --no-reweight --side-weight 0",
        "--teachers=id --rectify none --no-reweight --side-weight 0",
        "--teachers=id --affinity-dropout-off",
        "--rectify none --warmup 0.5",  # re-weighting is of eq. 12
        "--rectify window --tau 0.2",
        "--rectify pure-gt --gt-threshold 0.2",
        "--granularity dataset --hard --favour right",
    ],
)
def test_a_student_that_would_be_another(arguments):
    """Nothing is refused that matters, or that was not given."""
    distill(*arguments.split())


@pytest.mark.parametrize(
    ("table", "rows", "arguments", "message"),
    [
        ("warmup", (), "--warmup 0.3", "--warmup 0.3 has no effect: each row sets its own; leave"),
        ("4", ["Pure GT", "Window f"], "--rectify none", "--rectify none has no effect: each row"),
        ("3", ["w/o DR"], "--no-reweight", "--no-reweight has no effect: each row sets its own"),
        ("light", ["SeqPAN student"], "--backbone mrtnet", "--backbone mrtnet has no effect"),
        ("3", (), "--tau 0.2", "--tau is for --rectify window, got mixed, none"),
        ("4", ["RefKD"], "--tau 0.2", "--tau is for --rectify window, got mixed"),
        ("controls", ["fixed halves"], "--hard", "--hard is for --granularity sample or dataset"),
        # every other row moves moments with a probability of its own
        ("recipes", (), "--augment-prob 0.9", "--augment-prob is for --augment translate or"),
    ],
)
def test_a_table_that_would_be_the_same(table, rows, arguments, message):
    """A knob that all students of the chosen rows replace, or that none of them can use."""
    with pytest.raises(RefkdError) as found:
        ablate(table, *arguments.split(), rows=rows)

    assert str(found.value).startswith(message)


@pytest.mark.parametrize(
    ("table", "rows", "arguments"),
    [
        ("4", (), "--rectify none --tau 0.2 --gt-threshold 0.1"),
        ("3", (), "--rectify window --tau 0.2"),
        ("controls", (), "--hard --augment-prob 0.9"),
        ("light", ["half the width"], "--hidden 64"),
        (
            "1",
            ["OOD teacher"],
            "--epochs 20 --warmup 0.3",
        ),  # asked only, as `make experiments` does
        ("2", (), "--backbone seqpan"),  # its caches decide
        ("recipes", ["recipe views-gt-ood"], "--teachers id0,ood0"),
    ],
)
def test_a_table_that_would_be_another(table, rows, arguments):
    """One row is enough."""
    ablate(table, *arguments.split(), rows=rows)
