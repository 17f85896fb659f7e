"""Watching in a terminal: a few lines that are written anew, or one now and then where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np

from everybatch._names import plain_text
from everybatch._words import duration
from everybatch.watch._thin import thin
from everybatch.watch._watch import Watch
from everybatch.watch._watched import Watched

__all__ = ["show"]

_EVERY = 1.0
"""Seconds from one look to the next."""
_SELDOM = 10.0
"""Seconds from one line to the next where lines stay."""
_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#"
_BAR, _CURVE = 16, 32
"""Characters."""
_GOING = ("running", "unknown")
_MORE = "There is more below this folder than can be listed: name a folder in it."


def show(watch: Watch, out: TextIO | None = None, sleep: Callable[[float], object] = time.sleep) -> list[str]:
    """Show runs until none of them is running any more.

    Parameters
    ----------
    watch
        What is below a folder: one run in detail, several in a line each.
    out
        Where to; stdout unless given.
    sleep
        Waits for so many seconds.

    Returns
    -------
    list of str
        The state that each run ended in.

    Raises
    ------
    FileNotFoundError
        There is no run in the folder.
    """
    out = sys.stdout if out is None else out
    screen = _Screen(out)
    said: dict[str, tuple[str, str, float]] = {}
    with screen.kept():
        while True:
            told = watch.overview()
            runs = [*told["runs"], *map(_as_run, told["sweeps"])]
            if not runs:
                raise FileNotFoundError(f"there is no run in {watch.given}: give the folder= of a training")
            going = any(run["state"] in _GOING for run in runs)
            if screen.rewrites:
                screen.write([*([] if told["complete"] else [_MORE]), *_lines(watch, runs, _blocks(out))])
            else:
                if not told["complete"] and not said:
                    print(_MORE, file=out, flush=True)
                for line in _news(runs, said):
                    print(plain_text(line), file=out, flush=True)
            if not going:
                return [run["state"] for run in runs]
            sleep(_EVERY)


class _Screen:
    """Writes lines over those before, where that can be done."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._height = 0
        self.rewrites = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def write(self, lines: list[str]) -> None:
        size = shutil.get_terminal_size()
        lines = [plain_text(line)[: size.columns - 1] for line in lines[: size.lines - 1]]
        back = f"\x1b[{self._height}F" if self._height else ""
        self._out.write(back + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._out.flush()
        self._height = len(lines)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Hide the cursor meanwhile."""
        if self.rewrites:
            self._out.write("\x1b[?25l")
        try:
            yield
        finally:
            if self.rewrites:
                self._out.write("\x1b[?25h")
                self._out.flush()


def _news(runs: list[dict[str, Any]], said: dict[str, tuple[str, str, float]]) -> Iterator[str]:
    """Give a line for each run whose state is another one, or of which nothing was said for a while."""
    now = time.monotonic()
    for run in runs:
        sentence = _sentence(run)
        state, before, at = said.get(run["path"], ("", "", -np.inf))
        if run["state"] != "unknown" and (run["state"] != state or (sentence != before and now - at >= _SELDOM)):
            said[run["path"]] = (run["state"], sentence, now)
            yield f"{run['path']}: {sentence}"


def _as_run(sweep: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep as a run of which no more than a sentence is known."""
    missing = sweep["counts"].get("missing", 0)
    parts = [f"{sweep['total'] - missing:,} of {sweep['total']:,} trials done"]
    if sweep["running"]:
        parts.append(f"{sweep['running']:,} being trained")
    parts += [
        f"{number:,} {state}" for state, number in sweep["counts"].items() if state not in ("missing", "finished")
    ]
    if sweep["best"]:
        parts.append(f"best {sweep['by']} {sweep['best'][0]['accuracy']:.2%}")
    if sweep["message"]:
        parts = [sweep["message"]]
    if sweep.get("resume"):
        parts.append(f"go on with: {sweep['resume']}")
    state = "running" if sweep["running"] else "incomplete" if missing else "finished"
    return {**sweep, "state": state, "message": ", ".join(parts)}


def _sentence(run: dict[str, Any]) -> str:
    if "steps" not in run:
        return ": ".join(filter(None, (run["state"], run["message"])))
    parts = [run["state"], f"step {run['steps']:,} of {run['total']:,}"]
    last = run["last"]
    parts += [
        f"{name.replace('_', ' ')} {last[name]:.4f}" for name in ("train_loss", "test_loss") if last[name] is not None
    ]
    if last["test_accuracy"] is not None:
        parts.append(f"accuracy {last['test_accuracy']:.2%}")
    if run["best"] is not None:
        parts.append(f"best {run['best']['accuracy']:.2%} at step {run['best']['step']:,}")
    if run["left"] is not None:
        parts.append(f"{duration(run['left'])} left")
    if run["message"]:
        parts.append(run["message"])
    if run["resume"]:
        parts.append(f"go on with: {run['resume']}")
    return ", ".join(parts)


def _lines(watch: Watch, runs: list[dict[str, Any]], blocks: str) -> list[str]:
    """Return one run in detail, or a line for each, those that are running first."""
    if len(runs) == 1:
        return _detailed(watch, runs[0], blocks)
    widest = min(30, max(len(run["path"]) for run in runs))
    ordered = sorted(runs, key=lambda run: run["state"] not in _GOING)
    return [f"{run['path'][-widest:]:{widest}}  {_bar(run, 10, blocks)}  {_sentence(run)}" for run in ordered]


def _detailed(watch: Watch, run: dict[str, Any], blocks: str) -> list[str]:
    if "steps" not in run:
        return [f"{run['path']}: {_sentence(run)}"]
    lines = [f"{run['path']}: {run['network']} on {run['dataset']}, {run['state']}"]
    pace = []
    if run["step_seconds"] is not None:
        pace.append(f"{1000 * run['step_seconds']:.3g} ms a step")
    pace.append(f"{duration(run['left'])} left" if run["left"] is not None else f"{duration(run['seconds'])} in all")
    share = run["steps"] / max(1, run["total"])
    steps = f"step {run['steps']:,} of {run['total']:,}"
    lines.append(f"{_bar(run, _BAR, blocks)} {share:4.0%}  {', '.join((steps, *pace))}")
    watched = watch.run(run["name"])
    if watched is not None:
        watched.look(whole=True)
        best = "" if run["best"] is None else f", best {run['best']['accuracy']:.2%} at step {run['best']['step']:,}"
        lines += _curve(watched, "test_accuracy", "accuracy", lambda value: f"{value:.2%}{best}", blocks)
        lines += _curve(watched, "test_loss", "test loss", lambda value: f"{value:.4f}", blocks)
        lines += _curve(watched, "train_loss", "train loss", lambda value: f"{value:.4f}", blocks)
    if run["message"]:
        lines.append(run["message"])
    if run["resume"]:
        lines.append(f"Its process ended before it did. Go on with: {run['resume']}")
    return lines


def _bar(run: dict[str, Any], width: int, blocks: str) -> str:
    done = int(width * run.get("steps", 0) / max(1, run.get("total", 1)))
    full, rest = ("█", "░") if blocks is _BLOCKS else ("#", ".")
    return full * min(width, done) + rest * (width - min(width, done))


def _curve(run: Watched, name: str, label: str, text: Callable[[float], str], blocks: str) -> list[str]:
    """Return a line with the means of a measure over time, and its last value."""
    values = getattr(run, name)
    if not len(values):
        return []
    means = thin(np.arange(len(values)), values, _CURVE).y
    known = means[np.isfinite(means)]
    if not len(known):
        return []
    low, high = float(np.min(known)), float(np.max(known))
    places = np.nan_to_num((means - low) / max(high - low, 1e-12) * (len(blocks) - 1)).astype(int)
    drawn = "".join(blocks[place] if np.isfinite(mean) else " " for place, mean in zip(places, means, strict=True))
    return [f"{label:10} {drawn} {text(float(values[-1]))}"]


def _blocks(out: TextIO) -> str:
    try:
        _BLOCKS.encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _BLOCKS
