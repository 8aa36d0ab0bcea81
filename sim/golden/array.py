"""The ARRAY instruction in numpy: what the accumulators hold when its blocks are done."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.config import ADDRESS_BITS, Config
from systolith.rtl.isa import ARRAY, Instruction

EXACT_IN_FLOAT32 = 512
"""Products of bytes, one of them centred, that float32 sums exactly: 512 * 2**15 = 2**24."""
_MODULUS = 1 << ADDRESS_BITS


def input_tiles(instruction: Instruction, memory: NDArray[np.uint8], rows: int) -> NDArray[np.float64]:
    """What is fed to the array: [K tiles, rows_y * rows_x, rows], the same for every tile of output channels. -128 to
    127, or -255 to 255 where the instruction is centred.

    Raises IndexError where a byte inside the image lies past the memory.
    """
    return _gather(instruction, memory, rows).astype(np.float64)


def _gather(i: Instruction, memory: NDArray[np.uint8], rows: int) -> NDArray[np.integer]:
    """`input_tiles` as integers."""
    y, x, lane = np.arange(i.rows_y), np.arange(i.rows_x), np.arange(rows)
    ky, kx, kc = np.arange(i.ky), np.arange(i.kx), np.arange(i.kc)
    iy = i.y_start + ky[:, None] * i.y_dilation + y * i.y_step  # [ky, y]
    start = (kx[:, None] * i.kx_step + kc * i.kc_step).reshape(-1, 1)  # [kx kc, 1]
    left = (i.x_start + (start + x * i.x_step))[:, None, :, None]  # bx of lane 0: [kx kc, 1, x, 1]
    bx = left + lane
    row = (i.a + iy * i.row_pitch)[:, None, :, None, None]  # [ky, 1, y, 1, 1]
    inside = ((iy >= 0) & (iy < i.height))[:, None, :, None, None] & ((bx >= 0) & (bx < i.row_bytes))
    address = row + bx  # [ky, kx kc, y, x, lane]
    if i.a_ring:
        address = address - np.where((row + np.maximum(left, 0) & _MODULUS - 1) >= i.a_end, i.a_ring, 0)
    address &= _MODULUS - 1
    if inside.all():
        values = memory[address]
    else:
        values = np.where(inside, memory[np.where(inside, address, 0)], np.uint8(i.pad & 0xFF))
    fed = values.reshape(i.ky * i.kx * i.kc, i.rows_y * i.rows_x, rows).view(np.int8)
    return fed.astype(np.int16) - np.int16(i.pad) if i.centred else fed


def weight_addresses(instruction: Instruction, rows: int, word_bytes: int) -> NDArray[np.int64]:
    """Address of each word of weights in the order in which they are read: [tiles, K tiles, rows]."""
    i = instruction
    shape = (i.tiles, i.ky * i.kx * i.kc, rows)
    if i.strided:
        tile, kc, row = np.arange(i.tiles)[:, None, None], np.arange(i.kc)[:, None], np.arange(rows)
        return (i.b + tile * i.b_tile + kc * i.b_kc + row * i.b_row) & _MODULUS - 1
    address = i.b + np.arange(int(np.prod(shape))) * word_bytes
    if i.ring_bytes:
        end = i.ring + i.ring_bytes
        past = address - end
        if i.b < end:
            address = np.where(past >= 0, i.ring + past % i.ring_bytes, address)
    return address.reshape(shape)


def execute_array(instruction: Instruction, memory: NDArray[np.uint8], rows: int, cols: int,
                  word_bytes: int) -> Iterator[NDArray[np.int32]]:
    """Yields the block of accumulators of each tile: int32 [rows_y * rows_x, cols].

    The input is read when the first block is asked for, the weights of a block when that block is. Sums wrap to int32.
    """
    fed = input_tiles(instruction, memory, rows)
    k_tiles, block_rows, _ = fed.shape
    number: type[np.floating] = np.float32 if k_tiles * rows <= EXACT_IN_FLOAT32 else np.float64
    x = np.ascontiguousarray(fed.transpose(1, 0, 2)).reshape(block_rows, k_tiles * rows).astype(number)
    column = np.arange(cols)
    for addresses in weight_addresses(instruction, rows, word_bytes):
        words = memory[addresses[..., None] + column].view(np.int8).astype(number)
        tiles = words.swapaxes(-1, -2) if instruction.transposed else words
        yield (x @ tiles.reshape(-1, cols)).astype(np.int64).astype(np.int32)


def check_array(instruction: Any, config: Config) -> None:
    """Raises ValueError where the array unit would report an illegal operand."""
    i, word = instruction, config.word_bytes
    rows = i.rows_y * i.rows_x
    if rows > config.accumulator_rows or not rows * i.tiles * i.ky * i.kx * i.kc:
        raise ValueError(f"ARRAY of {i.rows_y} x {i.rows_x} rows")
    if i.b % word or (not i.strided and i.ring_bytes and (i.ring % word or i.ring_bytes % word)):
        raise ValueError(f"ARRAY with weights that do not lie in whole words of {word} bytes")
    if (i.strided or i.centred or i.transposed) and not config.activation_products:
        raise ValueError("ARRAY strided, centred or transposed on a machine without activation_products")
    if i.strided and (i.ky != 1 or i.kx != 1):
        raise ValueError(f"ARRAY strided with a kernel of {i.ky} x {i.kx}")
    steps = (getattr(i, ARRAY.second_names[name]) for name in ("b_row", "b_kc", "b_tile"))
    if i.strided and any(step % word for step in steps):
        raise ValueError(f"ARRAY strided by what is not a multiple of {word} bytes")
    if i.transposed and not (i.strided and config.rows == config.cols == word):
        raise ValueError("ARRAY transposed but not strided, or on an array that is no square of words")
