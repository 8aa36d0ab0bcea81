"""The softmax unit's division, once a row."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .softmax_sum import SUM_BITS, Normal

CYCLES = 15
"""From one division to the next, at least."""
_DIGITS = 13  # of two bits: the quotient has 26


class Factor(data.Struct):
    """What the entries of a row are multiplied by: `reciprocal` / 2**(`log` + 24)."""

    reciprocal: unsigned(25)
    log: unsigned((SUM_BITS - 1).bit_length())


class Reciprocal(wiring.Component):
    """r = floor((2**(L + 25) / S + 1) / 2) by restoring division, two bits a cycle.

    A result comes CYCLES after its sum was taken, and the next sum is taken while it waits. The quotient of 2**(L + 25)
    and S is that of 2**(SUM_BITS + 24) and S's normal form, so every division takes the same steps.

    Members
    -------
    i: stream of `Normal`, S and L. o: stream of `Factor`, r and L. busy: a division is under way.
    """

    i: In(stream.Signature(Normal))
    o: Out(stream.Signature(Factor))
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor, triple = Signal(SUM_BITS, reset_less=True), Signal(SUM_BITS + 2, reset_less=True)
        remainder, quotient = Signal(SUM_BITS, reset_less=True), Signal(2 * _DIGITS, reset_less=True)
        log, count = Signal.like(self.i.payload.log, reset_less=True), Signal(range(_DIGITS))
        result = Signal(Factor, reset_less=True)
        m.d.comb += self.o.payload.eq(result)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                value = self.i.payload.value
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [divisor.eq(value), triple.eq(value + (value << 1)), log.eq(self.i.payload.log),
                             remainder.eq(1 << SUM_BITS - 2), count.eq(0)]
                with m.If(self.i.valid):
                    m.next = "divide"
            with m.State("divide"):
                digit, following = self._digit(m, remainder, divisor, triple)
                m.d.sync += [quotient.eq(Cat(digit, quotient)), remainder.eq(following), count.eq(count + 1)]
                with m.If(count == _DIGITS - 1):
                    m.next = "round"
            with m.State("round"), m.If(~self.o.valid | self.o.ready):
                m.d.sync += [self.o.valid.eq(1), result.reciprocal.eq((quotient + 1) >> 1), result.log.eq(log)]
                m.next = "idle"
        m.d.comb += self.busy.eq(fsm.ongoing("divide"))
        return m

    def _digit(self, m: Module, remainder: Signal, divisor: Signal, triple: Signal) -> tuple[Signal, Signal]:
        """floor(4 * remainder / divisor), 0 to 3, and what remains: the three multiples are subtracted side by side."""
        digit, following = Signal(2), Signal(SUM_BITS)
        m.d.comb += following.eq(remainder << 2)
        for number, multiple in ((1, divisor), (2, divisor << 1), (3, triple)):
            rest = Signal(SUM_BITS + 3, name=f"rest_{number}")  # the highest bit: below 0
            m.d.comb += rest.eq((remainder << 2) - multiple)
            with m.If(~rest[-1]):
                m.d.comb += [digit.eq(number), following.eq(rest)]
        return digit, following
