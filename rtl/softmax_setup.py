"""Before a SOFTMAX instruction runs: is it legal, and how many elements take part."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import SOFTMAX, SOFTMAX_ELEMS
from .softmax_rows import RowLengths


class SoftmaxSetup(wiring.Component):
    """Checks instructions, a cycle each, and holds one until it can start; its table may be loaded before that.

    An instruction that cannot be executed raises `error` until reset and goes no further.

    Parameters
    ----------
    word_bytes: of the memory.

    Members
    -------
    i: instructions. table: addresses of the tables of those that are legal. o: those that are legal.
    lengths: of the rows of the one on `o`.
    busy: an instruction is here. error: see above.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({
            "i": In(stream.Signature(SOFTMAX.layout())),
            "table": Out(stream.Signature(unsigned(ADDRESS_BITS))),
            "o": Out(stream.Signature(SOFTMAX.layout())),
            "lengths": Out(RowLengths),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i = Signal(SOFTMAX.layout(), reset_less=True)
        legal = Cat(i.rows != 0, i.elems != 0, i.elems <= SOFTMAX_ELEMS, i.b % self._word_bytes == 0).all()
        table = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += [self.o.payload.eq(i), self.table.payload.eq(table)]
        self._measure(m, i)
        with m.If(self.table.ready):
            m.d.sync += self.table.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += i.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "check"
            with m.State("check"):
                with m.If(~legal):
                    m.next = "illegal"
                with m.Elif(~self.table.valid):
                    m.d.sync += [self.table.valid.eq(1), table.eq(i.b)]
                    m.next = "ready"
            with m.State("ready"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "idle"
            with m.State("illegal"):
                m.d.comb += self.error.eq(1)
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m

    def _measure(self, m: Module, i: data.View) -> None:
        """Two cycles after an instruction came, `lengths` is what it says."""
        most = Signal.like(self.lengths.valid, reset_less=True)
        limited = (i.valid_limit != 0) & (i.valid_limit < i.elems)
        whole = (i.valid == 0) | (i.valid >= most)
        m.d.sync += most.eq(Mux(limited, i.valid_limit, i.elems))
        m.d.comb += [
            self.lengths.valid.eq(Mux(whole, most, i.valid)),
            self.lengths.most.eq(most),
            self.lengths.room.eq(Mux(whole, 0, most - i.valid)),
            self.lengths.step.eq(i.valid_step),
            self.lengths.group.eq(Mux(i.group == 0, 1, i.group)),
        ]
