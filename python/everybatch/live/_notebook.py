"""What a notebook offers: outputs of a cell that can be replaced."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["Output", "in_notebook"]


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython in a terminal is none."""
    module = sys.modules.get("IPython")  # where it is not imported it does not run
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class Output:
    """One output of the cell that runs now.

    Parameters
    ----------
    data
        Its content by MIME type; pictures as bytes. A notebook shows the richest that it can.
    metadata
        Of these, by MIME type.
    """

    def __init__(self, data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        from IPython import display

        show: Any = display.display  # which has no types
        self._handle = show(_plain(data), metadata=dict(metadata or {}), raw=True, display_id=True)

    def replace(self, data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Put something else in its place, also in a cell that another one was run after."""
        self._handle.update(_plain(data), metadata=dict(metadata or {}), raw=True)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return it as JSON takes it."""
    return {
        kind: base64.b64encode(content).decode() if isinstance(content, bytes) else content
        for kind, content in data.items()
    }
