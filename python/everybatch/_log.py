"""Log lines of a training run, through Python's logging."""

from __future__ import annotations

import logging

from everybatch._core import Step

__all__ = ["log_step", "logger"]

logger = logging.getLogger("everybatch.train")


def log_step(step: Step) -> None:
    """Log one line at level INFO: where the run is, and what was measured last."""
    in_epoch = step.step - step.epoch * step.steps_per_epoch
    seen = min(in_epoch * step.batch_size, step.examples)
    line = (
        f"Train Epoch: {step.epoch + 1} [{seen}/{step.examples} ({100 * in_epoch / step.steps_per_epoch:.0f}%)] "
        f"Loss: {step.train_loss:.6f} | "
    )
    if step.validation_loss is not None and step.validation_accuracy is not None:
        line += f"Validation Loss: {step.validation_loss:.6f} Accuracy: {100 * step.validation_accuracy:.2f}% | "
    line += f"Test Loss: {step.test_loss:.6f} Accuracy: {100 * step.test_accuracy:.2f}% (step {step.eval_step})"
    logger.info(line)
