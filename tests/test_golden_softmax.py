"""The numpy model of SOFTMAX: against plain integers, an element at a time, and against the real softmax."""

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.rtl.isa import SOFTMAX, SOFTMAX_ELEMS, Instruction
from systolith.sim.golden.operators import softmax
from systolith.sim.golden.softmax import execute_softmax, row_lengths
from tests.softmax_cases import ROWS, TABLES, Cases, exponential, make_row, make_table


def _literally(row: list[int], table: list[int], valid: int = 4096) -> list[int]:
    """The formula of `rtl/isa.py` in Python's integers."""
    largest = max(row[:valid])
    e = [table[largest - x] if number < valid else 0 for number, x in enumerate(row)]
    s = sum(e)
    if s == 0:
        return [-128] * len(row)
    log = s.bit_length() - 1
    r = (2 ** (log + 25) // s + 1) // 2
    return [min(255, (value * r + 2 ** (log + 15)) >> (log + 16)) - 128 for value in e]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("row", ROWS)
def test_against_plain_integers(row: str, table: str) -> None:
    numbers = np.random.default_rng(len(row) + 16 * len(table))
    for elems in (1, 2, 3, 10, 77, 300):
        entries = make_table(table, numbers)
        x = np.stack([make_row(row, elems, numbers) for _ in range(4)])
        assert softmax(x, entries).tolist() == [_literally(line.tolist(), entries.tolist()) for line in x]


@pytest.mark.parametrize("elems", [SOFTMAX_ELEMS, 65535])
def test_largest_sums(elems: int) -> None:
    """Sums up to nearly 2**40: nothing overflows."""
    table = np.full(256, 1 << 24, np.int32)
    for x in (np.zeros(elems, np.int8), np.arange(elems).astype(np.int8)):
        assert softmax(x, table).tolist() == _literally(x.tolist(), table.tolist())


def test_sums_around_powers_of_two() -> None:
    """Where the logarithm changes."""
    for log in range(25):
        for s in {1 << log, (1 << log) + 1, (2 << log) - 1}:
            table = np.array([s - s // 3, s // 3, *[0] * 254], np.int32)
            x = np.array([5, 4, 3], np.int8)
            assert softmax(x, table).tolist() == _literally(x.tolist(), table.tolist())


def test_next_to_ties() -> None:
    """Entries whose product with r lies so near to a tie that the last bit of r decides."""
    numbers = np.random.default_rng(2)
    for s in numbers.integers(1 << 24, 1 << 25, 500).tolist():
        r = (2**49 // s + 1) // 2
        entry = -(-(2 * int(numbers.integers(128)) + 1 << 39) // r)  # the product is the tie or just above
        table = np.array([s - entry, entry, *[0] * 254], np.int32)
        for step in (0, 1):  # the tie or just below
            table[:2] += [step, -step]
            assert softmax(np.array([0, -1], np.int8), table).tolist() == _literally([0, -1], table.tolist())


@pytest.mark.parametrize("scale", [0.004, 0.02, 0.1, 0.5])
def test_against_the_real_softmax(scale: float) -> None:
    """An output is the nearest integer to 256 times the probability, or one beside it next to a tie."""
    numbers = np.random.default_rng(int(1000 * scale))
    for elems in (2, 10, 128, 512, 4096):
        x = np.stack([make_row(row, elems, numbers) for row in ROWS])
        real = np.exp(scale * (x - x.max(-1, keepdims=True).astype(np.float64)))
        real *= 256 / real.sum(-1, keepdims=True)
        error = softmax(x, exponential(scale)) + 128 - np.minimum(real, 255)
        assert np.abs(error).max() < 0.501


def test_leading_axes() -> None:
    numbers = np.random.default_rng(1)
    x, table = numbers.integers(-128, 128, (2, 3, 4, 50)).astype(np.int8), exponential(0.05)
    np.testing.assert_array_equal(softmax(x, table)[1, 2, 3], softmax(x[1, 2, 3], table))


def _check(i: Instruction, memory: NDArray[np.uint8]) -> None:
    """Executes `i` on `memory` and compares every byte with the instruction's words."""
    expected = memory.copy()
    table = [int.from_bytes(memory[i.b + 4 * k:i.b + 4 * k + 4].tobytes(), "little") % (1 << 25) for k in range(256)]
    for row in range(i.rows):
        at = [(base + row * pitch) % (1 << 24) for base, pitch in ((i.a, i.a_row), (i.c, i.c_row))]
        values = memory[at[0]:at[0] + i.elems].view(np.int8).tolist()
        valid = i.valid + row // max(1, i.group) * i.valid_step if i.valid else i.elems
        valid = min(valid, i.valid_limit) if i.valid_limit else valid
        expected[at[1]:at[1] + i.elems] = [value % 256 for value in _literally(values, table, valid)]
    execute_softmax(i, memory, 8)
    np.testing.assert_array_equal(memory, expected)


def test_instructions() -> None:
    cases = Cases(3, 8)
    program = cases.program(*cases.random_shapes(20))
    for instruction in program.instructions:
        _check(instruction, program.memory)


def test_valid_lengths() -> None:
    """What does not take part has no influence, and comes out as -128; one element alone is certain."""
    numbers = np.random.default_rng(6)
    x, table = numbers.integers(-128, 128, (4, 3, 20)).astype(np.int8), exponential(0.02)
    valid = numbers.integers(1, 21, (4, 3))
    valid[0, 0] = 1
    out = softmax(x, table, valid)
    for at in np.ndindex(4, 3):
        assert (out[at][valid[at]:] == -128).all()
        np.testing.assert_array_equal(out[at][:valid[at]], softmax(x[at][:valid[at]], table))
        assert out[at].tolist() == _literally(x[at].tolist(), table.tolist(), valid[at])
    assert out[0, 0, 0] == 127
    np.testing.assert_array_equal(softmax(x, table, np.array(7)), softmax(x, table, np.full((4, 3), 7)))


def test_causal_mask() -> None:
    """Rows of [tokens, heads]: token t sees the first t + 1 of them, from token 5 on in a block."""
    i = SOFTMAX(rows=12, elems=9, valid=6, valid_step=1, group=3)
    assert row_lengths(i).tolist() == [6] * 3 + [7] * 3 + [8] * 3 + [9] * 3
    for fields, lengths in (({"valid": 0, "valid_step": 3}, [9] * 12), ({"valid_limit": 4}, [4] * 12),
                            ({"valid": 1, "valid_step": 4, "group": 0}, [1, 5, *[9] * 10]),
                            ({"valid": 0, "valid_limit": 2, "valid_step": 7}, [2] * 12),
                            ({"valid": 65535, "valid_step": 65535, "group": 1}, [9] * 12)):
        assert row_lengths(SOFTMAX(**i.values | fields)).tolist() == lengths, fields


def test_addresses_wrap_and_high_bits_do_not_count() -> None:
    """A pitch of -16 bytes is 2**24 - 16; an entry's bits from 25 on are ignored."""
    cases = Cases(4, 8)
    down = (1 << 24) - 16
    instruction = cases.instruction(3, 9, a=2048, a_row=down, c=4096, c_row=down, b=8192)
    cases.memory[8192 + 3:8192 + 1024:4] ^= 0xFE
    _check(instruction, cases.memory)


def test_refusals() -> None:
    good = {"rows": 1, "elems": 4, "a": 2048, "c": 4096}
    for fields, message in (({"rows": 0}, "rows must be at least 1, not 0"), ({"elems": 0}, "elems must be at least 1"),
                            ({"elems": SOFTMAX_ELEMS + 1}, "elems must be at most 4096, not 4097"),
                            ({"b": 4}, r"b must be a multiple of word_bytes \(8\), not 4")):
        with pytest.raises(ValueError, match=message):
            execute_softmax(SOFTMAX(**(good | fields)), np.zeros(8192, np.uint8), 8)
    for fields in ({"a": 8190}, {"b": 7176}, {"c": 8189}):
        with pytest.raises(IndexError):
            execute_softmax(SOFTMAX(**(good | fields)), np.zeros(8192, np.uint8), 8)
