"""Pieces of up to eight bytes become words of eight."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import DIMENSION_BITS, Payload

WORD = 8


class Piece(data.Struct):
    """The first `count` bytes of `data`, 0 to 8."""

    data: 64
    count: 4


class Packer(wiring.Component):
    """Joins pieces to words, the last of a tile filled up with zeros.

    Words come a cycle after the piece that fills them, or two where the last piece fills one and begins another.

    Members
    -------
    begin: a tile of `size` bytes begins in the next cycle, and all of the one before are out.
    i: the next piece. o, valid: the next word; it cannot be refused.
    busy: bytes are missing.
    """

    begin: In(1)
    size: In(DIMENSION_BITS)
    i: In(Piece)
    o: Out(Payload)
    valid: Out(1)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept, held = Signal(8 * (WORD - 1), reset_less=True), Signal(3)  # bytes that wait, and how many
        left = Signal(DIMENSION_BITS)  # bytes of the tile that are not in a word
        given = self.i
        have = Signal(4)
        last, goes = Signal(), Signal()
        whole = Signal(64)
        m.d.comb += whole.eq(Cat(Mux(given.count > k, given.data.word_select(k, 8), 0) for k in range(WORD)))
        wide = Signal(8 * (2 * WORD - 1))
        m.d.comb += [
            wide.eq(kept | whole << Cat(Const(0, 3), held)),
            have.eq(held + given.count),
            last.eq(left <= WORD),
            goes.eq((left != 0) & (have[3] | (have == left))),
            self.busy.eq(left != 0),
        ]
        m.d.sync += [self.valid.eq(goes), self.o.data.eq(wide), self.o.last.eq(last)]
        with m.If(goes):
            m.d.sync += [kept.eq(wide[64:]), held.eq(Mux(have[3], have[:3], 0)), left.eq(Mux(last, 0, left - WORD))]
        with m.Else():
            m.d.sync += [kept.eq(wide), held.eq(have)]
        with m.If(self.begin):
            m.d.sync += [left.eq(self.size), held.eq(0), kept.eq(0)]
        return m
