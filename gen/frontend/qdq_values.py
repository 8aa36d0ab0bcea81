"""What a name of an ONNX QDQ file stands for while that is read: a constant, a core tensor, or numbers not yet rounded.

File tensors are NCHW, core tensors are [height, width, channels]. A `View` says for each element of the file's tensor
where it lies in the core tensor, so Flatten, Reshape and Transpose are index arithmetic, and an operator checks the
order that it gets.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Node, Shape, Tensor

RealBias = NDArray[np.float64]
Reals = NDArray[np.float32]


class Refused(Exception):
    """A node that cannot be imported: what is wrong and what would help."""


@dataclass(frozen=True)
class Scales:
    """Parameters of a QuantizeLinear or DequantizeLinear: real = scale * (integer - zero_point)."""

    scale: NDArray[np.float32]
    """One entry, or one a channel along `axis`."""
    zero_point: NDArray[np.int64]
    dtype: str
    axis: int = 0

    def broadcast(self, rank: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scale and zero point in a shape that numpy broadcasts over a tensor of that rank."""
        if self.scale.size == 1:
            return self.scale.reshape(()), self.zero_point.reshape(-1)[:1].reshape(())
        shape = [-1 if axis == self.axis % rank else 1 for axis in range(rank)]
        return self.scale.reshape(shape), np.broadcast_to(self.zero_point, self.scale.shape).reshape(shape)


@dataclass(frozen=True)
class Constant:
    """An initializer: real numbers, or integers that a DequantizeLinear has still to scale."""

    values: NDArray[np.generic]


@dataclass(frozen=True)
class Quantised:
    """A constant behind a DequantizeLinear."""

    integers: NDArray[np.int64]
    scales: Scales

    @property
    def real(self) -> NDArray[np.float64]:
        scale, zero_point = self.scales.broadcast(self.integers.ndim)
        return (self.integers - zero_point).astype(np.float64) * scale.astype(np.float64)

    def transposed(self, order: tuple[int, ...]) -> "Quantised":
        axis = order.index(self.scales.axis % len(order))
        return Quantised(self.integers.transpose(order), replace(self.scales, axis=axis))


@dataclass(frozen=True)
class Input:
    """A graph input that nothing has read yet."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class View:
    """A core tensor as the file sees it."""

    tensor: str
    where: NDArray[np.int64]
    """In the file's shape: the element's position in the core tensor, row by row."""
    real: bool
    """Behind a DequantizeLinear; otherwise the integers themselves."""
    dtype: str = "int8"
    """What the file has for the integers."""


@dataclass(frozen=True)
class Pending:
    """Real numbers of an operator whose rounding comes with the next QuantizeLinear."""

    make: Callable[[str, Tensor, int, int], Node]
    """The core node from its name, output tensor, lowest and highest output."""
    name: str
    output: str
    """What the file calls the operator's own output, before activations."""
    shape: Shape
    where: NDArray[np.int64]
    low: float = -math.inf
    high: float = math.inf
    with_bias: Callable[[RealBias], "Pending"] | None = None
    """The same sum with a real number more in each output channel."""


@dataclass(frozen=True)
class Function:
    """Real numbers that each depend on one stored integer: activations and the like, tables once rounded."""

    tensor: str
    where: NDArray[np.int64]
    """In the file's shape: the position in the core tensor of the integer that an element depends on."""
    values: Reals
    """[256]: what each of the integers -128 .. 127 becomes"""
    name: str
    output: str
    """What the file calls the last operator's own output."""


@dataclass(frozen=True)
class Table:
    """Integers that a constant of 256 entries makes of stored ones; their scale comes with the DequantizeLinear."""

    view: "View"
    integers: NDArray[np.int8]
    name: str
    dtype: str
    """What the file has for the integers."""


@dataclass(frozen=True)
class Unknown:
    """Comes from a node that was refused; says nothing more."""


Value = Constant | Quantised | Input | View | Pending | Function | Table | Unknown


def real_values(value: Value) -> NDArray[np.float64] | None:
    """A constant's real numbers; None where the value is no constant."""
    if isinstance(value, Quantised):
        return value.real
    return np.asarray(value.values, np.float64) if isinstance(value, Constant) else None


def core_shape(shape: tuple[int, ...]) -> Shape:
    """Core shape of a file's tensor: [1, C, H, W] is an image, [M, K] and [1, M, K] a matrix."""
    if len(shape) == 4 and shape[0] == 1:
        return (shape[2], shape[3], shape[1])
    if len(shape) == 3 and shape[0] == 1:
        return (1, shape[1], shape[2])
    if len(shape) == 2:
        return (1, shape[0], shape[1])
    if len(shape) < 2:
        return (1, 1, math.prod(shape))
    raise Refused(f"has shape {list(shape)}; export the network with batch 1 and at most [1, C, H, W]")


def positions(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where the elements of a file's tensor lie in a core tensor that stores it in the usual order."""
    where = np.arange(math.prod(shape), dtype=np.int64)
    if len(shape) == 4:
        return where.reshape(core_shape(shape)).transpose(2, 0, 1)[np.newaxis]
    return where.reshape(shape)


def core_order(where: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions of a file's elements in the order in which the core stores that shape."""
    return where[0].transpose(1, 2, 0) if where.ndim == 4 and len(where) == 1 else where
