"""A run that is seen growing below its notebook cell: ``train(..., live=True)``.

`_beside.py` stands beside the run's journal and takes what it is told; `_widget_view.py` draws it as the chart of
`everybatch watch`, or `_picture_view.py` as a picture where there is no anywidget. `_pace.py` sees that drawing takes
no more than a hundredth of the time.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from everybatch.live._notebook import in_notebook

if TYPE_CHECKING:
    from everybatch.folder import Journal
    from everybatch.live._beside import Beside

__all__ = ["beside", "can_show"]

_ELSEWHERE = (
    "live=True draws below a notebook's cell, and this is no notebook: the run goes on without. To watch it in a "
    "browser or a terminal, give folder=..., and start `everybatch watch` beside it."
)


def can_show(live: bool) -> bool:
    """Tell whether to draw; warn where that is wanted and there is no notebook."""
    if live and not in_notebook():
        warnings.warn(_ELSEWHERE, UserWarning, stacklevel=3)
        return False
    return live


def beside(
    journal: Journal | None, told: Mapping[str, Any], earlier: Mapping[str, npt.NDArray[Any]] | None = None
) -> Beside:
    """Return what stands in the journal's place and draws; see `Beside`."""
    # Now, and not with the package: only who draws waits for what draws.
    from everybatch.live._beside import Beside
    from everybatch.live._picture_view import PictureView
    from everybatch.live._widget import has_widgets
    from everybatch.live._widget_view import WidgetView

    return Beside(journal, told, WidgetView if has_widgets() else PictureView, earlier)
