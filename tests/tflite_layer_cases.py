"""Generated networks of one layer with weights; a function makes one from a seeded generator."""

import numpy as np

from tests.tflite_build import Net

Random = np.random.Generator
SAME, VALID = 0, 1
ACTIVATIONS = (0, 0, 1, 2, 3)
"""NONE twice, RELU, RELU_N1_TO_1, RELU6."""


def pick(random: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    return int(random.integers(low, high + 1))


def zero_point(random: Random) -> int:
    """Often an extreme."""
    return int(random.choice([-128, 127, 0, pick(random, -128, 127)]))


def scale(random: Random, low: float = 0.005, high: float = 0.2) -> float:
    """From `low` to `high`, evenly in its logarithm; now and then a power of two, which makes ties."""
    value = float(np.exp(random.uniform(np.log(low), np.log(high))))
    return 2.0 ** round(np.log2(value)) if random.random() < 0.2 else value


def int8(random: Random, *shape: int) -> np.ndarray:
    """Weights: spread, or all extremes."""
    if random.random() < 0.15:
        return random.choice([-127, 127], shape).astype(np.int8)
    return random.integers(-127, 128, shape, np.int8)


def out_size(kind: int, size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    return -(-size // stride) if kind == SAME else (size - dilation * (kernel - 1) - 1) // stride + 1


class Layer:
    """What all layers choose: sizes, scales whose outputs fill the range, activation."""

    def __init__(self, random: Random, terms: int, channels: int, axis: int = 0) -> None:
        self.random, self.net = random, Net()
        self.scale_in, self.zero_in = scale(random), zero_point(random)
        many = channels if channels > 1 and random.random() < 0.7 else 1
        self.weight_scales = np.array([scale(random, 0.001, 0.02) for _ in range(many)], np.float32)
        if many > 2 and random.random() < 0.3:
            self.weight_scales[random.integers(many)] = 1e-9  # a channel that training has switched off
        spread = self.scale_in * float(np.median(self.weight_scales)) * 70 * 100 * np.sqrt(terms)
        self.scale_out = spread / float(random.choice([3, 30, 90, 400]))  # from a few values to saturation
        self.zero_out = zero_point(random)
        self.activation = int(random.choice(ACTIVATIONS))
        self.terms, self.channels, self.axis = terms, channels, axis

    def bias(self) -> int:
        """A bias about as large as the sums; of a channel with a tiny scale, near 2**30."""
        size = 4000 * np.sqrt(self.terms)
        values = self.random.integers(-int(size), int(size) + 1, self.channels)
        if self.weight_scales.size > 1:
            tiny = self.weight_scales < 1e-8
            values = np.where(tiny, self.random.choice([-1, 1], self.channels) * (1 << 30), values)
        return self.net.constant(values, scale=self.scale_in * self.weight_scales)

    def weights(self, values: np.ndarray) -> int:
        return self.net.constant(values, "INT8", scale=self.weight_scales, axis=self.axis)


def window(random: Random, size: tuple[int, int]) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Padding, kernel, strides and dilations that fit."""
    kind = pick(random, 0, 1)
    strides = (pick(random, 1, 3), pick(random, 1, 3))
    dilations = (pick(random, 1, 3), pick(random, 1, 2)) if strides == (1, 1) else (1, 1)
    kernel = tuple(pick(random, 1, 5 if kind == SAME else max(1, min(5, (size[i] - 1) // dilations[i] + 1)))
                   for i in (0, 1))
    return kind, kernel, strides, dilations


def conv(random: Random, groups: int = 1) -> Net:
    height, width = pick(random, 1, 12), pick(random, 1, 12)
    inputs, outputs = groups * pick(random, 1, 20 // groups), groups * pick(random, 1, 20 // groups)
    kind, kernel, strides, dilations = window(random, (height, width))
    layer = Layer(random, kernel[0] * kernel[1] * inputs // groups, outputs)
    net = layer.net
    x = net.input(1, height, width, inputs, scale=layer.scale_in, zero=layer.zero_in)
    y = net.output(1, *(out_size(kind, (height, width)[i], kernel[i], strides[i], dilations[i]) for i in (0, 1)),
                   outputs, scale=layer.scale_out, zero=layer.zero_out)
    weights = layer.weights(int8(random, outputs, *kernel, inputs // groups))
    net.operator("CONV_2D", [x, weights, layer.bias()], y, "Conv2DOptions", Padding=kind, StrideH=strides[0],
                 StrideW=strides[1], DilationHFactor=dilations[0], DilationWFactor=dilations[1],
                 FusedActivationFunction=layer.activation)
    return net


def grouped_conv(random: Random) -> Net:
    return conv(random, pick(random, 2, 5))


def depthwise(random: Random) -> Net:
    height, width, inputs, times = pick(random, 1, 12), pick(random, 1, 12), pick(random, 1, 12), pick(random, 1, 3)
    kind, kernel, strides, dilations = window(random, (height, width))
    layer = Layer(random, kernel[0] * kernel[1], inputs * times, axis=3)
    net = layer.net
    x = net.input(1, height, width, inputs, scale=layer.scale_in, zero=layer.zero_in)
    y = net.output(1, *(out_size(kind, (height, width)[i], kernel[i], strides[i], dilations[i]) for i in (0, 1)),
                   inputs * times, scale=layer.scale_out, zero=layer.zero_out)
    net.operator("DEPTHWISE_CONV_2D", [x, layer.weights(int8(random, 1, *kernel, inputs * times)), layer.bias()], y,
                 "DepthwiseConv2DOptions", Padding=kind, StrideH=strides[0], StrideW=strides[1], DepthMultiplier=times,
                 DilationHFactor=dilations[0], DilationWFactor=dilations[1], FusedActivationFunction=layer.activation)
    return net


def transpose_conv(random: Random) -> Net:
    sizes, strides = (pick(random, 1, 7), pick(random, 1, 7)), (pick(random, 1, 3), pick(random, 1, 3))
    kind, kernel = pick(random, 0, 1), (pick(random, 1, 5), pick(random, 1, 5))
    inputs, outputs = pick(random, 1, 9), pick(random, 1, 9)
    made = tuple(sizes[i] * strides[i] - pick(random, 0, strides[i] - 1) if kind == SAME
                 else (sizes[i] - 1) * strides[i] + kernel[i] + pick(random, 0, strides[i] - 1) for i in (0, 1))
    layer = Layer(random, kernel[0] * kernel[1] * inputs, outputs)
    net = layer.net
    x = net.input(1, *sizes, inputs, scale=layer.scale_in, zero=layer.zero_in)
    y = net.output(1, *made, outputs, scale=layer.scale_out, zero=layer.zero_out)
    given = [net.constant([1, *made, outputs]), layer.weights(int8(random, outputs, *kernel, inputs)), x]
    given += [layer.bias()] if random.random() < 0.7 else []
    net.operator("TRANSPOSE_CONV", given, y, "TransposeConvOptions", Padding=kind, StrideH=strides[0],
                 StrideW=strides[1], FusedActivationFunction=layer.activation)
    return net


def fully_connected(random: Random) -> Net:
    """Of a vector, a matrix, or a map that is flattened; with a zero point of its weights, without a bias."""
    inputs, outputs = pick(random, 1, 300), pick(random, 1, 40)
    form = pick(random, 0, 3)
    shape = [(1, inputs), (pick(random, 2, 9), inputs), (1, 5, inputs), (1, 3, 4, inputs)][form]
    keep = form >= 2 and random.random() < 0.5
    flatten = form == 3 and not keep
    layer = Layer(random, inputs * 12 if flatten else inputs, outputs)
    net = layer.net
    x = net.input(*shape, scale=layer.scale_in, zero=layer.zero_in)
    values = int8(random, outputs, inputs * 12 if flatten else inputs)
    zero = 0
    if layer.weight_scales.size == 1 and random.random() < 0.3:
        zero, values = 5, np.clip(values, -120, 120)
    rows = 1 if flatten else int(np.prod(shape[:-1]))
    made = (*shape[:-1], outputs) if keep else (rows, outputs)
    y = net.output(*made, scale=layer.scale_out, zero=layer.zero_out)
    weights = net.constant(values, "INT8", scale=layer.weight_scales, zero=zero)
    bias = layer.bias() if random.random() < 0.8 else -1
    net.operator("FULLY_CONNECTED", [x, weights, bias], y, "FullyConnectedOptions", KeepNumDims=keep,
                 FusedActivationFunction=layer.activation)
    return net


CASES = {conv: 40, grouped_conv: 8, depthwise: 30, transpose_conv: 20, fully_connected: 40}
"""How many of each."""
