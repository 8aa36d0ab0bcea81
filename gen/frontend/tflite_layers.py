"""Layers of a .tflite file with constant weights: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, TRANSPOSE_CONV."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import clamp, float_scale, in_range, quantise_multiplier
from systolith.gen.frontend.tflite_file import Operator
from systolith.gen.graph import Conv2D, DepthwiseConv2D, Tensor, TransposedConv2D
from systolith.rtl.isa import DOUBLE, SINGLE

if TYPE_CHECKING:
    from systolith.gen.frontend.tflite_import import Importer

Padding = tuple[int, int, int, int]
SAME, VALID = 0, 1


def axis_padding(kind: int, size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Padding before and after an axis of `size`."""
    if stride < 1 or dilation < 1 or kernel < 1:
        raise Refused(f"has the kernel {kernel}, stride {stride} and dilation {dilation}; each must be at least 1")
    reach = dilation * (kernel - 1) + 1
    if kind == VALID:
        if size < reach:
            raise Refused(f"has a window of {reach} on an input of {size}")
        return 0, 0
    if kind != SAME:
        raise Refused(f"has the unknown padding {kind}")
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def window(operator: Operator, size: tuple[int, ...], kernel: tuple[int, ...], dilations: tuple[int, int] = (1, 1),
           ) -> tuple[tuple[int, int], Padding]:
    """Strides and padding of an operator with a window on a map of `size`."""
    strides = (operator.option("StrideH"), operator.option("StrideW"))
    top, bottom = axis_padding(operator.option("Padding"), size[0], kernel[0], strides[0], dilations[0])
    left, right = axis_padding(operator.option("Padding"), size[1], kernel[1], strides[1], dilations[1])
    return strides, (top, left, bottom, right)


def image(importer: "Importer", operator: Operator, which: int = 0) -> Tensor:
    """The core tensor of an input of rank 4."""
    x = importer.source(operator, which)
    if len(importer.read(operator, which).shape) != 4:
        raise Refused(f"reads a tensor of rank {len(importer.read(operator, which).shape)}; it must be 4")
    return x


