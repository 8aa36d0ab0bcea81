"""One lane of the norm unit's second pass: an element becomes an output."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .norm_rows import COUNT_BITS, DOWN_BITS, RECIPROCAL_BITS, SUM_BITS, delayed

GAIN_BITS, SHIFT_BITS = 18, 6
NORMALISED_BITS = 23
"""Of n * x - S over the standard deviation, with 16 fraction bits."""
SUM, RECIPROCAL, DOWN, GAIN, SHIFT, OFFSET, LATENCY = 2, 3, 8, 11, 15, 17, 21
"""Cycles from an element to: what is read of its row's `sum`, `reciprocal` and `down`, and of its channel's `gain`,
`shift` and `offset`; and its output."""
_LOW = 14  # bits of the lower part of n * x - S


def _rounded_sum(a: Value, b: Signal) -> Value:
    """round(a / 2) + b for signed ones, ties upwards: one addition, a's lowest bit is its carry."""
    return (Cat(Const(1, 1), a[1:]).as_signed() + Cat(a[0], b).as_signed()) >> 1


class NormLane(wiring.Component):
    """t = round_shift((n * x - sum) * reciprocal, down), u = round_shift(t * gain, shift),
    o = clamp(((u + offset + 128) >> 8) + zero_point, low, high).

    Free-running. The inputs belong to the element that came as many cycles before as the constants above say; `n`,
    `zero_point`, `low` and `high` are steady. t must have at most NORMALISED_BITS.

    Members
    -------
    x, n, sum, reciprocal, down, gain, shift, offset, zero_point, low, high: see above. o: the output, 16 bits.
    """

    x: In(signed(16))
    n: In(COUNT_BITS)
    sum: In(signed(SUM_BITS))
    reciprocal: In(RECIPROCAL_BITS)
    down: In(DOWN_BITS)
    gain: In(signed(GAIN_BITS))
    shift: In(SHIFT_BITS)
    offset: In(signed(32))
    zero_point: In(signed(16))
    low: In(signed(16))
    high: In(signed(16))
    o: Out(signed(16))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        near, scaled = (Signal(signed(SUM_BITS), name=name, reset_less=True) for name in ("near_scaled", "scaled"))
        centred = Signal(signed(SUM_BITS + 1), reset_less=True)
        m.d.sync += [near.eq(self.x * self.n), scaled.eq(near), centred.eq(scaled - self.sum)]
        t = self._shift(m, "down", self._times_reciprocal(m, centred), self.down, NORMALISED_BITS + 1)
        normalised = Signal(signed(NORMALISED_BITS), reset_less=True)
        m.d.sync += normalised.eq(t[1:] + t[0])
        product = self._times_gain(m, normalised)
        u = self._shift(m, "shift", product, self.shift, len(product) + 1)
        moved = Signal(signed(len(product) + 1), reset_less=True)  # u and the offset
        m.d.sync += moved.eq(_rounded_sum(u, self.offset))
        placed = Signal(signed(len(moved) - 7), reset_less=True)
        m.d.sync += placed.eq(_rounded_sum(moved[7:], self.zero_point))
        above, below, value = Signal(reset_less=True), Signal(reset_less=True), Signal(signed(16), reset_less=True)
        o = Signal(signed(16), reset_less=True)
        m.d.sync += [above.eq(placed > self.high), below.eq(placed < self.low), value.eq(placed),
                     o.eq(Mux(above, self.high, Mux(below, self.low, value)))]
        m.d.comb += self.o.eq(o)
        return m

    def _times_reciprocal(self, m: Module, centred: Signal) -> Signal:
        """Two partial products, a DSP each, with a register on the way to it and one on the way back. DSPs take the
        upper part as if it had no sign, and what is too much is subtracted."""
        near_centred = Signal.like(centred, reset_less=True)
        near_reciprocal, *_, reciprocal = delayed(m, self.reciprocal, 3, "reciprocal")[1:]
        *_, negative = delayed(m, near_centred[-1], 2, "negative")
        m.d.sync += near_centred.eq(centred)
        terms = []
        for name, part in (("low", near_centred[:_LOW]), ("high", near_centred[_LOW:])):
            near = Signal(len(part) + RECIPROCAL_BITS, name=f"near_{name}_term", reset_less=True)
            back = Signal.like(near, name=f"{name}_term", reset_less=True)
            m.d.sync += [near.eq(part * near_reciprocal), back.eq(near)]
            terms.append(back)
        low, high = Signal.like(terms[0], reset_less=True), Signal(signed(len(terms[1])), reset_less=True)
        product = Signal(signed(len(centred) + RECIPROCAL_BITS), reset_less=True)
        m.d.sync += [
            low.eq(terms[0]),
            high.eq(terms[1] - Mux(negative, reciprocal << len(centred) - _LOW, 0)),
            product.eq(Cat(low[:_LOW], high + low[_LOW:])),
        ]
        return product

    def _times_gain(self, m: Module, value: Signal) -> Signal:
        """The same with signs, and the lower part as large as a DSP takes."""
        low_bits = GAIN_BITS - 1
        near_value, near_gain = Signal.like(value, reset_less=True), Signal.like(self.gain, reset_less=True)
        m.d.sync += [near_value.eq(value), near_gain.eq(self.gain)]
        terms = []
        for name, part in (("low", Cat(near_value[:low_bits], Const(0, 1))), ("high", near_value[low_bits:])):
            near = Signal(signed(len(part) + GAIN_BITS), name=f"near_gain_{name}", reset_less=True)
            back = Signal.like(near, name=f"gain_{name}", reset_less=True)
            m.d.sync += [near.eq(part.as_signed() * near_gain), back.eq(near)]
            terms.append(back)
        product = Signal(signed(len(value) + GAIN_BITS), reset_less=True)
        m.d.sync += product.eq(Cat(terms[0][:low_bits], terms[0][low_bits:].as_signed() + terms[1]))
        return product

    def _shift(self, m: Module, name: str, value: Signal, distance: Value, width: int) -> Signal:
        """`value` / 2**`distance` with one more bit below, `width` bits of it, in two cycles: by multiples of 8, then
        by what is left."""
        spread = Signal(signed(len(value) + 1), name=f"{name}_spread")
        coarse = Signal(signed(min(width + 7, len(spread))), name=f"{name}_coarse", reset_less=True)
        fine = Signal(signed(width), name=f"{name}_fine", reset_less=True)
        later = Signal(3, name=f"{name}_later", reset_less=True)
        m.d.comb += spread.eq(Cat(Const(0, 1), value))
        m.d.sync += [later.eq(distance[:3]), coarse.eq(spread >> Cat(Const(0, 3), distance[3:])),
                     fine.eq(coarse >> later)]
        return fine
