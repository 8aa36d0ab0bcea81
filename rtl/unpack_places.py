"""The places of the values of several tiles at once."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .codec.decoder_ops import COUNT_BITS, Sizes
from .codec.tables import LANES
from .config import ADDRESS_BITS
from .unpack_cut import INDEX_BITS
from .unpack_tiles import TILES, PlacedTile, StoreTile


class UnpackPlaces(wiring.Component):
    """Walks over a tile for each slot of the decoder and one that goes past it, whichever is asked for.

    A turn is up to `lanes` values of a position; in a dense tile past the decoder it is up to `word_bytes` values of a
    row. What is asked for is answered in the same cycle.

    Parameters
    ----------
    word_bytes: of the memory. sizes: of the decoder.

    Members
    -------
    tile: an entry of the table of tiles, before its first turn.
    source: a slot, or `slots`: past the decoder. index: of its tile in the table. step: the turn is over at the end of
    the cycle; end: and the tile is, which has no more values.
    address: of the turn's first value, before its place in the ring. decides: it decides for those of its eight
    channels. c_end, c_ring: the ring. mask: values of the turn. row_over: it is a row's last.
    """

    def __init__(self, word_bytes: int, sizes: Sizes) -> None:
        self._word_bytes, self._sizes = word_bytes, sizes
        super().__init__({
            "tile": In(PlacedTile),
            "source": In(range(sizes.slots + 1)),
            "index": In(INDEX_BITS),
            "step": In(1),
            "end": In(1),
            "address": Out(ADDRESS_BITS),
            "decides": Out(1),
            "c_end": Out(ADDRESS_BITS),
            "c_ring": Out(ADDRESS_BITS),
            "mask": Out(word_bytes),
            "row_over": Out(1),
        })
        self._walk = data.StructLayout({
            "address": ADDRESS_BITS, "position": ADDRESS_BITS, "row": ADDRESS_BITS,  # of turn, position, row
            "values": COUNT_BITS, "columns": COUNT_BITS,  # left of the position and of the row, with these
            "part": range(max(2, LANES // sizes.lanes))})  # of eight channels

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes, source = self._sizes, self.source
        tile = self._table(m)
        now, then, begin = Signal(self._walk), Signal(self._walk), Signal(self._walk)
        old = self._walks(m, then)
        fresh = Signal(sizes.slots + 1, init=-1)  # sources whose next turn is a tile's first
        with m.If(self.step):
            m.d.sync += fresh.bit_select(source, 1).eq(self.end)
        dense, size = Signal(), Signal(range(self._word_bytes + 1))
        values, columns = Signal(COUNT_BITS), Signal(COUNT_BITS)  # of a position, of a row
        m.d.comb += [
            dense.eq(tile.dense & (source == sizes.slots)), size.eq(Mux(dense, self._word_bytes, sizes.lanes)),
            values.eq(Mux(dense, tile.row, tile.channels)), columns.eq(Mux(dense, 1, tile.columns)),
            *(begin[name].eq(tile.base) for name in ("address", "position", "row")),
            begin.values.eq(values), begin.columns.eq(columns),
            now.eq(Mux(fresh.bit_select(source, 1), begin, old)),
        ]
        bits = self._word_bytes.bit_length() - 1
        few, many = now.values[:bits], now.values[bits:].any()
        over, base, stride = Signal(), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        m.d.comb += [
            over.eq(now.values <= size), self.row_over.eq(over & (now.columns == 1)),
            self.address.eq(now.address), self.decides.eq(now.part == 0),
            self.c_end.eq(tile.c_end), self.c_ring.eq(tile.c_ring),
            self.mask.eq(Cat((many | (few > byte)) & (dense if byte >= sizes.lanes else 1)
                             for byte in range(self._word_bytes))),
            base.eq(Mux(self.row_over, now.row, Mux(over, now.position, now.address))),
            stride.eq(Mux(self.row_over, tile.c_row, Mux(over, tile.c_pixel, size))),
            then.address.eq(base + stride), then.position.eq(Mux(over, then.address, now.position)),
            then.row.eq(Mux(self.row_over, then.address, now.row)),
            then.values.eq(Mux(over, values, now.values - size)),
            then.columns.eq(Mux(self.row_over, columns, now.columns - over)),
            then.part.eq(Mux(over, 0, (now.part + 1) % (LANES // sizes.lanes))),
        ]
        return m

    def _table(self, m: Module) -> data.View:
        """The tile at `index`."""
        m.submodules.tiles = tiles = memory.Memory(shape=StoreTile, depth=TILES, init=[])
        write, read = tiles.write_port(), tiles.read_port(domain="comb")
        m.d.comb += [write.en.eq(self.tile.valid), write.addr.eq(self.tile.index), write.data.eq(self.tile.tile),
                     read.addr.eq(self.index)]
        return read.data

    def _walks(self, m: Module, then: data.View) -> data.View:
        """Where the source's walk is; `then` is next."""
        m.submodules.walks = walks = memory.Memory(shape=self._walk, depth=self._sizes.slots + 1, init=[])
        write, read = walks.write_port(), walks.read_port(domain="comb")
        m.d.comb += [write.en.eq(self.step), write.addr.eq(self.source), write.data.eq(then),
                     read.addr.eq(self.source)]
        return read.data
