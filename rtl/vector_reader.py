"""Reads words ahead of their use, never more than there is room for."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .ports import MemoryReadPort
from .skid import Skid


class ReadAhead(wiring.Component):
    """Turns addresses into words, in order, with back-pressure on a memory port that has none.

    A word asked for takes a place in the queue until `o` gives it away; with `depth` of at least the memory's
    latency plus 4 a word can go through every cycle.

    Parameters
    ----------
    word_bytes: of the port. depth: words asked for and not given away yet, at most.

    Members
    -------
    i: stream of byte addresses. port: memory. o: stream of words.
    """

    def __init__(self, word_bytes: int, depth: int = 16) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self._word_bytes, self._depth = word_bytes, depth
        super().__init__({
            "i": In(stream.Signature(unsigned(ADDRESS_BITS))),
            "port": Out(MemoryReadPort(word_bytes)),
            "o": Out(stream.Signature(unsigned(8 * word_bytes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = fifo.SyncFIFO(width=8 * self._word_bytes, depth=self._depth)
        room = Signal(range(self._depth + 1), init=self._depth)
        asks, gives = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.sync += room.eq(room - asks + gives)
        m.submodules.skid = skid = Skid(unsigned(ADDRESS_BITS))  # the memory's grant comes late in the cycle
        wiring.connect(m, skid.o, wiring.flipped(self.port.request))
        m.d.comb += [
            skid.i.payload.eq(self.i.payload),
            skid.i.valid.eq(self.i.valid & (room != 0)),
            self.i.ready.eq(skid.i.ready & (room != 0)),
            words.w_data.eq(self.port.response.payload),
            words.w_en.eq(self.port.response.valid),
            self.o.payload.eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
        ]
        return m
