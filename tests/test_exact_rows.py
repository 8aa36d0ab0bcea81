"""SOFTMAX and norms of every length that sequences and channels have: against the formulae of docs/numerics.md in
plain integers, and against float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.tables import softmax_table
from systolith.rtl.isa import NORM_ELEMS
from systolith.sim.golden.norm import norm_rows, quantise_epsilon, quantise_norm
from systolith.sim.golden.operators import softmax

Integers = NDArray[np.int64]

LENGTHS = (1, 2, 3, 7, 16, 17, 31, 64, 127, 128, 255, 256, 511, 512, 1000, 1023, 1024)
SCALES = (2.0**-20, 0.0035, 0.031, 0.12, 0.7, 11.0)
"""Of scores: from a table of next to equal entries to one of nothing but zeros behind the first."""

ROWS: dict[str, Callable[[np.random.Generator, int, int, int], Any]] = {
    "random": lambda rng, n, low, high: rng.integers(low, high + 1, n),
    "narrow": lambda rng, n, low, high: rng.integers(-3, 4, n),
    "equal": lambda rng, n, low, high: np.full(n, 37),
    "least": lambda rng, n, low, high: np.full(n, low),
    "largest": lambda rng, n, low, high: np.full(n, high),
    "one hot": lambda rng, n, low, high: np.where(np.arange(n) == n // 3, high, low),
    "last cold": lambda rng, n, low, high: np.where(np.arange(n) == n - 1, low, high),
    "alternating": lambda rng, n, low, high: np.where(np.arange(n) % 2, high, low),
    "ramp": lambda rng, n, low, high: np.linspace(low, high, n).round(),
    "steps down": lambda rng, n, low, high: high - np.arange(n) % (high - low + 1),
}


def rows(n: int, low: int = -128, high: int = 127) -> Integers:
    """One of each kind: [kinds, n]."""
    rng = np.random.default_rng(n + high)
    return np.stack([make(rng, n, low, high) for make in ROWS.values()]).astype(np.int64)


def formula(row: list[int], table: list[int]) -> list[int]:
    """The section "Softmax" of docs/numerics.md."""
    largest = max(row)
    e = [table[largest - x] for x in row]
    s = sum(e)
    log = s.bit_length() - 1
    r = (2 ** (log + 25) // s + 1) // 2
    return [min(255, (value * r + 2 ** (log + 15)) >> (log + 16)) - 128 for value in e]


@pytest.mark.parametrize("n", LENGTHS)
def test_softmax_is_its_formula(n: int) -> None:
    """Whole rows, and rows of which the first elements only take part: as many as a causal mask or a length says."""
    x, rng = rows(n), np.random.default_rng(n)
    ends = {1, n, n // 2 or 1, *rng.integers(1, n + 1, 2).tolist()}
    for scale in SCALES:
        table = softmax_table(scale)
        expected = {end: np.array([formula(row[:end].tolist(), table.tolist()) for row in x]) for end in ends}
        np.testing.assert_array_equal(softmax(x, table), expected[n])
        for end in ends:
            found = softmax(x, table, np.array(end))
            np.testing.assert_array_equal(found[:, :end], expected[end])
            assert (found[:, end:] == -128).all()
        valid = rng.choice(sorted(ends), len(x))
        np.testing.assert_array_equal(softmax(x, table, valid), np.stack([
            np.pad(expected[end][place], (0, n - end), constant_values=-128) for place, end in enumerate(valid)]))


@pytest.mark.parametrize("n", [1, 2, 17, 64, 127])
def test_causal_softmax_is_its_formula(n: int) -> None:
    """A square of scores, as attention has it: token t sees t + 1 tokens."""
    for x in (np.random.default_rng(n).integers(-128, 128, (n, n)), np.broadcast_to(rows(n)[7], (n, n))):
        found = softmax(x, softmax_table(0.05), np.arange(1, n + 1))
        for token in range(n):
            seen = formula(x[token, :token + 1].tolist(), softmax_table(0.05).tolist())
            assert found[token].tolist() == seen + [-128] * (n - token - 1)


def real_softmax(x: Integers, scale: float) -> NDArray[np.float64]:
    e = np.exp(scale * (x - x.max(-1, keepdims=True)).astype(np.float64))
    return np.asarray(256 * e / e.sum(-1, keepdims=True))


@pytest.mark.parametrize("n", [*LENGTHS, 4096])
def test_softmax_is_next_to_the_real_one(n: int) -> None:
    """Half a step by rounding, and what the table's 24 bits and the reciprocal's 25 lose."""
    for scale in SCALES:
        x = rows(n)
        assert np.abs(softmax_table(scale) - 2.0**24 * np.exp(-scale * np.arange(256))).max() <= 0.5 + 1e-8
        error = np.abs(softmax(x, softmax_table(scale)) + 128 - np.minimum(real_softmax(x, scale), 255))
        assert error.max() <= 0.501, scale


@pytest.mark.parametrize("n", [2, 64, 1024, 4096])
def test_softmax_of_the_worst_tables(n: int) -> None:
    """All entries but the first rounded the same way, by nearly a half, and one of them for all other elements."""
    x = np.where(np.arange(n) == 0, 100, 99)
    fine = -np.log((np.arange(1, 2000) + 0.5 + 1e-6) / 2.0**24)  # next to ties of the table's first step
    worst = 0.0
    for scale in (*fine[::40].tolist(), *(np.log(n) + np.linspace(-0.5, 1, 60)).tolist()):
        error = np.abs(softmax(x, softmax_table(scale)) + 128 - np.minimum(real_softmax(x, scale), 255))
        worst = max(worst, float(error.max()) - 0.5)
    assert worst <= (n + 2) / 2**17


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("in_bits", [8, 16])
@pytest.mark.parametrize("n", [*LENGTHS, NORM_ELEMS])
def test_norms_are_at_most_one_off(n: int, in_bits: int, rms: bool) -> None:
    """Of rows shorter than any network's, with epsilon as the instruction rounds it: beside squares of 1 to 9 its last
    bit is seen in 16 bits."""
    high, rng = (1 << in_bits - 1) - 1, np.random.default_rng(n)
    x = rows(n, -high - 1, high)
    gamma, beta = rng.normal(1, 0.4, n), rng.normal(0, 0.5, n)
    for scale, epsilon in ((6.0 / high, 1e-5), (0.02 / high, 1e-12), (300.0 / high, 1e-3)):
        held = quantise_epsilon(epsilon, scale, n)
        added = epsilon if n > 3 else max(held * scale**2 / (256 * n**2), 1e-99)
        centred = (x if rms else n * x - x.sum(-1, keepdims=True)) * (scale if rms else scale / n)
        y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + added) * gamma + beta
        for bits in (8, 16):
            top = (1 << bits - 1) - 1
            zero, step = (-5, 4.0 / top) if bits == 8 else (0, float(np.abs(y).max()) / top)
            found = norm_rows(x, quantise_norm(gamma, beta, step), held, rms=rms, zero_point=zero, low=-top - 1,
                              high=top)
            exact = np.clip(y / step + zero, -top - 1, top)
            assert np.abs(found - np.rint(exact)).max() <= 1
            assert np.abs(found - exact).max() < (0.505 if bits == 8 else 0.8), (scale, bits)
