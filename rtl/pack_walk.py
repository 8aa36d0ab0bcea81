"""Where a PACK instruction's values lie: its tiles, and the addresses of their steps."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .affine import Ring
from .codec.encoder_tile import Tile
from .config import ADDRESS_BITS
from .pack_setup import PLAN, SIDE_BITS, VALUE_BITS

GROUP = 8
"""Channels of a step."""


class Step(data.Struct):
    """Up to eight neighbouring values: the first `count` bytes from `address` on. `last`: of a tile. `raw`: the tile is
    stored as it is."""

    address: unsigned(ADDRESS_BITS)
    count: unsigned(4)
    last: unsigned(1)
    raw: unsigned(1)


class Ordered(data.Struct):
    """A tile of `values` bytes, on its way; `final`: the instruction's last."""

    raw: unsigned(1)
    values: unsigned(VALUE_BITS)
    final: unsigned(1)


_KEPT = ("rows", "columns", "columns_last", "across", "channels", "raw", "table_set", "centre", "a_row", "a_pixel",
         "a_end", "a_ring")


class PackWalk(wiring.Component):
    """Goes over the tiles of instructions, and over the steps of each: a step a cycle, and two cycles more a tile.

    Members
    -------
    i: stream of `PLAN`. o: stream of `Step`.
    tile: stream of the tiles that are to be coded. order: stream of all tiles.
    """

    i: In(stream.Signature(PLAN))
    o: Out(stream.Signature(Step))
    tile: Out(stream.Signature(Tile))
    order: Out(stream.Signature(Ordered))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given = self.i.payload.instruction
        members = given.shape().members
        kept = Signal(data.StructLayout({name: members[name] for name in _KEPT}), reset_less=True)
        values, values_last = (Signal(VALUE_BITS, name=name, reset_less=True) for name in ("values", "values_last"))
        groups = Signal(SIDE_BITS)
        # Counts of what is left, this one included; and whether it is the last, from registers.
        group, x, y = (Signal(SIDE_BITS, name=name, reset_less=True) for name in ("group", "x", "y"))
        tiles, bands = Signal(16, reset_less=True), Signal(16, reset_less=True)
        group_last, x_last, top, left, right = (
            Signal(name=name, reset_less=True) for name in ("group_last", "x_last", "top", "left", "right"))
        width, last, final = Signal(SIDE_BITS), Signal(), Signal()
        move, running = Signal(), Signal()
        m.d.comb += [
            groups.eq((kept.channels + GROUP - 1) >> 3),
            width.eq(Mux(right, kept.columns_last, kept.columns)),
            last.eq(group_last & x_last & (y == 1)), final.eq(right & (bands == 1)),
            self.tile.payload.h.eq(kept.rows), self.tile.payload.w.eq(width), self.tile.payload.c.eq(kept.channels),
            self.tile.payload.table_set.eq(kept.table_set), self.tile.payload.centre.eq(kept.centre ^ 0x80),
            self.order.payload.raw.eq(kept.raw), self.order.payload.final.eq(final),
            self.order.payload.values.eq(Mux(right, values_last, values)),
        ]
        next_tile, begin = Signal(), Signal()
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.i.ready.eq(1), begin.eq(self.i.valid)]
                m.d.sync += [kept[name].eq(given[name]) for name in _KEPT]
                m.d.sync += [values.eq(self.i.payload.values), values_last.eq(self.i.payload.values_last),
                             tiles.eq(given.across), bands.eq(given.bands), left.eq(1), right.eq(given.across == 1)]
                with m.If(self.i.valid):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += [self.tile.valid.eq(~kept.raw & self.order.ready),
                             self.order.valid.eq(kept.raw | self.tile.ready)]
                m.d.sync += [group.eq(groups), group_last.eq(groups == 1), x.eq(width), x_last.eq(width == 1),
                             y.eq(kept.rows), top.eq(1)]
                with m.If(self.order.valid & self.order.ready):
                    m.next = "run"
            with m.State("run"):
                m.d.comb += running.eq(1)
                with m.If(move):
                    m.d.sync += [group.eq(group - 1), group_last.eq(group == 2)]
                    with m.If(group_last):
                        m.d.sync += [group.eq(groups), group_last.eq(groups == 1), x.eq(x - 1), x_last.eq(x == 2)]
                        with m.If(x_last):
                            m.d.sync += [x.eq(width), x_last.eq(width == 1), y.eq(y - 1), top.eq(0)]
                    with m.If(last):
                        m.next = "next"
                        with m.If(final):
                            m.next = "idle"
            with m.State("next"):
                m.d.comb += next_tile.eq(1)
                m.d.sync += [tiles.eq(tiles - 1), left.eq(0), right.eq(tiles == 2)]
                with m.If(right):
                    m.d.sync += [tiles.eq(kept.across), left.eq(1), right.eq(kept.across == 1), bands.eq(bands - 1)]
                m.next = "begin"
        at = self._addresses(m, kept, begin, running & move, next_tile, (group_last, x_last, last, top, left, right))
        self._steps(m, kept, at, move, running, group_last, last)
        return m

    def _addresses(self, m: Module, kept: data.View, begin: Signal, step: object, next_tile: Signal,
                   flags: tuple[Signal, ...]) -> Signal:
        """One adder: to the next group, pixel or row, whichever is next, or to the next tile."""
        group_last, x_last, last, top, left, right = flags
        at, pixel, row, edge, below = (
            Signal(ADDRESS_BITS, name=name, reset_less=True) for name in ("at", "pixel", "row", "edge", "below"))
        base, stride, total = (Signal(ADDRESS_BITS, name=name) for name in ("base", "stride", "total"))
        m.d.comb += [base.eq(row), stride.eq(kept.a_row), total.eq(base + stride)]
        with m.If(next_tile):
            m.d.comb += [base.eq(Mux(right, below, edge)), stride.eq(Mux(right, 0, kept.a_pixel))]
        with m.Elif(~group_last):
            m.d.comb += [base.eq(at), stride.eq(GROUP)]
        with m.Elif(~x_last):
            m.d.comb += [base.eq(pixel), stride.eq(kept.a_pixel)]
        with m.If(begin):
            m.d.sync += [register.eq(self.i.payload.instruction.a) for register in (at, pixel, row)]
        with m.Elif(next_tile):
            m.d.sync += [register.eq(total) for register in (at, pixel, row)]
        with m.Elif(step):
            m.d.sync += at.eq(total)
            with m.If(group_last):
                m.d.sync += pixel.eq(total)
                with m.If(x_last):
                    m.d.sync += row.eq(total)
            with m.If(x_last & top):  # the next tile begins a pixel further
                m.d.sync += edge.eq(pixel)
            with m.If(last & left):  # the next band begins a row further
                m.d.sync += below.eq(total)
        return at

    def _steps(self, m: Module, kept: data.View, at: Signal, move: Signal, running: Signal, group_last: Signal,
               last: Signal) -> None:
        """Through the ring, a cycle later."""
        m.submodules.ring = ring = Ring()
        tail = kept.channels[:3]
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            ring.step.eq(move), ring.address.eq(at), ring.first.eq(at), ring.end.eq(kept.a_end),
            ring.size.eq(kept.a_ring), self.o.payload.address.eq(ring.value),
        ]
        shown, count, ends, raw = Signal(), Signal(4, reset_less=True), Signal(), Signal()
        m.d.comb += [self.o.valid.eq(shown), self.o.payload.count.eq(count), self.o.payload.last.eq(ends),
                     self.o.payload.raw.eq(raw)]
        with m.If(move):
            m.d.sync += [shown.eq(running), count.eq(Mux(group_last & (tail != 0), tail, GROUP)), ends.eq(last),
                         raw.eq(kept.raw)]
