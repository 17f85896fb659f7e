"""A run's folder that is written as the run goes on, so that nothing of it is lost, whatever ends it.

``history.records`` is its journal, which only grows (`_records`): how the run began, its rows of history (`_rows`), how
it ended. ``state.records`` is what it needs to go on, replaced as a whole now and then. ``lock`` tells who writes.
"""

from everybatch.folder._journal import Journal
from everybatch.folder._lock import holder
from everybatch.folder._read import Follower, how_to_go_on, nothing_yet, recorded
from everybatch.folder._state import read_state

__all__ = ["Follower", "Journal", "holder", "how_to_go_on", "nothing_yet", "read_state", "recorded"]
