"""The numpy model of VECTOR against the instruction's words, one element at a time in plain integers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.rtl.isa import ACCUMULATORS, DOUBLE, INT8, MAX, MEMORY, SINGLE, VECTOR, Instruction
from systolith.sim.golden.vector import TYPES, execute_vector, pack_parameters, set_bytes
from tests.vector_cases import Cases


def _wrap(value: int, bits: int) -> int:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def _round(s: int, shift: int, rounding: int) -> int:
    half = 1 << shift >> 1
    if rounding == DOUBLE and shift > 31:
        half += -(1 << 30) if s < 0 else 1 << 30
    y = _wrap(s + half, 64) >> shift
    if rounding not in (SINGLE, DOUBLE) and shift and s % (1 << shift) == half:
        y &= ~1
    return y


def _literally(i: Instruction, memory: NDArray[np.uint8], blocks: list[NDArray[np.int32]], cols: int,
               word: int) -> None:
    """The semantics of `rtl/isa.py`, loop by loop."""
    before = memory.copy()

    def load(at: int, size: int, signed: bool = True) -> int:
        return int.from_bytes(before[at:at + size].tobytes(), "little", signed=signed)

    plane, size_set = -(-4 * cols // word) * word, set_bytes(cols, word)
    size_in, size_out = TYPES[i.in_type].itemsize, TYPES[i.out_type].itemsize
    for t in range(i.tiles):
        block = blocks.pop(0) if i.source == ACCUMULATORS else None
        for y, x in np.ndindex(i.ny, i.nx):
            for e in range(i.elems_last if t == i.tiles - 1 else i.elems):
                products = []
                for wy, wx, operand in np.ndindex(i.wy, i.wx, 1 + i.operands):
                    at = i.params + (t * size_set + 4 * e if block is not None else operand * size_set)
                    iy = i.y_start + y * i.y_step + wy * i.wy_step
                    ix = i.x_start + x * i.x_step + wx * i.wx_step
                    if block is not None:
                        value = int(block[y * i.nx + x, e])
                    elif 0 <= iy < i.height and 0 <= ix < i.width:
                        base, tile, row, pixel = ((i.a, i.a_tile, i.a_row, i.a_pixel),
                                                  (i.b, i.b_tile, i.b_row, i.b_pixel))[operand]
                        value = load(base + t * tile + iy * row + ix * pixel + e * size_in, size_in)
                    else:
                        continue
                    products.append(_wrap(value + load(at, 4), 32) * load(at + plane, 4))
                s = 0 if not products else max(products) if i.reduce == MAX else _wrap(sum(products), 64)
                first = i.params + (t * size_set if block is not None else 0)
                shift = load(first + 2 * plane + (e if block is not None else 0), 1, False)
                out = min(max(_round(s, shift, i.rounding) + i.zero_point, i.low), i.high)
                at = i.c + t * i.c_tile + y * i.c_row + x * i.c_pixel + e * size_out
                memory[at:at + size_out] = np.frombuffer((out % (1 << 32)).to_bytes(4, "little"), np.uint8)[:size_out]


@pytest.mark.parametrize("cols, word_bytes", [(4, 4), (3, 4), (6, 8), (13, 16)])
def test_against_plain_integers(cols: int, word_bytes: int) -> None:
    program = Cases(cols, cols, word_bytes).program(60)
    expected, blocks = program.memory.copy(), list(program.blocks)
    feed = iter(program.blocks)
    for instruction in program.instructions:
        execute_vector(instruction, program.memory, feed, cols, word_bytes)
        _literally(instruction, expected, blocks, cols, word_bytes)
        np.testing.assert_array_equal(program.memory, expected, str(instruction))
    assert next(feed, None) is None


def _copy(**fields: int) -> Instruction:
    """Copies one row of int8."""
    values = {"source": MEMORY, "in_type": INT8, "out_type": INT8, "elems": 4, "elems_last": 4, "tiles": 1, "wy": 1,
              "wx": 1, "ny": 1, "nx": 1, "height": 1, "width": 1, "low": -128, "high": 127, "a": 64, "c": 72}
    return VECTOR(**(values | fields))


def _memory() -> NDArray[np.uint8]:
    memory = np.arange(96, dtype=np.uint8)
    memory[:set_bytes(4, 4)] = pack_parameters(np.zeros(4, np.int32), np.ones(4, np.int64), np.zeros(4, np.int64), 4, 4)
    return memory


def test_addresses_wrap_at_24_bits() -> None:
    """A step of -8 bytes is 2**24 - 8."""
    memory = _memory()
    execute_vector(_copy(ny=2, height=2, y_step=1, a_row=4, c=80, c_row=(1 << 24) - 8), memory, iter(()), 4, 4)
    assert memory[72:84].tolist() == [68, 69, 70, 71, 76, 77, 78, 79, 64, 65, 66, 67]


def test_refusals() -> None:
    for fields, message in (({"ny": 0}, "ny must be at least 1"), ({"in_type": 3}, "in_type must be at most 2"),
                            ({"rounding": 3}, "rounding must be at most 2"),
                            ({"params": 6}, "params must be a multiple"),
                            ({"low": 5, "high": 4}, "low must be at most"),
                            ({"source": ACCUMULATORS, "operands": 1}, "one operand"),
                            ({"source": ACCUMULATORS, "elems": 5}, "elems must be at most cols")):
        with pytest.raises(ValueError, match=message):
            execute_vector(_copy(**fields), _memory(), iter(()), 4, 4)
    with pytest.raises(ValueError, match="block must have the shape"):
        execute_vector(_copy(source=ACCUMULATORS), _memory(), iter([np.zeros((2, 4), np.int32)]), 4, 4)
    with pytest.raises(IndexError):
        execute_vector(_copy(a=1 << 20), _memory(), iter(()), 4, 4)
