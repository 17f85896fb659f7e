"""The widget: the chart of `everybatch watch` below a cell, by anywidget."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["has_widgets", "make_widget"]

_HERE = Path(__file__).parent
_PARTS = (_HERE.parent / "watch" / "static" / "chart.js", _HERE / "widget.js")


def has_widgets() -> bool:
    """Whether anywidget is installed."""
    try:
        import anywidget  # noqa: F401
    except ImportError:
        return False
    return True


def make_widget(data: dict[str, Any]) -> Any:
    """Return a widget that shows `data`, and what is put into its attribute of that name."""
    return _class()(data=data)


@cache
def _class() -> Any:
    import anywidget
    import traitlets

    content = {
        "__doc__": "The curves of one run. All that it needs is in it: nothing is fetched.",
        "_esm": "\n".join(part.read_text(encoding="utf-8") for part in _PARTS),
        "data": traitlets.Dict().tag(sync=True),
    }
    return type("LiveChart", (anywidget.AnyWidget,), content)
