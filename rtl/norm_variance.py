"""The norm unit's variance, once a row: 256 * (n * Q - S * S) + epsilon, exact, and its normal form."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .norm_rows import COUNT_BITS, DOWN_BITS, SUM_BITS, Moments

NORMAL_BITS = 36
_DIGIT = 17  # bits of the digits that are multiplied: a DSP takes 18, with a sign
_PAIRS = 33  # of bits of the variance, at most
_LEAST = 3  # k at least


class VarianceJob(data.Struct):
    """What an instruction says of the variance of its rows."""

    elems: unsigned(COUNT_BITS)
    rms: unsigned(1)
    epsilon: unsigned(64)


class Normal(data.Struct):
    """V' of a row and k - 3; its sum for what comes, which is 0 where no mean is subtracted."""

    value: unsigned(NORMAL_BITS)
    down: unsigned(DOWN_BITS)
    sum: signed(SUM_BITS)
    final: unsigned(1)


class Variance(wiring.Component):
    """V = 256 * (n * Q - S * S) + epsilon, and V' = floor(V * 2**(36 - 2 * k)), k = max(3, ceil(bit_length(V) / 2)).

    Six products through one multiplier, in Horner's scheme of digits of 17 bits; then pairs of leading zeros are
    shifted out, 8, 2 or 1 at a time. A row takes 13 to 19 cycles.

    Members
    -------
    job: stream of `VarianceJob`; taken with the instruction's last row. i: stream of `Moments`. o: stream of `Normal`.
    busy: a row is here.
    """

    job: In(stream.Signature(VarianceJob))
    i: In(stream.Signature(Moments))
    o: Out(stream.Signature(Normal))
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, given = self.job.payload, self.i.payload
        sum_, magnitude = Signal(signed(SUM_BITS), reset_less=True), Signal(SUM_BITS, reset_less=True)
        squares = Signal.like(given.squares, reset_less=True)
        elems, epsilon = Signal.like(job.elems, reset_less=True), Signal(64, reset_less=True)
        final = Signal(reset_less=True)
        value = Signal(2 * _PAIRS, reset_less=True)
        down = Signal(DOWN_BITS, reset_less=True)  # k - 3
        multiply = Signal()
        total, done = self._products(m, multiply, elems, squares, magnitude)
        result = Signal(Normal, reset_less=True)
        m.d.comb += self.o.payload.eq(result)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += [self.i.ready.eq(self.job.valid), self.job.ready.eq(self.i.valid & given.final)]
                m.d.sync += [sum_.eq(Mux(job.rms, 0, given.sum)), squares.eq(given.squares), elems.eq(job.elems),
                             magnitude.eq(Mux(job.rms, 0, Mux(given.sum < 0, -given.sum, given.sum))),
                             epsilon.eq(job.epsilon), final.eq(given.final)]
                with m.If(self.i.valid & self.i.ready):
                    m.next = "products"
            with m.State("products"):
                m.d.comb += multiply.eq(1)
                with m.If(done):
                    m.next = "low"
            with m.State("low"):  # the sum in two halves
                m.d.sync += value[:33].eq(Cat(epsilon[:8], total[:24] + epsilon[8:32]))
                m.next = "high"
            with m.State("high"):
                m.d.sync += [value[32:].eq(total[24:-1] + epsilon[32:] + value[32]), down.eq(_PAIRS - _LEAST)]
                m.next = "normal"
            with m.State("normal"):
                pairs = [(8, down >= 8), (2, down >= 2), (1, down >= 1)]
                zeros = Cat(possible & ~value[-2 * count:].any() for count, possible in pairs)
                for number, (count, _) in reversed(list(enumerate(pairs))):
                    with m.If(zeros[number]):
                        m.d.sync += [value.eq(value << 2 * count), down.eq(down - count)]
                with m.If(~zeros.any() & (~self.o.valid | self.o.ready)):
                    m.d.sync += [self.o.valid.eq(1), result.value.eq(value[-NORMAL_BITS:]), result.down.eq(down),
                                 result.sum.eq(sum_), result.final.eq(final)]
                    m.next = "idle"
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m

    def _products(self, m: Module, run: Signal, elems: Signal, squares: Signal, magnitude: Signal,
                  ) -> tuple[Signal, Signal]:
        """n * Q - S * S; and 1 in the cycle before it is there. A product sets out each cycle: in steps 0, 2 and 4 a
        digit of Q times n, each followed by what S * S has of the same weight."""
        low, high = magnitude[:_DIGIT], magnitude[_DIGIT:]
        factors = ((elems, squares[2 * _DIGIT:]), (high, high), (elems, squares[_DIGIT:2 * _DIGIT]), (high << 1, low),
                   (elems, squares[:_DIGIT]), (low, low))
        step = Signal(range(len(factors) + 3))
        a, b = (Signal(_DIGIT, name=name, reset_less=True) for name in "ab")
        near, product = (Signal(2 * _DIGIT, name=name, reset_less=True) for name in ("near_product", "product"))
        total, done = Signal(signed(3 * _DIGIT + 5), reset_less=True), Signal()
        m.d.sync += [near.eq(a * b), product.eq(near), step.eq(Mux(run, step + 1, 0))]
        m.d.comb += done.eq(step == len(factors) + 2)
        with m.Switch(step):
            for number, (left, right) in enumerate(factors):
                with m.Case(number):
                    m.d.sync += [a.eq(left), b.eq(right)]
        with m.If(run):
            with m.If(step < 3):
                m.d.sync += total.eq(0)
            with m.Elif(step[0]):
                m.d.sync += total.eq((total << _DIGIT) + product)
            with m.Else():
                m.d.sync += total.eq(total - product)
        return total, done
