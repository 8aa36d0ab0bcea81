"""Addresses in nested loops without multipliers: counters, sums that follow them, rings, products they start from."""

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS


class Loops(wiring.Component):
    """Counts the iterations of nested loops; level 0 is the innermost.

    `load` starts at the first iteration with the counts given then; `step` goes on by one iteration. Both act at
    the clock edge; the outputs describe the present iteration. A step after the final iteration is not allowed.

    Parameters
    ----------
    widths: bits of each level's count, up to 16 each.

    Members
    -------
    counts: iterations of each level, at least 1 each; read in the cycle of `load`.
    reached: one-hot: the level whose index grew by one to reach this iteration; the highest bit: `load` did.
    last: a bit a level: it is at its last index. final: all are.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        if not widths or not all(1 <= width <= 16 for width in widths):
            raise ValueError(f"widths must be one or more numbers from 1 to 16, not {widths}")
        self.widths = tuple(widths)
        levels = len(self.widths)
        super().__init__({
            "counts": In(data.ArrayLayout(unsigned(16), levels)),
            "load": In(1),
            "step": In(1),
            "reached": Out(levels + 1),
            "last": Out(levels),
            "final": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        levels = len(self.widths)
        turn = Signal(levels)  # one-hot: the lowest level that is not at its end
        m.d.comb += self.final.eq(self.last.all())
        for level, width in enumerate(self.widths):
            left = Signal(width, name=f"left_{level}", reset_less=True)
            count = Signal(width, name=f"count_{level}", reset_less=True)
            inner_last = self.last[:level].all() if level else Const(1)
            m.d.comb += [self.last[level].eq(left == 1), turn[level].eq(inner_last & ~self.last[level])]
            with m.If(self.load):
                m.d.sync += [left.eq(self.counts[level]), count.eq(self.counts[level])]
            with m.Elif(self.step & inner_last):
                m.d.sync += left.eq(Mux(self.last[level], count, left - 1))
        with m.If(self.load):
            m.d.sync += self.reached.eq(1 << levels)
        with m.Elif(self.step):
            m.d.sync += self.reached.eq(turn)
        return m


class Affine(wiring.Component):
    """The sum origin + index[l] * stride[l] over some levels of a `Loops`, one adder for all of them.

    One cycle behind the loops: `value` belongs to the iteration whose `reached` was there at the last edge with
    `step`. Sums wrap at `width` bits.

    Parameters
    ----------
    width: bits of the sum.
    levels: of the loops, those that have a stride, in ascending order. total: levels of the loops.

    Members
    -------
    step: take the next iteration's `reached`. origin, strides (one for each of `levels`, unsigned): may change only
    together with an iteration reached by a load. value: the sum.
    """

    def __init__(self, width: int, levels: Sequence[int], total: int) -> None:
        if list(levels) != sorted(set(levels)) or not levels or not 0 <= levels[0] <= levels[-1] < total:
            raise ValueError(f"levels must be ascending numbers from 0 to {total - 1}, not {levels}")
        self.width, self.levels, self.total = width, tuple(levels), total
        super().__init__({
            "step": In(1),
            "reached": In(total + 1),
            "origin": In(width),
            "strides": In(data.ArrayLayout(unsigned(width), len(self.levels))),
            "value": Out(width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        members = len(self.levels)
        # bases[j]: the sum at the present indices of levels[j] and those above it, with zero below
        bases = [Signal(self.width, name=f"base_{level}", reset_less=True) for level in self.levels]
        base, stride, total = (Signal(self.width, name=name) for name in ("base", "stride", "total"))
        update = Signal(members)
        m.d.comb += [total.eq(base + stride), self.value.eq(bases[0])]
        with m.Switch(self.reached):
            for event in range(self.total + 1):
                above = [j for j, level in enumerate(self.levels) if level >= event]
                with m.Case(1 << event):
                    if not above:
                        m.d.comb += [base.eq(self.origin), update.eq((1 << members) - 1)]
                    else:
                        j = above[0]
                        m.d.comb += [base.eq(bases[j]), update.eq((2 << j) - 1)]
                        if self.levels[j] == event:
                            m.d.comb += stride.eq(self.strides[j])
        for j, register in enumerate(bases):
            with m.If(self.step & update[j]):
                m.d.sync += register.eq(total)
        return m


class Ring(wiring.Component):
    """An address in a ring: `size` lower where `first` is at or past `end`; a cycle after it was there with `step`.

    Members
    -------
    step: take the next address. address: what becomes `value`. first: the address that decides; often the same.
    end, size: of the ring; size 0: there is none. value: the address in the ring, modulo 2**24.
    """

    step: In(1)
    address: In(ADDRESS_BITS)
    first: In(ADDRESS_BITS)
    end: In(ADDRESS_BITS)
    size: In(ADDRESS_BITS)
    value: Out(ADDRESS_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        address, lower = (Signal(ADDRESS_BITS, name=name, reset_less=True) for name in ("address", "lower"))
        past = Signal(reset_less=True)
        with m.If(self.step):
            m.d.sync += [
                past.eq(self.first >= self.end), address.eq(self.address), lower.eq(self.address - self.size)]
        m.d.comb += self.value.eq(Mux(past, lower, address))
        return m


class RowProducts(wiring.Component):
    """Products of an input row's pitch with the numbers of rows an ARRAY instruction steps by; shift and add.

    While `valid` is 1 the inputs must stay; `done` comes 2 to 19 cycles after, and as many cycles as the numbers have
    bits decide. `restart` at the end of the use makes it begin anew with what is there a cycle later.

    Members
    -------
    base: address. pitch: bytes. y_start (signed), y_step, y_dilation: rows.
    row_start: base + y_start * pitch. row_step: y_step * pitch. row_dilation: y_dilation * pitch; all modulo 2**24.
    """

    valid: In(1)
    restart: In(1)
    base: In(ADDRESS_BITS)
    pitch: In(ADDRESS_BITS)
    y_start: In(signed(16))
    y_step: In(8)
    y_dilation: In(8)
    done: Out(1)
    row_start: Out(ADDRESS_BITS)
    row_step: Out(ADDRESS_BITS)
    row_dilation: Out(ADDRESS_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loaded = Signal()
        pitch = Signal(ADDRESS_BITS, reset_less=True)  # shifted along
        start = Signal(signed(16), reset_less=True)
        step, dilation = Signal(8, reset_less=True), Signal(8, reset_less=True)
        minus = Signal()  # what is left of y_start is sign bits only: -1 times the shifted pitch ends it
        m.d.comb += minus.eq(start == -1)
        with m.If(~self.valid | self.restart):
            m.d.sync += [loaded.eq(0), self.done.eq(0)]
        with m.Elif(~loaded):
            m.d.sync += [
                loaded.eq(1), pitch.eq(self.pitch), start.eq(self.y_start), step.eq(self.y_step),
                dilation.eq(self.y_dilation),
                self.row_start.eq(self.base), self.row_step.eq(0), self.row_dilation.eq(0),
            ]
        with m.Else():
            m.d.sync += [
                self.done.eq(Cat(start, step, dilation) == 0),
                pitch.eq(pitch << 1), step.eq(step >> 1), dilation.eq(dilation >> 1),
                start.eq(Mux(minus, 0, start >> 1)),
            ]
            with m.If(start[0]):
                m.d.sync += self.row_start.eq(self.row_start + Mux(minus, ~pitch, pitch) + minus)
            with m.If(step[0]):
                m.d.sync += self.row_step.eq(self.row_step + pitch)
            with m.If(dilation[0]):
                m.d.sync += self.row_dilation.eq(self.row_dilation + pitch)
        return m
