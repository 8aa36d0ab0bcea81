"""Sizes of the norm unit, and what its parts tell each other of rows."""

from amaranth import Module, Signal, Value, signed, unsigned
from amaranth.hdl import ValueCastable
from amaranth.lib import data

from .isa import NORM_ELEMS

COUNT_BITS = NORM_ELEMS.bit_length()
"""Of the number of elements of a row."""
SUM_BITS, SQUARES_BITS = COUNT_BITS + 15, COUNT_BITS + 30
"""Of the sum of a row's elements (signed) and of their squares."""
RECIPROCAL_BITS, DOWN_BITS = 18, 5
"""Of the reciprocal root r, and of the shift k - 3 that belongs to it."""


class Moments(data.Struct):
    """Of a row in the buffer: the sum of its elements and of their squares; `final`: it is the instruction's last."""

    sum: signed(SUM_BITS)
    squares: unsigned(SQUARES_BITS)
    final: unsigned(1)


class Factor(data.Struct):
    """What a row is normalised with: (n * x - `sum`) * `reciprocal` / 2**`down`."""

    sum: signed(SUM_BITS)
    reciprocal: unsigned(RECIPROCAL_BITS)
    down: unsigned(DOWN_BITS)
    final: unsigned(1)


class Place(data.Struct):
    """Where a chunk is in its row; `final`: it is the instruction's last one."""

    valid: unsigned(1)
    last: unsigned(1)
    final: unsigned(1)


def check_sizes(word_bytes: int, lanes: int) -> None:
    """Raises ValueError where a norm unit cannot have these sizes."""
    if not 4 <= word_bytes <= 128 or word_bytes & (word_bytes - 1):
        raise ValueError(f"word_bytes must be a power of two from 4 to 128, not {word_bytes}")
    if lanes < 1 or lanes & (lanes - 1):
        raise ValueError(f"lanes must be a power of two, not {lanes}")
    if lanes > word_bytes // 2:
        raise ValueError(f"lanes must be at most half of word_bytes ({word_bytes // 2}), not {lanes}")


def chunk(lanes: int) -> data.StructLayout:
    """`lanes` neighbours of a row, 16 bits each; those without their bit in `keep` lie past its end.

    `last`: the row ends with it; `final`: all rows of the instruction do."""
    return data.StructLayout({"values": 16 * lanes, "keep": lanes, "last": 1, "final": 1})


def place_bits(lanes: int) -> int:
    """Bits of a chunk's place in the buffer of NORM_ELEMS elements; channels' parameters have as many."""
    return (NORM_ELEMS // lanes).bit_length() - 1


def buffer_write(lanes: int) -> data.StructLayout:
    """A chunk on its way into the buffer."""
    return data.StructLayout({"valid": 1, "place": place_bits(lanes), "values": 16 * lanes})


def delayed(m: Module, value: ValueCastable | Value, cycles: int, name: str, *, reset: bool = False) -> list[Value]:
    """`value` as it is, and 1, 2, ... `cycles` cycles later; registers are called after `name`."""
    chain = [value]
    for stage in range(1, cycles + 1):
        later = Signal.like(value, name=f"{name}_{stage}", reset_less=not reset)
        m.d.sync += later.eq(chain[-1])
        chain.append(later)
    return chain
