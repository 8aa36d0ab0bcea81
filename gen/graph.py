"""Core graph: a network in typed integer operators, as the golden model executes it and the compiler schedules it.

Tensors are [height, width, channels], batch 1 left out; a vector is [1, 1, n], a matrix [1, rows, n].
Semantics follow the integer subset of TOSA; each operator's numbers are defined once, in `systolith.sim.golden`.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
DTYPES: dict[str, type[np.signedinteger]] = {"int8": np.int8, "int16": np.int16, "int32": np.int32}


@dataclass(frozen=True)
class Tensor:
    """A value between operators: real value = scale * (integer - zero_point)."""

    name: str
    shape: Shape
    dtype: str = "int8"
    scale: float = 1.0
    zero_point: int = 0

    @property
    def elements(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def bytes(self) -> int:
        return self.elements * np.dtype(DTYPES[self.dtype]).itemsize


@dataclass(frozen=True)
class Node:
    """An operator: `inputs` and `output` are tensor names; `source` names what the user's file calls it."""

    name: str
    inputs: tuple[str, ...]
    output: str
    source: str = field(default="", kw_only=True)

    @property
    def operator(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, eq=False)
class Conv2D(Node):
    """Convolution, matrix product and fully connected layer: int32 sums, rescaled a channel.

    out = clamp(round_shift((sum over the window of (x - zp_in) * w + bias) * multiplier, shift) + zp_out, low, high);
    positions outside the input count as x = zp_in.
    """

    weights: NDArray[np.int8]
    """[output channels, kernel height, kernel width, input channels]; symmetric (zero point 0)."""
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """top, left, bottom, right"""
    rounding: int = 0
    low: int = -128
    high: int = 127
    weight_scales: NDArray[np.float32] | None = None
    """Real value of one step of a weight, a channel; what a QDQ file shows."""

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates of the layer."""
        return output.shape[0] * output.shape[1] * self.weights.size


@dataclass(frozen=True, eq=False)
class Add(Node):
    """out = clamp(round_shift((a - zp_a) * multiplier[0] + (b - zp_b) * multiplier[1], shift) + zp_out, low, high).

    Shapes are equal.
    """

    multiplier: tuple[int, int]
    shift: int
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Pool2D(Node):
    """Window reduction: `mode` "max" or "average".

    max: the largest x in the window inside the input; average: the sum of (x - zp_in) in the window inside the input.
    Then out = clamp(round_shift(s * multiplier, shift) + zp_out, low, high), s = max - zp_in or the sum.
    For an average, `multiplier / 2**shift` is scale_in / scale_out / count, the count being the whole window's;
    where `exclude_padding` is set the count is that of the elements inside and `border` gives, for each such count,
    its own (multiplier, shift).
    """

    mode: str
    kernel: tuple[int, int]
    multiplier: int
    shift: int
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    exclude_padding: bool = False
    border: tuple[tuple[int, int, int], ...] = ()
    """(count, multiplier, shift) of every count that occurs, where `exclude_padding` is set."""
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Rescale(Node):
    """out = clamp(round_shift((x - zp_in) * multiplier, shift) + zp_out, low, high), element by element; with `padding`
    (top, left, bottom, right) the output is larger and its border is zp_out, which then lies between low and high."""

    multiplier: int
    shift: int
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Reshape(Node):
    """The same elements in the same order under another shape; costs nothing."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in an order in which each comes after those it reads."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    nodes: tuple[Node, ...]
    input_layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What the user's file calls each input's shape, with the batch (NCHW for images)."""
    output_layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ValueError where a node reads what is not there yet, two write one tensor, or shapes disagree."""
        known = set(self.inputs)
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise ValueError(f"{node.name} reads {name}, which nothing before it makes")
            if node.output in known:
                raise ValueError(f"{node.name} makes {node.output} a second time")
            known.add(node.output)
            expected = output_shape(node, [self.tensors[name] for name in node.inputs])
            if expected is not None and expected != self.tensors[node.output].shape:
                raise ValueError(f"{node.name} makes {expected}, not {self.tensors[node.output].shape}")
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"nothing makes the output {name}")


def window_shape(shape: Shape, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int],
                 padding: tuple[int, int, int, int]) -> tuple[int, int]:
    """Output height and width of a window operator."""
    height = (shape[0] + padding[0] + padding[2] - dilations[0] * (kernel[0] - 1) - 1) // strides[0] + 1
    width = (shape[1] + padding[1] + padding[3] - dilations[1] * (kernel[1] - 1) - 1) // strides[1] + 1
    return height, width


def output_shape(node: Node, inputs: list[Tensor]) -> Shape | None:
    """Shape that the node makes; None for a Reshape, which keeps the number of elements only."""
    x = inputs[0].shape
    if isinstance(node, Conv2D):
        kernel = (node.weights.shape[1], node.weights.shape[2])
        return (*window_shape(x, kernel, node.strides, node.dilations, node.padding), node.weights.shape[0])
    if isinstance(node, Pool2D):
        return (*window_shape(x, node.kernel, node.strides, node.dilations, node.padding), x[2])
    if isinstance(node, Rescale):
        top, left, bottom, right = node.padding
        return (x[0] + top + bottom, x[1] + left + right, x[2])
    if isinstance(node, Reshape):
        return None
    return x
