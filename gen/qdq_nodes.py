"""How the QDQ writer shows the operators of the core graph but pools, rescales and reshapes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from .errors import UserError
from .frontend.resizes import COORDINATES, ROUNDINGS, Resizing, resizing
from .graph import (
    Add,
    ArgMax,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    Lookup,
    Mul,
    Node,
    Resize,
    Slice,
    Softmax,
    Transpose,
    TransposedConv2D,
)
from .qdq_convolutions import Layout, convolution, image_layout, transposed_convolution
from .tables import softmax_table

if TYPE_CHECKING:
    from .qdq_writer import QdqWriter

FILE_AXIS = (2, 3, 1)
"""An image's axis in the file for each of the core's."""


def _images(writer: "QdqWriter", node: Node) -> list[str]:
    return [writer.read(name, image_layout(writer.graph.tensors[name])) for name in node.inputs]


def _done(writer: "QdqWriter", node: Node, result: str) -> tuple[str, Layout]:
    return result, image_layout(writer.graph.tensors[node.output])


def _binary(writer: "QdqWriter", node: Add | Mul, result: str) -> tuple[str, Layout]:
    """Tensors of one layout as they are, others as images. A negative multiplier is a difference."""
    layouts = {writer.layouts[name] for name in node.inputs}
    layout = layouts.pop() if len(layouts) == 1 else image_layout(writer.graph.tensors[node.output])
    inputs = [writer.read(name, layout) for name in node.inputs] if not layouts else _images(writer, node)
    operator = "Mul"
    if isinstance(node, Add):
        minus = [multiplier < 0 for multiplier in node.multiplier]
        if all(minus):
            raise UserError(f"Add {node.name!r} with two negative multipliers cannot be written as QDQ")
        operator = "Sub" if any(minus) else "Add"
        inputs = inputs[::-1] if minus[0] else inputs
    return writer.add(operator, inputs, result, node), layout


def _lookup(writer: "QdqWriter", node: Lookup, result: str) -> tuple[str, Layout]:
    """A Gather from a table of int8; numbers below 0 count from its end."""
    source, target = node.inputs[0], writer.graph.tensors[node.output]
    index = writer.add("Cast", [writer.integers(source)], writer.unique(f"{target.name}_index"), to=TensorProto.INT32)
    table = writer.constant(writer.unique(f"{node.name}_table"), np.roll(node.table, -128))
    found = writer.add("Gather", [table, index], writer.unique(f"{target.name}_found"), node)
    return writer.add("DequantizeLinear", [found, *writer.scales(target)], result), writer.layouts[source]


def _softmax(writer: "QdqWriter", node: Softmax, result: str) -> tuple[str, Layout]:
    """Where beta is not 1 its input is multiplied by it."""
    source = writer.graph.tensors[node.inputs[0]]
    layout = writer.layouts[source.name]
    if len(layout) > 1 and len(layout) < 4 and layout[-1] == source.shape[2]:
        x, axis = writer.read(source.name, layout), -1
    else:
        layout = image_layout(source)
        x, axis = writer.read(source.name, layout), 1
    if np.abs(node.table.astype(np.int64) - softmax_table(source.scale)).max() > 64:
        falls = np.flatnonzero(node.table > 1 << 12)[-1]
        beta = -np.log(node.table[falls] / 2 ** 24) / (source.scale * falls) if falls else 0.0
        x = writer.add("Mul", [x, writer.constant(writer.unique(f"{node.name}_beta"), np.float32(beta))],
                       writer.unique(f"{node.name}_scaled"))
    return writer.add("Softmax", [x], result, node, axis=axis), layout


def _concat(writer: "QdqWriter", node: Concat, result: str) -> tuple[str, Layout]:
    return _done(writer, node, writer.add("Concat", _images(writer, node), result, node, axis=FILE_AXIS[node.axis]))


def _slice(writer: "QdqWriter", node: Slice, result: str) -> tuple[str, Layout]:
    size = writer.graph.tensors[node.output].shape
    ends = [start + (count - 1) * step + 1 for start, count, step in zip(node.start, size, node.step, strict=True)]
    lists = [writer.constant(writer.unique(f"{node.name}_{what}"), np.array(values, np.int64)) for what, values in (
        ("starts", node.start), ("ends", ends), ("axes", FILE_AXIS), ("steps", node.step))]
    return _done(writer, node, writer.add("Slice", [*_images(writer, node), *lists], result, node))


def _transpose(writer: "QdqWriter", node: Transpose, result: str) -> tuple[str, Layout]:
    order = [0, 0, 0, 0]
    for axis, source in enumerate(node.permutation):
        order[FILE_AXIS[axis]] = FILE_AXIS[source]
    return _done(writer, node, writer.add("Transpose", _images(writer, node), result, node, perm=order))


def _resize(writer: "QdqWriter", node: Resize, result: str) -> tuple[str, Layout]:
    """By the way of ONNX that reads the same rows and columns."""
    source, target = writer.graph.tensors[node.inputs[0]], writer.graph.tensors[node.output]
    mode = "linear" if node.bits else "nearest"
    sizes = np.array(image_layout(target), np.int64)
    for coordinates in COORDINATES:
        for rounding in ROUNDINGS if mode == "nearest" else ("round_prefer_floor",):
            given: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates,
                                     "nearest_mode": rounding}
            found = resizing("Resize", given, 17, source.shape[:2], None, sizes.tolist())
            if not node.raw and node.shift == 0 and node.multiplier == 1 and found == Resizing(
                    node.rows, node.columns, node.bits):
                inputs = [*_images(writer, node), "", "", writer.constant(writer.unique(f"{node.name}_sizes"), sizes)]
                return _done(writer, node, writer.add("Resize", inputs, result, node, **given))
    raise UserError(f"Resize {node.name!r} reads rows or columns as no Resize of ONNX to that size does; it cannot be "
                    "written as QDQ")


def arg_max(writer: "QdqWriter", node: ArgMax, result: str) -> Layout:
    """The index as int64: no QuantizeLinear follows."""
    writer.add("ArgMax", _images(writer, node), result, node, axis=1, select_last_index=int(node.last))
    return image_layout(writer.graph.tensors[node.output])


WRITERS: dict[type[Node], Callable[..., tuple[str, Layout]]] = {
    Add: _binary, Concat: _concat, Conv2D: convolution, DepthwiseConv2D: convolution, Lookup: _lookup, Mul: _binary,
    Resize: _resize, Slice: _slice, Softmax: _softmax, Transpose: _transpose, TransposedConv2D: transposed_convolution,
}
"""Each makes the operator's real values under the given name; returns that and their layout."""
