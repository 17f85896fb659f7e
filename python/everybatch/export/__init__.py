"""Getting results out: models for other programs, and what runs measured for other tools.

Models: `torch_module` gives a plain PyTorch module, `torchscript` and `onnx` write files that need no everybatch.
Runs: `csv`, `parquet` and `tensorboard` write the whole history, `class_accuracy_csv` and `class_lists` the accuracy of
each class.

What is written is there whole or not at all. No folder is made for it, and nothing is replaced unless
``overwrite=True`` allows it.
"""

from ._class_lists import class_lists
from ._onnx import onnx
from ._parquet import parquet
from ._tables import class_accuracy_csv, csv
from ._tensorboard import tensorboard
from ._torch_module import torch_module
from ._torchscript import torchscript

__all__ = ["class_accuracy_csv", "class_lists", "csv", "onnx", "parquet", "tensorboard", "torch_module", "torchscript"]
