"""The pack unit's input: values from memory, step by step."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .mover_words import Packer
from .pack_walk import GROUP, Step
from .ports import MemoryReadPort
from .vector_reader import ReadAhead


class Values(data.Struct):
    """A step of a tile that is stored as it is: the first `count` bytes; the others are noise."""

    data: unsigned(8 * GROUP)
    count: unsigned(4)
    last: unsigned(1)


class PackReader(wiring.Component):
    """Reads steps ahead and hands them on, one a cycle, the top bit of each value inverted.

    A memory word of 4 bytes takes two reads a step; the second is of the first word again where that has all.

    Parameters
    ----------
    word_bytes: of the memory. depth: words asked for and not handed on yet, at most.

    Members
    -------
    i: stream of `Step`. port: memory.
    coded: stream of steps to code, 8 bytes. raw: stream of those of tiles that are stored as they are.
    """

    def __init__(self, word_bytes: int, depth: int = 16) -> None:
        self._word_bytes, self._depth = word_bytes, depth
        super().__init__({
            "i": In(stream.Signature(Step)),
            "port": Out(MemoryReadPort(word_bytes)),
            "coded": Out(stream.Signature(8 * GROUP)),
            "raw": Out(stream.Signature(Values)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = min(GROUP, self._word_bytes)
        mark = data.StructLayout({"count": 4, "last": 1, "raw": 1})
        m.submodules.reads = reads = ReadAhead(width, self._depth)
        m.submodules.words = words = Packer(width, GROUP)
        m.submodules.marks = marks = fifo.SyncFIFO(width=mark.size, depth=self._depth)
        connect(m, reads.port.request, flipped(self.port.request))
        connect(m, reads.o, words.i)
        m.d.comb += [reads.port.response.valid.eq(self.port.response.valid),
                     reads.port.response.payload.eq(self.port.response.payload[:8 * width])]
        second, step = Signal(), self.i.payload
        m.d.comb += [
            reads.i.valid.eq(self.i.valid),
            reads.i.payload.eq(step.address + Mux(second & (step.count > width), width, 0)),
            self.i.ready.eq(reads.i.ready & (second if width < GROUP else 1)),
        ]
        if width < GROUP:
            with m.If(reads.i.valid & reads.i.ready):
                m.d.sync += second.eq(~second)
        asked, here = data.View(mark, marks.w_data), data.View(mark, marks.r_data)
        m.d.comb += [asked[name].eq(step[name]) for name in mark.members]
        m.d.comb += [
            marks.w_en.eq(self.i.valid & self.i.ready),  # they have room for as many as `reads`
            self.coded.payload.eq(words.o.payload ^ Cat(Const(0x80, 8) for _ in range(GROUP))),
            self.raw.payload.data.eq(self.coded.payload),
            self.raw.payload.count.eq(here.count), self.raw.payload.last.eq(here.last),
            self.coded.valid.eq(words.o.valid & ~here.raw), self.raw.valid.eq(words.o.valid & here.raw),
            words.o.ready.eq(Mux(here.raw, self.raw.ready, self.coded.ready)),
            marks.r_en.eq(words.o.valid & words.o.ready),
        ]
        return m
