"""What the recording of a run tells that no single measurement does: one analysis a function.

Each takes a `Run` that was trained with what it needs (``record=``), one that is still going too, and returns a small
object: NumPy arrays as attributes, a pandas table as ``frame``, a picture by ``plot()``. Where images or labels are
needed, the run's data set is found again as by `everybatch.resume`, or given as ``dataset=``; its fingerprint tells
whether it is the right one. Counts of events depend on how often is measured, so that all of them name their interval.
matplotlib and pandas are imported when they are used.
"""

from everybatch.insight._bands import bands
from everybatch.insight._batches import batches
from everybatch.insight._comparison import compare
from everybatch.insight._confusion_film import confusion_film
from everybatch.insight._data_map import data_map
from everybatch.insight._label_errors import label_errors
from everybatch.insight._learning import learning
from everybatch.insight._memorisation import memorisation
from everybatch.insight._planting import plant_label_errors
from everybatch.insight._replay import replay
from everybatch.insight._report import report

__all__ = [
    "bands",
    "batches",
    "compare",
    "confusion_film",
    "data_map",
    "label_errors",
    "learning",
    "memorisation",
    "plant_label_errors",
    "replay",
    "report",
]
