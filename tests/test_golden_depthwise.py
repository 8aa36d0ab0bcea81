"""The DEPTHWISE instruction in numpy: against the operator, and its addresses one by one."""

import itertools
from typing import Any

import numpy as np
import pytest

from systolith.rtl.isa import DEPTHWISE, DOUBLE, EVEN, SINGLE, Instruction
from systolith.sim.golden.depthwise import check_depthwise, execute_depthwise
from systolith.sim.golden.operators import depthwise_conv2d, window_count
from systolith.sim.golden.rescale import quantise_scale, rescale
from systolith.sim.golden.vector import pack_parameters, read_parameters
from tests.depthwise_cases import ILLEGAL, LEGAL, UNUSUAL, DepthwiseCases

COLS, WORD = 6, 8
SIZE = 1 << 16
A, B, C = 100, 8192, 16384
Array = np.ndarray[Any, np.dtype[Any]]


def constants(memory: Array, at: int, weights: Array, bias: Array, multiplier: Array, shift: Array) -> int:
    """Writes the constants of all groups; bytes of one."""
    channels, ky, kx = weights.shape
    size = 0
    for t, first in enumerate(range(0, channels, COLS)):
        part = slice(first, first + COLS)
        words = np.zeros((ky * kx, WORD), np.int8)
        words[:, :len(weights[part])] = weights[part].reshape(-1, ky * kx).T
        raw = np.concatenate([words.reshape(-1).view(np.uint8),
                              pack_parameters(bias[part], multiplier[part], shift[part], COLS, WORD)])
        size = raw.size
        memory[at + t * size:at + (t + 1) * size] = raw
    return size


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_operator(seed: int) -> None:
    """A whole tensor, cut into blocks of rows as the compiler does; the input's zero point is in bias and `pad`."""
    rng = np.random.default_rng(seed)
    channels, (ky, kx) = int(rng.integers(1, 20)), rng.integers(1, 5, 2).tolist()
    strides, dilations = rng.integers(1, 4, 2).tolist(), rng.integers(1, 3, 2).tolist()
    padding = tuple(rng.integers(0, 3, 4).tolist())
    height = int(rng.integers(max(1, dilations[0] * (ky - 1) + 1 - padding[0] - padding[2]), 12))
    width = int(rng.integers(max(1, dilations[1] * (kx - 1) + 1 - padding[1] - padding[3]), 12))
    x = rng.integers(-128, 128, (height, width, channels)).astype(np.int8)
    weights = rng.integers(-127, 128, (channels, ky, kx)).astype(np.int8)
    bias = rng.integers(-5000, 5000, channels)
    scales = [quantise_scale(float(s)) for s in rng.uniform(0.0005, 0.01, channels)]
    multiplier, shift = (np.array([scale[k] for scale in scales]) for k in (0, 1))
    zero_in, zero_out = rng.integers(-128, 128, 2).tolist()
    rounding, (low, high) = int(rng.choice([SINGLE, DOUBLE, EVEN])), sorted(rng.integers(-128, 128, 2).tolist())
    expected = depthwise_conv2d(x, weights, bias, multiplier, shift, zero_in=zero_in, zero_out=zero_out,
                                strides=tuple(strides), dilations=tuple(dilations), padding=padding,
                                rounding=rounding, low=low, high=high)
    ny, nx = window_count(height + padding[0] + padding[2], ky, strides[0], dilations[0]), expected.shape[1]
    assert expected.shape == (ny, nx, channels)

    memory = rng.integers(0, 256, SIZE, np.uint8)
    memory[A:A + x.size] = x.reshape(-1).view(np.uint8)
    folded = bias - zero_in * weights.astype(np.int64).sum(axis=(1, 2))
    b_tile = constants(memory, B, weights, folded, multiplier, shift)
    before, at = memory.copy(), 0
    while at < ny:
        rows = int(rng.integers(1, ny - at + 1))
        execute_depthwise(DEPTHWISE(
            a=A, b=B, c=C + at * nx * channels, rows_y=rows, rows_x=nx, ky=ky, kx=kx, tiles=-(-channels // COLS),
            elems=min(COLS, channels), elems_last=(channels - 1) % COLS + 1, pad=zero_in, rounding=rounding,
            y_start=at * strides[0] - padding[0], height=height, x_start=-padding[1], width=width, y_step=strides[0],
            x_step=strides[1], y_dilation=dilations[0], x_dilation=dilations[1], zero_point=zero_out, low=low,
            high=high, a_tile=COLS, a_row=width * channels, a_pixel=channels, b_tile=b_tile, c_tile=COLS,
            c_row=nx * channels, c_pixel=channels), memory, COLS, WORD)
        at += rows
    np.testing.assert_array_equal(memory[C:C + expected.size].view(np.int8).reshape(expected.shape), expected)
    memory[C:C + expected.size] = before[C:C + expected.size]
    np.testing.assert_array_equal(memory, before)


def literally(i: Instruction, memory: Array) -> dict[int, int]:
    """The instruction, byte by byte as `rtl.isa` says it: addresses written and their values."""
    def ring(address: int, end: int, size: int) -> int:
        address %= 1 << 24
        return (address - size) % (1 << 24) if size and address >= end else address

    out: dict[int, int] = {}
    for t, y, x in itertools.product(range(i.tiles), range(i.rows_y), range(i.rows_x)):
        elems = i.elems_last if t == i.tiles - 1 else i.elems
        start = (i.b + t * i.b_tile) % (1 << 24)
        p = read_parameters(memory, start + i.ky * i.kx * WORD, COLS, WORD)
        for c in range(elems):
            s = int(p.bias[c])
            for ky, kx in itertools.product(range(i.ky), range(i.kx)):
                iy, ix = i.y_start + y * i.y_step + ky * i.y_dilation, i.x_start + x * i.x_step + kx * i.x_dilation
                value = i.pad
                if 0 <= iy < i.height and 0 <= ix < i.width:
                    at = ring(i.a + t * i.a_tile + iy * i.a_row + ix * i.a_pixel, i.a_end, i.a_ring)
                    value = int(memory[(at + c) % (1 << 24)].astype(np.int8))
                s += value * int(memory[start + (ky * i.kx + kx) * WORD + c].astype(np.int8))
            s = (s + (1 << 31)) % (1 << 32) - (1 << 31)
            y_out = rescale(np.array([s]), int(p.multiplier[c]), int(p.shift[c]), rounding=i.rounding,
                            zero_point=i.zero_point, low=i.low, high=i.high)
            at = ring(i.c + t * i.c_tile + y * i.c_row + x * i.c_pixel, i.c_end, i.c_ring)
            out[(at + c) % (1 << 24)] = int(y_out[0]) % 256
    return out


@pytest.mark.parametrize("seed", range(30))
def test_every_field_literally(seed: int) -> None:
    """Rings, dilations, steps of 0, groups anywhere, sums that wrap."""
    cases = DepthwiseCases(seed, COLS, WORD)
    instruction = cases.instruction(**({"rows_y": 3, "rows_x": 4} if seed % 2 else {}))
    expected = cases.memory.copy()
    for address, value in literally(instruction, cases.memory).items():
        expected[address] = value
    execute_depthwise(instruction, cases.memory, COLS, WORD)
    np.testing.assert_array_equal(cases.memory, expected)


def test_input_is_read_before_output_is_written() -> None:
    """Whatever the order of groups: what overlaps is not defined, but the model must not depend on its own writes."""
    cases = DepthwiseCases(1, COLS, WORD)
    instruction = cases.instruction(tiles=2, elems=COLS, elems_last=3, a_ring=0, c_ring=0)
    instruction.values["c"] = instruction.a
    expected = literally(instruction, cases.memory)
    execute_depthwise(instruction, cases.memory, COLS, WORD)
    assert all(cases.memory[address] == value for address, value in expected.items())


def test_outside_the_memory() -> None:
    memory = np.zeros(256, np.uint8)
    fields = {"b": 0, "rows_y": 1, "rows_x": 1, "ky": 1, "kx": 1, "tiles": 1, "elems": 1, "elems_last": 1}
    with pytest.raises(IndexError):
        execute_depthwise(DEPTHWISE(**fields, c=256), memory, COLS, WORD)
    with pytest.raises(IndexError):
        execute_depthwise(DEPTHWISE(**fields, a=256, height=1, width=1), memory, COLS, WORD)


@pytest.mark.parametrize("fields", ILLEGAL, ids=str)
def test_illegal_fields(fields: dict[str, int]) -> None:
    check_depthwise(DEPTHWISE(**LEGAL), COLS, WORD)
    with pytest.raises(ValueError, match="DEPTHWISE: "):
        check_depthwise(DEPTHWISE(**(LEGAL | fields)), COLS, WORD)


@pytest.mark.parametrize("fields", UNUSUAL, ids=str)
def test_legal_fields(fields: dict[str, int]) -> None:
    check_depthwise(DEPTHWISE(**(LEGAL | fields)), COLS, WORD)
