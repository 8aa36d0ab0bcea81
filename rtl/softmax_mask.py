"""Which values of a row take part in its softmax: a mask that changes from row to row."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .softmax_rows import RowLengths, chunk


class RowMask(wiring.Component):
    """Takes the values out of chunks that lie past what takes part in their row. A chunk a cycle, without delay.

    Chunks wait until the lengths of their instruction have come; these may come a cycle after the last chunk of the one
    before at the earliest without holding chunks up.

    Parameters
    ----------
    lanes: values of a chunk, a power of two.

    Members
    -------
    lengths: stream of `RowLengths`, one for each instruction.
    i: stream of `chunk(lanes)`, whole rows. o: the same; `keep` without what takes no part.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "lengths": In(stream.Signature(RowLengths)),
            "i": In(stream.Signature(chunk(lanes))),
            "o": Out(stream.Signature(chunk(lanes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lengths, loaded = Signal(RowLengths, reset_less=True), Signal()  # `valid` and `room` are the newest group's
        left = Signal.like(lengths.valid, reset_less=True)  # values that take part, from this chunk on
        again = Signal.like(lengths.group, reset_less=True)  # rows of the group, this one included
        given, passes = self.i.payload, Signal()
        m.d.comb += [
            self.o.payload.eq(given),
            self.o.payload.keep.eq(given.keep & Cat(left > lane for lane in range(self._lanes))),
            self.o.valid.eq(self.i.valid & loaded),
            self.i.ready.eq(self.o.ready & loaded),
            passes.eq(self.i.valid & self.i.ready),
            self.lengths.ready.eq(~loaded | (passes & given.final)),
        ]
        valid, room = Signal.like(lengths.valid), Signal.like(lengths.room)  # of the next row
        m.d.comb += [valid.eq(lengths.valid), room.eq(lengths.room)]
        with m.If(again == 1):
            far = lengths.step >= lengths.room
            m.d.comb += [valid.eq(Mux(far, lengths.most, lengths.valid + lengths.step)),
                         room.eq(Mux(far, 0, lengths.room - lengths.step))]
        with m.If(passes):
            m.d.sync += left.eq(Mux(left > self._lanes, left - self._lanes, 0))
            with m.If(given.last):
                m.d.sync += [left.eq(valid), lengths.valid.eq(valid), lengths.room.eq(room),
                             again.eq(Mux(again == 1, lengths.group, again - 1))]
        with m.If(self.lengths.ready):
            new = self.lengths.payload
            m.d.sync += [loaded.eq(self.lengths.valid), lengths.eq(new), left.eq(new.valid), again.eq(new.group)]
        return m
