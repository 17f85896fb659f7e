"""Measuring a module of PyTorch in a training loop of one's own, as `everybatch.train` measures.

`_meter.py` is the `Meter`, `_options.py` checks what it is asked for. `_measured.py` decides what gives the logits of
the moment: a plan of the module's own weights (`_stamp.py` knows whether it still is one), or the module itself, which
`_module.py` runs and leaves as it was. `_sound.py` looks whether its logits can be measured.
"""

from everybatch.meter._meter import Meter

__all__ = ["Meter"]
