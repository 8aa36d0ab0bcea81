"""Where the depthwise unit's outputs go."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .affine import Ring
from .config import ADDRESS_BITS
from .depthwise_strips import StoreStrip
from .vector_walk import Store


class DepthwiseStores(wiring.Component):
    """Stores of strips, column by column, in each downwards; one a cycle, two cycles between strips.

    Members
    -------
    i: stream of `StoreStrip`. o: stream of `Store`.
    """

    i: In(stream.Signature(StoreStrip))
    o: Out(stream.Signature(Store))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = Ring()
        strip = Signal(StoreStrip, reset_less=True)
        active, move = Signal(), Signal()
        at, top = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        total = Signal(ADDRESS_BITS)
        left_rows, left_x = Signal(4, reset_less=True), Signal(16, reset_less=True)
        column_ends, ends = Signal(), Signal()
        store = self.o.payload
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(~active),
            column_ends.eq(left_rows == 0), ends.eq(column_ends & (left_x == 0)),
            total.eq(Mux(column_ends, top, at) + Mux(column_ends, strip.c_pixel, strip.c_row)),
            ring.step.eq(move), ring.address.eq(at), ring.first.eq(at),
            ring.end.eq(strip.c_end), ring.size.eq(strip.c_ring), store.address.eq(ring.value),
        ]
        with m.If(move):
            m.d.sync += [self.o.valid.eq(active), store.count.eq(strip.count), store.final.eq(strip.final & ends)]
        with m.If(~active):
            new = self.i.payload
            m.d.sync += [strip.eq(new), active.eq(self.i.valid), at.eq(new.c), top.eq(new.c),
                         left_rows.eq(new.rows - 1), left_x.eq(new.rows_x - 1)]
        with m.Elif(move):
            m.d.sync += [at.eq(total), left_rows.eq(left_rows - 1), active.eq(~ends)]
            with m.If(column_ends):
                m.d.sync += [top.eq(total), left_rows.eq(strip.rows - 1), left_x.eq(left_x - 1)]
        return m
