"""What a benchmark prints: its table, under a line that says where and with what it was measured."""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

import everybatch as eb

README = Path(__file__).parent / "README.md"


def arguments(told: str | None) -> argparse.ArgumentParser:
    """The arguments that every script has, under what it tells of itself."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put what is printed into benches/README.md")
    return parser


class Report:
    """Lines that are printed as they come, and that may go into benches/README.md, between the marks of a script."""

    def __init__(self, script: str) -> None:
        self.script = Path(script).name
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        """Print lines, and keep them."""
        print(*lines, sep="\n", flush=True)
        self.lines += lines

    def head(self, data: eb.Dataset, how: str) -> None:
        """Say when, where and with what this is measured; ``how`` tells the number of runs and what warmed them up."""
        cpu = eb.training.hardware("cpu")
        self.add(
            f"{datetime.now(UTC):%Y-%m-%d}, {cpu['name']}, {os.cpu_count()} cores, {cpu['threads']} threads, load "
            f"{os.getloadavg()[1]:.1f}; torch {torch.__version__}, Python {platform.python_version()}, everybatch "
            f"{eb.__version__}; {data.name}; {how}.",
            "",
        )

    def write(self) -> None:
        """Put the lines into benches/README.md, in place of what the script wrote there before."""
        begin, end = (f"<!-- {self.script} writes {where} -->" for where in ("below", "above"))
        before, rest = README.read_text(encoding="utf-8").split(begin)
        after = rest.split(end)[1]
        lines = "\n".join(self.lines).strip("\n")
        README.write_text(f"{before}{begin}\n\n{lines}\n\n{end}{after}", encoding="utf-8")
