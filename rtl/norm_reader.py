"""The norm unit's input: rows from memory, in chunks of as many elements as it has lanes."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .norm_rows import chunk
from .ports import MemoryReadPort
from .softmax_rows import Rows, RowWalk
from .vector_reader import ReadAhead

TYPED_ROWS = data.StructLayout({"rows": Rows, "wide": 1})
"""Rows of bytes, and whether two of these are an element."""


class _Mark(data.Struct):
    """What a word on its way holds: elements of two bytes, the number of its last byte, and what ends with it."""

    wide: unsigned(1)
    top: unsigned(7)
    last: unsigned(1)
    final: unsigned(1)


class NormReader(wiring.Component):
    """Reads rows ahead, and hands them on a chunk a cycle, bytes extended to 16 bits. A row's first element is the
    first of a chunk.

    Parameters
    ----------
    word_bytes: of the memory. lanes: elements of a chunk, a power of two up to word_bytes / 2.
    depth: words asked for and not handed on yet, at most.

    Members
    -------
    i: stream of TYPED_ROWS. port: memory. o: stream of `chunk(lanes)`.
    """

    def __init__(self, word_bytes: int, lanes: int, depth: int = 16) -> None:
        self._word_bytes, self._lanes, self._depth = word_bytes, lanes, depth
        super().__init__({
            "i": In(stream.Signature(TYPED_ROWS)),
            "port": Out(MemoryReadPort(word_bytes)),
            "o": Out(stream.Signature(chunk(lanes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walk = walk = RowWalk(self._word_bytes)
        m.submodules.words = words = ReadAhead(self._word_bytes, self._depth)
        m.submodules.marks = marks = fifo.SyncFIFO(width=_Mark.as_shape().size, depth=self._depth)
        connect(m, words.port, flipped(self.port))
        run, asked = walk.o.payload, data.View(_Mark, marks.w_data)
        wide = Signal()  # of the job that is walked through
        m.d.comb += [
            walk.i.payload.eq(self.i.payload.rows), walk.i.valid.eq(self.i.valid), self.i.ready.eq(walk.i.ready),
            words.i.payload.eq(run.address),
            asked.wide.eq(wide), asked.top.eq(run.count - 1), asked.last.eq(run.last), asked.final.eq(run.final),
            words.i.valid.eq(walk.o.valid), walk.o.ready.eq(words.i.ready),
            marks.w_en.eq(walk.o.valid & words.i.ready),  # they have room for as many as `words`
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += wide.eq(self.i.payload.wide)
        self._cut(m, words.o, marks)
        return m

    def _cut(self, m: Module, words: stream.Interface, marks: fifo.SyncFIFO) -> None:
        """A word's chunks, lowest first, through a register."""
        lanes = self._lanes
        shift = lanes.bit_length() - 1
        mark = data.View(_Mark, marks.r_data)
        part = Signal(range(self._word_bytes // lanes))
        ends, move = Signal(), Signal()
        held = Signal(chunk(lanes), reset_less=True)
        tail = Mux(mark.wide, mark.top[1:1 + shift], mark.top[:shift])  # the last element's place in its chunk
        narrow = words.payload.word_select(part, 8 * lanes)
        m.d.comb += [
            ends.eq(Mux(mark.wide, mark.top[shift + 1:], mark.top[shift:]) == part),
            move.eq(~self.o.valid | self.o.ready),
            words.ready.eq(move & ends),
            marks.r_en.eq(words.valid & words.ready),
            self.o.payload.eq(held),
        ]
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(words.valid),
                held.values.eq(Mux(
                    mark.wide, words.payload.word_select(part[:-1], 16 * lanes),
                    Cat(Cat(narrow[8 * k:8 * k + 8], narrow[8 * k + 7].replicate(8)) for k in range(lanes)))),
                held.keep.eq(Cat(~ends | (tail >= lane) for lane in range(lanes))),
                held.last.eq(ends & mark.last),
                held.final.eq(ends & mark.final),
            ]
            with m.If(words.valid):
                m.d.sync += part.eq(part + 1)
                with m.If(ends):
                    m.d.sync += part.eq(0)
