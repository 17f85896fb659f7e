"""The command line: a command for each thing that is done with runs, from `everybatch demo` on.

Each command is a file here with two functions: `add` describes its arguments, `run` does the work and returns the
exit code. Errors are raised as anywhere else in the package; only `main` turns them into a line on stderr.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence

from everybatch._core import __version__
from everybatch.cli._parser import Parser, add_debug
from everybatch.cli._streams import forget, printable_streams
from everybatch.errors import EverybatchError

from . import demo, evaluate, export, insight, plot, predict, report, resume, sweep, sweeps, train, watch

__all__ = ["main"]

FAILED, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # the last two as a shell counts them: 128 plus the signal

_DESCRIPTION = "Train small image classifiers, and see what every mini-batch does to the whole test set."
_EPILOG = """\
start here:
  everybatch demo
  everybatch train --network lenet5 --data mnist --out runs/lenet
  everybatch watch
  everybatch plot runs/lenet --out pictures
  everybatch evaluate runs/lenet --data mnist
  everybatch predict runs/lenet seven.png
  everybatch export runs/lenet --to lenet.onnx

what a run did to every image:
  everybatch train --network lenet5 --data mnist --record predictions --out runs/seen
  everybatch insight runs/seen

a long run that nothing may cost:
  everybatch train --network resnet --data mnist --epochs 10 --folder runs/long
  everybatch resume runs/long

many runs:
  everybatch sweep space.toml
  everybatch sweeps space
  everybatch report space --out space.html

exit codes: 0 all went well, 1 the loss diverged or a trial of a sweep failed, 2 an error, 130 interrupted with Ctrl-C.
The same from Python: import everybatch as eb; help(eb.train)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv
        The arguments after the program's name; those of this process unless given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    notes = _Notes()
    logger = logging.getLogger("everybatch")
    logger.addHandler(notes)
    try:
        with printable_streams():
            return _answered(arguments)
    except BrokenPipeError:
        return BROKEN_PIPE
    finally:
        forget()
        logger.removeHandler(notes)


def _answered(arguments: list[str]) -> int:
    """Run one command, and say what went wrong in a line on stderr."""
    try:
        return _run(arguments)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("everybatch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (EverybatchError, OSError, ValueError, TypeError, ImportError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"everybatch: error: {_sentence(error)}", file=sys.stderr)
        return FAILED


def _run(arguments: list[str]) -> int:
    parser = _parser()
    code = 0
    try:
        chosen = parser.parse_args(arguments)
        if chosen.command is None:
            parser.print_help()
        else:
            code = chosen.run(chosen)
    except SystemExit as leave:  # --help and --version
        code = leave.code if isinstance(leave.code, int) else 0
    sys.stdout.flush()  # here, where a closed pipe is still caught
    return code


def _parser() -> Parser:
    parser = Parser(prog="everybatch", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"everybatch {__version__}")
    add_debug(parser)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for module in (demo, train, resume, watch, evaluate, predict, plot, insight, export, sweep, sweeps, report):
        module.add(commands)
    return parser


def _sentence(error: BaseException) -> str:
    """Return the message in one line, without the number that OSError puts before it."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return " ".join(text.split()) or type(error).__name__


class _Notes(logging.Handler):
    """Shows what the package logs, such as that the glyphs take MNIST's place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"everybatch: note: {record.getMessage()}", file=sys.stderr)
