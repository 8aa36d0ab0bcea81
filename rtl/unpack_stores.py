"""Decoded values on their way to the memory."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .codec.decoder_ops import Beat, Sizes
from .config import ADDRESS_BITS
from .ports import MemoryWritePort
from .skid import Skid
from .unpack_cut import INDEX_BITS, ZeroTile
from .unpack_places import UnpackPlaces
from .unpack_tiles import PlacedTile


class Stored(data.StructLayout):
    """The last write of a tile of `source` has been granted; error: the tile is damaged."""

    def __init__(self, slots: int) -> None:
        super().__init__({"valid": 1, "source": range(slots + 1), "error": 1})


class UnpackStores(wiring.Component):
    """Writes the decoder's beats to their places, one a cycle, and tiles that are all centre, which go first: a memory
    word a cycle where they are dense, `lanes` values a cycle elsewhere.

    Parameters
    ----------
    word_bytes: of the memory, at least `sizes.lanes`. sizes: of the decoder.

    Members
    -------
    tile: an entry of the table of tiles, before the tile begins here.
    beats: from the decoder. indices: for each slot, a stream of the entries of its tiles. zero: stream of `ZeroTile`.
    write: memory. stored: `Stored`.
    moves: a beat or a word went on its way. stuck: there is one, but the memory has not taken those before.
    """

    def __init__(self, word_bytes: int, sizes: Sizes) -> None:
        self._word_bytes, self._sizes = word_bytes, sizes
        super().__init__({
            "tile": In(PlacedTile),
            "beats": In(stream.Signature(Beat(sizes))),
            "indices": In(stream.Signature(INDEX_BITS)).array(sizes.slots),
            "zero": In(stream.Signature(ZeroTile)),
            "write": Out(MemoryWritePort(word_bytes)),
            "stored": Out(Stored(sizes.slots)),
            "moves": Out(1),
            "stuck": Out(1),
        })
        write = {"source": range(sizes.slots + 1), "end": 1, "error": 1, "address": ADDRESS_BITS, "mask": word_bytes,
                 "values": 8 * sizes.lanes, "fill": 8}  # fill: the bytes behind the values
        self._write = data.StructLayout(write)
        self._turn = data.StructLayout({**write, "decides": 1, "c_end": ADDRESS_BITS, "c_ring": ADDRESS_BITS})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slots = self._sizes.slots
        m.submodules.places = places = UnpackPlaces(self._word_bytes, self._sizes)
        turn, move, coded = Signal(self._turn), Signal(), Signal()
        beat, index, here = self._beats(m, move & coded)
        past, rows, over = self.zero, Signal.like(self.zero.payload.rows), Signal()  # rows gone; all of them have
        m.d.comb += [
            coded.eq(~past.valid),
            self.moves.eq(move & (past.valid | here)), self.stuck.eq(~move & (past.valid | here)),
            places.tile.eq(self.tile), places.source.eq(Mux(coded, beat.slot, slots)),
            places.index.eq(Mux(coded, index, past.payload.index)), places.step.eq(self.moves),
            places.end.eq(turn.end),
            over.eq(rows == past.payload.rows), past.ready.eq(move & over),
        ]
        with m.If(past.valid & move):
            m.d.sync += rows.eq(Mux(over, 0, rows + places.row_over))
        values = Cat(beat.values[8 * lane:8 * lane + 8] ^ 0x80 for lane in range(self._sizes.lanes))
        fill = past.payload.centre
        m.d.comb += [
            turn.source.eq(places.source), turn.end.eq(Mux(coded, beat.end, over)),
            turn.error.eq(coded & beat.error.any()),
            turn.values.eq(Mux(coded, values, fill.replicate(self._sizes.lanes))), turn.fill.eq(Mux(coded, 0, fill)),
            *(turn[name].eq(getattr(places, name)) for name in ("address", "decides", "c_end", "c_ring", "mask")),
        ]
        m.d.comb += move.eq(self._send(m, turn))
        return m

    def _beats(self, m: Module, leave: Signal) -> tuple[data.View, Signal, Signal]:
        """A register for beats; the one in it, its tile's index, and whether there is one."""
        beat, index, here = Signal(Beat(self._sizes), reset_less=True), Signal(INDEX_BITS, reset_less=True), Signal()
        i = self.beats
        m.d.comb += i.ready.eq(~here | leave)
        with m.If(i.ready):
            m.d.sync += [here.eq(i.valid), beat.eq(i.payload)]
        with m.Switch(i.payload.slot):
            for slot, indices in enumerate(self.indices):
                with m.Case(slot):
                    m.d.comb += indices.ready.eq(i.valid & i.ready & i.payload.end)
                    with m.If(i.ready):
                        m.d.sync += index.eq(indices.payload)
        return beat, index, here

    def _send(self, m: Module, turn: data.View) -> Signal:
        """A turn's address finds its place in the ring and goes to the memory; 1 where the next turn may come."""
        made, full, move = Signal(self._turn, reset_less=True), Signal(), Signal()
        m.submodules.shown = shown = Skid(self._write)
        before = Signal(self._sizes.slots + 1)  # whether the last address that decided was past the ring's end
        passed = Signal()
        i, o, request = shown.i.payload, shown.o.payload, self.write.request
        m.d.comb += [
            move.eq(~full | shown.i.ready), shown.i.valid.eq(full),
            passed.eq(Mux(made.decides, made.address >= made.c_end, before.bit_select(made.source, 1))),
            *(i[name].eq(made[name]) for name, _ in self._write),
            i.address.eq(made.address - Mux(passed, made.c_ring, 0)),
            request.payload.address.eq(o.address), request.payload.mask.eq(o.mask),
            request.payload.data.eq(Cat(o.values, o.fill.replicate(self._word_bytes - self._sizes.lanes))),
            request.valid.eq(shown.o.valid & ~o.end),
            shown.o.ready.eq(request.ready | o.end),
            self.stored.valid.eq(shown.o.valid & o.end), self.stored.source.eq(o.source), self.stored.error.eq(o.error),
        ]
        with m.If(move):
            m.d.sync += [full.eq(self.moves), made.eq(turn), before.bit_select(made.source, 1).eq(passed)]
        return move
