"""How a run shows itself: one line in a terminal, a table with a curve of the test loss in a notebook."""

from __future__ import annotations

import html as escaping
import json
import math
from typing import TYPE_CHECKING

import numpy as np

from everybatch._words import count, duration
from everybatch.errors import EverybatchError
from everybatch.runs._estimates import estimated

if TYPE_CHECKING:
    from everybatch.run import Run

__all__ = ["html", "text"]

_WIDTH, _HEIGHT = 220, 44  # of the curve, in CSS pixels


def text(run: Run) -> str:
    """Return one line: what was trained on what, how long, how well."""
    parts = [f"{_network(run)} on {_dataset(run)}", count(run.steps, "step"), duration(run.total_seconds)]
    if run.best_step is not None:
        parts.append(f"test accuracy final {run.final_accuracy:.2%}, best {run.best_accuracy:.2%}")
    if estimates := estimated(run):
        parts.append(estimates)
    if run.state != "finished":
        parts.append(_state(run))
    return f"<Run: {', '.join(parts)}>"


def html(run: Run) -> str:
    """Return a table for notebooks. Everything that a user could have named is escaped."""
    parameters = _parameters(run)
    dataset = run._config["dataset"]
    rows = [
        ("network", _network(run) + (f", {parameters:,} parameters" if parameters is not None else "")),
        ("data set", f"{_dataset(run)}: {dataset['train']:,} training and {dataset['test']:,} test images"),
        (
            "training",
            f"{count(run.steps, 'step')}{_epochs(run)} in {duration(run.total_seconds)}",
        ),
        ("state", _state(run)),
    ]
    if run.model_step != run.steps:
        rows.append(("weights", f"of step {run.model_step:,}, test accuracy {run.model_accuracy:.2%}"))
    if len(run.test_indices) < dataset["test"]:
        rows.append(("measured on", count(len(run.test_indices), "test image")))
    if estimates := estimated(run):
        rows.append(("test accuracies", estimates))
    if run.best_step is not None:
        rows.append(("final test accuracy", f"{run.final_accuracy:.2%}"))
        rows.append(("best test accuracy", f"{run.best_accuracy:.2%}, after step {run.best_step:,}"))
    cells = [f"<tr><th>{escaping.escape(name)}</th><td>{escaping.escape(value)}</td></tr>" for name, value in rows]
    curve = _sparkline(run)
    if curve:
        cells.append(f"<tr><th>test loss</th><td>{curve}</td></tr>")
    return f'<table class="everybatch-run"><tbody>{"".join(cells)}</tbody></table>'


def _network(run: Run) -> str:
    return str(run._config["network"].get("name") or "network")


def _dataset(run: Run) -> str:
    return str(run._config["dataset"].get("name") or "data set")


def _epochs(run: Run) -> str:
    return "" if math.isnan(run.epochs) else f" ({run.epochs:.4g} epochs)"


def _state(run: Run) -> str:
    if run.diverged_at is not None:
        return f"{run.state} at step {run.diverged_at:,}"
    message = run._config["status"].get("message")
    return f"{run.state}: {message}" if message else run.state


def _parameters(run: Run) -> int | None:
    """Return the number of parameters, or None: a summary must not fail, nor read the weights for it."""
    try:
        if run._model is not None:
            return int(run._model.network.num_parameters)
        from everybatch._core import Network

        return int(Network.from_json(json.dumps(run._config["network"])).num_parameters)
    except (EverybatchError, ImportError, AttributeError, TypeError, ValueError):
        return None


def _sparkline(run: Run) -> str:
    """Return the test loss as a small SVG line, or nothing if there are fewer than two numbers."""
    finite = np.isfinite(run.test_loss)
    step, loss = run.eval_step[finite].astype(float), run.test_loss[finite].astype(float)
    if len(loss) < 2:
        return ""
    keep = np.unique(np.linspace(0, len(loss) - 1, min(len(loss), _WIDTH)).astype(int))
    if loss.min() > 0 and loss.max() > 20 * loss.min():
        loss = np.log(loss)  # as `plots.losses` does
    x = 1 + (_WIDTH - 2) * (step - step[0]) / (step[-1] - step[0])
    y = 1 + (_HEIGHT - 2) * (loss.max() - loss) / max(loss.max() - loss.min(), 1e-12)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[keep], y[keep], strict=True))
    first, last = run.test_loss[finite][[0, -1]]
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="test loss from {first:.4g} to {last:.4g}">'
        f'<polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="1.3"/></svg> '
        f"{first:.3g} &rarr; {last:.3g}"
    )
