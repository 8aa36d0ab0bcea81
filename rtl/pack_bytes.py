"""Tiles as bytes: index entry, payload, and zeros up to a multiple of eight."""

from collections.abc import Callable

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .codec.encoder_tile import Entry, Payload
from .codec.tables import TAG_RAW
from .isa import TILE_VALUES
from .pack_reader import Values
from .pack_walk import Ordered

PIECE_BYTES = 8
LEFT_BITS = (TILE_VALUES // PIECE_BYTES + 1).bit_length()


class Piece(data.Struct):
    """Eight bytes of a tile; `left`: pieces that it still has, this one included; `final`: the tile is the last of its
    instruction."""

    data: unsigned(8 * PIECE_BYTES)
    left: unsigned(LEFT_BITS)
    final: unsigned(1)


def _turn(data_: Value, count: Value) -> Value:
    """Bytes moved up by `count` places; those that leave at the top come in at the bottom."""
    for k in range(3):
        data_ = Mux(count[k], data_.rotate_left(8 << k), data_)
    return data_


def _select(first: Callable[[int], Value], one: Value, other: Value) -> Value:
    """Byte k of `one` where `first(k)` is 1, else of `other`."""
    return Cat(Mux(first(k), one.word_select(k, 8), other.word_select(k, 8)) for k in range(PIECE_BYTES))


class TileBytes(wiring.Component):
    """Makes pieces of the tiles in order, those that were coded and those that are stored as they are.

    At best a word or a step a cycle, and two or three cycles more a tile.

    Members
    -------
    order: stream of all tiles. entry, payload: streams of the coded ones' entries and words.
    raw: stream of the steps of the others. o: stream of `Piece`.
    """

    order: In(stream.Signature(Ordered))
    entry: In(stream.Signature(Entry))
    payload: In(stream.Signature(Payload))
    raw: In(stream.Signature(Values))
    o: Out(stream.Signature(Piece))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile, entry, size = Signal(Ordered, reset_less=True), Signal(Entry), Signal(TILE_VALUES.bit_length())
        kept, fill = Signal(8 * PIECE_BYTES, reset_less=True), Signal(3, reset_less=True)
        left = Signal(LEFT_BITS, reset_less=True)
        shown, valid, room = Signal(Piece, reset_less=True), Signal(), Signal()
        have = Signal(4)
        turned, merged = Signal(8 * PIECE_BYTES), Signal(8 * PIECE_BYTES)
        m.d.comb += [
            self.o.payload.eq(shown), self.o.valid.eq(valid), room.eq(~valid | self.o.ready),
            entry.eq(self.entry.payload),
        ]
        with m.If(self.order.payload.raw):
            m.d.comb += [entry.tag.eq(TAG_RAW), entry.units.eq(0)]
        m.d.comb += size.eq(Mux(entry.tag == TAG_RAW, self.order.payload.values, entry.units << 1))
        with m.If(room):
            m.d.sync += [valid.eq(0), shown.left.eq(left), shown.final.eq(tile.final), shown.data.eq(merged)]
        given = Signal(Values)
        m.d.comb += given.eq(self.raw.payload)
        with m.If(~tile.raw):  # the last word has zeros behind its end
            m.d.comb += [given.data.eq(self.payload.payload.data), given.count.eq(PIECE_BYTES),
                         given.last.eq(self.payload.payload.last)]
        m.d.comb += [
            have.eq(fill + given.count), turned.eq(_turn(given.data, fill)),
            # Bytes from `fill` on are noise in `kept`.
            merged.eq(_select(lambda k: fill > k, kept, turned)),
        ]
        with m.FSM() as fsm:
            with m.State("idle"):
                begins = self.order.payload.raw | self.entry.valid
                m.d.comb += [self.order.ready.eq(begins), self.entry.ready.eq(self.order.valid
                                                                              & ~self.order.payload.raw)]
                m.d.sync += [tile.eq(self.order.payload), kept.eq(entry), fill.eq(2),
                             left.eq((size + 2 + PIECE_BYTES - 1) >> 3)]
                with m.If(self.order.valid & begins):
                    m.next = "take"
                    with m.If(size == 0):
                        m.next = "rest"
            with m.State("take"):
                takes, gives = Signal(), have[3]
                m.d.comb += [
                    takes.eq(room & Mux(tile.raw, self.raw.valid, self.payload.valid)),
                    self.raw.ready.eq(room & tile.raw), self.payload.ready.eq(room & ~tile.raw),
                ]
                with m.If(takes):
                    m.d.sync += [fill.eq(have), kept.eq(Mux(gives, turned, merged))]
                    with m.If(gives):
                        m.d.sync += [left.eq(left - 1), valid.eq(1)]
                    with m.If(given.last):
                        m.next = "rest"
                        with m.If(gives & (left == 1)):
                            m.next = "idle"
            with m.State("rest"):
                with m.If(room):
                    m.d.sync += valid.eq(1)
                    m.next = "idle"
        with m.If(fsm.ongoing("rest")):
            m.d.comb += given.data.eq(0)
        return m
