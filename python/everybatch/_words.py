"""Numbers in words."""

from __future__ import annotations

__all__ = ["count", "duration"]


def count(number: int, noun: str) -> str:
    """Return how many there are of what: "1 batch", "2,000 batches"."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def duration(seconds: float) -> str:
    """Return a time as it is read: "12.5 s", "3 min 05 s", "2 h 07 min"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
