"""GELU and SiLU as tables: for each of the 256 integers of an input the float64 function, rounded, on the way of the
compiler from an ONNX file."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.float_graph import FloatGraph
from systolith.gen.frontend import import_float
from systolith.gen.graph import Lookup
from systolith.gen.passes import run_passes
from systolith.gen.quantize import quantise
from systolith.gen.zoo.float_builder import FloatBuilder
from systolith.gen.zoo.weights import Seeded
from systolith.sim.golden.operators import lookup
from tests.onnx_models import Model
from tests.transformer_models import gelu

Real = NDArray[np.float64]


def _erf_gelu(x: float) -> float:
    return 0.5 * x * math.erfc(-x / math.sqrt(2))


def _tanh_gelu(x: float) -> float:
    return x / (1 + math.exp(min(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), 700)))


def _silu(x: float) -> float:
    return x / (1 + math.exp(min(-x, 700)))


def _parts_of_silu(m: Model) -> str:
    return m.node("Mul", ["x", m.node("Sigmoid", ["x"], "s")], "y")


def _parts_of_tanh_gelu(m: Model) -> str:
    """As torch writes it."""
    m.node("Mul", [m.node("Pow", ["x", m.constant(3.0)], "p"), m.constant(0.044715)], "q")
    m.node("Mul", [m.node("Add", ["x", "q"], "a"), m.constant(math.sqrt(2 / math.pi))], "b")
    m.node("Add", [m.node("Tanh", ["b"], "t"), m.constant(1.0)], "c")
    return m.node("Mul", [m.node("Mul", ["x", m.constant(0.5)], "h"), "c"], "y")


WAYS: dict[str, tuple[Callable[[Model], str] | str, Callable[[float], float]]] = {
    "Gelu": (lambda m: m.node("Gelu", ["x"], "y"), _erf_gelu),
    "Gelu of parts": (lambda m: gelu(m, "x", "y"), _erf_gelu),
    "Gelu of the zoo": ("Gelu", _erf_gelu),
    "tanh Gelu": (lambda m: m.node("Gelu", ["x"], "y", approximate="tanh"), _tanh_gelu),
    "tanh Gelu of parts": (_parts_of_tanh_gelu, _tanh_gelu),
    "SiLU of parts": (_parts_of_silu, _silu),
    "SiLU of the zoo": ("Swish", _silu),
}
"""An ONNX model, or a function's name for the builder of the zoo; and the function."""


@cache
def _graph(way: str) -> FloatGraph:
    make = WAYS[way][0]
    if isinstance(make, str):
        b = FloatBuilder("function", Seeded(1))
        return run_passes(b.graph({b.function(b.input("x", (1, 1, 64), (1, 64)), make, "y"): (1, 64)}))
    m = Model()
    return run_passes(import_float(m.proto({"x": (1, 64)}, [make(m)], opset=20), "function"))


RANGES = [(-4.0 * size, 4.0 * size * up) for size in (0.002, 0.05, 0.3, 1.0, 1.9, 5.0, 40.0)
          for up in (0.0, 0.2, 0.6, 1.0, 2.0, 9.0)] + [(0.0, 6.0), (-0.17, 0.0), (-8.0, 0.01)]
"""Of inputs: zero points from -128 to 127, steps from 3e-5 to 1.3."""


@pytest.mark.parametrize("way", WAYS)
def test_tables_are_the_functions(way: str) -> None:
    """An entry is the nearest integer to the function of what its index means, but for float32's last bits."""
    function, zeros = WAYS[way][1], set()
    for low, high in RANGES:
        core = quantise(_graph(way), [{"x": np.linspace(low, high, 64).reshape(1, 1, 64)}])
        (node,) = core.nodes
        assert isinstance(node, Lookup)
        x, y = core.tensors["x"], core.tensors["y"]
        zeros.add(x.zero_point)
        assert x.scale == pytest.approx((high - low) / 255, rel=1e-5)
        every = np.arange(-128, 128)
        exact = np.array([function((number - x.zero_point) * x.scale) for number in every.tolist()]) / y.scale
        exact = np.clip(exact + y.zero_point, -128, 127)
        found = lookup(every, node.table)
        assert np.abs(found - np.rint(exact)).max() <= 1
        assert np.abs(found - exact).max() <= 0.501, (low, high)
    assert {-128, 127} <= zeros and len(zeros) > 7
