"""Rows of bytes in memory, the words that hold them, and what the softmax unit's passes tell each other of a row."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import SOFTMAX_ELEMS


class Rows(data.Struct):
    """Rows of `elems` bytes, at least 1 each; row i starts at `base` + i * `pitch` (modulo 2**24)."""

    base: unsigned(ADDRESS_BITS)
    pitch: unsigned(ADDRESS_BITS)
    rows: unsigned(16)
    elems: unsigned(SOFTMAX_ELEMS.bit_length())


class Run(data.Struct):
    """The first `count` bytes from `address` on, of one row; `last`: the row ends with them; `final`: all rows do."""

    address: unsigned(ADDRESS_BITS)
    count: unsigned(8)
    last: unsigned(1)
    final: unsigned(1)


class RowLengths(data.Struct):
    """How many elements of rows take part, row by row: `valid` of the first, `step` more in each further `group` rows
    (at least 1), up to `most`; `room` = most - valid."""

    valid: unsigned(SOFTMAX_ELEMS.bit_length())
    most: unsigned(SOFTMAX_ELEMS.bit_length())
    room: unsigned(SOFTMAX_ELEMS.bit_length())
    step: unsigned(16)
    group: unsigned(16)


def check_sizes(word_bytes: int, lanes: int) -> None:
    """Raises ValueError where a softmax unit cannot have these sizes."""
    if not 4 <= word_bytes <= 128 or word_bytes & (word_bytes - 1):
        raise ValueError(f"word_bytes must be a power of two from 4 to 128, not {word_bytes}")
    if lanes < 1 or lanes & (lanes - 1):
        raise ValueError(f"lanes must be a power of two, not {lanes}")
    if lanes > word_bytes:
        raise ValueError(f"lanes must be at most word_bytes ({word_bytes}), not {lanes}")


def chunk(lanes: int) -> data.StructLayout:
    """`lanes` neighbours of a row, signed bytes; those without their bit in `keep` take no part.

    `last`: the row ends with it; `final`: all rows of the instruction do."""
    return data.StructLayout({"values": 8 * lanes, "keep": lanes, "last": 1, "final": 1})


def place_bits(lanes: int) -> int:
    """Bits of a chunk's place in the buffer of SOFTMAX_ELEMS bytes."""
    return (SOFTMAX_ELEMS // lanes).bit_length() - 1


def buffer_write(lanes: int) -> data.StructLayout:
    """A chunk on its way into the buffers."""
    return data.StructLayout({"valid": 1, "place": place_bits(lanes), "values": 8 * lanes})


def row(lanes: int) -> data.StructLayout:
    """A row in the buffer: its largest value, the places of its last chunk and of the last of which values take part,
    and which of that these are; `final`: the instruction's last."""
    return data.StructLayout({"maximum": signed(8), "end": place_bits(lanes), "valid_end": place_bits(lanes),
                              "keep": lanes, "final": 1})


class RowWalk(wiring.Component):
    """Runs through rows in steps of up to a word: a step a cycle, none in the cycle in which it takes a job.

    Parameters
    ----------
    word_bytes: of the memory, a power of two.

    Members
    -------
    i: stream of `Rows`. o: stream of `Run`.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({"i": In(stream.Signature(Rows)), "o": Out(stream.Signature(Run))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Signal(Rows, reset_less=True)  # `base` is the next row's, `rows` how many are left
        address = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal.like(job.elems, reset_less=True)  # bytes of the row from `address` on
        run, given, running = self.o.payload, self.i.payload, Signal()
        m.d.comb += [
            self.i.ready.eq(~running),
            self.o.valid.eq(running),
            run.address.eq(address),
            run.last.eq(left <= self._word_bytes),
            run.count.eq(Mux(run.last, left, self._word_bytes)),
            run.final.eq(run.last & (job.rows == 1)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [job.eq(given), job.base.eq(given.base + given.pitch), address.eq(given.base),
                         left.eq(given.elems), running.eq(1)]
        with m.Elif(self.o.valid & self.o.ready):
            with m.If(run.last):
                m.d.sync += [address.eq(job.base), job.base.eq(job.base + job.pitch), left.eq(job.elems),
                             job.rows.eq(job.rows - 1), running.eq(~run.final)]
            with m.Else():
                m.d.sync += [address.eq(address + self._word_bytes), left.eq(left - self._word_bytes)]
        return m
