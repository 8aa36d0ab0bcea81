"""Operators of the float graph.

Tensors are [height, width, channels]; `low` and `high` of a node clamp its result (an activation that was fused into
it).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from .graph import Shape

Array = NDArray[Any]
Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class FloatNode:
    """An operator: `inputs` and `output` are tensor names; `source` names what the user's file calls it."""

    name: str
    inputs: tuple[str, ...]
    output: str
    source: str = field(default="", kw_only=True)


@dataclass(frozen=True, eq=False)
class FloatConv(FloatNode):
    """Convolution; positions outside the input count as 0."""

    weights: Array
    """[output channels, kernel height, kernel width, input channels]"""
    bias: Array
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatDepthwise(FloatNode):
    """Convolution of each channel on its own: output c reads input channel c // (outputs / inputs)."""

    weights: Array
    """[output channels, kernel height, kernel width]"""
    bias: Array
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatTransposedConv(FloatNode):
    """Transposed convolution, as the core graph's."""

    weights: Array
    """[output channels, kernel height, kernel width, input channels]"""
    bias: Array
    strides: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatAdd(FloatNode):
    """Sum of two tensors, or their difference with `minus`; axes of length 1 are repeated."""

    minus: bool = False
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatPool(FloatNode):
    """Window reduction, `mode` "max" or "average"; an average counts the padding unless `exclude_padding`. `masked`:
    the average of all rows that the network's mask (`FloatGraph.mask`) says are valid."""

    mode: str
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    exclude_padding: bool = False
    low: float = -math.inf
    high: float = math.inf
    masked: bool = False


@dataclass(frozen=True, eq=False)
class FloatPad(FloatNode):
    """A border of `value`."""

    padding: Padding
    value: float = 0.0


@dataclass(frozen=True, eq=False)
class FloatClamp(FloatNode):
    """Relu and Clip."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatAffine(FloatNode):
    """x * scale + offset, each a value a channel: batch normalisation, bias, constant factor."""

    scale: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class FloatReshape(FloatNode):
    """The same elements in the same order; an identity where the shape is the same too."""


@dataclass(frozen=True, eq=False)
class FloatMul(FloatNode):
    """Product of two tensors; axes of length 1 are repeated."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatFunction(FloatNode):
    """A function of one number, element by element: activations."""

    function: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class FloatConstant(FloatNode):
    """Numbers of the file; it has no inputs."""

    values: Array
    """[height, width, channels]"""


@dataclass(frozen=True, eq=False)
class FloatEmbedding(FloatNode):
    """Rows of a table by number: its input is a tensor [height, width, 1] of integers from 0 on."""

    table: Array
    """[entries, channels]"""


@dataclass(frozen=True, eq=False)
class FloatSoftmax(FloatNode):
    """Softmax over the channels; `causal`: in row t over the first t + 1 of them, the others come out as 0. `masked`:
    only over those channels that the network's mask (`FloatGraph.mask`) says are valid."""

    causal: bool = False
    masked: bool = False


@dataclass(frozen=True, eq=False)
class FloatRotary(FloatNode):
    """Rotary positions, x * cos + (-x's upper half, x's lower half) * sin along the channels: x [rows, heads, n], cos
    and sin [rows, 1, n]."""


@dataclass(frozen=True, eq=False)
class FloatMatMul(FloatNode):
    """scale * a @ b of two activations, a head at a time, as the core graph's MatMul: a [rows, heads, K],
    b [K, groups, N] or, `transposed`, [N, groups, K]."""

    transposed: bool = False
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class FloatNorm(FloatNode):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the channels; `rms`: without the mean, and the mean
    square in place of the variance."""

    gamma: Array
    beta: Array
    """[channels]"""
    epsilon: float
    rms: bool = False


@dataclass(frozen=True, eq=False)
class FloatConcat(FloatNode):
    """The inputs one after the other along `axis` (0: height, 1: width, 2: channels)."""

    axis: int


@dataclass(frozen=True, eq=False)
class FloatSlice(FloatNode):
    """Every step-th element from `start` on, `size` of them along each axis."""

    start: tuple[int, int, int]
    step: tuple[int, int, int]
    size: Shape


@dataclass(frozen=True, eq=False)
class FloatTranspose(FloatNode):
    """Output axis k is input axis permutation[k]."""

    permutation: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class FloatResize(FloatNode):
    """Rows and columns by table, as the core graph's Resize."""

    rows: tuple[tuple[int, int, int], ...]
    columns: tuple[tuple[int, int, int], ...]
    bits: int
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatArgMax(FloatNode):
    """Index of the first largest channel, of the last one where `last` is set."""

    last: bool = False