def weights_of(importer: "Importer", operator: Operator, rank: int, outputs: int, *, centred: bool = False,
               ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights, and their scale for each index along axis `outputs`; `centred`: a zero point is subtracted."""
    tensor = importer.read(operator, 1)
    values = importer.constant(operator, 1, "weights")
    if tensor.type != "INT8":
        raise Refused(f"has weights of type {tensor.type}; quantise them to int8")
    if values.ndim != rank or 0 in values.shape:
        raise Refused(f"has weights of shape {list(values.shape)}; they must have rank {rank}")
    if tensor.scales.size not in (1, values.shape[outputs]):
        raise Refused(f"has {tensor.scales.size} scales for {values.shape[outputs]} output channels of its weights")
    if tensor.scales.size == 1 and centred:
        wide = values.astype(np.int64) - tensor.zero_point
        if wide.min() < -128 or wide.max() > 127:
            raise Refused("has weights with a zero point that take more than 8 bits; quantise them symmetrically")
        values = wide.astype(np.int8)
    elif tensor.zero_points.any():
        raise Refused("has weights with a zero point; quantise them symmetrically")
    return values.astype(np.int8), np.broadcast_to(tensor.scales, (values.shape[outputs],)).astype(np.float32)


def bias_of(importer: "Importer", operator: Operator, which: int, outputs: int) -> NDArray[np.int32]:
    """The bias, 0 where none is given."""
    if len(operator.inputs) <= which or operator.inputs[which] < 0:
        return np.zeros(outputs, np.int32)
    values = importer.constant(operator, which, "biases")
    if importer.read(operator, which).type != "INT32" or values.shape != (outputs,):
        raise Refused(f"has a bias of type {importer.read(operator, which).type} and shape {list(values.shape)}; it "
                      f"must be INT32 [{outputs}]")
    return values.astype(np.int32)


def sums(weights: NDArray[np.int8], bias: NDArray[np.int32], x: Tensor) -> tuple[list[int], list[int]]:
    """Least and greatest sum of each output channel (the first axis). Padding is the zero point: a value as others."""
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    ends = flat * (-128 - x.zero_point), flat * (127 - x.zero_point)
    return (np.minimum(*ends).sum(1) + bias).tolist(), (np.maximum(*ends).sum(1) + bias).tolist()


def scales(x: Tensor, weights: NDArray[np.float32], output: Tensor) -> list[float]:
    """From sums to the output, a channel: float64 of the float32 scales."""
    return (x.scale * weights.astype(np.float64) / output.scale).tolist()


def rounded_twice(weights: NDArray[np.int8], bias: NDArray[np.int32], x: Tensor, real: list[float],
                  ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Multipliers and shifts of a layer whose kernel rounds sums as gemmlowp does."""
    pairs = [quantise_multiplier(scale) for scale in real]
    for (_, shift), least, most in zip(pairs, *sums(weights, bias, x), strict=True):
        in_range(max(abs(least), abs(most)), shift)
    return np.array([m for m, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int64)


def conv_2d(importer: "Importer", operator: Operator) -> None:
    """A convolution; with groups, an ordinary one whose weights are 0 between them, or a depthwise one."""
    x = image(importer, operator)
    weights, weight_scales = weights_of(importer, operator, 4, 0)
    bias = bias_of(importer, operator, 2, len(weights))
    dilations = (operator.option("DilationHFactor", 1), operator.option("DilationWFactor", 1))
    strides, padding = window(operator, x.shape, weights.shape[1:3], dilations)
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    channels, groups = x.shape[2], x.shape[2] // weights.shape[3]
    if groups * weights.shape[3] != channels or groups == 0 or len(weights) % groups:
        raise Refused(f"has weights for {weights.shape[3]} channels, its input has {channels}")
    multiplier, shift = rounded_twice(weights, bias, x, scales(x, weight_scales, output))
    if groups == channels > 1:
        importer.add(DepthwiseConv2D(importer.name(operator), (x.name,), output.name, weights[..., 0], bias, multiplier,
                                     shift, strides, dilations, padding, DOUBLE, low, high, weight_scales))
        return
    importer.add(Conv2D(importer.name(operator), (x.name,), output.name, _dense(weights, groups), bias, multiplier,
                        shift, strides, dilations, padding, DOUBLE, low, high, weight_scales))


def _dense(weights: NDArray[np.int8], groups: int) -> NDArray[np.int8]:
    if groups == 1:
        return weights
    outputs, height, width, inputs = weights.shape
    dense = np.zeros((groups, outputs // groups, height, width, groups, inputs), np.int8)
    for group, part in enumerate(np.split(weights, groups)):
        dense[group, ..., group, :] = part
    return dense.reshape(outputs, height, width, groups * inputs)


def depthwise_conv_2d(importer: "Importer", operator: Operator) -> None:
    x = image(importer, operator)
    weights, weight_scales = weights_of(importer, operator, 4, 3)
    if weights.shape[0] != 1 or weights.shape[3] % x.shape[2]:
        raise Refused(f"has weights of shape {list(weights.shape)} for {x.shape[2]} channels")
    kernel = np.ascontiguousarray(weights[0].transpose(2, 0, 1))
    bias = bias_of(importer, operator, 2, len(kernel))
    dilations = (operator.option("DilationHFactor", 1), operator.option("DilationWFactor", 1))
    strides, padding = window(operator, x.shape, kernel.shape[1:], dilations)
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    multiplier, shift = rounded_twice(kernel, bias, x, scales(x, weight_scales, output))
    importer.add(DepthwiseConv2D(importer.name(operator), (x.name,), output.name, kernel, bias, multiplier, shift,
                                 strides, dilations, padding, DOUBLE, low, high, weight_scales))


def fully_connected(importer: "Importer", operator: Operator) -> None:
    """A matrix product: a 1x1 convolution over the rows. Its kernel scales in float64: see `float_scale`."""
    if operator.option("WeightsFormat"):
        raise Refused("has shuffled weights; convert the network again without them")
    x = importer.source(operator)
    weights, weight_scales = weights_of(importer, operator, 2, 0, centred=True)
    bias = bias_of(importer, operator, 2, len(weights))
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    outputs, inputs = weights.shape
    rows, left = divmod(math.prod(x.shape), inputs)
    if left:
        raise Refused(f"has weights for {inputs} inputs, and {math.prod(x.shape)} values to multiply")
    known: dict[tuple[float, int, int], tuple[int, int]] = {}
    pairs = []
    for key in zip(scales(x, weight_scales, output), *sums(weights, bias, x), strict=True):
        if key not in known:
            known[key] = float_scale(key[0], output.zero_point, low, high, *key[1:])
        pairs.append(known[key])
    source, target = x, output
    if x.shape != (1, rows, inputs):
        flat = importer.between(x, f"for {operator.index}", shape=(1, rows, inputs))
        source = importer.same_integers(operator, x, flat)
    if output.shape != (1, rows, outputs):
        target = importer.between(output, "rows", shape=(1, rows, outputs))
    importer.add(Conv2D(importer.name(operator), (source.name,), target.name, weights[:, np.newaxis, np.newaxis], bias,
                        np.array([m for m, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int64),
                        rounding=SINGLE, low=low, high=high, weight_scales=weight_scales))
    if target is not output:
        importer.same_integers(operator, target, output)


def transpose_conv(importer: "Importer", operator: Operator) -> None:
    """The padding is that of the convolution from the output's size to the input's."""
    x = image(importer, operator, 2)
    weights, weight_scales = weights_of(importer, operator, 4, 0)
    bias = bias_of(importer, operator, 3, len(weights))
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    strides, (top, left, _, _) = window(operator, output.shape, weights.shape[1:3])
    if weights.shape[3] != x.shape[2]:
        raise Refused(f"has weights for {weights.shape[3]} channels, its input has {x.shape[2]}")
    bottom, right = ((x.shape[axis] - 1) * strides[axis] + weights.shape[1 + axis] - (top, left)[axis]
                     - output.shape[axis] for axis in (0, 1))
    multiplier, shift = rounded_twice(weights, bias, x, scales(x, weight_scales, output))
    importer.add(TransposedConv2D(importer.name(operator), (x.name,), output.name, weights, bias, multiplier, shift,
                                  strides, (top, left, bottom, right), DOUBLE, low, high, weight_scales))
