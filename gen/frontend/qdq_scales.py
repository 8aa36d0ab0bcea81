"""Scales and zero points of a QDQ file, and integers made with them."""

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_nodes import attributes_of
from systolith.gen.frontend.qdq_values import Constant, Input, Refused, Scales, Table, Value, View
from systolith.gen.graph import Tensor

LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int32": (-2 ** 31, 2 ** 31 - 1)}
MOVED = {"int8": 0, "uint8": 128}
"""What is subtracted from a file's 8-bit integers to have the core's int8."""


def read_scales(node: onnx.NodeProto, inputs: list[Value]) -> Scales:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear."""
    given = [value for name, value in zip(node.input, inputs, strict=True) if name][1:]
    constants = [value.values for value in given if isinstance(value, Constant)]
    if not constants or len(constants) < len(given):
        raise Refused("has a scale or zero point that is not a constant; quantise statically, not dynamically")
    attributes = attributes_of(node)
    if attributes.get("block_size"):
        raise Refused("scales blocks of a channel; quantise by tensor or by channel")
    scale = constants[0].astype(np.float32).reshape(-1)
    if not (np.isfinite(scale).all() and (scale >= 0).all()):
        raise Refused("has a scale that is negative or not a number; quantise the network again")
    if len(constants) > 1:
        zero_point, dtype = constants[1].astype(np.int64).reshape(-1), constants[1].dtype.name
    else:
        zero_point = np.zeros(1, np.int64)
        element = attributes.get("output_dtype", 0) or onnx.TensorProto.UINT8
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element).name
        if node.op_type == "DequantizeLinear":
            match inputs[0]:
                case Constant(values):
                    dtype = values.dtype.name
                case Input() | View() | Table():
                    dtype = inputs[0].dtype
    return Scales(scale, zero_point, dtype, attributes.get("axis", 1))


def activation_scale(scales: Scales) -> tuple[float, int]:
    """Scale and core zero point of an activation."""
    if scales.dtype not in MOVED:
        raise Refused(f"quantises an activation to {scales.dtype}; quantise to int8 or uint8 "
                      "(onnxruntime: activation_type=QuantType.QInt8)")
    if scales.scale.size != 1 or scales.zero_point.size != 1:
        raise Refused("quantises an activation by channel; quantise activations by tensor")
    if not scales.scale[0] > 0:
        raise Refused("has scale 0")
    return float(scales.scale[0]), int(scales.zero_point[0]) - MOVED[scales.dtype]


def quantise_constant(values: NDArray[Any], scales: Scales) -> Constant:
    """What a QuantizeLinear makes of constant real numbers."""
    if scales.dtype not in LIMITS:
        raise Refused(f"quantises a constant to {scales.dtype}; quantise to int8")
    scale, zero_point = scales.broadcast(values.ndim)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.nan_to_num(np.rint(values / scale)) + zero_point
    return Constant(np.clip(steps, *LIMITS[scales.dtype]).astype(scales.dtype))


def step(bound: float, tensor: Tensor) -> int:
    """A real bound as the integer that QuantizeLinear makes of it."""
    if math.isinf(bound):
        return -128 if bound < 0 else 127
    steps = float(np.rint(np.float32(bound) / np.float32(tensor.scale)))
    return int(min(max(steps + tensor.zero_point, -128), 127))
