"""Text and numbers as HTML. Everything that a user could have named goes through `escaped`."""

from __future__ import annotations

import html
import math
from typing import Any

__all__ = ["escaped", "number", "percent"]


def escaped(value: Any) -> str:
    """Return a value's text, safe between tags and in attributes."""
    return html.escape(str(value), quote=True)


def number(value: float) -> str:
    """Return a number with four digits, whole ones in full."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2%}"
