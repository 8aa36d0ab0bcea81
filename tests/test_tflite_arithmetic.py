"""The multipliers that stand for TensorFlow Lite's arithmetic, against that arithmetic on every input that counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import (
    INT8,
    away,
    clamp,
    divided,
    exact_multiplier,
    float_scale,
    in_range,
    multiplied,
    quantise_multiplier,
)
from systolith.gen.frontend.tflite_channels import fitted
from systolith.gen.frontend.tflite_layers import sums
from systolith.gen.frontend.tflite_sums import Sum
from systolith.gen.frontend.tflite_windows import AWAY, average_multiplier
from systolith.gen.graph import Tensor
from systolith.rtl.isa import SINGLE
from systolith.sim.golden.rescale import rescale, round_shift

SCALES = st.floats(2.0 ** -20, 0.875, width=32)
LIMITS = st.sampled_from([(-128, 127), (-128, 20), (0, 127)])


def tensor(scale: float, zero_point: int) -> Tensor:
    return Tensor("t", (1, 1, 1), scale=float(np.float32(scale)), zero_point=zero_point)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 25, 36, 49, 63, 64, 100, 128, 144, 225, 256])
def test_an_average_rounds_halves_away_from_zero(count: int) -> None:
    """Every sum that `count` int8 values can have."""
    sums = np.arange(-128 * count, 127 * count + 1)
    multiplier, shift = average_multiplier(count)
    # the kernel's own form: C++ division cuts off towards zero
    expected = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    assert multiplier < 1 << 31 and np.array_equal(rescale(sums, multiplier, shift), expected)


@pytest.mark.parametrize("count", [65025, 65536, 1 << 20])
def test_an_average_of_many_rounds_halves_away_from_zero(count: int) -> None:
    """Around every half and every whole."""
    middle = np.arange(-256, 255) * count // 2
    sums = np.unique((middle[:, np.newaxis] + np.arange(-3, 4)).clip(-128 * count, 127 * count))
    multiplier, shift = average_multiplier(count)
    expected = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    assert np.array_equal(rescale(sums, multiplier, shift), expected)


def test_a_bilinear_sum_rounds_halves_away_from_zero() -> None:
    half = np.arange(-255, 256, dtype=np.int64) << 19
    sums = (half[:, np.newaxis] + np.arange(-2, 3)).reshape(-1)
    assert np.array_equal(round_shift(sums * AWAY[0], 20 + AWAY[1], SINGLE), divided(sums, 20))


@given(SCALES, st.integers(-128, 127), st.integers(0, 2 ** 30), LIMITS)
def test_a_multiplier_rounds_as_float64_does(scale: float, zero_point: int, reach: int,
                                             limits: tuple[int, int]) -> None:
    """At each sum at which an output may change, and at the ends."""
    reach = min(reach, int(2 ** 27 / scale))
    multiplier, shift = float_scale(scale, zero_point, *limits, -reach, reach)
    changes = (np.arange(limits[0], limits[1] + 2) - zero_point - 0.5) / scale
    sums = np.floor(changes)[:, np.newaxis] + np.arange(-3, 4)
    sums = np.unique(np.append(sums, [-reach, 0, reach]).clip(-reach, reach)).astype(np.int64)
    expected = np.clip(away(sums * scale) + zero_point, *limits)
    got = rescale(sums, multiplier, shift, zero_point=zero_point, low=limits[0], high=limits[1])
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_least_and_greatest_sums(zero_point: int) -> None:
    """Of all that inputs can be, the zero point of a border included."""
    weights, bias = np.array([[3, -2], [-1, -4]], np.int8), np.array([10, -20], np.int32)
    values = [-128 - zero_point, 0, 127 - zero_point]
    every = [[int(w[0]) * a + int(w[1]) * b + int(c) for a in values for b in values]
             for w, c in zip(weights, bias, strict=True)]
    least, most = sums(weights, bias, tensor(0.1, zero_point))
    assert least == [min(row) for row in every] and most == [max(row) for row in every]


def test_negative_halves_need_another_multiplier() -> None:
    """With a scale of 1/2 half of the sums are halves: the nearest multiplier would round those below zero upwards."""
    multiplier, shift = float_scale(0.5, 0, -128, 127, -1000, 1000)
    assert (multiplier, shift) != quantise_multiplier(0.5)
    assert rescale(np.array([-3, -1, 1, 3]), multiplier, shift).tolist() == [-2, -1, 1, 2]
    assert rescale(np.array([-3, -1, 1, 3]), *quantise_multiplier(0.5)).tolist() == [-1, 0, 1, 2]


def test_multipliers_that_cannot_be() -> None:
    assert exact_multiplier([(10, 5)], [(10, 5)], 1 << 30, 31) is None  # reached and missed
    assert exact_multiplier([(0, 1)], [], 1 << 30, 31) is None
    assert exact_multiplier([(10, 5)], [(9, 5)], 1 << 30, 31) == (1 << 30) - 1
    assert exact_multiplier([(1, 2)], [], 1 << 30, 31) is None  # 32 bits
    with pytest.raises(Refused, match="overflow"):
        float_scale(2.0, 0, -128, 127, 0, 2 ** 30)
    assert float_scale(0.0, 0, -128, 127, -9, 9) == (0, 31)


def test_multipliers_are_rounded_away_from_zero() -> None:
    """Halfway between 2**30 and 2**30 + 1 the even one is lower."""
    assert quantise_multiplier((2.0 ** 30 + 0.5) / 2 ** 31) == (2 ** 30 + 1, 31)
    assert quantise_multiplier(1.0) == (1 << 30, 30) and quantise_multiplier(2.0 ** -40) == (0, 31)


def test_two_roundings() -> None:
    """2.49999 becomes 2.5 in the first and 3 in the second."""
    scale = (5 * 2 ** 22 - 1) / 2 ** 30
    assert multiplied(np.array([512]), scale).tolist() == [3 * 512 // 512 + 7]  # 9.9999995: no half
    assert multiplied(np.array([128, -128]), 0.02).tolist() == [3, -3]
    assert multiplied(np.array([100]), -0.5).tolist() == [-50]


@pytest.mark.parametrize(("kind", "zero_point", "limits"), [
    (0, 5, (-128, 127)), (1, 5, (5, 127)), (1, -128, (-128, 127)), (2, 0, (-10, 10)), (3, -100, (-100, -40)),
    (3, 100, (100, 127)),
])
def test_clamps(kind: int, zero_point: int, limits: tuple[int, int]) -> None:
    assert clamp(kind, tensor(0.1, zero_point)) == limits


def test_clamps_that_are_refused() -> None:
    with pytest.raises(Refused, match="fused activation"):
        clamp(4, tensor(0.1, 0))
    with pytest.raises(Refused, match="too small"):
        clamp(3, tensor(1e-10, 0))


def test_sums_that_the_kernel_overflows_are_refused() -> None:
    in_range(2 ** 30, 31)
    in_range(2 ** 27 - 1, 27)
    with pytest.raises(Refused, match="overflow"):
        in_range(2 ** 27, 27)


ROWS = np.append(np.arange(-128, 128, 17), 127)
"""Values of the first input in what is computed in plain Python."""


def steps_of(total: Sum) -> np.ndarray:
    """The kernel's output for `ROWS` and all values of the second input, in plain Python as its source has it."""
    def high_mul(a: int, b: int) -> int:
        nudge = 1 << 30 if a * b >= 0 else 1 - (1 << 30)
        return int((a * b + nudge) / 2 ** 31)  # towards zero; exact: 2**53 is far

    def divide(x: int, exponent: int) -> int:
        mask = (1 << exponent) - 1
        return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))

    scaled = [[divide(high_mul(int(x) << 20, form.multiplier), form.shift - 31) for x in values]
              for form, values in zip(total.first, total.inputs, strict=True)]
    out = np.zeros((len(ROWS), 256), int)
    for i, row in enumerate(ROWS):
        for j, b in enumerate(scaled[1]):
            a = scaled[0][row + 128]
            y = divide(high_mul(a + total.sign * b, total.last.multiplier), total.last.shift - 31)
            out[i, j] = min(max(y + total.output.zero_point, total.low), total.high)
    return out


