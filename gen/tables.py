"""Tables of a Lookup: a function of real numbers on all 256 integers of a tensor, and the exponentials of a Softmax."""

import numpy as np
from numpy.typing import NDArray

from systolith.sim.golden.rescale import ScaleError

from .graph import Tensor

INT8 = np.arange(-128, 128)
"""Every value of an int8 tensor, in the order of a table."""


def real_of(tensor: Tensor) -> NDArray[np.float32]:
    """The real number of each of the 256 integers, in float32 as DequantizeLinear computes it."""
    return (INT8 - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)


def rounded_table(values: NDArray[np.floating], target: Tensor) -> NDArray[np.int8]:
    """Real numbers as the tensor's integers, in float32 as QuantizeLinear computes it: ties to even. Raises ScaleError
    where one is not a number."""
    if np.isnan(values).any():
        raise ScaleError("is not a number for some of its inputs")
    with np.errstate(over="ignore"):
        steps = np.rint(values.astype(np.float32) / np.float32(target.scale))
    return np.clip(steps + target.zero_point, -128, 127).astype(np.int8)


def softmax_table(scale: float, beta: float = 1.0) -> NDArray[np.int32]:
    """2**24 * exp(-beta * scale * d) for d = 0 .. 255, rounded."""
    return np.rint(2.0 ** 24 * np.exp(-beta * scale * np.arange(256))).astype(np.int32)
