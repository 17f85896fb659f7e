"""A callback for Lightning: the test set is measured after every step of the optimizer, by `eb.Meter`.

It needs Lightning (``pip install lightning``), of which everybatch knows nothing. Give the callback to a trainer:

    trainer = lightning.pytorch.Trainer(callbacks=[MeterCallback(data, steps_per_epoch=...)])
    trainer.fit(module, loader)
    run = trainer.callbacks[0].meter.run
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

import everybatch as eb


class MeterCallback(Callback):
    """Measures the module of a trainer, whose `forward` gives logits.

    Parameters
    ----------
    dataset
        With the test images.
    how
        Arguments of `eb.Meter`, such as ``inputs="unit"`` for a module that is trained on pixels in [0, 1].
    """

    def __init__(self, dataset: eb.Dataset, **how: Any) -> None:
        self.dataset, self.how = dataset, how
        self.meter: eb.Meter | None = None
        self._steps, self._lr = 0, None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure the weights before the first step."""
        if trainer.is_global_zero:  # one process is enough: all have the same weights
            self.meter, self._steps = eb.Meter(pl_module, self.dataset, **self.how), trainer.global_step

    def on_before_optimizer_step(self, _trainer: Any, _module: Any, optimizer: Any) -> None:
        """Note the learning rate of the step."""
        self._lr = optimizer.param_groups[0]["lr"]  # later the schedule has moved it on

    def on_train_batch_end(self, trainer: Any, _module: Any, outputs: Any, *_batch: Any) -> None:
        """Measure, if the batch ended with a step."""
        if self.meter is None or trainer.global_step == self._steps:
            return  # while gradients are accumulated no step is taken
        self._steps = trainer.global_step
        self.meter.step(outputs["loss"] if isinstance(outputs, dict) else outputs, lr=self._lr)

    def on_train_end(self, *_: Any) -> None:
        """Measure for the last time."""
        if self.meter is not None:
            self.meter.end()

    def on_exception(self, _trainer: Any, _module: Any, exception: BaseException) -> None:
        """Keep what was recorded."""
        if self.meter is not None:
            self.meter.end(exception)
