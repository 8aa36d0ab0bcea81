"""Convolutions and matrix products of a QDQ file."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from systolith.gen.frontend.qdq_linear import linear
from systolith.gen.frontend.qdq_nodes import attributes_of, image, label_of, matrix, stored
from systolith.gen.frontend.qdq_values import Constant, Quantised, Refused, Value, real_values
from systolith.gen.frontend.qdq_windows import window_padding
from systolith.gen.frontend.windows import transposed_padding
from systolith.gen.graph import Conv2D, DepthwiseConv2D, TransposedConv2D

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


def _weights(values: list[Value]) -> Quantised:
    weights = values[1]
    if isinstance(weights, Quantised) and weights.integers.ndim == 4:
        return weights
    raise Refused("has weights that are not a quantised constant; quantise them (int8 behind a DequantizeLinear)")


def conv(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Conv: channel by channel where there are as many groups as channels, otherwise with dense weights."""
    given = attributes_of(node)
    source, weights = image(importer, values[0]), _weights(values)
    bias = values[2] if len(values) > 2 else None
    strides, dilations = tuple(given.get("strides", (1, 1))), tuple(given.get("dilations", (1, 1)))
    padding = window_padding(given, source.shape[:2], weights.integers.shape[2:], strides, dilations)
    geometry = {"strides": strides, "dilations": dilations, "padding": padding}
    groups = given.get("group", 1)
    outputs, inputs = weights.integers.shape[:2]
    if inputs * groups != source.shape[2] or outputs % groups:
        raise Refused(f"has weights for {inputs * groups} channels, its input has {source.shape[2]}")
    if groups == source.shape[2] and groups > 1:
        kernel = Quantised(weights.integers[:, 0], replace(weights.scales, axis=min(weights.scales.axis % 4, 1)))
        return linear(DepthwiseConv2D, source, kernel, bias, label_of(node), node.output[0], **geometry)
    return linear(Conv2D, source, _dense(weights, groups).transposed((0, 2, 3, 1)), bias, label_of(node),
                  node.output[0], **geometry)


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


def conv_transpose(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """ConvTranspose without groups; a dilated kernel gets zeros between its elements."""
    given = attributes_of(node)
    source, weights = image(importer, values[0]), _weights(values)
    if given.get("group", 1) != 1:
        raise Refused(f"has {given['group']} groups; export it with one group, or resize and convolve instead")
    if weights.integers.shape[0] != source.shape[2]:
        raise Refused(f"has weights for {weights.integers.shape[0]} channels, its input has {source.shape[2]}")
    weights = weights.transposed((1, 2, 3, 0))
    dy, dx = given.get("dilations", (1, 1))
    outputs, height, width, inputs = weights.integers.shape
    _, zero_point = weights.scales.broadcast(4)
    spread = np.zeros((outputs, (height - 1) * dy + 1, (width - 1) * dx + 1, inputs), np.int64) + zero_point
    spread[:, ::dy, ::dx] = weights.integers
    strides = tuple(given.get("strides", (1, 1)))
    padding = transposed_padding(given, source.shape[:2], spread.shape[1:3], strides)
    return linear(TransposedConv2D, source, Quantised(spread, weights.scales), values[2] if len(values) > 2 else None,
                  label_of(node), node.output[0], strides=strides, padding=padding)


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
    pending = linear(Conv2D, source, kernel, bias, label_of(node), node.output[0])
    shape = (*stored(values[0]).where.shape[:-1], len(weights.integers))
    return replace(pending, where=np.arange(math.prod(shape)).reshape(shape))
