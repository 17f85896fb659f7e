"""`everybatch watch`."""

from __future__ import annotations

import contextlib
import logging
import sys
import webbrowser
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from everybatch.cli._parser import Commands, UsageError, command, whole
from everybatch.watch import Server, Watch, show
from everybatch.watch._server import PORT

__all__ = ["add", "run"]

_BAD = ("diverged", "failed", "lost", "unreadable")
_LONG = """\
A page for the browser, served from this machine to this machine: loss, accuracy, class accuracies and seconds grow
while the runs train. It only reads. With --text, lines in this terminal instead, until nothing is running any more."""
_EXAMPLE = """\
  everybatch watch
  everybatch watch experiments --port 8000 --open
  everybatch watch --text runs/a"""


def add(commands: Commands) -> None:
    """Describe the arguments of `watch`."""
    parser = command(commands, "watch", run, short="look at runs while they train", long=_LONG, example=_EXAMPLE)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        default=Path("runs"),
        help="with runs in it at any depth: folders of everybatch train --folder, saved runs, sweeps; or one of these",
    )
    parser.add_argument("--text", action="store_true", help="show it in this terminal")
    page = parser.add_argument_group("the page")
    page.add_argument(
        "--port", metavar="N", type=_port, help=f"its port, or 0 for any; {PORT} unless given, or any if that is taken"
    )
    page.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="the address to listen at. One that other machines reach needs the token in the printed address to show "
        "the page, which is sent without encryption",
    )
    page.add_argument("--open", action="store_true", help="open it in a browser")


def run(args: Namespace) -> int:
    """Serve until Ctrl-C, or show until nothing is running."""
    if args.text and (args.port is not None or args.open or args.host != "127.0.0.1"):
        raise UsageError("--port, --host and --open are for the page, and --text shows none")
    watch = Watch(args.folder)
    with contextlib.suppress(KeyboardInterrupt):  # which is how it is meant to end
        if args.text:
            return 1 if any(state in _BAD for state in show(watch)) else 0
        _serve(watch, args)
    return 0


def _serve(watch: Watch, args: Namespace) -> None:
    if getattr(args, "debug", False):
        logging.getLogger("everybatch.watch").setLevel(logging.DEBUG)
    with Server(watch, args.host, args.port) as server:
        print(f"Watching {args.folder} at {server.url}")
        print("Ctrl-C ends it; the runs do not notice.", flush=True)
        if args.open and not webbrowser.open(server.url):
            print("everybatch: note: there is no browser to open it with", file=sys.stderr)
        server.serve_forever()


def _port(text: str) -> int:
    number = whole(text)
    if number > 65535:
        raise ArgumentTypeError(f"{number} is no port: they end at 65535")
    return number
