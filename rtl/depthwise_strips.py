"""Cuts a DEPTHWISE instruction into strips: output rows that are computed side by side, for one group of channels."""

from typing import Any

from amaranth import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .depthwise_setup import PLAN, ROWS, small_product
from .vector_walk import SLOTS


class FetchStrip(data.Struct):
    """What to read for a strip. Addresses are before the ring."""

    first: unsigned(1)
    """First strip of an instruction."""
    constants: unsigned(1)
    """First strip of a group: its constants come before."""
    slot: unsigned(2)
    pad: unsigned(8)
    b: unsigned(ADDRESS_BITS)
    """Constants of the group."""
    taps: unsigned(7)
    a: unsigned(ADDRESS_BITS)
    """First row that is inside, at the first column, be that inside or not."""
    low: unsigned(4)
    """Number of that row in the window."""
    rows: unsigned(4)
    """Rows inside."""
    a_row: unsigned(ADDRESS_BITS)
    a_pixel: unsigned(ADDRESS_BITS)
    a_jump: unsigned(ADDRESS_BITS)
    """To the next column over `skip` others."""
    a_end: unsigned(ADDRESS_BITS)
    a_ring: unsigned(ADDRESS_BITS)
    x_start: signed(16)
    width: unsigned(16)
    rows_x: unsigned(16)
    """Output columns that need columns of their own."""
    window_x: unsigned(4)
    step: unsigned(4)
    skip: unsigned(8)


class TileStrip(data.Struct):
    """What to compute in a strip."""

    slot: unsigned(2)
    group_last: unsigned(1)
    """Last strip of a group."""
    chunks: unsigned(4)
    """Turns of the output lanes for one pixel, less 1."""
    rows: unsigned(4)
    """Output rows, 1 to 8."""
    log_rows: unsigned(2)
    """Lane v has row v % 2**log_rows of the strip, and column v >> log_rows of the tile."""
    wide: unsigned(1)
    low: unsigned(4)
    high: unsigned(4)
    """Input rows low..high - 1 of the window are inside."""
    ky: unsigned(4)
    kx: unsigned(4)
    y_dilation: unsigned(4)
    x_dilation: unsigned(4)
    y_step: unsigned(4)
    x_step: unsigned(8)
    window_x: unsigned(4)
    step: unsigned(4)
    x_start: signed(16)
    width: unsigned(16)
    rows_x: unsigned(16)


class StoreStrip(data.Struct):
    """Where the outputs of a strip go."""

    c: unsigned(ADDRESS_BITS)
    c_row: unsigned(ADDRESS_BITS)
    c_pixel: unsigned(ADDRESS_BITS)
    c_end: unsigned(ADDRESS_BITS)
    c_ring: unsigned(ADDRESS_BITS)
    rows: unsigned(4)
    rows_x: unsigned(16)
    count: unsigned(8)
    """Channels, a byte each."""
    final: unsigned(1)
    """The instruction's last."""


STRIP = data.StructLayout({"fetch": FetchStrip, "tiles": TileStrip, "stores": StoreStrip})


class Product(wiring.Component):
    """base + factor * pitch modulo 2**24, by shifting and adding: one cycle and one a bit of the factor.

    Members
    -------
    start: takes the inputs. base, pitch: addresses. factor: 17 bits, signed. total: the sum, once `busy` is 0.
    """

    start: In(1)
    base: In(ADDRESS_BITS)
    pitch: In(ADDRESS_BITS)
    factor: In(signed(17))
    total: Out(ADDRESS_BITS)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total, pitch = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(signed(17), reset_less=True)
        minus = Signal()  # what is left are sign bits only: -1 times the shifted pitch ends it
        m.d.comb += [self.total.eq(total), minus.eq(left == -1)]
        with m.If(self.start):
            m.d.sync += [total.eq(self.base), pitch.eq(self.pitch), left.eq(self.factor), self.busy.eq(1)]
        with m.Elif(self.busy):
            m.d.sync += [pitch.eq(pitch << 1), left.eq(Mux(minus, 0, left >> 1)), self.busy.eq(left != 0)]
            with m.If(left[0]):
                m.d.sync += total.eq(total + Mux(minus, ~pitch, pitch) + minus)
        return m


def _clamp(value: Value) -> Value:
    """A signed value as 0 to 15, saturated."""
    return Mux(value < 0, 0, Mux(value >= 15, 15, value[:4]))


