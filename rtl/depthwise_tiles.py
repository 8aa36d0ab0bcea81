"""Cuts the strips of a depthwise convolution into tiles: what the lanes compute at once."""

from amaranth import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .depthwise_setup import small_product, times
from .depthwise_strips import TileStrip
from .depthwise_walk import COLUMN_BITS


class Lane(data.Struct):
    """Window of a lane, counted from the tile's first."""

    row: unsigned(4)
    column: unsigned(5)


def tile_layout(strip: int) -> data.StructLayout:
    """A tile of `rows` by `columns` outputs; lane v has row v % 2**log_rows and column v >> log_rows."""
    return data.StructLayout({
        "slot": 2,
        "group_last": 1,  # last tile of its group
        "rows": 4, "columns": 4, "log_rows": 2,
        "pixels": 4,  # rows * columns
        "chunks": 4,  # turns of the output lanes for one pixel, less 1
        "turns": 4,  # for all of them
        "low": 4, "high": 4,  # rows of the window inside the image: low..high - 1
        "left": 5, "right": 5,  # columns, likewise
        "ky": 4, "kx": 4, "y_dilation": 4, "x_dilation": 4,
        "first": COLUMN_BITS,  # number of the first column
        "needs": COLUMN_BITS,  # columns before this number must be there
        "frees": COLUMN_BITS,  # columns before this number are not needed any more after it
        "lanes": data.ArrayLayout(Lane, strip),
    })


def _clamp(value: Value) -> Value:
    """A signed value as 0 to 31, saturated."""
    return Mux(value < 0, 0, Mux(value >= 31, 31, value[:5]))


class DepthwiseTiles(wiring.Component):
    """Tiles of strips from left to right; one in 3 cycles.

    Parameters
    ----------
    strip: lanes.

    Members
    -------
    i: stream of `TileStrip`. o: stream of `tile_layout(strip)`. busy: a strip is here.
    """

    def __init__(self, strip: int) -> None:
        self._strip = strip
        super().__init__({
            "i": In(stream.Signature(TileStrip)),
            "o": Out(stream.Signature(tile_layout(strip))),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        strip = Signal(TileStrip, reset_less=True)
        tile = Signal(tile_layout(self._strip), reset_less=True)
        column = Signal(COLUMN_BITS)  # number of the tile's first
        log_columns, advance = Signal(2, reset_less=True), Signal(COLUMN_BITS, reset_less=True)
        left_x = Signal(16, reset_less=True)  # output columns still to come
        # Columns from the tile's first up to the image's first, and up to the image's end.
        before, after = Signal(signed(26), reset_less=True), Signal(signed(26), reset_less=True)
        last, full = Signal(reset_less=True), Signal(4)
        turns = Signal(4, reset_less=True)  # of the output lanes, for a column of the strip
        reach = Signal(COLUMN_BITS)
        m.d.comb += [
            self.o.payload.eq(tile), full.eq(1 << log_columns),
            reach.eq(column + small_product((tile.columns - 1)[:3], strip.step) + strip.window_x),
        ]
        with m.FSM() as fsm:
            with m.State("idle"):
                new = self.i.payload
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    strip.eq(new), left_x.eq(new.rows_x), before.eq(-new.x_start), after.eq(new.width - new.x_start),
                    turns.eq(small_product(new.rows, new.chunks + 1))]
                self._lanes(m, new, tile, log_columns, advance)
                with m.If(self.i.valid):
                    m.next = "size"
            with m.State("size"):
                m.d.sync += [
                    last.eq(left_x <= full), tile.columns.eq(Mux(left_x <= full, left_x, full)),
                    tile.left.eq(_clamp(before)), tile.right.eq(_clamp(after)), tile.first.eq(column),
                    *(tile[name].eq(strip[name]) for name in (
                        "slot", "rows", "log_rows", "chunks", "low", "high", "ky", "kx", "y_dilation", "x_dilation"))]
                m.next = "sum"
            with m.State("sum"):
                m.d.sync += [
                    tile.needs.eq(reach), tile.frees.eq(Mux(last, reach, column + advance)),
                    tile.group_last.eq(last & strip.group_last),
                    tile.pixels.eq(small_product(tile.columns, strip.rows)),
                    tile.turns.eq(small_product(tile.columns, turns))]
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    distance = strip.x_step << log_columns
                    m.d.sync += [column.eq(tile.frees), left_x.eq(left_x - full), before.eq(before - distance),
                                 after.eq(after - distance)]
                    m.next = "size"
                    with m.If(last):
                        m.next = "idle"
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m

    def _lanes(self, m: Module, new: data.View, tile: data.View, log_columns: Signal, advance: Signal) -> None:
        """Each lane's place in the tiles of a new strip; how many columns a tile has, and the next one is away."""
        log_strip = self._strip.bit_length() - 1
        m.d.sync += [log_columns.eq(0), advance.eq(new.step)]
        with m.Switch(new.log_rows):
            for log in range(log_strip + 1):
                with m.Case(log):
                    for v in range(self._strip):
                        m.d.sync += [tile.lanes[v].row.eq(times(new.y_step, v % (1 << log))),
                                     tile.lanes[v].column.eq(times(new.step, v >> log))]
                    with m.If(new.wide):
                        m.d.sync += [log_columns.eq(log_strip - log), advance.eq(new.step << log_strip - log)]
