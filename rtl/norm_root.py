"""The norm unit's reciprocal root, once a row."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .norm_rows import RECIPROCAL_BITS, Factor
from .norm_variance import NORMAL_BITS, Normal

CYCLES = 20
"""From one root to the next, at least."""
_DIGITS = RECIPROCAL_BITS  # behind the first one, which is always 1


class ReciprocalRoot(wiring.Component):
    """r = min((isqrt(2**72 // V') + 1) >> 1, 2**18 - 1), a bit a cycle.

    isqrt(2**72 // V') is the largest y with y * y * V' <= 2**72. Before the bit of weight h = 2**j, y is a multiple of
    2 * h, w = (2**72 - y * y * V') / (2 * h)**2 and q = (4 * y / (2 * h) + 1) * V'. The bit is 1 where 4 * w - q is not
    negative, which then is w of the next bit; q becomes 2 * q + 3 * V', or else 2 * q - V'. Where V' = 2**34, y would
    be 2**19 but is 1 less, which makes the same r.

    A result comes CYCLES after its variance was taken, and the next one is taken while it waits.

    Members
    -------
    i: stream of `Normal`. o: stream of `Factor`. busy: a root is being made.
    """

    i: In(stream.Signature(Normal))
    o: Out(stream.Signature(Factor))
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(Normal, reset_less=True)
        triple = Signal(NORMAL_BITS + 2, reset_less=True)
        w = Signal(NORMAL_BITS + _DIGITS + 1, reset_less=True)  # q is below 2**56 but after the last bit, w below q / 2
        q = Signal(NORMAL_BITS + _DIGITS + 2, reset_less=True)
        rest = Signal(len(q) + 2)  # its highest bit: negative
        y, count = Signal(_DIGITS + 1, reset_less=True), Signal(range(_DIGITS))
        result = Signal(Factor, reset_less=True)
        m.d.comb += [self.o.payload.eq(result), rest.eq((w << 2) - q)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                value = self.i.payload.value
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [held.eq(self.i.payload), triple.eq(value + (value << 1)), q.eq(value + (value << 2)),
                             w.eq((1 << NORMAL_BITS) - value), y.eq(1), count.eq(0)]
                with m.If(self.i.valid):
                    m.next = "digits"
            with m.State("digits"):
                m.d.sync += [
                    w.eq(Mux(rest[-1], w << 2, rest)), y.eq(Cat(~rest[-1], y)), count.eq(count + 1),
                    q.eq(Mux(rest[-1], (q << 1) - held.value, (q << 1) + triple)),
                ]
                with m.If(count == _DIGITS - 1):
                    m.next = "round"
            with m.State("round"), m.If(~self.o.valid | self.o.ready):
                m.d.sync += [self.o.valid.eq(1), result.reciprocal.eq(Mux(y.all(), ~0, y[1:] + y[0])),
                             result.down.eq(held.down), result.sum.eq(held.sum), result.final.eq(held.final)]
                m.next = "idle"
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m
