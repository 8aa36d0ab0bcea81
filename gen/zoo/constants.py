"""Constants of a layer whose trained ones are not at hand: seeded random weights, and biases and multipliers that keep
values spread over int8.

A trained network's values are spread; a test on values that are all 0 or all saturated finds little. Bias and
multiplier of a channel are made from the sums that the channel has for a few inputs, as a batch normalisation and a
calibration would make them. Only integer sums, sorted values and single float operations are used, which every machine
does alike.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Conv2D, DepthwiseConv2D, Tensor
from systolith.gen.quantize import activation_scale
from systolith.sim.golden.rescale import quantise_scale

FEW = 16
"""Fewer values of a channel than this say nothing: the layer as a whole is measured."""
GAUSSIAN = 1.2533
"""Standard deviation over mean absolute deviation."""


@dataclass(frozen=True)
class Activation:
    """What follows a layer, and the real values that the layer has before it."""

    clamp: tuple[float, float] = (-math.inf, math.inf)
    covered: tuple[float, float] = (-3.5, 4.5)
    """Values that int8 covers, a little more or less; exactly these where they are the clamp."""
    centre: float = 0.4
    """Mean of a channel, more or less: not 0, so that a fifth of the values, not half of them, ends as 0 in a ReLU."""
    deviation: float = 1.0
    """Standard deviation of a channel, more or less."""

    def range(self, random: np.random.Generator) -> tuple[float, float]:
        """A range for one layer."""
        if self.covered == self.clamp:
            return self.covered
        factor = random.uniform(0.85, 1.15, 2).tolist()
        return self.covered[0] * factor[0], self.covered[1] * factor[1]


ACTIVATIONS = {
    "none": Activation(),
    "relu": Activation((0.0, math.inf), (0.0, 5.0), 0.8),
    "relu6": Activation((0.0, 6.0), (0.0, 6.0), 1.5, 1.7),
    "silu": Activation(),  # a table behind the layer
}


def random_weights(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Normally distributed, the largest of each channel 127 in size, as a symmetric quantiser leaves them."""
    real = random.standard_normal(shape, np.float32)
    largest = np.abs(real).max(axis=tuple(range(1, len(shape))), keepdims=True)
    return np.rint(real * (np.float32(127) / largest)).astype(np.int8)


def normalised(node: Conv2D | DepthwiseConv2D, sums: NDArray[Any], activation: Activation, scale_in: float,
               scale_out: float, random: np.random.Generator) -> Conv2D | DepthwiseConv2D:
    """The node with biases, multipliers and weight scales that give each channel of `sums` (without bias) the mean and
    standard deviation of the activation, a little different for each channel."""
    channels = sums.shape[-1]
    flat = sums.reshape(-1, channels).astype(np.int64)
    if len(flat) < FEW:
        flat = flat.reshape(-1, 1)
    mean = flat.sum(axis=0) / len(flat)
    deviation = GAUSSIAN * np.abs(flat - np.rint(mean).astype(np.int64)).sum(axis=0) / len(flat)
    deviation = np.maximum(deviation, max(1.0, float(np.median(deviation)) / 4))
    wanted = activation.deviation * random.uniform(0.75, 1.25, channels)
    scales = (wanted / (deviation * scale_in)).astype(np.float32)
    step = scale_in * scales.astype(np.float64)
    bias = np.rint(random.normal(activation.centre, 0.3, channels) / step - mean).astype(np.int32)
    pairs = np.array([quantise_scale(s / scale_out) for s in step.tolist()], np.int64)
    return replace(node, bias=bias, multiplier=pairs[:, 0].copy(), shift=pairs[:, 1].copy(), weight_scales=scales)


def silu_table(x: Tensor, scales: tuple[float, int] | None = None) -> tuple[NDArray[np.int8], float, int]:
    """Table of x * sigmoid(x), and scale and zero point of what it gives: `scales`, or those of its values' range."""
    real = [(i - x.zero_point) * x.scale for i in range(-128, 128)]
    values = [v / (1 + math.exp(-v)) for v in real]
    scale, zero_point = scales or activation_scale(min(values), max(values))
    steps = [min(127, max(-128, round(v / scale) + zero_point)) for v in values]
    return np.array(steps, np.int8), scale, zero_point


def softmax_table(scale: float) -> NDArray[np.int32]:
    """Table of a Softmax node for inputs of this scale."""
    return np.array([round((1 << 24) * math.exp(-scale * d)) for d in range(256)], np.int32)
