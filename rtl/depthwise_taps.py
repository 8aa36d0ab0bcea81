"""Goes through the taps of tiles: which words of the window each lane multiplies by which word of weights."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .depthwise_setup import ROWS
from .depthwise_tiles import tile_layout
from .depthwise_walk import BUFFERS, COLUMN_BITS


class TileEnd(data.Struct):
    """What the outputs of a finished tile need."""

    rows: unsigned(4)
    columns: unsigned(4)
    log_rows: unsigned(2)
    chunks: unsigned(4)
    slot: unsigned(2)
    buffer: unsigned(2)
    """Constants of its group."""
    release: unsigned(1)
    """Nobody needs these after it."""


def tap_layout(strip: int) -> data.StructLayout:
    """Places in the window memories (a lane each) and in the weights; the last tap of a tile, with which `end` goes."""
    return data.StructLayout({
        "valid": 1, "last": 1, "end": TileEnd,
        "weights": 8, "windows": data.ArrayLayout(unsigned(9), strip)})


class _Sums(data.Struct):
    """One lane's place in the window, before it is known whether it is inside."""

    row: unsigned(4)
    column: unsigned(5)


class DepthwiseTaps(wiring.Component):
    """A tap a cycle. A tile begins when its columns are there and the queue of outputs has room for it; its last tap
    waits until the output lanes will be done with the tile before.

    Parameters
    ----------
    strip: lanes, a power of two. room: outputs that the queue holds, at least `strip`.

    Members
    -------
    i: stream of `tile_layout(strip)`. columns: columns before this number are there. free: those before this number
    are not needed any more. taken: an output has left the queue.
    o: `tap_layout(strip)`, two cycles after `entered`.
    entered: a tap begins. blocked: one does not, for want of room for its tile's output.
    """

    def __init__(self, strip: int, room: int) -> None:
        if room < strip:
            raise ValueError(f"room must be at least strip ({strip}), not {room}")
        self._strip, self._room = strip, room
        super().__init__({
            "i": In(stream.Signature(tile_layout(strip))),
            "columns": In(COLUMN_BITS),
            "free": Out(COLUMN_BITS),
            "taken": In(1),
            "o": Out(tap_layout(strip)),
            "entered": Out(1),
            "blocked": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile = Signal(tile_layout(self._strip), reset_less=True)
        active, begin = Signal(), Signal()
        here, lacking = Signal(), Signal(COLUMN_BITS)  # columns that the next tile needs; all of them are there
        room, fits = Signal(range(self._room + 1), init=self._room), Signal()
        drain = Signal(4)  # cycles until the last tap may begin
        left_y, left_x = Signal(4, reset_less=True), Signal(4, reset_less=True)
        last = Signal()
        m.d.comb += [
            lacking.eq(self.columns - self.i.payload.needs), fits.eq(room >= self._strip),
            last.eq((left_y == 0) & (left_x == 0)),
            self.entered.eq(active & ~(last & (drain != 0))),
            begin.eq(self.i.valid & here & fits & (~active | (self.entered & last))), self.i.ready.eq(begin),
            self.blocked.eq(~self.entered & Mux(active, 1, self.i.valid & here & ~fits)),
        ]
        m.d.sync += [here.eq(self.i.valid & ~begin & ~lacking[-1]),
                     room.eq(room - Mux(begin, self.i.payload.pixels, 0) + self.taken)]
        with m.If(self.entered & last):
            m.d.sync += [drain.eq(tile.turns - 1), self.free.eq(tile.frees), active.eq(0)]
        with m.Elif(drain != 0):
            m.d.sync += drain.eq(drain - 1)
        with m.If(begin):
            m.d.sync += [tile.eq(self.i.payload), active.eq(1)]
        self._places(m, tile, begin, last, left_y, left_x)
        return m

    def _places(self, m: Module, tile: data.View, begin: Signal, last: Signal, left_y: Signal, left_x: Signal) -> None:
        """Counts the taps; in two stages the place of each lane, in the image or in the padding."""
        row, column = Signal(4, reset_less=True), Signal(4, reset_less=True)  # of the tap, in the window
        index = Signal(6, reset_less=True)
        buffer = Signal(range(BUFFERS))
        with m.If(begin):
            new = self.i.payload
            m.d.sync += [row.eq(0), column.eq(0), index.eq(0),
                         left_y.eq(new.ky - 1), left_x.eq(new.kx - 1)]
        with m.Elif(self.entered):
            m.d.sync += [column.eq(column + tile.x_dilation), index.eq(index + 1), left_x.eq(left_x - 1)]
            with m.If(left_x == 0):
                m.d.sync += [row.eq(row + tile.y_dilation), column.eq(0), left_y.eq(left_y - 1), left_x.eq(tile.kx - 1)]
        with m.If(self.entered & last & tile.group_last):
            m.d.sync += buffer.eq(buffer + 1)

        sums = [Signal(_Sums, name=f"sums_{v}", reset_less=True) for v in range(self._strip)]
        edges = {name: Signal.like(tile[name], name=f"{name}_1", reset_less=True)
                 for name in ("low", "high", "left", "right", "first", "slot")}
        tap = Signal(tap_layout(self._strip))  # but for the windows
        m.d.sync += [edge.eq(tile[name]) for name, edge in edges.items()]
        m.d.sync += [
            tap.valid.eq(self.entered), tap.last.eq(last), tap.weights.eq(Cat(index, buffer)),
            *(tap.end[name].eq(tile[name]) for name in ("rows", "columns", "log_rows", "chunks", "slot")),
            tap.end.buffer.eq(buffer), tap.end.release.eq(tile.group_last),
            *(self.o[name].eq(tap[name]) for name in ("valid", "last", "weights", "end")),
        ]
        for v, (place, lane) in enumerate(zip(sums, tile.lanes, strict=True)):
            m.d.sync += [place.row.eq(lane.row + row), place.column.eq(lane.column + column)]
            inside = ((place.row >= edges["low"]) & (place.row < edges["high"])
                      & (place.column >= edges["left"]) & (place.column < edges["right"]))
            m.d.sync += self.o.windows[v].eq(Mux(
                inside, Cat((place.column + edges["first"])[:COLUMN_BITS - 1], place.row),
                Cat(edges["slot"], Const(0, 3), Const(ROWS, 4))))
