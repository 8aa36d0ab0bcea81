"""Flatten, Reshape and their like: they change how the file sees a tensor, not the tensor."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_nodes import attributes_of
from systolith.gen.frontend.qdq_values import Constant, Input, Pending, Quantised, Refused, Value, View

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


def rearrange(change: Callable[[NDArray[Any], onnx.NodeProto, list[Value]], NDArray[Any]], importer: "Importer",
              node: onnx.NodeProto, values: list[Value]) -> Value:
    """Flatten, Reshape and their like: only the file's view of the tensor changes."""
    value = values[0]
    if isinstance(value, View | Pending):
        return replace(value, where=change(value.where, node, values))
    if isinstance(value, Constant):
        return Constant(change(value.values, node, values))
    if isinstance(value, Quantised) and node.op_type == "Transpose":
        return value.transposed(tuple(attributes_of(node).get("perm", range(value.integers.ndim)[::-1])))
    if isinstance(value, Quantised) and value.scales.scale.size == 1:
        return replace(value, integers=change(value.integers, node, values))
    raise Refused(f"reads {'an input' if isinstance(value, Input) else 'a constant'} in a place that is not supported; "
                  "put a QuantizeLinear and a DequantizeLinear before it")


def _integers(node: onnx.NodeProto, values: list[Value], index: int, attribute: str) -> list[int] | None:
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
    shape = _integers(node, values, 1, "shape") or []
    if not attributes_of(node).get("allowzero", 0):
        shape = [where.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return where.reshape(shape)


def squeeze(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    axes = _integers(node, values, 1, "axes")
    return np.squeeze(where, None if axes is None else tuple(axes))


def unsqueeze(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    return np.expand_dims(where, tuple(_integers(node, values, 1, "axes") or ()))


def transpose(where: NDArray[Any], node: onnx.NodeProto, values: list[Value]) -> NDArray[Any]:
    return where.transpose(attributes_of(node).get("perm"))


def identity(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    return values[0]


def constant(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        return Constant(onnx.numpy_helper.to_array(value) if attribute.name == "value" else np.asarray(value))
    raise Refused("has no value")
