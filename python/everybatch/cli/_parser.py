"""argparse, with suggestions for misspelt words, and errors that are raised instead of ending the process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from everybatch.errors import ArgumentError, suggest

__all__ = ["Commands", "Parser", "UsageError", "add_debug", "command", "whole"]

Commands = Any
"""What `add_subparsers` returns; argparse gives its class no public name."""


class UsageError(ArgumentError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """A parser whose help keeps line breaks and shows defaults, and which takes options among its other arguments."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **settings)
        self._is_first_pass = True

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        chosen, rest = self.parse_known_args(args, namespace)
        if rest:
            parser: Parser = getattr(chosen, "parser", self)  # the command's own
            hint = suggest(rest[0].partition("=")[0], parser._option_string_actions)
            parser.error(f"unknown argument {rest[0]!r}.{hint}")
        return chosen

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        # argparse gives a list of files all that come before the next option, and files after it to nobody.
        if self._subparsers is not None or not self._is_first_pass:
            return super().parse_known_args(args, namespace)
        self._is_first_pass = False
        try:
            return self.parse_known_intermixed_args(args, namespace)  # which calls this again, twice
        finally:
            self._is_first_pass = True

    # argparse's own message lists the choices and no more.
    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            what = "/".join(action.option_strings) or action.metavar or action.dest
            raise UsageError(
                f"{what} cannot be {value!r}: choose one of {', '.join(choices)}.{suggest(str(value), choices)}"
            )


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help  # no default worth a mention
        return super()._get_help_string(action)


def command(commands: Commands, name: str, run: Any, *, short: str, long: str, example: str) -> Parser:
    """Add a command and return its parser, for its arguments. `short` has no full stop; `long` breaks its lines."""
    parser: Parser = commands.add_parser(
        name, help=short, description=f"{short[0].upper()}{short[1:]}.\n{long}", epilog=f"examples:\n{example}"
    )
    add_debug(parser)
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_debug(parser: Parser) -> None:
    # Without a default, or the command's would undo what stands before it.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )


def whole(text: str) -> int:
    """Parse a whole number from 0."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number
