"""The command line: one file a command; this one joins them and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType

import click

from chainzoom.cli.doctor import doctor
from chainzoom.cli.eval import evaluate
from chainzoom.cli.full import full
from chainzoom.cli.models import models
from chainzoom.cli.presets import presets
from chainzoom.cli.report import report
from chainzoom.cli.study import study
from chainzoom.cli.train import train
from chainzoom.cli.view import view
from chainzoom.cli.zoom import zoom
from chainzoom.errors import ChainzoomError
from chainzoom.version import __version__

_INTERRUPTED = 130
_DEBUG = "--debug"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="chainzoom")
@click.option(_DEBUG, is_flag=True, help="Show the whole traceback of an error.")
def cli(debug: bool) -> None:
    """Zoom into any photo 256x and past it, and know what was seen and what was invented."""


for command in (zoom, full, view, report, evaluate, study, train, presets, models, doctor):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 bad input, 1 failure, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = _DEBUG in given
    signal.signal(signal.SIGTERM, _terminate)
    # --debug is accepted anywhere on the line.
    sys.exit(_run([_DEBUG] * debug + [word for word in given if word != _DEBUG], debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = cli.main(arguments, prog_name="chainzoom", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return _say(error.format_message().replace("\n", " ") + hint, 2)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted; what is finished is kept, --resume goes on from there", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ChainzoomError as error:
        if debug:
            traceback.print_exc()
        return _say(str(error), error.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _say(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it", 1)


def _say(message: str, code: int) -> int:
    click.echo(f"chainzoom: {' '.join(message.split())}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
