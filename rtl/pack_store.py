"""The pack unit's pages on the chip: pieces of eight bytes become writes."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .pack_bytes import PIECE_BYTES
from .ports import MemoryWritePort, write_layout
from .skid import Skid


class Stored(data.Struct):
    """A piece for `address`, a multiple of 8; `last`: of its tile."""

    address: unsigned(ADDRESS_BITS)
    data: unsigned(8 * PIECE_BYTES)
    last: unsigned(1)


class PackStore(wiring.Component):
    """Writes pieces: one a cycle, two writes each where the memory's word has 4 bytes; where it has more than 8, pieces
    of a tile that lie in one word are written together.

    Parameters
    ----------
    word_bytes: of the memory.

    Members
    -------
    i: stream of `Stored`; those of a tile follow each other in memory, or begin a word.
    port: memory. busy: something is not granted yet.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({
            "i": In(stream.Signature(Stored)),
            "port": Out(MemoryWritePort(word_bytes)),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word_bytes, piece = self._word_bytes, self.i.payload
        # the memory's grant comes late in the cycle
        m.submodules.shown = shown = Skid(write_layout(word_bytes))
        connect(m, shown.o, flipped(self.port.request))
        m.d.comb += self.busy.eq(shown.o.valid)
        write = shown.i.payload
        if word_bytes <= PIECE_BYTES:
            second = Signal()
            m.d.comb += [
                shown.i.valid.eq(self.i.valid), write.mask.eq(~0), write.address.eq(piece.address), write.data.eq(
                    Mux(second, piece.data >> 8 * (PIECE_BYTES - word_bytes), piece.data)),
                self.i.ready.eq(shown.i.ready),
            ]
            if word_bytes < PIECE_BYTES:
                m.d.comb += [write.address[2].eq(second), self.i.ready.eq(shown.i.ready & second)]
                with m.If(shown.i.valid & shown.i.ready):
                    m.d.sync += second.eq(~second)
            return m
        pieces = word_bytes // PIECE_BYTES
        word = Signal(8 * word_bytes, reset_less=True)
        address, there = Signal(ADDRESS_BITS, reset_less=True), Signal(pieces)
        whole = Signal()  # no more pieces come into this word
        place = piece.address[3:(word_bytes - 1).bit_length()]
        m.d.comb += [
            write.address.eq(address), write.data.eq(word),
            write.mask.eq(Cat(bit.replicate(PIECE_BYTES) for bit in there)),
            shown.i.valid.eq(whole),
            self.i.ready.eq(~whole | shown.i.ready),
            self.busy.eq(shown.o.valid | there.any()),
        ]
        with m.If(self.i.ready):
            m.d.sync += whole.eq(0)
            with m.If(whole):
                m.d.sync += there.eq(0)
            with m.If(self.i.valid):
                m.d.sync += [
                    there.eq(Mux(whole, 0, there) | (1 << place)),
                    address.eq(piece.address & ~(word_bytes - 1)),
                    word.word_select(place, 8 * PIECE_BYTES).eq(piece.data),
                    whole.eq(piece.last | place.all()),
                ]
        return m
