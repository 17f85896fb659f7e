"""A model as a TorchScript file."""

from __future__ import annotations

import json
import os
import warnings

import torch

from everybatch._arguments import flag
from everybatch._core import Model
from everybatch._disk import whole_file
from everybatch._plain_torch import plain_torch
from everybatch.export._given import description
from everybatch.export._torch_module import torch_module

__all__ = ["torchscript"]


def torchscript(model: Model, path: str | os.PathLike[str], *, normalize: bool = True, overwrite: bool = False) -> None:
    """Write a TorchScript file: ``torch.jit.load`` reads it, in Python or C++, without everybatch.

    It takes images (N, C, H, W) float32 and gives logits (N, classes) float32, for any N. An extra file in it,
    ``everybatch.json``, says what the model knows: ``classes``, the names in the order of the logits; ``input_shape``,
    (channels, height, width); ``mean`` and ``std`` of pixels in [0, 1]. Read it with

        more = {"everybatch.json": ""}
        module = torch.jit.load(path, _extra_files=more)

    Parameters
    ----------
    model
        Such as `Run.model`; its weights of now are written.
    path
        The file, as a rule ``.pt``. Its folder must be there.
    normalize
        The file takes pixels in [0, 1] and normalises them as in training. If False, it takes images that are
        normalised already.
    overwrite
        Replace a file that is there already.

    Raises
    ------
    ArgumentError
        The network has a layer that PyTorch has no counterpart for here.
    FileExistsError, IsADirectoryError, FileNotFoundError, OSError
        `path` is taken, is a folder, lies in no folder, or cannot be written. Nothing is left behind.
    """
    module = torch_module(model, normalize=normalize)
    with (
        whole_file(path, overwrite=flag(overwrite, "overwrite")) as file,
        plain_torch(),
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        # torch calls TorchScript deprecated. It is still the one format that PyTorch reads from C++ too, without code.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is ", DeprecationWarning)
        # Two images, so that nothing in the file can take the batch for a fixed dimension of one.
        images = torch.zeros(2, *model.network.input_shape, dtype=torch.float32, device="cpu")
        traced = torch.jit.trace(module, images)  # type: ignore[no-untyped-call]
        more = {"everybatch.json": json.dumps(description(model), ensure_ascii=False).encode()}
        torch.jit.save(traced, file, _extra_files=more)