class DepthwiseStrips(wiring.Component):
    """Strips of instructions, group by group, downwards within a group; one in about 8 cycles.

    A strip has 2**log_rows output rows of the plan, the last one of a group what is left.

    Parameters
    ----------
    chunk: channels that the output lanes take at once, a power of two.

    Members
    -------
    i: stream of `PLAN`. slot: number that the instruction gets when it is taken. o: stream of `STRIP`.
    busy: an instruction is here.
    """

    def __init__(self, chunk: int) -> None:
        self._chunk_bits = chunk.bit_length() - 1
        super().__init__({
            "i": In(stream.Signature(PLAN)),
            "slot": In(range(SLOTS)),
            "o": Out(stream.Signature(STRIP)),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.product = product = Product()
        plan = Signal(PLAN, reset_less=True)
        strip = Signal(STRIP, reset_less=True)
        p = plan.instruction
        iy = Signal(signed(26), reset_less=True)  # first input row of the strip
        left_y, left_tiles = Signal(16, reset_less=True), Signal(16, reset_less=True)
        c = Signal(ADDRESS_BITS, reset_less=True)  # of the group
        advance = Signal()
        m.d.comb += self.o.payload.eq(strip)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    new = self.i.payload
                    m.d.sync += [
                        plan.eq(new), iy.eq(new.instruction.y_start), left_y.eq(new.instruction.rows_y),
                        left_tiles.eq(new.instruction.tiles), c.eq(new.instruction.c), *self._common(strip, new)]
                    m.next = "column"
            with m.State("column"):
                self._multiply(m, product, p.a, p.a_pixel, p.x_start)
                m.next = "first column"
            with m.State("first column"), m.If(~product.busy):
                m.d.sync += p.a.eq(product.total)  # from here on the address of the first column
                self._multiply(m, product, 0, p.a_pixel, plan.skip + 1)
                m.next = "jump"
            with m.State("jump"), m.If(~product.busy):
                m.d.sync += strip.fetch.a_jump.eq(product.total)
                m.next = "rows"
            with m.State("rows"):
                self._multiply(m, product, p.a, p.a_row, Mux(iy < 0, 0, iy[:16]))
                self._rows(m, plan, strip, iy, left_y, left_tiles)
                m.next = "clip"
            with m.State("clip"):
                m.next = "row"
            with m.State("row"), m.If(~product.busy):
                m.d.sync += strip.fetch.a.eq(product.total)
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += [self.o.valid.eq(1), advance.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "rows"
                    with m.If(strip.stores.final):
                        m.next = "idle"
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        self._clip(m, plan, strip, iy)
        with m.If(advance):
            self._advance(m, plan, strip, iy, left_y, left_tiles, c)
        return m

    def _common(self, strip: data.View, new: data.View) -> list[Any]:
        """What all strips of an instruction have in common, and the first one begins with."""
        i, fetch, tiles, stores = new.instruction, strip.fetch, strip.tiles, strip.stores
        same = [part[name].eq(i[name]) for part, names in (
            (fetch, "pad b a_row a_pixel a_end a_ring x_start width"),
            (tiles, "ky kx y_dilation x_dilation y_step x_step x_start width rows_x"),
            (stores, "c c_row c_pixel c_end c_ring rows_x")) for name in names.split()]
        return [*same, fetch.first.eq(1), fetch.constants.eq(1), fetch.slot.eq(self.slot), tiles.slot.eq(self.slot),
                *(fetch[name].eq(new[name]) for name in ("taps", "window_x", "step", "skip")),
                *(tiles[name].eq(new[name]) for name in ("wide", "window_x", "step")),
                fetch.rows_x.eq(Mux(new.step == 0, 1, i.rows_x))]

    def _multiply(self, m: Module, product: Product, base: Any, pitch: Value, factor: Value) -> None:
        m.d.comb += [product.start.eq(1), product.base.eq(base), product.pitch.eq(pitch), product.factor.eq(factor)]

    def _rows(self, m: Module, plan: data.View, strip: data.View, iy: Signal, left_y: Signal, left_tiles: Signal,
              ) -> None:
        """Output rows of the strip; and which one of the group it is."""
        tiles, stores = strip.tiles, strip.stores
        full, whole, last = Signal(4), Signal(), Signal()
        elems = Signal(8)
        m.d.comb += [
            full.eq(1 << plan.log_rows), whole.eq(left_y >= full), last.eq(left_y <= full),
            elems.eq(Mux(left_tiles == 1, plan.instruction.elems_last, plan.instruction.elems)),
        ]
        rest = left_y[:3]
        m.d.sync += [
            tiles.rows.eq(Mux(whole, full, rest)), stores.rows.eq(Mux(whole, full, rest)),
            tiles.log_rows.eq(Mux(whole, plan.log_rows, Mux(rest > 4, 3, Mux(rest > 2, 2, rest == 2)))),
            tiles.group_last.eq(last), stores.final.eq(last & (left_tiles == 1)),
            stores.count.eq(elems), tiles.chunks.eq((elems - 1) >> self._chunk_bits),
        ]

    def _clip(self, m: Module, plan: data.View, strip: data.View, iy: Signal) -> None:
        """Rows of the window that are inside; registers all the way, right three cycles after the state "rows"."""
        tiles, fetch = strip.tiles, strip.fetch
        above, below = Signal(signed(27), reset_less=True), Signal(signed(27), reset_less=True)
        seen = Signal(range(2 * ROWS), reset_less=True)  # input rows of the window
        below_top = Signal(4, reset_less=True)
        before, high = Signal(4), Signal(4)
        m.d.comb += [before.eq(tiles.rows - 1), high.eq(Mux(below_top < seen, below_top, seen))]
        m.d.sync += [
            above.eq(-iy), below.eq(plan.instruction.height - iy),
            seen.eq(small_product(before[:3], tiles.y_step) + plan.window_y),
            tiles.low.eq(_clamp(above)), fetch.low.eq(_clamp(above)), below_top.eq(_clamp(below)),
            tiles.high.eq(high), fetch.rows.eq(Mux(high > tiles.low, high - tiles.low, 0)),
        ]

    def _advance(self, m: Module, plan: data.View, strip: data.View, iy: Signal, left_y: Signal, left_tiles: Signal,
                 c: Signal) -> None:
        """To the next strip of the group, or the next group."""
        p, fetch, stores = plan.instruction, strip.fetch, strip.stores
        m.d.sync += [fetch.first.eq(0), fetch.constants.eq(strip.tiles.group_last)]
        with m.If(strip.tiles.group_last):
            m.d.sync += [
                iy.eq(p.y_start), left_y.eq(p.rows_y), left_tiles.eq(left_tiles - 1),
                p.a.eq(p.a + p.a_tile), fetch.b.eq(fetch.b + p.b_tile), c.eq(c + p.c_tile), stores.c.eq(c + p.c_tile),
            ]
        with m.Else():
            m.d.sync += [
                iy.eq(iy + (p.y_step << plan.log_rows)), left_y.eq(left_y - strip.tiles.rows),
                stores.c.eq(stores.c + (p.c_row << plan.log_rows)),
            ]
