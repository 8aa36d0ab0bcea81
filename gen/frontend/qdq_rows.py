"""Operators of a QDQ file along one axis, which the core has along channels: Softmax and ArgMax."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_linear import output_scale
from systolith.gen.frontend.qdq_nodes import attributes_of, label_of, stored
from systolith.gen.frontend.qdq_order import arranged
from systolith.gen.frontend.qdq_values import Pending, Value, View, core_shape
from systolith.gen.graph import ArgMax, Node, Rescale, Shape, Softmax, Tensor
from systolith.gen.tables import softmax_table
from systolith.rtl.isa import EVEN
from systolith.sim.golden.rescale import quantise_scale

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer

Positions = NDArray[np.int64]


def _along(importer: "Importer", where: Positions, tensor: str, axis: int) -> tuple[Tensor, Positions]:
    """The tensor with that axis as its channels, and where the file's elements lie in it."""
    last = np.moveaxis(where, axis, -1)
    image = where.ndim == 4 and axis == 1 and len(where) == 1
    shape: Shape = core_shape(where.shape) if image else (1, last.size // last.shape[-1], last.shape[-1])
    source = importer.tensors[tensor]
    if np.array_equal(last.reshape(-1), np.arange(last.size)) and source.shape[2] == last.shape[-1]:
        shape = source.shape
    placed = np.moveaxis(np.arange(last.size).reshape(last.shape), -1, axis)
    return arranged(importer, source, last, shape), placed


def softmax(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """In steps of 1/256 from 0 on; another scale of the output takes a rescale."""
    view, given = stored(values[0]), attributes_of(node)
    where = view.where
    if importer.opset < 13:  # all axes from this one on
        axis = int(given.get("axis", 1)) % where.ndim
        flat = where.reshape(int(np.prod(where.shape[:axis])), -1)
        source, placed = _along(importer, flat, view.tensor, 1)
        placed = placed.reshape(where.shape)
    else:
        source, placed = _along(importer, where, view.tensor, int(given.get("axis", -1)) % where.ndim)
    table = softmax_table(source.scale)

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        own = replace(target, scale=1 / 256, zero_point=-128)
        if (target.scale, target.zero_point, low, high) == (own.scale, own.zero_point, -128, 127):
            return Softmax(name, (source.name,), target.name, table, source=label_of(node))
        own = importer.like(own, f"{target.name}_softmax", source.shape)
        importer.nodes.append(Softmax(importer.node_name(own.name), (source.name,), own.name, table,
                                      source=label_of(node)))
        return Rescale(name, (own.name,), target.name, *quantise_scale(output_scale(own.scale, target)), rounding=EVEN,
                       low=low, high=high, source=label_of(node))

    return Pending(make, label_of(node), node.output[0], source.shape, placed)


def arg_max(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """The index of the largest along one axis, as int32."""
    view, given = stored(values[0]), attributes_of(node)
    axis = int(given.get("axis", 0)) % view.where.ndim
    source, _ = _along(importer, view.where, view.tensor, axis)
    shape = (source.shape[0], source.shape[1], 1)
    target = importer.like(Tensor("", shape, "int32"), node.output[0], shape)
    importer.nodes.append(ArgMax(importer.node_name(label_of(node)), (source.name,), target.name,
                                 bool(given.get("select_last_index", 0)), source=label_of(node)))
    kept = [length for place, length in enumerate(view.where.shape) if place != axis]
    where = np.arange(shape[0] * shape[1]).reshape(kept)
    return View(target.name, np.expand_dims(where, axis) if given.get("keepdims", 1) else where, real=False,
                dtype="int32")
