"""The order in which a depthwise convolution reads: constants, then the input column by column."""

import enum

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .affine import Ring
from .config import ADDRESS_BITS
from .depthwise_setup import ROWS
from .depthwise_strips import FetchStrip

COLUMNS = 32
"""Columns of the window memory. Columns are numbered modulo twice that, so that full and empty differ."""
COLUMN_BITS = COLUMNS.bit_length()
BUFFERS = 4
"""Groups whose constants are there at once."""


class Kind(enum.IntEnum):
    """What a word is."""

    WINDOW = 0
    WEIGHTS = 1
    PARAMETERS = 2


class Tag(data.Struct):
    """What becomes of a word."""

    kind: unsigned(2)
    place: unsigned(9)
    """WINDOW: column of the memory (5 bits), row (4). WEIGHTS: tap (6), buffer (2). PARAMETERS: word of the set (4),
    buffer (2)."""
    columns: unsigned(COLUMN_BITS)
    """Columns before this number are complete with it."""
    padding: unsigned(1)
    """`pad` is written instead of the word."""
    pad: unsigned(8)


class Word(data.Struct):
    """A word to read."""

    address: unsigned(ADDRESS_BITS)
    tag: Tag


class DepthwiseWalk(wiring.Component):
    """The words of strips, one a cycle; a cycle or two between strips and for each column outside the image.

    For the first strip of a group the constants come first; for the first of an instruction, before these, a word in
    whose place `pad` is written to row ROWS of column `slot`. Then column after column the rows that are inside the
    image. Columns are numbered from one strip to the next without end, those outside too. A column waits until the one
    COLUMNS before it is free, constants until those BUFFERS groups before are.

    Parameters
    ----------
    word_bytes: of the memory. set_words: memory words of a parameter set.

    Members
    -------
    i: stream of `FetchStrip`. o: stream of `Word`.
    column: number of the next column; all words of those before it have been offered on `o`.
    free: columns before this number are free. release: pulse: the constants of one more group are free.
    """

    def __init__(self, word_bytes: int, set_words: int) -> None:
        self._word_bytes, self._set_words = word_bytes, set_words
        super().__init__({
            "i": In(stream.Signature(FetchStrip)),
            "o": Out(stream.Signature(Word)),
            "column": Out(COLUMN_BITS),
            "free": In(COLUMN_BITS),
            "release": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = Ring()
        strip = Signal(FetchStrip, reset_less=True)
        tag, shown = Signal(Tag), Signal(Tag, reset_less=True)
        move, ask, go, ends = Signal(), Signal(), Signal(), Signal()
        buffer, used = Signal(range(BUFFERS)), Signal(range(BUFFERS + 1))
        begins = Signal()  # the constants of a group
        index = Signal(6, reset_less=True)  # of a constant
        at = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), tag.pad.eq(strip.pad), tag.columns.eq(self.column)]
        m.d.sync += used.eq(used + begins - self.release)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += strip.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "columns"
                    with m.If(self.i.payload.constants):
                        m.next = "group"
            with m.State("group"):
                m.d.comb += begins.eq(used != BUFFERS)
                m.d.sync += index.eq(0)
                with m.If(begins):
                    m.next = "weights"
                    with m.If(strip.first):
                        m.next = "pad"
            with m.State("pad"):
                m.d.comb += [ask.eq(1), tag.kind.eq(Kind.WINDOW), tag.padding.eq(1),
                             tag.place.eq(Cat(strip.slot, Const(0, 3), Const(ROWS, 4)))]
                with m.If(move):
                    m.next = "weights"
            for state, kind, last, following in (
                    ("weights", Kind.WEIGHTS, strip.taps - 1, "parameters"),
                    ("parameters", Kind.PARAMETERS, self._set_words - 1, "columns")):
                with m.State(state):
                    bits = 6 if kind == Kind.WEIGHTS else 4
                    m.d.comb += [ask.eq(1), tag.kind.eq(kind), tag.place.eq(Cat(index[:bits], buffer))]
                    with m.If(move):
                        m.d.sync += [index.eq(index + 1), strip.b.eq(strip.b + self._word_bytes)]
                        with m.If(index == last):
                            m.d.sync += index.eq(0)
                            m.next = following
            with m.State("columns"):
                m.d.comb += [go.eq(move & ((self.column - self.free)[:COLUMN_BITS] != COLUMNS)),
                             ring.size.eq(strip.a_ring)]
                with m.If(go & ends):
                    m.next = "idle"
        with m.If(move & (tag.kind == Kind.PARAMETERS) & (index == self._set_words - 1)):
            m.d.sync += buffer.eq(buffer + 1)
        self._columns(m, strip, at, tag, go, ask, ends)
        m.d.comb += [
            ring.step.eq(move), ring.end.eq(strip.a_end),
            ring.address.eq(Mux(go, at, strip.b)), ring.first.eq(ring.address),
            self.o.payload.address.eq(ring.value), self.o.payload.tag.eq(shown),
        ]
        with m.If(move):
            m.d.sync += [self.o.valid.eq(ask), shown.eq(tag)]
        return m

    def _columns(self, m: Module, strip: data.View, at: Signal, tag: data.View, go: Signal, ask: Signal,
                 ends: Signal) -> None:
        """Goes through columns and rows with each `go`; `ends` tells that this is the strip's last."""
        here = Signal(ADDRESS_BITS, reset_less=True)  # first row of the column
        left_rows, row = Signal(4, reset_less=True), Signal(4, reset_less=True)
        left_window, left_x = Signal(4, reset_less=True), Signal(16, reset_less=True)
        # The column, and the distance to the last inside: where both are not negative it is inside.
        ix, right = Signal(signed(26), reset_less=True), Signal(signed(26), reset_less=True)
        inside, column_ends, window_ends = Signal(), Signal(), Signal()
        following, total = Signal(COLUMN_BITS), Signal(ADDRESS_BITS)
        distance = Signal(9)
        m.d.comb += [
            inside.eq(~ix[-1] & ~right[-1] & (strip.rows != 0)),
            column_ends.eq((left_rows == 0) | ~inside), window_ends.eq(left_window == 0),
            ends.eq(column_ends & window_ends & (left_x == 0)),
            following.eq(self.column + column_ends), distance.eq(Mux(window_ends, strip.skip + 1, 1)),
            total.eq(Mux(column_ends, here, at)
                     + Mux(column_ends, Mux(window_ends, strip.a_jump, strip.a_pixel), strip.a_row)),
        ]
        with m.If(go):
            m.d.comb += [ask.eq(inside), tag.kind.eq(Kind.WINDOW), tag.columns.eq(following),
                         tag.place.eq(Cat(self.column[:COLUMN_BITS - 1], row))]
            m.d.sync += [at.eq(total), left_rows.eq(left_rows - 1), row.eq(row + 1), self.column.eq(following)]
            with m.If(column_ends):
                m.d.sync += [
                    here.eq(total), left_rows.eq(strip.rows - 1), row.eq(strip.low),
                    ix.eq(ix + distance), right.eq(right - distance), left_window.eq(left_window - 1),
                ]
                with m.If(window_ends):
                    m.d.sync += [left_window.eq(strip.step - 1), left_x.eq(left_x - 1)]
        with m.If(self.i.valid & self.i.ready):
            new = self.i.payload
            m.d.sync += [
                at.eq(new.a), here.eq(new.a), left_rows.eq(new.rows - 1), row.eq(new.low),
                left_window.eq(new.window_x - 1), left_x.eq(new.rows_x - 1),
                ix.eq(new.x_start), right.eq(new.width - 1 - new.x_start),
            ]
