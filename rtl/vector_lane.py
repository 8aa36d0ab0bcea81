"""One lane of the vector unit: multiply, reduce, rescale and clamp one element a cycle."""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

BIASED, MULTIPLIED, SUM_READY, ROUNDED, CLAMPED = 1, 6, 7, 10, 13
"""Cycles from the inputs to: x + bias (when `keep` and `by_kept` are applied), the product (when `reduce` is), the sum
(when `rounding` is), the shifted value (when `zero_point`, `low` and `high` are read), and the output."""
_COARSE = 50  # bits kept between the two shifts: what saturates here is beyond int32 after the second


class Reduce(data.Struct):
    """What becomes of a product; one bit at most is set, and with none the sum stays."""

    load: unsigned(1)
    """The sum is the product."""
    clear: unsigned(1)
    """The sum is 0."""
    add: unsigned(1)
    """The sum grows by the product, modulo 2**64."""
    maximum: unsigned(1)
    """The sum is the larger of both."""


def _saturate(m: Module, value: Signal, width: int, name: str) -> Signal:
    """`value` (signed) in `width` bits, saturated."""
    top = value[width - 1:]
    out = Signal(signed(width), name=name)
    sign = value[-1]
    m.d.comb += out.eq(Mux(top.all() | ~top.any(), value[:width], Cat((~sign).replicate(width - 1), sign)))
    return out


