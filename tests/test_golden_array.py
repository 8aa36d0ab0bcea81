"""The numpy model of ARRAY against its definition, byte by byte."""

import random

import numpy as np
import pytest

from systolith.rtl.isa import ARRAY, Instruction
from systolith.sim.golden.array import execute_array, input_tiles, weight_addresses
from tests.array_instructions import random_fields, random_ring, random_strides


def signed_byte(value: int) -> int:
    return value - 256 if value > 127 else value


def literally(i: Instruction, memory: bytes, rows: int, cols: int, word_bytes: int) -> list[list[list[int]]]:
    """The instruction as its definition reads."""
    blocks, weights = [], i.b
    for n in range(i.tiles):
        block = [[0] * cols for _ in range(i.rows_y * i.rows_x)]
        for ky in range(i.ky):
            for kx in range(i.kx):
                for kc in range(i.kc):
                    tile = []
                    for r in range(rows):
                        if i.strided:
                            weights = (i.b + n * i.b_tile + kc * i.b_kc + r * i.b_row) % (1 << 24)
                        tile.append([signed_byte(byte) for byte in memory[weights:weights + cols]])
                        weights += word_bytes
                        if not i.strided and i.ring_bytes and weights == i.ring + i.ring_bytes:
                            weights = i.ring
                    if i.transposed:
                        tile = [[tile[c][r] for c in range(cols)] for r in range(rows)]
                    for y in range(i.rows_y):
                        for x in range(i.rows_x):
                            iy = i.y_start + y * i.y_step + ky * i.y_dilation
                            bx = i.x_start + x * i.x_step + kx * i.kx_step + kc * i.kc_step
                            for r in range(rows):
                                inside = 0 <= iy < i.height and 0 <= bx + r < i.row_bytes
                                row = i.a + iy * i.row_pitch
                                past = i.a_ring and (row + max(bx, 0)) % (1 << 24) >= i.a_end
                                at = (row + bx + r - (i.a_ring if past else 0)) % (1 << 24)
                                value = (signed_byte(memory[at]) if inside else i.pad) - i.centred * i.pad
                                for c in range(cols):
                                    block[y * i.rows_x + x][c] += value * tile[r][c]
        blocks.append(block)
    return blocks


@pytest.mark.parametrize("seed", range(60))
def test_definition(seed: int) -> None:
    rng = random.Random(seed)
    rows, cols, word_bytes = size = rng.choice(((4, 4, 4), (5, 3, 8), (3, 6, 8)))
    memory = rng.randbytes(8192)
    ring = 4096 + 32 * rng.randint(0, 3)
    weights = dict(b=4096) if seed % 2 else dict(
        b=ring + word_bytes * rng.randrange(rows * 2), ring=ring, ring_bytes=word_bytes * rows * 2)
    fields = random_fields(rng, rows, 20, products=seed >= 30)
    strides = random_strides(rng, word_bytes, size == (4, 4, 4)) if seed >= 30 else {}
    i = ARRAY(**dict(a=128) | weights | fields | random_ring(rng, 128, 0) | strides)
    got = [block.tolist() for block in execute_array(i, np.frombuffer(memory, np.uint8), rows, cols, word_bytes)]
    assert got == literally(i, memory, rows, cols, word_bytes)


def test_padded_rows_in_a_ring() -> None:
    """A 3 x 3 convolution over rows 2 to 6 of a map of which five rows are kept: as if all of it lay in memory."""
    rng = random.Random(5)
    fields = dict(rows_y=5, rows_x=4, ky=3, kx=1, kc=2, tiles=1, pad=9, y_start=1, height=6, y_step=1, y_dilation=1,
                  x_start=-2, row_bytes=8, row_pitch=8, x_step=2, kc_step=4, b=512)
    memory = np.frombuffer(rng.randbytes(1024), np.uint8).copy()
    kept = memory.copy()
    kept[300:340] = np.concatenate([memory[140:148], memory[108:140]])  # rows 1 to 5 of the map at 100, in a ring of 5
    i = ARRAY(a=300, a_end=340, a_ring=40, **fields)
    want, got = (next(execute_array(i, m, 4, 4, 4)) for i, m in ((ARRAY(a=100, **fields), memory), (i, kept)))
    assert np.array_equal(want, got)
    kept[2:42] = kept[300:340]  # as rows 6 to 10 of a map that starts before address 0
    i.values |= {"a": 2 - 40 + (1 << 24), "a_end": 42, "y_start": 6, "height": 11}
    assert np.array_equal(next(execute_array(i, kept, 4, 4, 4)), want)


def test_wide_sums() -> None:
    """More products than float32 can sum exactly."""
    i = ARRAY(rows_y=1, rows_x=2, ky=1, kx=1, kc=400, tiles=1, height=1, row_bytes=1600, x_step=1, kc_step=4, b=2048)
    memory = np.full(9000, 0x81, np.uint8)
    memory[::7] = 0x7F
    x = input_tiles(i, memory, 4).transpose(1, 0, 2).reshape(2, 1600).astype(np.int64)
    w = memory[weight_addresses(i, 4, 4).reshape(-1, 1) + np.arange(4)].view(np.int8).astype(np.int64)
    assert np.array_equal(next(execute_array(i, memory, 4, 4, 4)), x @ w)


def test_extremes() -> None:
    """Centred by its ends, a byte is -255 to 255; the sums of more of them than fit wrap to int32."""
    memory = np.array([0x80, 0x7F] * 512 + [0x80] * 1024, np.uint8)
    base = dict(rows_y=1, rows_x=2, ky=1, kx=1, kc=256, tiles=1, height=1, row_bytes=1024, x_step=1, kc_step=4, b=1024,
                centred=1, strided=1)
    for pad, a, b in ((127, -255, 0), (-128, 0, 255)):
        assert input_tiles(ARRAY(**base, pad=pad), memory, 4)[0, 0].tolist() == [a, b, a, b]
        got = next(execute_array(ARRAY(**base, pad=pad), memory, 4, 4, 4))
        assert got[0].tolist() == [-128 * 512 * (a + b)] * 4
    odd = ARRAY(**base | dict(kc=255, row_bytes=1019, b=2048), pad=127)  # an odd sum past 2**24
    image = np.array([0x80] * 2048 + [0x81] * 8, np.uint8)
    assert next(execute_array(odd, image, 4, 4, 4))[0].tolist() == [1019 * 255 * 127] * 4
    i = ARRAY(**base | dict(kc=40000, kc_step=0), pad=127)
    total = -255 * -128 * 2 * 40000
    assert next(execute_array(i, memory, 4, 4, 4))[0].tolist() == [(total + (1 << 31)) % (1 << 32) - (1 << 31)] * 4


def test_strides_wrap() -> None:
    """Backwards and over the end of the addresses."""
    i = ARRAY(ky=1, kx=1, kc=2, tiles=2, b=64, strided=1, b_row=(1 << 24) - 4, b_kc=32, b_tile=(1 << 24) - 60)
    assert weight_addresses(i, 3, 4).tolist() == [
        [[64, 60, 56], [96, 92, 88]], [[4, 0, (1 << 24) - 4], [36, 32, 28]]]


def test_past_the_memory() -> None:
    i = ARRAY(rows_y=1, rows_x=1, ky=1, kx=1, kc=1, tiles=1, height=1, row_bytes=8, a=60)
    with pytest.raises(IndexError):
        next(execute_array(i, np.zeros(62, np.uint8), 4, 4, 4))
