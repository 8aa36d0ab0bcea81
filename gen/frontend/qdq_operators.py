"""The operators that may stand between DequantizeLinear and QuantizeLinear: `OPERATORS`, one function each.

A function takes the importer, the node and what its inputs stand for, and returns what its output stands for.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend import qdq_views as views
from systolith.gen.frontend.qdq_linear import linear, output_scale
from systolith.gen.frontend.qdq_nodes import attributes_of, image, label_of, matrix, rescaled, settled, stored
from systolith.gen.frontend.qdq_values import (
    Constant,
    Pending,
    Quantised,
    RealBias,
    Refused,
    Scales,
    Value,
    real_values,
)
from systolith.gen.frontend.qdq_windows import pad, pool, reduce_mean, window_padding
from systolith.gen.graph import Add, Node, Tensor
from systolith.gen.quantize import shared_shift
from systolith.rtl.isa import EVEN

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer

Handler = Callable[["Importer", onnx.NodeProto, list[Value]], Value]
ADVICE = {
    "BatchNormalization": ("is not folded; run onnxruntime.quantization.shape_inference.quant_pre_process before "
                           "quantising"),
    **dict.fromkeys(("Softmax", "LogSoftmax"),
                    "is not computed; end the network at its input, the logits, which have the same order"),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QGemm"),
                    "is the operator format; quantise with quant_format=QuantFormat.QDQ"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
                    "is dynamically quantised; quantise statically with quant_format=QuantFormat.QDQ"),
}
"""What helps where an operator is often met and not supported."""


def conv(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    given = attributes_of(node)
    source = image(importer, values[0])
    weights = values[1]
    if isinstance(weights, Quantised) and weights.integers.ndim == 4:
        strides, dilations = tuple(given.get("strides", (1, 1))), tuple(given.get("dilations", (1, 1)))
        padding = window_padding(given, source.shape[:2], weights.integers.shape[2:], strides, dilations)
        weights = _dense(weights, given.get("group", 1))
        if weights.integers.shape[1] != source.shape[2]:
            raise Refused(f"has weights for {weights.integers.shape[1]} channels, its input has {source.shape[2]}")
        return linear(source, weights.transposed((0, 2, 3, 1)), values[2] if len(values) > 2 else None, label_of(node),
                      node.output[0], strides=strides, dilations=dilations, padding=padding)
    raise Refused("has weights that are not a quantised constant; quantise them (int8 behind a DequantizeLinear)")


def _dense(weights: Quantised, groups: int) -> Quantised:
    """Weights of a grouped convolution as those of an ordinary one, zero between the groups."""
    if groups == 1:
        return weights
    outputs, inputs = weights.integers.shape[:2]
    _, zero_point = weights.scales.broadcast(4)
    dense = np.zeros((outputs, inputs * groups, *weights.integers.shape[2:]), np.int64) + zero_point
    for channel in range(outputs):
        first = channel // (outputs // groups) * inputs
        dense[channel, first:first + inputs] = weights.integers[channel]
    return Quantised(dense, weights.scales)


def gemm(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Gemm and MatMul with constant weights: a 1x1 convolution over the rows."""
    given = attributes_of(node)
    if given.get("transA", 0):
        raise Refused("has transA=1; export it with the activations not transposed")
    weights, bias = values[1], values[2] if len(values) > 2 else None
    if not isinstance(weights, Quantised) or weights.integers.ndim != 2:
        raise Refused("has a right side that is not a quantised constant matrix; products of two activations are not "
                      "supported")
    source, order = matrix(importer, values[0])
    weights = weights if given.get("transB", 0) else weights.transposed((1, 0))
    if weights.integers.shape[1] != source.shape[2]:
        raise Refused(f"has weights for {weights.integers.shape[1]} columns, its input has {source.shape[2]}")
    stored_order = np.empty_like(weights.integers)
    stored_order[:, order] = weights.integers
    scales = replace(weights.scales, scale=weights.scales.scale * np.float32(given.get("alpha", 1.0)))
    if bias is not None and given.get("beta", 1.0) != 1.0:
        bias = Constant(real_values(bias) * given["beta"]) if real_values(bias) is not None else bias
    kernel = Quantised(stored_order[:, np.newaxis, np.newaxis], replace(scales, axis=0))
    pending = linear(source, kernel, bias, label_of(node), node.output[0])
    shape = (*stored(values[0]).where.shape[:-1], len(weights.integers))
    return replace(pending, where=np.arange(math.prod(shape)).reshape(shape))