class VectorLane(wiring.Component):
    """out = clamp(round_shift(reduce((x + bias) * multiplier), shift) + zero_point, low, high).

    x + bias wraps to int32, the sum to int64, the rounding's addition to 64 bits. An element's x + bias can be kept and
    take the multiplier's place for a later element. Free-running: an element
    enters every cycle and no register stops, so the controls must come in the cycle in which their stage
    needs them (see the constants above). The product of inputs shown in cycle t meets `reduce` in t + MULTIPLIED;
    the sum then is in t + SUM_READY, where `double` and `even` are read, with the shift that came with the last
    product. `o` shows the result in t + CLAMPED.

    Members
    -------
    x, bias, multiplier: int32. shift: 0 to 63.
    keep: x + bias is kept. by_kept: it is multiplied by what the last element before it with `keep` has left.
    reduce: `Reduce`. double, even: rounding mode; neither: half is added.
    zero_point: 16 bits. low, high: int32, low <= high. o: int32.
    """

    x: In(signed(32))
    bias: In(signed(32))
    multiplier: In(signed(32))
    shift: In(unsigned(6))
    keep: In(1)
    by_kept: In(1)
    reduce: In(Reduce)
    double: In(1)
    even: In(1)
    zero_point: In(signed(16))
    low: In(signed(32))
    high: In(signed(32))
    o: Out(signed(32))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shifts = [Signal(6, name=f"shift_{stage}", reset_less=True) for stage in range(9)]
        for before, after in pairwise([self.shift, *shifts]):
            m.d.sync += after.eq(before)
        total, mask = self._reduce(m, self._product(m), shifts[5])
        self._rescale(m, total, mask, shifts[7:])
        return m

    def _product(self, m: Module) -> Signal:
        """Four partial products of 17 x 17 bits, a DSP each, added in two steps: high halves are signed, low ones not.

        DSPs lie in few places of an FPGA: there is a register on the way to each and one on the way back.
        """
        x, near_x = Signal(signed(32), reset_less=True), Signal(signed(32), reset_less=True)
        multiplier, near_multiplier = Signal(signed(32), reset_less=True), Signal(signed(32), reset_less=True)
        kept = Signal(signed(32), reset_less=True)
        outer = Signal(signed(64), reset_less=True)
        middle = Signal(signed(33), reset_less=True)
        product = Signal(signed(64), reset_less=True)
        parts = {}
        for x_name, x_part in (("low", near_x[:16]), ("high", near_x[16:].as_signed())):
            for name, part in (("low", near_multiplier[:16]), ("high", near_multiplier[16:].as_signed())):
                partial = x_part * part
                near = Signal(partial.shape(), name=f"near_{x_name}_{name}", reset_less=True)
                back = Signal.like(near, name=f"{x_name}_{name}")
                m.d.sync += [near.eq(partial), back.eq(near)]
                parts[x_name, name] = back
        m.d.sync += [
            x.eq(self.x + self.bias), multiplier.eq(self.multiplier),
            near_x.eq(x), near_multiplier.eq(Mux(self.by_kept, kept, multiplier)),
            outer.eq(Cat(parts["low", "low"], parts["high", "high"])),
            middle.eq(parts["low", "high"] + parts["high", "low"]),
            product.eq(Cat(outer[:16], (outer[16:].as_signed() + middle)[:48])),
        ]
        with m.If(self.keep):
            m.d.sync += kept.eq(x)
        return product

    def _reduce(self, m: Module, product: Signal, shift: Signal) -> tuple[Signal, Signal]:
        """The sum, and beside it a mask of the bits that the shift will drop."""
        total = Signal(signed(64), reset_less=True)
        added = Signal(signed(64))
        m.d.comb += added.eq(total + product)
        with m.If(self.reduce.load | (self.reduce.maximum & (product > total))):
            m.d.sync += total.eq(product)
        with m.Elif(self.reduce.clear):
            m.d.sync += total.eq(0)
        with m.Elif(self.reduce.add):
            m.d.sync += total.eq(added)
        mask = Signal(64, reset_less=True)
        fine = Signal(8)  # (1 << shift % 8) - 1
        m.d.comb += fine.eq(Cat(*(shift[:3] > bit for bit in range(7))))
        m.d.sync += mask.eq(Cat(*(Mux(shift[3:] > byte, Const(255, 8), Mux(shift[3:] == byte, fine, Const(0, 8)))
                                  for byte in range(8))))
        return total, mask

    def _rescale(self, m: Module, total: Signal, mask: Signal, shifts: list[Signal]) -> None:
        """Round, shift by 16s, shift by 0 to 15, add the zero point, compare, clamp: a cycle each."""
        half, nudged = Signal(64), Signal(64)
        second = Signal()  # gemmlowp's second rounding, of the bits from 31 on: adds 2**30 with the sum's sign
        rounded = Signal(signed(64), reset_less=True)
        tie, tie_coarse = Signal(reset_less=True), Signal(reset_less=True)
        coarse, fine = Signal(signed(_COARSE), reset_less=True), Signal(signed(_COARSE), reset_less=True)
        shifted, moved = Signal(signed(64)), Signal(signed(_COARSE))
        biased = Signal(signed(35), reset_less=True)
        m.d.comb += [
            half.eq(mask & ~mask[1:]),
            second.eq(self.double & mask[31]),
            # 2**(shift - 1) - 2**30 is a run of ones, 2**(shift - 1) + 2**30 two single ones: no adder is needed
            nudged.eq(Mux(total[-1], Cat(Const(0, 30), mask[31:]), half | (1 << 30))),
            shifted.eq(rounded >> Cat(Const(0, 4), shifts[0][4:])),
            moved.eq(coarse >> shifts[1][:4]),
        ]
        m.d.sync += [
            rounded.eq(total + Mux(second, nudged, half).as_signed()),
            tie.eq(self.even & mask[0] & ~((total ^ half) & mask).any()),
            coarse.eq(_saturate(m, shifted, _COARSE, "coarse_saturated")), tie_coarse.eq(tie),
            fine.eq(Cat(moved[0] & ~tie_coarse, moved[1:])),
            biased.eq(_saturate(m, fine, 34, "fine_saturated") + self.zero_point),
        ]
        # The limits come from far away: compare in one cycle, choose in the next.
        low, high = Signal(signed(32), reset_less=True), Signal(signed(32), reset_less=True)
        low_then, high_then = Signal.like(low), Signal.like(high)
        below = Signal(reset_less=True)
        above = Signal(reset_less=True)
        within = Signal(signed(32), reset_less=True)
        m.d.sync += [
            low.eq(self.low), high.eq(self.high), low_then.eq(low), high_then.eq(high),
            below.eq(biased < low), above.eq(biased > high), within.eq(biased),
        ]
        with m.If(below):
            m.d.sync += self.o.eq(low_then)
        with m.Elif(above):
            m.d.sync += self.o.eq(high_then)
        with m.Else():
            m.d.sync += self.o.eq(within)
