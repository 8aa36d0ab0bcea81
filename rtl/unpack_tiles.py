"""The tiles of UNPACK instructions: what each part of the unit must know of them."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .codec.decoder_ops import COUNT_BITS
from .codec.tables import SET_BITS
from .config import ADDRESS_BITS
from .unpack_setup import PLAN
from .vector_writer import Closing

TILES = 16
"""Tiles from the walk to the memory at most; queues and tables of this depth have room for all of them."""


class PageTile(data.Struct):
    """Where a tile comes from."""

    stream: unsigned(6)
    reader: unsigned(2)
    pages: unsigned(ADDRESS_BITS)
    """Page 0."""
    outside: unsigned(32)
    close: unsigned(1)
    """The reader's last one."""


class CutTile(data.Struct):
    """What decoding it takes."""

    rows: unsigned(COUNT_BITS)
    columns: unsigned(COUNT_BITS)
    channels: unsigned(COUNT_BITS)
    size: unsigned(COUNT_BITS)
    table_set: unsigned(SET_BITS)
    centre: unsigned(8)
    """As the instruction has it."""
    last: unsigned(1)
    """Of its instruction."""


class StoreTile(data.Struct):
    """Where a tile goes."""

    base: unsigned(ADDRESS_BITS)
    c_row: unsigned(ADDRESS_BITS)
    c_pixel: unsigned(ADDRESS_BITS)
    c_end: unsigned(ADDRESS_BITS)
    c_ring: unsigned(ADDRESS_BITS)
    columns: unsigned(COUNT_BITS)
    channels: unsigned(COUNT_BITS)
    row: unsigned(COUNT_BITS)
    """Values of a row."""
    dense: unsigned(1)
    """A row's bytes follow each other, and there is no ring."""


class PlacedTile(data.Struct):
    """`tile` becomes entry `index` of the table of tiles."""

    valid: unsigned(1)
    index: unsigned((TILES - 1).bit_length())
    tile: StoreTile


Opening = data.StructLayout({"closing": Closing, "close": 1})
"""An instruction begins; `close`: it ends with the reader's part in the stream."""


class UnpackTiles(wiring.Component):
    """Walks over the tiles of instructions, one a cycle, while fewer than TILES are on their way.

    Members
    -------
    i: stream of `PLAN`. open: stream of `Opening`, with an instruction's first tile; never refused.
    pages: stream of `PageTile`. cut: stream of `CutTile`. stores: `PlacedTile`; index: a tile's number modulo TILES.
    done: a tile is in memory.
    """

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(PLAN)),
            "open": Out(stream.Signature(Opening, always_ready=True)),
            "pages": Out(stream.Signature(PageTile)),
            "cut": Out(stream.Signature(CutTile)),
            "stores": Out(PlacedTile),
            "done": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan, i = self.i.payload, self.i.payload.instruction
        begun = Signal()  # the registers have the tile's place
        room = Signal(range(TILES + 1), init=TILES)
        across, bands = Signal(16, reset_less=True), Signal(16, reset_less=True)  # left, with this one
        at, band = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        first, go, side, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            go.eq(begun & (room != 0) & self.pages.ready & self.cut.ready),
            side.eq(across == 1), last.eq(side & (bands == 1)), self.i.ready.eq(go & last),
        ]
        for port in (self.pages, self.cut, self.stores):
            m.d.comb += port.valid.eq(go)
        m.d.comb += self.open.valid.eq(go & first)
        m.d.sync += room.eq(room - go + self.done)
        with m.If(~begun):
            m.d.sync += [begun.eq(self.i.valid), first.eq(1), across.eq(i.across), bands.eq(i.bands), at.eq(i.c),
                         band.eq(i.c)]
        with m.Elif(go):
            m.d.sync += [first.eq(0), begun.eq(~last), across.eq(across - 1), at.eq(at + plan.tile_pitch),
                         self.stores.index.eq(self.stores.index + 1)]
            with m.If(side):
                m.d.sync += [across.eq(i.across), bands.eq(bands - 1), band.eq(band + plan.band_pitch),
                             at.eq(band + plan.band_pitch)]
        self._fill(m, plan, i, at, side, last)
        return m

    def _fill(self, m: Module, plan: data.View, i: data.View, at: Signal, side: Signal, last: Signal) -> None:
        """What the ports say of the tile."""
        pages, cut, store, opening = self.pages.payload, self.cut.payload, self.stores.tile, self.open.payload
        columns = Mux(side, i.columns_last, i.columns)
        m.d.comb += [
            pages.stream.eq(i.stream), pages.reader.eq(i.reader), pages.pages.eq(i.b), pages.outside.eq(i.outside),
            pages.close.eq(last & i.close),
            cut.rows.eq(i.rows), cut.columns.eq(columns), cut.channels.eq(i.channels), cut.centre.eq(i.centre),
            cut.table_set.eq(i.table_set),
            cut.size.eq(Mux(side, plan.size_last, plan.size)), cut.last.eq(last),
            store.base.eq(at), store.columns.eq(columns), store.channels.eq(i.channels),
            store.row.eq(Mux(side, plan.row_last, plan.row)),
            store.dense.eq((i.c_pixel == i.channels) & (i.c_ring == 0)),
            opening.closing.tag.eq(i.tag), opening.close.eq(i.close),
        ]
        m.d.comb += [store[name].eq(i[name]) for name in ("c_row", "c_pixel", "c_end", "c_ring")]
        m.d.comb += [opening.closing.signals[name].eq(i[name])
                     for name in ("signal0", "signal0_count", "signal1", "signal1_count")]
