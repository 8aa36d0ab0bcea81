"""Flatten, Reshape and their like: they change how the file sees a tensor, not the tensor."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_nodes import attributes_of
from systolith.gen.frontend.qdq_values import Constant, Function, Input, Pending, Quantised, Refused, Table, Value, View

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


def rearrange(change: Callable[[NDArray[Any], onnx.NodeProto, list[Value]], NDArray[Any]], importer: "Importer",
              node: onnx.NodeProto, values: list[Value]) -> Value:
    """Flatten, Reshape and their like: only the file's view of the tensor changes."""
    value = values[0]
    if isinstance(value, View | Pending | Function):
        return replace(value, where=change(value.where, node, values))
    if isinstance(value, Constant):
        return Constant(change(value.values, node, values))
    if isinstance(value, Quantised) and node.op_type == "Transpose":
        return value.transposed(tuple(attributes_of(node).get("perm", range(value.integers.ndim)[::-1])))
    if isinstance(value, Quantised) and value.scales.scale.size == 1:
        return replace(value, integers=change(value.integers, node, values))
    raise Refused(f"reads {'an input' if isinstance(value, Input) else 'a constant'} in a place that is not supported; "
                  "put a QuantizeLinear and a DequantizeLinear before it")


def integers(node: onnx.NodeProto, values: list[Value], index: int, attribute: str) -> list[int] | None:
    """A list of integers that is an attribute in old files and an input in new ones."""
    if len(values) > index and node.input[index]:
        constant = values[index]
        if not isinstance(constant, Constant):
            raise Refused("has a shape that is not a constant; export the network with fixed shapes")
        return [int(n) for n in np.asarray(constant.values).reshape(-1)]
    listed = attributes_of(node).get(attribute)
    return None if listed is None else list(listed)


def flatten(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    axis = attributes_of(node).get("axis", 1)
    return where.reshape(math.prod(where.shape[:axis]), -1)


def reshape(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    shape = integers(node, values, 1, "shape") or []
    if not attributes_of(node).get("allowzero", 0):
        shape = [where.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return where.reshape(shape)


def squeeze(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    axes = integers(node, values, 1, "axes")
    return np.squeeze(where, None if axes is None else tuple(axes))


def unsqueeze(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    return np.expand_dims(where, tuple(integers(node, values, 1, "axes") or ()))


def transpose(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    return where.transpose(attributes_of(node).get("perm"))


def identity(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    return values[0]


def constant(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        return Constant(onnx.numpy_helper.to_array(value) if attribute.name == "value" else np.asarray(value))
    raise Refused("has no value")


def depth_to_space(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    """Both modes."""
    given = attributes_of(node)
    block, (batch, channels, height, width) = given["blocksize"], where.shape
    if given.get("mode", b"DCR") == b"CRD":
        split = where.reshape(batch, -1, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    else:
        split = where.reshape(batch, block, block, -1, height, width).transpose(0, 3, 4, 1, 5, 2)
    return split.reshape(batch, channels // block ** 2, height * block, width * block)


def space_to_depth(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    block, (batch, channels, height, width) = attributes_of(node)["blocksize"], where.shape
    split = where.reshape(batch, channels, height // block, block, width // block, block)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)


def cast(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Real numbers as another float type; integers that the network computes as another integer type."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(attributes_of(node)["to"])
    value = values[0]
    if isinstance(value, Constant):
        return Constant(value.values.astype(kind))
    integer = kind.kind == "i" and kind.itemsize >= 4
    if isinstance(value, View) and not value.real and (integer or (value.dtype == "int32" and kind.kind == "f")):
        return value
    if isinstance(value, View | Pending | Function) and kind.kind == "f":
        return value
    raise Refused(f"casts to {kind.name}; keep to float")


def gather(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """A constant of 256 8-bit integers, indexed by 8-bit integers: a table."""
    table, index = values[0], values[1]
    if not (isinstance(table, Constant) and table.values.shape == (256,) and isinstance(index, View)
            and not index.real and table.values.dtype in (np.int8, np.uint8)):
        raise Refused("takes elements by computed numbers; only a table of 256 int8 or uint8 values by integers of a "
                      "QuantizeLinear is supported")
    entries = table.values.astype(np.int64)
    if index.dtype != "uint8":
        entries = np.roll(entries, 128)  # negative numbers count from the end
    moved = 128 if table.values.dtype == np.uint8 else 0
    return Table(index, (entries - moved).astype(np.int8), str(node.name or node.output[0]), table.values.dtype.name)
