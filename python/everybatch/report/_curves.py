"""Small curves as SVG, drawn here rather than by matplotlib: there are several for each run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from everybatch.plots._curves import Curve, Doubles, curve, decimate
from everybatch.plots._error_bands import thinned
from everybatch.run import Run

__all__ = ["curves_of", "panel", "spark"]

_SPARK = (120, 28)
_PANEL = (320, 130)


def curves_of(run: Run, quantity: str) -> dict[str, Curve]:
    """Return the validation and test curves of ``"accuracy"`` or ``"loss"``, without what is not finite."""
    kinds = ("validation", "test") if run._has_validation else ("test",)
    made = {}
    for kind in kinds:
        data = curve(run, f"{kind}_{quantity}", "step")
        known = ~np.isnan(data.y)
        if known.any():
            made[kind] = data.at(known)
    return made


def spark(curves: Mapping[str, Curve]) -> str:
    """Return the curves of an accuracy, which goes from 0 to 1, for a cell of a table."""
    if not curves:
        return ""
    width, height = _SPARK
    lines = _lines(curves, width, height, (0.0, 1.0), points=40)
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f"{lines}</svg>"
    )


def panel(curves: Mapping[str, Curve], quantity: str) -> str:
    """Return the curves with the ends of their axes written beside them."""
    if not curves:
        return ""
    values = np.concatenate([end for one in curves.values() for end in one.reach])
    low, high = (0.0, 1.0) if quantity == "accuracy" else (min(0.0, float(values.min())), float(values.max()) or 1.0)
    last = max(float(one.x[-1]) for one in curves.values())
    width, height = _PANEL
    words = ", ".join(f"{kind} from {one.y[0]:.3g} to {one.y[-1]:.3g}" for kind, one in curves.items())
    ends = [f"{low:.0%}", f"{high:.0%}"] if quantity == "accuracy" else [f"{low:.3g}", f"{high:.3g}"]
    lines = _bands(curves, width, height, (low, high)) + _lines(curves, width, height, (low, high), points=80)
    return (
        f'<svg class="panel" viewBox="-42 -18 {width + 52} {height + 36}" role="img" aria-label="{quantity}: {words}">'
        f'<path class="frame" d="M0 0V{height}H{width}"/>{lines}'
        f'<text x="-5" y="{height}" text-anchor="end">{ends[0]}</text>'
        f'<text x="-5" y="9" text-anchor="end">{ends[1]}</text>'
        f'<text x="0" y="{height + 14}">0</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{last:,.0f} mini-batches</text>'
        f'<text x="0" y="-6">{quantity}</text></svg>'
    )


def _bands(curves: Mapping[str, Curve], width: int, height: int, limits: tuple[float, float]) -> str:
    """Return the bands of two standard errors around estimates: along their tops, and back along the rest."""
    last, made = _last(curves), []
    for kind, one in curves.items():
        if (band := thinned(one, 160)) is not None:
            x, low, high = band
            path = _path(np.append(x, x[::-1]) / last, np.append(high, low[::-1]), width, height, limits)
            made.append(f'<polygon class="{kind}" points="{path}"/>')
    return "".join(made)


def _lines(curves: Mapping[str, Curve], width: int, height: int, limits: tuple[float, float], points: int) -> str:
    last, made = _last(curves), []
    for kind, one in curves.items():
        few = decimate(one, points)
        path = _path(few.x / last, few.y, width, height, limits)
        made.append(f'<polyline class="{kind}" points="{path}"/>')
    return "".join(made)


def _last(curves: Mapping[str, Curve]) -> float:
    return max(float(one.x[-1]) for one in curves.values()) or 1.0


def _path(share: Doubles, y: Doubles, width: int, height: int, limits: tuple[float, float]) -> str:
    """Return points at shares of the width as SVG has them."""
    low, high = limits
    across = np.rint(width * share).astype(int)
    down = np.rint(10 * height * (high - y) / max(high - low, 1e-12)) / 10
    return " ".join(f"{a},{b:g}" for a, b in zip(across, down, strict=True))
