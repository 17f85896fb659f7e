"""The files of a run's folder and the records in them, as far as writing and reading must agree on them."""

from __future__ import annotations

__all__ = ["BEGINNING", "BEGUN", "COLUMNS", "ENDED", "HISTORY", "MODEL", "ROWS", "STATE", "TENSORS", "WHERE", "WHOLE"]

HISTORY, STATE = "history.records", "state.records"
BEGINNING, MODEL = "beginning.safetensors", "model.safetensors"
"""The model that the run began with, and the one that it made."""

BEGUN, COLUMNS, ROWS, WHOLE, ENDED = b"begn", b"cols", b"rows", b"whol", b"ends"
"""Of the history: JSON; JSON; rows of these columns; large arrays that are no rows, if there are any (`_whole`); JSON.
A run that goes on adds rows after its end."""
WHERE, TENSORS = b"wher", b"tens"
"""Of the state: JSON, which says how far the history was then; and the state, as safetensors."""