CASES = [  # scales of a, b and output, sign
    (0.02, 0.03, 0.04, 1), (1 / 32, 1 / 32, 1 / 16, 1), (1 / 32, 1 / 64, 1 / 32, -1), (0.4517, 0.0123, 0.31, 1),
    (0.004, 0.9, 1.1, -1),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_one_add_stands_for_both_roundings(case: int) -> None:
    a, b, y, sign = CASES[case]
    total = Sum(tensor(a, 3), tensor(b, -128), tensor(y, 7), sign, -128, 100)
    expected = total(*np.meshgrid(INT8, INT8, indexing="ij"))
    assert np.array_equal(expected[ROWS + 128], steps_of(total))
    found = total.one_pass()
    assert found is not None
    (first, second), shift = found
    x = np.add.outer((INT8 - 3) * first, (INT8 + 128) * second)
    assert np.array_equal(np.clip(round_shift(x, shift, SINGLE) + 7, -128, 100), expected)


@pytest.mark.parametrize("seed", range(6))
def test_passes_round_as_often_as_the_kernel(seed: int) -> None:
    """Whatever the scales: rescales to int32 on all 256 values, and the sum of all pairs."""
    random = np.random.default_rng(seed)
    scales = np.exp(random.uniform(-6, 1, 3))
    total = Sum(*(tensor(scale, int(zero)) for scale, zero in zip(scales, random.integers(-128, 128, 3), strict=True)),
                1 - 2 * (seed % 2), -128, 127)
    *inputs, last = total.passes()
    values = []
    for forms, x, expected in zip(inputs, total.inputs, total.scaled, strict=True):
        for form in forms:
            x = form(x)
            assert np.abs(x).max() < 1 << 31
        assert np.array_equal(x, expected)
        values.append(x)
    pairs = np.add.outer(values[0], total.sign * values[1])
    got = np.clip(last(pairs) + total.output.zero_point, -128, 127)
    assert np.array_equal(got, total(*np.meshgrid(INT8, INT8, indexing="ij")))


def test_scales_without_one_pass_exist() -> None:
    """Such as the importer then splits."""
    total = Sum(tensor(0.6745480895042419, -81), tensor(0.19704551994800568, 125), tensor(0.06164419278502464, 22), 1,
                -128, 127)
    assert total.one_pass() is None
    with pytest.raises(Refused, match="finer"):
        Sum(tensor(1, 0), tensor(1, 0), tensor(1e-7, 0), 1, -128, 127)


def test_a_channel_is_fitted_or_refused() -> None:
    x = INT8 + 7
    table = np.clip(away(x * 0.37 + 11.3) - 5, -128, 127).astype(np.int64)
    weight, bias, multiplier, shift = fitted(x, table, (0.37, 11.3), -5, -128, 127)
    assert np.array_equal(rescale(x * weight + bias, multiplier, shift, zero_point=-5), table)
    assert fitted(x, np.full(256, 9), (0.0, 0.0), -5, -128, 127) == (0, 14, 1 << 30, 30)
    bent = table.copy()
    bent[100] += 3
    with pytest.raises(Refused, match="no exact weight"):
        fitted(x, bent, (0.37, 11.3), -5, -128, 127)


