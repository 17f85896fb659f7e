"""Watching runs while they train: a page in the browser (`_server`), or lines in a terminal (`_text`).

Both only read. `_watch` follows the runs that `_find` finds below a folder, each as a `_watched`, and makes of their
curves what a screen can show (`_charts`, `_thin`).
"""

from everybatch.watch._server import Server
from everybatch.watch._text import show
from everybatch.watch._watch import Watch

__all__ = ["Server", "Watch", "show"]
