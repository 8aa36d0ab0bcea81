"""Functions of one real number as ONNX defines them, in float32: activations and their like.

A function takes float32 values and the node's attributes and gives float32 values. What ONNX Runtime computes by basic
operations is rounded as there; exp, tanh and their like are float64's rounded to float32, from which ONNX Runtime's
approximations differ by about 2**-23.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = Mapping[str, Any]
Function = Callable[[Array, Attributes], Array]
F = np.float32


def wide(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """In float64, rounded once to the values' own type."""
    return lambda x: function(x.astype(np.float64)).astype(x.dtype)


def erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _gelu(x: Array, given: Attributes) -> Array:
    approximate = given.get("approximate", "none")
    if approximate in ("tanh", b"tanh"):
        return wide(lambda v: 0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v ** 3))))(x)
    return wide(lambda v: 0.5 * v * (1 + erf(v / math.sqrt(2))))(x)


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    one = x.dtype.type
    return np.clip(one(alpha) * x + one(beta), one(0), one(1))


def _elu(x: Array, alpha: float, scale: float = 1.0) -> Array:
    return np.where(x > 0, x * x.dtype.type(scale),
                    wide(lambda v: scale * alpha * np.expm1(np.minimum(v, 0)))(x)).astype(x.dtype)


FUNCTIONS: dict[str, Function] = {
    "Abs": lambda x, given: np.abs(x),
    "Celu": lambda x, given: wide(lambda v: np.maximum(v, 0) + np.minimum(
        0, given.get("alpha", 1.0) * np.expm1(v / given.get("alpha", 1.0))))(x),
    "Elu": lambda x, given: _elu(x, given.get("alpha", 1.0)),
    "Erf": lambda x, given: wide(erf)(x),
    "Exp": lambda x, given: wide(np.exp)(x),
    "Gelu": _gelu,
    "HardSigmoid": lambda x, given: _hard_sigmoid(x, given.get("alpha", 0.2), given.get("beta", 0.5)),
    "HardSwish": lambda x, given: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "LeakyRelu": lambda x, given: np.where(x >= 0, x, x.dtype.type(given.get("alpha", 0.01)) * x),
    "Log": lambda x, given: wide(np.log)(x),
    "Mish": lambda x, given: wide(lambda v: v * np.tanh(_softplus(v)))(x),
    "Neg": lambda x, given: -x,
    "Reciprocal": lambda x, given: x.dtype.type(1) / x,
    "Selu": lambda x, given: _elu(x, given.get("alpha", 1.6732632423543772), given.get("gamma", 1.0507009873554805)),
    "Sigmoid": lambda x, given: wide(_logistic)(x),
    "Softplus": lambda x, given: wide(_softplus)(x),
    "Softsign": lambda x, given: x / (1 + np.abs(x)),
    "Sqrt": lambda x, given: np.sqrt(x),
    "Swish": lambda x, given: wide(lambda v: v * _logistic(given.get("alpha", 1.0) * v))(x),
    "Tanh": lambda x, given: wide(np.tanh)(x),
    "ThresholdedRelu": lambda x, given: np.where(x > x.dtype.type(given.get("alpha", 1.0)), x, x.dtype.type(0)),
}
"""By ONNX's names."""

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Min": np.minimum, "Max": np.maximum,
    "Pow": lambda x, y: np.power(x.astype(np.float64), y).astype(x.dtype),
    "PRelu": lambda x, y: np.where(x >= 0, x, y * x),
}
"""Of two numbers; they make one function where both depend on the same, or one is a constant."""
