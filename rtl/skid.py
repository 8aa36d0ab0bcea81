"""A register for a stream, forwards and backwards."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Skid(wiring.Component):
    """Cuts the combinational paths of a stream: `o.valid`, `o.payload` and `i.ready` are registers.

    An element takes one cycle; one goes through every cycle. It holds two.

    Parameters
    ----------
    shape: of the payload.

    Members
    -------
    i, o: streams of `shape`.
    """

    def __init__(self, shape: ShapeLike) -> None:
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full = Signal()  # `spare` holds what came while `o` was refused
        spare = Signal(self._shape, reset_less=True)
        shown = Signal(self._shape, reset_less=True)
        valid = Signal()
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(valid), self.o.payload.eq(shown)]
        with m.If(~full):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(self.o.ready | ~valid):
            m.d.sync += [valid.eq(full | self.i.valid), full.eq(0)]
            m.d.sync += shown.eq(Mux(full, spare, self.i.payload))
        with m.Elif(self.i.valid):
            m.d.sync += full.eq(1)
        return m
