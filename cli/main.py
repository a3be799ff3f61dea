"""refkd, the one command: a group of stages, and the only place where exceptions become sentences."""

import logging
import sys
from typing import Any

import click

from cli import answers, data, students, teachers
from stores.errors import AGAIN, RefkdError, what_failed


class Stopped(click.ClickException):
    """Ctrl-C, with the exit code that shells expect after it."""

    exit_code = 130


class Friendly(click.Group):
    """Print a RefkdError, a full disk or Ctrl-C as one line; anything else keeps its traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the work, not of the alphabet

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RefkdError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            found = what_failed(error)
            if found is None:
                raise
            raise click.ClickException("; ".join(found)) from error
        except KeyboardInterrupt as error:
            raise Stopped(f"stopped; {AGAIN} to go on") from error


class ToStderr(logging.Handler):
    """Write each notice as one plain line to stderr, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(self.format(record), err=True)


@click.group("refkd", cls=Friendly, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="refkd", message="%(prog)s %(version)s")
def refkd() -> None:
    """Video moment retrieval by reflective knowledge distillation.

    Train two teachers once, cache what they say, and train students from the cache:
    prepare (or simulate), teach, cache, weigh, distill, evaluate, report; ablate trains many.
    `refkd demo OUT` runs all of them on a small built-in data set.
    """
    notices = logging.getLogger("refkd")
    notices.handlers = [ToStderr()]
    notices.setLevel(logging.INFO)


for command in (
    data.prepare,
    data.simulate,
    data.inspect,
    data.caches,
    teachers.teach,
    teachers.cache,
    teachers.weigh,
    teachers.verify,
    students.distill,
    students.ablate,
    answers.evaluate,
    answers.predict,
    answers.score,
    answers.report,
    answers.demo,
):
    refkd.add_command(command)
