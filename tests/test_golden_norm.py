"""The numpy model of NORM: against plain integers, an element at a time, and against the real norms in float64."""

from math import isqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.rtl.isa import INT8, INT16, NORM, NORM_ELEMS, Instruction
from systolith.sim.golden.norm import (
    NormParameters,
    execute_norm,
    norm_rows,
    quantise_epsilon,
    quantise_norm,
    reciprocal_root,
)
from systolith.sim.golden.rescale import ScaleError
from tests.norm_cases import PARAMETERS, ROWS, Cases, make_parameters, make_row


def _shift(value: int, by: int) -> int:
    return (value + (1 << by >> 1)) >> by


def _literally(row: list[int], p: NormParameters, epsilon: int, rms: bool, zero: int, low: int, high: int,
               ) -> list[int]:
    """The formula of `rtl/isa.py` in Python's integers."""
    n, s, q = len(row), 0 if rms else sum(row), sum(x * x for x in row)
    v = 256 * (n * q - s * s) + epsilon
    k = max(3, -(-v.bit_length() // 2))
    normal = v * 2**(36 - 2 * k) if k <= 18 else v // 2**(2 * k - 36)
    r = min((isqrt(2**72 // normal) + 1) >> 1, 2**18 - 1) if v else 0
    out = []
    for x, gain, shift, offset in zip(row, *(part.tolist() for part in p), strict=True):
        t = _shift((n * x - s) * r, k - 3)
        assert -(1 << 22) <= t < 1 << 22
        u = _shift(t * gain, shift)
        out.append(min(max((u + offset + 128 >> 8) + zero, low), high))
    return out


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("row", ROWS)
def test_against_plain_integers(row: str, parameters: str) -> None:
    numbers = np.random.default_rng(len(row) + 16 * len(parameters))
    for bits in (8, 16):
        for elems in (1, 2, 3, 10, 77, 300):
            p = make_parameters(parameters, elems, numbers)
            for rms in (False, True):
                x = np.stack([make_row(row, elems, bits, numbers) for _ in range(2)])
                epsilon = int(numbers.choice([0, 1, 1000, 2**40]))
                zero, low, high = int(numbers.integers(-99, 99)), -(1 << bits - 1), (1 << bits - 1) - 1
                assert norm_rows(x, p, epsilon, rms=rms, zero_point=zero, low=low, high=high).tolist() == [
                    _literally(line.tolist(), p, epsilon, rms, zero, low, high) for line in x]


def test_the_largest_sums() -> None:
    """Nothing overflows, and t keeps to its 23 bits: a value far from all others is sqrt(n) deviations off."""
    x = np.full((4, NORM_ELEMS), -32768, np.int64)
    x[0, 5] = 32767
    x[1] = 0
    x[1, -1] = -32768
    x[2, ::2] = 32767
    p = make_parameters("random", NORM_ELEMS, np.random.default_rng(1))
    for epsilon in (0, 1, (1 << 64) - 1):
        for rms in (False, True):
            assert norm_rows(x, p, epsilon, rms=rms, low=-32768, high=32767).tolist() == [
                _literally(line.tolist(), p, epsilon, rms, 0, -32768, 32767) for line in x]


def test_reciprocal_roots() -> None:
    """r has 18 bits and is the nearest but for what V' and the quotient lose; around all powers of two."""
    for bits in range(1, 66):
        for v in {(1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) + 1, (1 << bits - 1) * 3 // 2}:
            r, down = reciprocal_root(v)
            if 1 << 5 <= v < 1 << 65:
                assert 1 << 17 <= r < 1 << 18
                assert abs(r / 2.0**down * v**0.5 / 2**20 - 1) < 2.0**-17
    assert reciprocal_root(0) == (0, 0)


DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "an outlier": lambda rng, n: rng.normal(0, 0.02, n) + 3.5 * (np.arange(n) == n // 2),
    "constant": lambda rng, n: np.full(n, 0.7),
    "nearly constant": lambda rng, n: 0.7 + 2.0**-12 * rng.integers(0, 2, n),
    "tiny": lambda rng, n: rng.normal(0, 2.0**-11, n),
    "saturated": lambda rng, n: rng.choice([-4, 4], n),
}


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("in_bits, out_bits", [(16, 16), (16, 8), (8, 16), (8, 8)])
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_against_the_real_norm(kind: str, in_bits: int, out_bits: int, rms: bool) -> None:
    """An output is the nearest integer, or one beside it."""
    rng = np.random.default_rng(len(kind) + in_bits + 2 * out_bits + rms)
    off, total = 0, 0
    for n in (1, 2, 3, 8, 16, 100, 384, 768, 1024, NORM_ELEMS):
        scale = 8.0 / 2**in_bits
        low, high = -(1 << out_bits - 1), (1 << out_bits - 1) - 1
        x = np.clip(np.rint(np.stack([DISTRIBUTIONS[kind](rng, n) for _ in range(4)]) / scale),
                    -(1 << in_bits - 1), (1 << in_bits - 1) - 1)
        gamma, beta = rng.normal(1, 0.3, n), rng.normal(0, 0.5, n)
        real = x * scale
        centred = real if rms else real - real.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta
        zero = 3 if out_bits == 8 else 0
        scale_out = max(np.abs(y).max(), 0.1) / high
        got = norm_rows(x.astype(np.int64), quantise_norm(gamma, beta, scale_out), quantise_epsilon(1e-5, scale, n),
                        rms=rms, zero_point=zero, low=low, high=high)
        error = np.abs(got - np.clip(np.rint(y / scale_out) + zero, low, high))
        assert error.max() <= 1, n
        off, total = off + int((error > 0).sum()), total + error.size
    assert off <= total * (0.25 if out_bits == 16 else 0.01), off / total


def test_parameters_from_real_numbers() -> None:
    """Gains keep 17 bits; what is too small becomes 0 by and by, what is too large is refused."""
    rng = np.random.default_rng(3)
    gamma = np.concatenate([rng.normal(0, 1, 50) * 10.0 ** rng.uniform(-4, 4, 50), [0, 1, -1, 1 - 2.0**-30, 1e-300]])
    p = quantise_norm(gamma, np.zeros(55), 2.0**-10)
    assert (np.abs(p.gain) < 1 << 17).all() and (p.shift >= 0).all() and (p.shift < 64).all()
    np.testing.assert_allclose(p.gain * 2.0**-p.shift, gamma * 2.0**(10 + 8 - 16), rtol=2.0**-17, atol=1e-15)
    assert NormParameters(*map(np.ndarray.tolist, NormParameters.decode(p.encode()))) == NormParameters(
        *map(np.ndarray.tolist, p))
    one = np.ones(1)
    with pytest.raises(ScaleError, match=r"beta must be less than 2\*\*23 steps of the output, not 8.38861e\+06"):
        quantise_norm(one, one, 2.0**-23)
    with pytest.raises(ScaleError, match=r"gamma must be less than 2\*\*25 steps of the output, not 3.35544e\+07"):
        quantise_norm(one, 0 * one, 2.0**-25)
    with pytest.raises(ScaleError, match="beta"):
        quantise_norm(one, one * np.nan, 1.0)
    assert quantise_epsilon(1e-5, 8 / 65536, 768) == round(256 * 768**2 * 1e-5 / (8 / 65536) ** 2)
    with pytest.raises(ScaleError, match="an epsilon of 1 is too large for inputs in steps of 1e-07"):
        quantise_epsilon(1.0, 1e-7, 768)


def _check(i: Instruction, memory: NDArray[np.uint8]) -> None:
    """Executes `i` on `memory` and compares every byte with the instruction's words."""
    expected, size = memory.copy(), (1 << i.in_type, 1 << i.out_type)

    def number(at: int, count: int) -> int:
        return int.from_bytes(memory[at:at + count].tobytes(), "little", signed=True)

    words = [(number(i.b + 8 * c, 4), number(i.b + 8 * c + 4, 4)) for c in range(i.elems)]
    p = NormParameters(*(np.array(part) for part in zip(
        *((word >> 14, word & 63, offset) for word, offset in words), strict=True)))
    for row in range(i.rows):
        at = [(base + row * pitch) % (1 << 24) for base, pitch in ((i.a, i.a_row), (i.c, i.c_row))]
        values = [number(at[0] + size[0] * c, size[0]) for c in range(i.elems)]
        out = _literally(values, p, i.epsilon_high << 32 | i.epsilon, bool(i.rms), i.zero_point, i.low, i.high)
        raw = b"".join(value.to_bytes(size[1], "little", signed=True) for value in out)
        expected[at[1]:at[1] + len(raw)] = np.frombuffer(raw, np.uint8)
    execute_norm(i, memory, 8)
    np.testing.assert_array_equal(memory, expected)


def test_instructions() -> None:
    cases = Cases(3, 8)
    program = cases.program(*cases.random_shapes(20))
    for instruction in program.instructions:
        _check(instruction, program.memory)


def test_addresses_wrap_and_unused_bits_do_not_count() -> None:
    """A pitch of -32 bytes is 2**24 - 32; bits 13 to 6 of a parameter's word are ignored."""
    cases = Cases(4, 8)
    down = (1 << 24) - 32
    fields: dict[str, Any] = {"in_type": INT16, "out_type": INT8}
    instruction = cases.instruction(3, 9, a=2048, a_row=down, c=4096, c_row=down, b=8192, **fields)
    cases.memory[8192:8192 + 72:8] ^= 0xC0
    cases.memory[8193:8192 + 72:8] ^= 0x3F
    _check(instruction, cases.memory)


def test_refusals() -> None:
    good = {"rows": 1, "elems": 4, "a": 2048, "c": 4096}
    for fields, message in (({"rows": 0}, "rows must be at least 1, not 0"), ({"elems": 0}, "elems must be at least 1"),
                            ({"elems": NORM_ELEMS + 1}, "elems must be at most 2048, not 2049"),
                            ({"b": 4}, r"b must be a multiple of word_bytes \(8\), not 4"),
                            ({"in_type": 2}, "in_type must be INT8 or INT16, not 2"),
                            ({"out_type": 3}, "out_type must be INT8 or INT16, not 3"),
                            ({"low": 1, "high": 0}, r"low must be at most high \(0\), not 1")):
        with pytest.raises(ValueError, match=message):
            execute_norm(NORM(**(good | fields)), np.zeros(8192, np.uint8), 8)
    for fields in ({"a": 8190}, {"b": 8168}, {"c": 8189}, {"a": 8186, "in_type": 1}, {"c": 8186, "out_type": 1}):
        with pytest.raises(IndexError):
            execute_norm(NORM(**(good | fields)), np.zeros(8192, np.uint8), 8)
