"""Before a NORM instruction runs: is it legal."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import INT16, NORM, NORM_ELEMS
from .norm_rows import COUNT_BITS


class Channels(data.Struct):
    """Parameters of `elems` channels lie from `base` on."""

    base: unsigned(ADDRESS_BITS)
    elems: unsigned(COUNT_BITS)


class NormSetup(wiring.Component):
    """Checks instructions, a cycle each, and holds one until it can start; its parameters may be loaded before that.

    An instruction that cannot be executed raises `error` until reset and goes no further.

    Parameters
    ----------
    word_bytes: of the memory.

    Members
    -------
    i: instructions. channels: stream of `Channels`, of those that are legal. o: those that are legal.
    busy: an instruction is here. error: see above.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({
            "i": In(stream.Signature(NORM.layout())),
            "channels": Out(stream.Signature(Channels)),
            "o": Out(stream.Signature(NORM.layout())),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i = Signal(NORM.layout(), reset_less=True)
        legal = Cat(i.rows != 0, i.elems != 0, i.elems <= NORM_ELEMS, i.b % self._word_bytes == 0, i.in_type <= INT16,
                    i.out_type <= INT16, i.low <= i.high).all()
        channels = Signal(Channels, reset_less=True)
        m.d.comb += [self.o.payload.eq(i), self.channels.payload.eq(channels)]
        with m.If(self.channels.ready):
            m.d.sync += self.channels.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += i.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "check"
            with m.State("check"):
                with m.If(~legal):
                    m.next = "illegal"
                with m.Elif(~self.channels.valid):
                    m.d.sync += [self.channels.valid.eq(1), channels.base.eq(i.b), channels.elems.eq(i.elems)]
                    m.next = "ready"
            with m.State("ready"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"
            with m.State("illegal"):
                m.d.comb += self.error.eq(1)
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m
