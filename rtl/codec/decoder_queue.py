"""The decoder's output: beats that wait."""

from amaranth import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import ANY_COLLISION, Beat, Sizes


class DecoderQueue(wiring.Component):
    """A queue whose writer does not wait: it stops in time, a while after `room` has gone.

    A beat is at the output two cycles after it was written, at the earliest.

    Parameters
    ----------
    sizes: of the decoder. depth: beats that it holds; a power of two. under_way: beats that may still come after
    `room` was 1 for the last time, at most half of them.

    Members
    -------
    beat, write: a beat that comes. room: a cycle before not half of it was full. o: stream of beats.
    """

    def __init__(self, sizes: Sizes, depth: int, under_way: int) -> None:
        if depth & (depth - 1) or depth < 2 * under_way:
            raise ValueError(f"depth must be a power of two from {2 * under_way} on, not {depth}")
        self._depth = depth
        self.waiting = Signal(range(2 * depth))
        super().__init__({
            "beat": In(Beat(sizes)),
            "write": In(1),
            "room": Out(1),
            "o": Out(stream.Signature(Beat(sizes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(
            shape=len(self.beat.as_value()), depth=self._depth, init=[], attrs=ANY_COLLISION)
        writer, reader = store.write_port(), store.read_port()
        at, place = Signal.like(writer.addr), Signal.like(reader.addr)
        waiting = self.waiting
        m.d.comb += [
            writer.addr.eq(at), writer.data.eq(self.beat), writer.en.eq(self.write),
            reader.addr.eq(place), reader.en.eq((waiting != 0) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(reader.data),
        ]
        m.d.sync += [
            at.eq(at + self.write), place.eq(place + reader.en), waiting.eq(waiting + self.write - reader.en),
            self.o.valid.eq(reader.en | self.o.valid & ~self.o.ready),
            self.room.eq(~waiting[-2:].any()),
        ]
        return m
