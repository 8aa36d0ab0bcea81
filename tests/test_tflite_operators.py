"""Generated networks of one operator: the golden model equals LiteRT's reference kernels, bit for bit."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tests.tflite_reference import difference, every_value, needs_litert, random_samples

needs_litert()
from tests import tflite_cases, tflite_layer_cases, tflite_view_cases  # noqa: E402  they need the package tflite
from tests.tflite_build import Net  # noqa: E402

PARTS = (tflite_layer_cases, tflite_cases, tflite_view_cases)
CASES = [(make, seed) for part in PARTS for make, count in part.CASES.items() for seed in range(count)]


def label(make: Callable) -> str:
    """The function's name, with what it was given."""
    if isinstance(make, partial):
        return "-".join((make.func.__name__, *(str(value) for value in make.args)))
    return make.__name__


FLOAT32 = [("MUL", 0.013, 0.165, 0.256), ("RELU", 0.012, 0.008), ("RELU6", 0.033, 0.008), ("LEAKY_RELU", 0.047, 0.02),
           ("TANH", 0.04442257061600685, 0.01811818592250347), ("TANH", 0.02697611413896084, 0.006235930137336254)]
"""Operators whose kernels compute scales in float32, with scales for which float64 would give other outputs."""


@pytest.mark.parametrize("case", FLOAT32, ids=str)
def test_scales_are_computed_in_float32(case: tuple) -> None:
    name, *inputs, output = case
    net = Net()
    shape = (1, 256, 256, 1) if name == "MUL" else (1, 16, 16, 1)
    options = {"LEAKY_RELU": ("LeakyReluOptions", {"Alpha": 0.4}), "MUL": ("MulOptions", {})}.get(name, ("", {}))
    net.operator(name, [net.input(*shape, scale=scale) for scale in inputs], net.output(*shape, scale=output),
                 options[0], **options[1])
    assert not difference(net.write(), every_value(net.write()))


@pytest.mark.parametrize(("make", "seed"), CASES, ids=[f"{label(make)}-{seed}" for make, seed in CASES])
def test_operator_equals_the_reference_kernel(make: Callable, seed: int) -> None:
    raw = make(np.random.default_rng(seed)).write()
    assert not difference(raw, every_value(raw) or random_samples(raw, 4, seed))