def add(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    for value, other in (values, values[::-1]):
        constant = real_values(other)
        if constant is not None:
            return _add_constant(importer, node, value, constant)
    first, second = stored(values[0]), stored(values[1])
    if first.where.shape != second.where.shape:
        raise Refused(f"adds {list(first.where.shape)} and {list(second.where.shape)}; only equal shapes can be added")
    if not np.array_equal(first.where, second.where):
        raise Refused("adds tensors whose elements lie in different orders; leave out the Reshape or Transpose before "
                      "it")
    a, b = importer.tensors[first.tensor], importer.tensors[second.tensor]
    if a.shape != b.shape:
        a, b = settled(importer, first), settled(importer, second)

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        multiplier, shift = shared_shift(output_scale(a.scale, target), output_scale(b.scale, target))
        return Add(name, (a.name, b.name), target.name, multiplier, shift, EVEN, low, high, source=label_of(node))

    return Pending(make, label_of(node), node.output[0], a.shape, first.where)


def _add_constant(importer: "Importer", node: onnx.NodeProto, value: Value, constant: NDArray[np.float64]) -> Pending:
    """A bias: into the sum before it, or as a convolution that multiplies each channel by itself."""
    if isinstance(value, Pending) and value.with_bias is not None:
        channels = value.shape[2]
        return replace(value.with_bias(_by_channel(constant, value.where, channels)),
                       where=value.where, output=node.output[0])
    view = stored(value)
    if view.where.ndim == 4:
        source, order = image(importer, value), None
    else:
        source, order = matrix(importer, value)
    bias = _by_channel(constant, view.where, source.shape[2])
    if order is not None:
        bias = bias[np.argsort(order)]
    # Of the weights that make an exact copy, the one in whose steps the constant is nearest to an integer.
    candidates = np.arange(64, 128)
    steps = bias[:, np.newaxis] * candidates / source.scale
    chosen = candidates[np.abs(steps - np.rint(steps)).argmin(1)]
    scale = (1 / chosen).astype(np.float32)
    pending = linear(source, diagonal(chosen, scale), Constant(bias), label_of(node), node.output[0])
    return replace(pending, where=view.where)


def diagonal(weights: NDArray[np.int64], scale: NDArray[np.float32]) -> Quantised:
    """1x1 convolution weights [O, 1, 1, O] that leave the channels apart."""
    return Quantised(np.diag(weights)[:, np.newaxis, np.newaxis], Scales(scale, np.zeros(1, np.int64), "int8", 0))


def _by_channel(constant: NDArray[np.float64], where: NDArray[np.int64], channels: int) -> RealBias:
    """A constant that broadcasts over all but the channels, as one number a channel."""
    axis = 1 if where.ndim == 4 else where.ndim - 1
    shape = (1,) * (where.ndim - constant.ndim) + constant.shape
    if len(shape) != where.ndim or any(size != 1 for index, size in enumerate(shape) if index != axis):
        raise Refused(f"adds a constant of shape {list(constant.shape)}; a constant may differ between channels only")
    return np.broadcast_to(constant.reshape(-1), (channels,)).astype(np.float64)


def clip(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Relu and Clip: the clamp of the operator before, or a rescale of their own."""
    given = attributes_of(node)
    bounds = [given.get("min", -math.inf), given.get("max", math.inf)]
    for index, value in enumerate(values[1:]):
        if node.input[index + 1]:
            constant = real_values(value)
            if constant is None:
                raise Refused("has a bound that is not a constant")
            bounds[index] = float(constant.reshape(()))
    low, high = (0.0, math.inf) if node.op_type == "Relu" else (float(bounds[0]), float(bounds[1]))
    before = values[0]
    if not isinstance(before, Pending):
        before = rescaled(importer, stored(before), node.output[0], label_of(node))
    return replace(before, low=min(max(before.low, low), high), high=min(max(before.high, low), high), with_bias=None,
                   output=node.output[0])


_VIEWS = {"Flatten": views.flatten, "Reshape": views.reshape, "Squeeze": views.squeeze, "Transpose": views.transpose,
          "Unsqueeze": views.unsqueeze}
OPERATORS: dict[str, Handler] = {
    "Add": add, "AveragePool": pool, "Clip": clip, "Constant": views.constant, "Conv": conv, "Dropout": views.identity,
    "Gemm": gemm, "GlobalAveragePool": pool, "Identity": views.identity, "MatMul": gemm, "MaxPool": pool, "Pad": pad,
    "ReduceMean": reduce_mean, "Relu": clip,
    **{name: partial(views.rearrange, change) for name, change in _VIEWS.items()},
}
