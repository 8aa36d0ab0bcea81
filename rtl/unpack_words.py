"""A queue of words in block RAM."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .codec.decoder_ops import ANY_COLLISION


class WordQueue(wiring.Component):
    """First in, first out; a word passes an empty queue in three cycles. Never reads a place that is being written, and
    says so to the synthesis: that saves a copy of the memory's width in registers.

    Parameters
    ----------
    width: bits of a word. depth: words in the memory, a power of two.

    Members
    -------
    i, o: streams. Neither `ready` nor `valid` depends on an input in the same cycle.
    """

    def __init__(self, width: int, depth: int) -> None:
        self._width, self._depth = width, depth
        super().__init__({"i": In(stream.Signature(unsigned(width))), "o": Out(stream.Signature(unsigned(width)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = memory.Memory(shape=unsigned(self._width), depth=self._depth, init=[],
                                                   attrs=ANY_COLLISION)
        write, read = words.write_port(), words.read_port()
        inside, fetch = Signal(range(self._depth + 1)), Signal()  # words that are in the memory and not on `o`
        m.d.comb += [
            self.i.ready.eq(inside != self._depth), write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
            fetch.eq((inside != 0) & (~self.o.valid | self.o.ready)), read.en.eq(fetch), self.o.payload.eq(read.data),
        ]
        m.d.sync += [write.addr.eq(write.addr + write.en), read.addr.eq(read.addr + fetch),
                     inside.eq(inside + write.en - fetch)]
        with m.If(fetch | self.o.ready):
            m.d.sync += self.o.valid.eq(fetch)
        return m
