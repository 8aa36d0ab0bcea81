"""What the readers of QDQ operators share: attributes, and inputs as core tensors in the order that they need."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_linear import output_scale
from systolith.gen.frontend.qdq_order import arranged, reshaped
from systolith.gen.frontend.qdq_values import (
    Function,
    Input,
    Pending,
    Refused,
    Value,
    View,
    core_order,
    core_shape,
    positions,
)
from systolith.gen.graph import Node, Rescale, Tensor
from systolith.rtl.isa import EVEN
from systolith.sim.golden.rescale import quantise_scale

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


Attributes = Mapping[str, Any]
QUANTISE_ALL = "a DequantizeLinear belongs before each input; quantise this operator too"


def attributes_of(node: onnx.NodeProto) -> Attributes:
    """The node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def label_of(node: onnx.NodeProto) -> str:
    """What the core node is called."""
    return str(node.name or node.output[0])


def stored(value: Value) -> View:
    """The value as a core tensor that an operator may read."""
    if isinstance(value, View) and value.real:
        return value
    if isinstance(value, View):
        raise Refused("reads integers; a DequantizeLinear belongs before it")
    if isinstance(value, Pending | Function):
        raise Refused(f"reads {value.name!r} before that is rounded; a QuantizeLinear and a DequantizeLinear belong "
                      "between the two")
    if isinstance(value, Input):
        raise Refused(f"reads the input {value.name!r} as it is; {QUANTISE_ALL}")
    raise Refused("reads a constant where an activation belongs")


def image(importer: "Importer", value: Value) -> Tensor:
    """The value as an image in the core's order."""
    view = stored(value)
    if view.where.ndim != 4:
        raise Refused(f"reads a tensor of {view.where.ndim} dimensions; give it [1, C, H, W] (one-dimensional: H = 1)")
    return settled(importer, view)


def settled(importer: "Importer", view: View) -> Tensor:
    """A core tensor that stores the view's elements in the shape and order of the file's tensor."""
    return arranged(importer, importer.tensors[view.tensor], core_order(view.where), core_shape(view.where.shape))


def usual(importer: "Importer", value: Value) -> View:
    """The value as a view of a core tensor that stores it in the usual order."""
    view = stored(value)
    return replace(view, tensor=settled(importer, view).name, where=positions(view.where.shape))


def rescaled(importer: "Importer", view: View, output: str, label: str = "",
             padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Pending:
    """Element by element into another scale."""
    source = importer.tensors[view.tensor]

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        multiplier, shift = quantise_scale(output_scale(source.scale, target))
        return Rescale(name, (source.name,), target.name, multiplier, shift, padding, EVEN, low, high, source=label)

    return Pending(make, label or output, output, source.shape, view.where)


def matrix(importer: "Importer", value: Value) -> tuple[Tensor, NDArray[np.int64]]:
    """The value as a core matrix [1, M, K], and where its columns lie in a row."""
    view = stored(value)
    width = view.where.shape[-1]
    rows = view.where.reshape(-1, width)
    order = rows[0]
    source = importer.tensors[view.tensor]
    if not (np.array_equal(np.sort(order), np.arange(width))
            and np.array_equal(rows, order + width * np.arange(len(rows))[:, np.newaxis])):
        return arranged(importer, source, rows, (1, len(rows), width)), np.arange(width)
    return reshaped(importer, source, (1, len(rows), width)), order
