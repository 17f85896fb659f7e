"""The files of a run's folder and the records in them, as far as writing and reading must agree on them."""

from __future__ import annotations

__all__ = ["BEGUN", "COLUMNS", "ENDED", "HISTORY", "MODEL", "ROWS", "STATE", "TENSORS", "WHERE"]

HISTORY, STATE, MODEL = "history.records", "state.records", "model.safetensors"

BEGUN, COLUMNS, ROWS, ENDED = b"begn", b"cols", b"rows", b"ends"
"""Of the history: JSON; JSON; rows of these columns; JSON. A run that goes on adds rows after its end."""
WHERE, TENSORS = b"wher", b"tens"
"""Of the state: JSON, which says how far the history was then; and the state, as safetensors."""
