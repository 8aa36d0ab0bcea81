"""Cuts streams of pieces into tiles."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .codec.decoder_ops import COUNT_BITS, UNIT_COUNT_BITS, Tile
from .codec.tables import TAG_CHANNELS, TAG_RAW
from .stream_fifo import StreamFifo
from .unpack_pages import PIECE, Parsed
from .unpack_tiles import TILES, CutTile
from .unpack_words import WordQueue

INDEX_BITS = (TILES - 1).bit_length()
_TAG_SHIFT = 12


class ZeroTile(data.Struct):
    """A tile whose values are all the centre; `index`: of the tile in the table."""

    index: unsigned(INDEX_BITS)
    rows: unsigned(COUNT_BITS)
    centre: unsigned(8)


class Begun(data.StructLayout):
    """A tile is on its way, in order: through slot `source` of the decoder, or past it (`slots`). last: of its
    instruction."""

    def __init__(self, slots: int) -> None:
        super().__init__({"source": range(slots + 1), "last": 1})


class UnpackCut(wiring.Component):
    """Finds the tiles in the pieces, and shifts their payloads down by the entry's two bytes.

    A piece a cycle; two cycles between tiles. A tile whose entry says that all its values are the centre goes past the
    decoder; the others go to its slots in turns. What an entry says is believed: the decoder finds out. Queues that are
    TILES deep take a tile each and never refuse.

    Parameters
    ----------
    slots: of the decoder. words: of payloads that wait for the decoder, for each slot; a power of
    two.

    Members
    -------
    tiles: stream of `CutTile`. pieces: stream of 8 bytes. parsed: `Parsed`, for each tile.
    past: it goes past the decoder. tile, words: of the decoder.
    indices: for each slot, a stream of the indices of its tiles in the table.
    zero: stream of `ZeroTile`. begun: stream of `Begun`.
    starved: a tile waits for a piece. inside: and it is not its first.
    """

    def __init__(self, slots: int, words: int = 512) -> None:
        self._slots, self._words = slots, words
        super().__init__({
            "tiles": In(stream.Signature(CutTile)),
            "pieces": In(stream.Signature(unsigned(8 * PIECE))),
            "parsed": Out(Parsed),
            "past": Out(1),
            "tile": Out(stream.Signature(Tile)),
            "words": Out(stream.Signature(unsigned(8 * PIECE))).array(slots),
            "indices": Out(stream.Signature(INDEX_BITS)).array(slots),
            "zero": Out(stream.Signature(ZeroTile)),
            "begun": Out(stream.Signature(Begun(slots))),
            "starved": Out(1),
            "inside": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile, piece = self.tiles.payload, self.pieces.payload
        kept = Signal(8 * PIECE - 16, reset_less=True)  # of the piece before: what is not out yet
        entry, units = Signal(16, reset_less=True), Signal(UNIT_COUNT_BITS)
        left = Signal(UNIT_COUNT_BITS - 2, reset_less=True)  # pieces still to come
        tail = Signal()  # the last piece has bytes of one more word
        slot = Signal(range(max(2, self._slots)))
        emit, waits = Signal(), Signal()
        word = Signal(8 * PIECE)
        m.d.comb += [
            units.eq(Mux(entry == TAG_RAW << _TAG_SHIFT, (tile.size + 1) >> 1, entry[:_TAG_SHIFT])),
            self.past.eq(entry == TAG_CHANNELS << _TAG_SHIFT),
            word.eq(Cat(kept, piece[:16])), self.starved.eq(waits & ~self.pieces.valid),
        ]
        index = Signal(INDEX_BITS)
        room = self._words_out(m, slot, emit, word)
        self._begin(m, tile, entry, slot, index, self.past)
        with m.If(self.pieces.valid & self.pieces.ready):
            m.d.sync += kept.eq(piece[16:])
        with m.FSM():
            with m.State("entry"):
                m.d.comb += [self.pieces.ready.eq(self.tiles.valid), waits.eq(self.tiles.valid)]
                m.d.sync += entry.eq(piece)
                with m.If(self.pieces.valid & self.tiles.valid):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += [self.parsed.valid.eq(1), self.parsed.more.eq(units >> 2), self.tiles.ready.eq(1)]
                m.d.sync += [left.eq(units >> 2), tail.eq(units[:2].any()), index.eq(index + 1)]
                m.next = "entry"
                with m.If(~self.past):
                    m.next = "payload"
            with m.State("payload"):
                more = left != 0
                m.d.comb += [waits.eq(more), self.inside.eq(more), self.pieces.ready.eq(more & room),
                             emit.eq(Mux(more, self.pieces.valid, tail))]
                with m.If(emit & room):
                    m.d.sync += left.eq(left - 1)
                with m.If(~more & (room | ~tail) | (left == 1) & emit & room & ~tail):
                    m.next = "entry"
                    m.d.sync += slot.eq(Mux(slot == self._slots - 1, 0, slot + 1))
        return m

    def _words_out(self, m: Module, slot: Signal, emit: Signal, word: Signal) -> Signal:
        """The slots' queues of words; 1 where the present slot's has room."""
        room = Signal()
        for number, port in enumerate(self.words):
            m.submodules[f"words_{number}"] = words = WordQueue(8 * PIECE, self._words)
            connect(m, words.o, flipped(port))
            mine = slot == number
            m.d.comb += [words.i.payload.eq(word), words.i.valid.eq(emit & mine)]
            with m.If(mine):
                m.d.comb += room.eq(words.i.ready)
        return room

    def _begin(self, m: Module, tile: data.View, entry: Signal, slot: Signal, index: Signal, zero: Signal) -> None:
        """Tell everybody of the tile."""
        shapes = {"tile": Tile, "zero": ZeroTile, "begun": Begun(self._slots)}
        queues = {}
        for name, shape in shapes.items():
            m.submodules[name] = queues[name] = StreamFifo(shape, TILES)
            connect(m, queues[name].o, flipped(getattr(self, name)))
        coded, past, begun = (queues[name].i for name in shapes)
        m.d.comb += [
            *(coded.payload[name].eq(tile[name]) for name in ("rows", "columns", "channels", "size")),
            coded.payload.table_set.eq(tile.table_set), coded.payload.centre.eq(tile.centre ^ 0x80),
            coded.payload.entry.eq(entry),
            past.payload.index.eq(index), past.payload.rows.eq(tile.rows), past.payload.centre.eq(tile.centre),
            begun.payload.source.eq(Mux(zero, self._slots, slot)), begun.payload.last.eq(tile.last),
        ]
        with m.If(self.parsed.valid):
            m.d.comb += [coded.valid.eq(~zero), past.valid.eq(zero), begun.valid.eq(1)]
        for number, port in enumerate(self.indices):
            m.submodules[f"indices_{number}"] = queue = StreamFifo(INDEX_BITS, TILES)
            connect(m, queue.o, flipped(port))
            m.d.comb += [queue.i.payload.eq(index), queue.i.valid.eq(self.parsed.valid & ~zero & (slot == number))]
