"""A model as an ONNX file."""

from __future__ import annotations

import json
import os

import everybatch._core as core
from everybatch._arguments import flag
from everybatch._core import Model
from everybatch._disk import whole_file
from everybatch.export._given import as_model, description, layers_of, missing_package, normalization_of

__all__ = ["onnx"]

# Operator set 17 has all that is needed, and runs in every onnxruntime since 1.12; version 8 of the file format
# belongs to it.
_OPSET, _FORMAT = 17, 8


def onnx(model: Model, path: str | os.PathLike[str], *, normalize: bool = True, overwrite: bool = False) -> None:
    """Write an ONNX file, which onnxruntime and others run without PyTorch.

    Its input ``images`` is (N, C, H, W) float32, its output ``logits`` (N, classes) float32, for any N. It is made
    from the layer tree itself: one operator for a layer as a rule, weights under PyTorch's names, no dropout.

    Its metadata (``metadata_props``; onnxruntime's ``get_modelmeta().custom_metadata_map``) say as JSON what the model
    knows: ``classes``, the names in the order of the logits; ``input_shape``, (channels, height, width); ``mean`` and
    ``std`` of pixels in [0, 1].

    Parameters
    ----------
    model
        Such as `Run.model`; its weights of now are written.
    path
        The file, as a rule ``.onnx``. Its folder must be there.
    normalize
        The file takes pixels in [0, 1] and normalises them as in training. If False, it takes images that are
        normalised already.
    overwrite
        Replace a file that is there already.

    Raises
    ------
    ImportError
        The package onnx is not installed.
    ArgumentError
        The network has a layer that this export does not know.
    FileExistsError, IsADirectoryError, FileNotFoundError, OSError
        `path` is taken, is a folder, lies in no folder, or cannot be written. Nothing is left behind.
    """
    model, normalize = as_model(model), flag(normalize, "normalize")
    try:
        from onnx import TensorProto, helper

        from everybatch.export._onnx_graph import Graph
    except ImportError as error:
        raise missing_package("onnx", "the package onnx", "onnx") from error
    graph = Graph(model.state_dict(), model.input_shape[1:])
    x = "images"
    if normalize:
        mean, std = normalization_of(model)
        x = graph.add("Div", "normalize.scaled", graph.add("Sub", "normalize.centred", x, mean), std)
    graph.layers(layers_of(model), x, "")
    # The last operator is the last layer's, or that of a layer before it if dropout comes last.
    graph.nodes[-1].output[0] = "logits"

    network = model.network
    pixels = "pixels in [0, 1]" if normalize else "normalised pixels"
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name or "network",  # a graph has a name, and a network need not
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *network.input_shape])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", network.num_classes])],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_FORMAT,
        producer_name="everybatch",
        producer_version=core.__version__,
        doc_string=f"images: {pixels}, (batch, channels, height, width); logits: (batch, classes)",
    )
    known = {name: json.dumps(value, ensure_ascii=False) for name, value in description(model).items()}
    helper.set_model_props(proto, {name: text for name, text in known.items() if text != "null"})
    with whole_file(path, overwrite=flag(overwrite, "overwrite")) as file:
        file.write(proto.SerializeToString())
