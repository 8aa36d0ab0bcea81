"""What the encoder's stages know of tiles, on its way from one to the next."""

from amaranth import Module, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import ANY_COLLISION


class TileQueue(wiring.Component):
    """First in, first out, in a block RAM: LUTs for its pointers only. An element passes an empty queue in two cycles.

    Parameters
    ----------
    shape: of the payload. depth: elements that it holds, a power of two.

    Members
    -------
    i, o: streams of `shape`. Neither `ready` nor `valid` depends on an input in the same cycle.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        self._shape, self._depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.elements = elements = memory.Memory(
            shape=self._shape, depth=self._depth, init=[], attrs={"ram_style": "block", **ANY_COLLISION})
        write, read = elements.write_port(), elements.read_port()
        head, tail = Signal(range(2 * self._depth)), Signal(range(2 * self._depth))
        self._head, self._tail = head, tail
        following = Signal.like(head)
        m.d.comb += [
            self.i.ready.eq((tail[:-1] != head[:-1]) | (tail[-1] == head[-1])),
            write.en.eq(self.i.valid & self.i.ready), write.addr.eq(tail[:-1]), write.data.eq(self.i.payload),
            following.eq(head + (self.o.valid & self.o.ready)), read.addr.eq(following[:-1]),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [tail.eq(tail + write.en), head.eq(following), self.o.valid.eq(following != tail)]
        return m
