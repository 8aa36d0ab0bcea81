"""The numpy model of VECTOR against the instruction's words, one element at a time in plain integers."""

from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.rtl.isa import ACCUMULATORS, DOUBLE, EVEN, INT8, MAX, MEMORY, PRODUCT, SINGLE, VECTOR, Instruction
from systolith.sim.golden import operators
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


def _place(start: int, byte: int, access: int, end: int, ring: int) -> int:
    """Address of a byte of a row that starts at `start`, read or written `access` bytes at a time."""
    at = (start + byte // access * access) % (1 << 24)
    return (at - ring if ring and at >= end else at) + byte % access


def _literally(i: Instruction, memory: NDArray[np.uint8], blocks: list[NDArray[np.int32]], cols: int,
               word: int, lanes: int) -> None:
    """The semantics of `rtl/isa.py`, loop by loop."""
    before = memory.copy()

    def load(at: int, size: int, signed: bool = True) -> int:
        return int.from_bytes(before[at:at + size].tobytes(), "little", signed=signed)

    plane, size_set = -(-4 * cols // word) * word, set_bytes(cols, word)
    size_in, size_out = TYPES[i.in_type].itemsize, TYPES[i.out_type].itemsize
    group = min(lanes, word // (max(size_in, size_out) if i.source == MEMORY else size_out))
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
                        base, tile, row, pixel, *ring = (
                            (i.a, i.a_tile, i.a_row, i.a_pixel, i.a_end, i.a_ring),
                            (i.b, i.b_tile, i.b_row, i.b_pixel, i.b_end, i.b_ring))[operand]
                        start = base + t * tile + iy * row + ix * pixel
                        value = load(_place(start, e * size_in, group * size_in, *ring), size_in)
                    else:
                        continue
                    biased = _wrap(value + load(at, 4), 32)
                    products.append(biased if i.reduce == PRODUCT else biased * load(at + plane, 4))
                reduce = max if i.reduce == MAX else prod if i.reduce == PRODUCT else sum
                s = _wrap(reduce(products), 64) if products else 0
                first = i.params + (t * size_set if block is not None else 0)
                shift = load(first + 2 * plane + (e if block is not None else 0), 1, False)
                out = min(max(_round(s, shift, i.rounding) + i.zero_point, i.low), i.high)
                if i.lookup:
                    out = int(before[i.table + 128 + out])
                at = _place(i.c + t * i.c_tile + y * i.c_row + x * i.c_pixel, e * size_out, group * size_out,
                            i.c_end, i.c_ring)
                memory[at:at + size_out] = np.frombuffer((out % (1 << 32)).to_bytes(4, "little"), np.uint8)[:size_out]


@pytest.mark.parametrize("cols, word_bytes, lanes", [(4, 4, 4), (3, 4, 1), (6, 8, 2), (13, 16, 16)])
def test_against_plain_integers(cols: int, word_bytes: int, lanes: int) -> None:
    program = Cases(cols, cols, word_bytes).program(80)
    expected, blocks = program.memory.copy(), list(program.blocks)
    feed = iter(program.blocks)
    for instruction in program.instructions:
        execute_vector(instruction, program.memory, feed, cols, word_bytes, lanes)
        _literally(instruction, expected, blocks, cols, word_bytes, lanes)
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
    execute_vector(_copy(ny=2, height=2, y_step=1, a_row=4, c=80, c_row=(1 << 24) - 8), memory, iter(()), 4, 4, 4)
    assert memory[72:84].tolist() == [68, 69, 70, 71, 76, 77, 78, 79, 64, 65, 66, 67]


@pytest.mark.parametrize("lanes, wanted", [(4, [64, 65, 66, 67, 68, 69, 70, 71]),
                                           (2, [64, 65, 66, 67, 68, 69, 62, 63])])
def test_the_first_element_of_a_group_finds_the_ring(lanes: int, wanted: list[int]) -> None:
    """The ring ends in the middle of a row: in the middle of a group of four, between two groups of two."""
    memory = _memory()
    execute_vector(_copy(a_end=70, a_ring=8, elems=8, elems_last=8, c_end=72), memory, iter(()), 4, 4, lanes)
    assert memory[72:80].tolist() == wanted
    execute_vector(_copy(a=40, c=86, c_end=86, c_ring=6), memory, iter(()), 4, 4, lanes)
    assert memory[80:84].tolist() == [40, 41, 42, 43]


def _elementwise(sets: list[tuple[int, int]], shift: int, inputs: list[NDArray[np.int8]],
                 **fields: int) -> NDArray[np.int8]:
    """One instruction on whole tensors [height, width, channels]; sets: (zero point, multiplier) of each operand."""
    height, width, channels = inputs[0].shape
    ones, row = np.ones(4, np.int64), width * channels
    raw = [pack_parameters(-zero * ones, multiplier * ones, shift * ones, 4, 8) for zero, multiplier in sets]
    memory = np.concatenate([*raw, np.zeros(-len(np.concatenate(raw)) % 8, np.uint8),
                             *(x.reshape(-1).view(np.uint8) for x in inputs), np.zeros(inputs[0].size, np.uint8)])
    first = memory.size - inputs[0].size * (len(inputs) + 1)
    places = {letter: first + k * inputs[0].size for k, letter in enumerate("abc")}
    places["c"] = memory.size - inputs[0].size
    strides = {f"{letter}_{what}": size for letter in "abc" for what, size in (("row", row), ("pixel", channels))}
    execute_vector(VECTOR(source=MEMORY, in_type=INT8, out_type=INT8, tiles=1, ny=height, nx=width, height=height,
                          width=width, wy=1, wx=1, y_step=1, x_step=1, elems=channels, elems_last=channels,
                          operands=len(inputs) > 1, **places, **strides, **fields), memory, iter(()), 4, 8, 8)
    return memory[places["c"]:].view(np.int8).reshape(inputs[0].shape)


@pytest.mark.parametrize("rounding", [SINGLE, DOUBLE, EVEN])
def test_operators(rounding: int) -> None:
    """Mul, Lookup and Sub (an Add with a negative multiplier) as one instruction each."""
    rng = np.random.default_rng(rounding)
    a, b = (rng.integers(-128, 128, (5, 6, 7)).astype(np.int8) for _ in range(2))
    clamp = {"rounding": rounding, "low": -100, "high": 120}
    for shift in (0, 5, 9):
        got = _elementwise([(3, 1 << 30), (-7, 12345)], shift, [a, b], reduce=PRODUCT, zero_point=5, **clamp)
        assert np.array_equal(got, operators.mul(a, b, 1, shift, zero_a=3, zero_b=-7, zero_out=5, **clamp))
    for multipliers in ((1 << 30, -(1 << 30)), (-1_555_555_555, 1_333_333_333), (-(1 << 31), 5)):
        got = _elementwise([(3, multipliers[0]), (-7, multipliers[1])], 31, [a, b], zero_point=-9, **clamp)
        assert np.array_equal(got, operators.add(a, b, multipliers, 31, zero_a=3, zero_b=-7, zero_out=-9, **clamp))


def test_lookup() -> None:
    """Every value through the table; it is applied to the clamped value."""
    x = np.arange(-128, 128).astype(np.int8).reshape(4, 8, 8)
    table = np.random.default_rng(1).permutation(256).astype(np.uint8)
    memory = np.concatenate([np.zeros(40, np.uint8), table, x.reshape(-1).view(np.uint8), np.zeros(256, np.uint8)])
    memory[:set_bytes(4, 4)] = pack_parameters(np.zeros(4, np.int32), np.ones(4, np.int64), np.zeros(4, np.int64), 4, 4)
    instruction = _copy(a=40 + 256, c=40 + 512, elems=256, elems_last=256, lookup=1, table=40)
    execute_vector(instruction, memory, iter(()), 4, 4, 4)
    wanted = operators.lookup(x, table.view(np.int8)).reshape(-1)
    assert np.array_equal(memory[-256:].view(np.int8), wanted)
    instruction.values |= {"low": -3, "high": 100}
    execute_vector(instruction, memory, iter(()), 4, 4, 4)
    wanted = operators.lookup(x.clip(-3, 100), table.view(np.int8)).reshape(-1)
    assert np.array_equal(memory[-256:].view(np.int8), wanted)


def test_refusals() -> None:
    for fields, message in (({"ny": 0}, "ny must be at least 1"), ({"in_type": 3}, "in_type must be at most 2"),
                            ({"rounding": 3}, "rounding must be at most 2"),
                            ({"reduce": 3}, "reduce must be at most 2"),
                            ({"reduce": PRODUCT}, "a product goes with"),
                            ({"reduce": PRODUCT, "operands": 1, "wx": 2}, "a product goes with"),
                            ({"reduce": PRODUCT, "operands": 1, "wy": 2}, "a product goes with"),
                            ({"reduce": PRODUCT, "source": ACCUMULATORS}, "a product goes with"),
                            ({"lookup": 1, "out_type": 1}, "a table takes outputs of type INT8"),
                            ({"lookup": 1, "low": -129}, "low and high from -128"),
                            ({"lookup": 1, "high": 128}, "low and high from -128"),
                            ({"lookup": 1, "table": 2}, "table must be a multiple"),
                            ({"params": 6}, "params must be a multiple"),
                            ({"low": 5, "high": 4}, "low must be at most"),
                            ({"source": ACCUMULATORS, "operands": 1}, "one operand"),
                            ({"source": ACCUMULATORS, "elems": 5}, "elems must be at most cols")):
        with pytest.raises(ValueError, match=message):
            execute_vector(_copy(**fields), _memory(), iter(()), 4, 4, 4)
    with pytest.raises(ValueError, match="block must have the shape"):
        execute_vector(_copy(source=ACCUMULATORS), _memory(), iter([np.zeros((2, 4), np.int32)]), 4, 4, 4)
    for fields in ({"a": 1 << 20}, {"lookup": 1, "table": 1 << 20}):
        with pytest.raises(IndexError):
            execute_vector(_copy(**fields), _memory(), iter(()), 4, 4, 4)
