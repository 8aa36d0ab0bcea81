"""Before a PACK instruction runs: is it legal, and how many values have its tiles."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import PACK, TILE_STEPS, TILE_VALUES

_SUM_BITS = TILE_VALUES.bit_length() + 1
SIDE_BITS, CHANNEL_BITS, VALUE_BITS = (most.bit_length() for most in (TILE_STEPS, TILE_VALUES, TILE_VALUES))
"""Bits of a legal tile's rows, columns and groups of 8 channels; of its channels; of its values."""

PLAN = data.StructLayout({"instruction": PACK.layout(), "values": VALUE_BITS, "values_last": VALUE_BITS})
"""A legal instruction; the values of a tile, and of the last one of a band."""


class PackSetup(wiring.Component):
    """Checks an instruction and multiplies the sides of its tiles, while the one before it is being read.

    Shift and add: a plan is there as many cycles after the instruction came as the numbers of rows (twice), channels
    (twice) and groups of 8 channels have bits, and 12. An instruction that cannot be executed raises `error` until
    reset and goes no further: one of rows, bands, columns, columns_last, across or channels is 0, columns_last is more
    than columns, a tile of `columns` has too many steps (or values: those are at most 8 a step), B or `outside` lies
    badly, there is no such stream, or one begins without readers.

    Parameters
    ----------
    word_bytes: of the memory. external_bytes: of the external port; 0: there is none. streams: how many there are.

    Members
    -------
    i: instructions; each stays until its plan is taken. o: plans. error: see above.
    """

    def __init__(self, word_bytes: int, external_bytes: int, streams: int) -> None:
        self._word_bytes, self._external_bytes, self._streams = word_bytes, external_bytes, streams
        super().__init__({
            "i": In(stream.Signature(PACK.layout())),
            "o": Out(stream.Signature(PLAN)),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, plan = self.i.payload, self.o.payload
        legal, number = Signal(), Signal(range(5))  # `number`: of the product
        pixels = Signal(SIDE_BITS, reset_less=True)
        shifted, factor = Signal(_SUM_BITS, reset_less=True), Signal(CHANNEL_BITS, reset_less=True)
        total, large, over = Signal(_SUM_BITS, reset_less=True), Signal(), Signal()
        values, values_last = (Signal(VALUE_BITS, name=name, reset_less=True) for name in ("values", "values_last"))
        groups = Signal(CHANNEL_BITS)
        m.d.comb += [groups.eq((i.channels + 7) >> 3), plan.instruction.eq(i), plan.values.eq(values),
                     plan.values_last.eq(values_last)]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [legal.eq(self._legal()), number.eq(0)]
                with m.If(self.i.valid):
                    m.next = "load"
            with m.State("load"):
                m.d.sync += [total.eq(0), large.eq(0), over.eq(0), shifted.eq(pixels), factor.eq(i.channels)]
                with m.Switch(number):
                    with m.Case(0):
                        m.d.sync += [shifted.eq(i.columns), factor.eq(i.rows)]
                    with m.Case(1):
                        m.d.sync += factor.eq(groups)
                    with m.Case(3):
                        m.d.sync += [shifted.eq(i.columns_last), factor.eq(i.rows)]
                m.next = "add"
                with m.If(~legal):
                    m.next = "illegal"
            with m.State("add"):
                m.d.sync += [shifted.eq(shifted << 1), factor.eq(factor >> 1), large.eq(large | shifted[-1])]
                with m.If(factor[0]):
                    sum_ = Signal(_SUM_BITS + 1)
                    m.d.comb += sum_.eq(total + shifted)
                    m.d.sync += [total.eq(sum_), over.eq(over | large | sum_[-1])]
                with m.If(factor == 0):
                    m.d.sync += number.eq(number + 1)
                    m.next = "load"
                    with m.Switch(number):
                        with m.Case(0, 1, 3):
                            m.d.sync += legal.eq(~over & (total <= TILE_STEPS))
                            with m.If(number != 1):
                                m.d.sync += pixels.eq(total)
                        with m.Case(2):
                            m.d.sync += values.eq(total)
                        with m.Case(4):
                            m.d.sync += values_last.eq(total)
                            m.next = "legal"
            with m.State("legal"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "idle"
            with m.State("illegal"):
                m.d.comb += self.error.eq(1)
        return m

    def _legal(self) -> Cat:
        """All but the size of a tile; each of its sides by itself, though."""
        i = self.i.payload
        sides = (i.rows, i.columns, i.columns_last)
        return Cat(*(side != 0 for side in sides), *(side <= TILE_STEPS for side in sides),
                   i.bands != 0, i.across != 0, i.channels != 0, i.channels <= TILE_VALUES, i.columns_last <= i.columns,
                   i.b % self._word_bytes == 0, i.outside % max(1, self._external_bytes) == 0,
                   i.stream < self._streams, Mux(i.open, i.readers != 0, 1)).all()
