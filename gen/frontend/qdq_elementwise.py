"""Sums, differences, products and quotients of a QDQ file, and clamps.

What depends on one integer becomes a table; a constant a channel a depthwise 1x1 convolution, or the bias of the sum
before; two tensors an Add or a Mul, where axes of length 1 are repeated.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_linear import linear, output_scale
from systolith.gen.frontend.qdq_nodes import attributes_of, label_of, rescaled, stored, usual
from systolith.gen.frontend.qdq_tables import function_of, together
from systolith.gen.frontend.qdq_values import (
    Constant,
    Function,
    Pending,
    Quantised,
    RealBias,
    Refused,
    Scales,
    Value,
    View,
    core_shape,
    positions,
    real_values,
)
from systolith.gen.graph import Add, DepthwiseConv2D, Mul, Node, Shape, Tensor
from systolith.gen.quantize import shared_shift
from systolith.rtl.isa import EVEN
from systolith.sim.golden.rescale import quantise_scale

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


def binary(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Add, Sub, Mul, Div, and those that are there as functions of one number only."""
    kind = node.op_type
    for value, other, sign in ((values[0], values[1], 1), (values[1], values[0], -1)):
        constant = real_values(other)
        if isinstance(value, Pending) and value.with_bias is not None and constant is not None and (
                kind == "Add" or (kind == "Sub" and sign == 1)):
            bias = by_channel(-constant if kind == "Sub" else constant, value.where, value.shape)
            return replace(value.with_bias(bias), where=value.where, output=node.output[0])
    function = together(importer, node, values)
    if function is not None:
        return function
    for value, other, first in ((values[0], values[1], True), (values[1], values[0], False)):
        constant = real_values(other)
        if constant is not None:
            return _with_constant(importer, node, value, constant, first)
    if kind in ("Add", "Sub"):
        return _sum(importer, node, values, 1 if kind == "Add" else -1)
    if kind == "Mul":
        return _product(importer, node, values)
    raise Refused("takes two tensors; it is supported where one is a constant number, or both are made of the same "
                  "tensor")


def _pair(importer: "Importer", values: list[Value]) -> tuple[Tensor, Tensor, Shape, NDArray[np.int64]]:
    """Two tensors that broadcast, the core shape of the result, and where its elements lie."""
    first, second = stored(values[0]), stored(values[1])
    a, b = importer.tensors[first.tensor], importer.tensors[second.tensor]
    if np.array_equal(first.where, second.where) and a.shape == b.shape:
        return a, b, a.shape, first.where
    shape = np.broadcast_shapes(first.where.shape, second.where.shape)
    a, b = (importer.tensors[usual(importer, _ranked(view, len(shape))).tensor] for view in (first, second))
    return a, b, core_shape(shape), positions(shape)


def _ranked(view: View, rank: int) -> View:
    """With axes of length 1 in front, up to that rank."""
    return replace(view, where=view.where.reshape((1,) * (rank - view.where.ndim) + view.where.shape))


def _sum(importer: "Importer", node: onnx.NodeProto, values: list[Value], sign: int) -> Pending:
    a, b, shape, where = _pair(importer, values)

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        multiplier, shift = shared_shift(output_scale(a.scale, target), output_scale(b.scale, target))
        return Add(name, (a.name, b.name), target.name, (multiplier[0], sign * multiplier[1]), shift, EVEN, low, high,
                   source=label_of(node))

    return Pending(make, label_of(node), node.output[0], shape, where)


def _product(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Pending:
    a, b, shape, where = _pair(importer, values)

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        multiplier, shift = quantise_scale(a.scale * output_scale(b.scale, target))
        return Mul(name, (a.name, b.name), target.name, multiplier, shift, EVEN, low, high, source=label_of(node))

    return Pending(make, label_of(node), node.output[0], shape, where)


def _with_constant(importer: "Importer", node: onnx.NodeProto, value: Value, constant: NDArray[np.float64],
                   first: bool) -> Pending:
    """x * scale + offset, one of each a channel; the constant is the second operand where the tensor is `first`."""
    view, kind = stored(value), node.op_type
    if constant.ndim > view.where.ndim:
        view = _ranked(view, constant.ndim)
    if kind not in ("Add", "Sub", "Mul", "Div") or (kind == "Div" and not first):
        raise Refused(f"has a constant of shape {list(constant.shape)}; only one number is supported here")
    if kind == "Div" and not constant.all():
        raise Refused("divides by 0; repair the constant")
    tensor = importer.tensors[view.tensor]
    try:
        channels = by_channel(constant, view.where, tensor.shape)
    except Refused:
        view = usual(importer, view)
        tensor = importer.tensors[view.tensor]
        channels = by_channel(constant, view.where, tensor.shape)
    one, zero = np.ones_like(channels), np.zeros_like(channels)
    scale, offset = {
        "Add": (one, channels), "Sub": (one, -channels) if first else (-one, channels), "Mul": (channels, zero),
        "Div": (1 / np.where(channels, channels, 1), zero)}[kind]
    return replace(affine(tensor, scale, offset, label_of(node), node.output[0]), where=view.where)


def affine(source: Tensor, scale: RealBias, offset: RealBias, label: str, output: str) -> Pending:
    """A 1x1 convolution of each channel on its own, by `scale`, with `offset` added."""
    # Of the weights that make an exact copy, the one in whose steps the offset is nearest to an integer.
    candidates = np.arange(64, 128)
    size = np.where(scale, np.abs(scale), 1 / 127)
    steps = (offset / size)[:, np.newaxis] * candidates / source.scale
    chosen = candidates[::-1][np.abs(steps - np.rint(steps))[:, ::-1].argmin(1)]
    weights = (np.sign(scale) * chosen).astype(np.int64)[:, np.newaxis, np.newaxis]
    kernel = Quantised(weights, Scales((size / chosen).astype(np.float32), np.zeros(1, np.int64), "int8", 0))
    return linear(DepthwiseConv2D, source, kernel, Constant(offset), label, output)


def by_channel(constant: NDArray[np.float64], where: NDArray[np.int64], shape: Shape) -> RealBias:
    """A constant as one number for each channel of the core tensor in which the file's elements lie at `where`."""
    problem = Refused(f"has a constant of shape {list(constant.shape)} for {list(where.shape)}; a constant may differ "
                      "between channels only")
    try:
        full = np.broadcast_to(constant, where.shape)
    except ValueError:
        raise problem from None
    placed = np.empty(where.size, np.float64)
    placed[where.reshape(-1)] = full.reshape(-1)
    rows = placed.reshape(-1, shape[2])
    if not (rows == rows[0]).all():
        raise problem
    return rows[0]


def clip(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Relu and Clip: the clamp of the operator before, a part of a table, or a rescale of their own."""
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
    if isinstance(before, Function) or (isinstance(before, View) and before.real and before.tensor in
                                        importer.functions):
        function = function_of(importer, before)
        return replace(function, values=np.clip(function.values, np.float32(low), np.float32(high)),
                       name=label_of(node), output=node.output[0])
    if not isinstance(before, Pending):
        before = rescaled(importer, stored(before), node.output[0], label_of(node))
    return replace(before, low=min(max(before.low, low), high), high=min(max(before.high, low), high), with_bias=None,
                   output=node.output[0])


