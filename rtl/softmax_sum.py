"""The softmax unit's second pass: the sum of a row's entries, and its logarithm."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .isa import SOFTMAX_ELEMS, SOFTMAX_ENTRY_BITS
from .softmax_lookup import Place, entries

SUM_BITS = SOFTMAX_ENTRY_BITS + SOFTMAX_ELEMS.bit_length() - 1


class Normal(data.Struct):
    """A number as `value` / 2**(SUM_BITS - 1) * 2**`log`; the highest bit of `value` is set."""

    value: unsigned(SUM_BITS)
    log: unsigned((SUM_BITS - 1).bit_length())


class RowSum(wiring.Component):
    """The sum S of each row's entries, and floor(log2 S); what it says of S = 0 has no meaning.

    Free-running: a chunk a cycle; the sum comes log2(lanes) + 4 cycles after the row's last chunk.

    Parameters
    ----------
    lanes: entries of a chunk, a power of two.

    Members
    -------
    i: entries. o: the sum; valid: it is one.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({"i": In(entries(lanes)), "o": Out(Normal), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = self.i.place
        level = [self.i.values.word_select(lane, SOFTMAX_ENTRY_BITS) for lane in range(self._lanes)]
        while len(level) > 1:
            sums = [Signal(len(level[0]) + 1, name=f"sum_{len(level)}_{k}", reset_less=True)
                    for k in range(len(level) // 2)]
            m.d.sync += [out.eq(a + b) for out, a, b in zip(sums, level[::2], level[1::2], strict=True)]
            later = Signal(Place, name=f"place_{len(level)}")
            m.d.sync += later.eq(place)
            level, place = sums, later
        total, done = Signal(SUM_BITS, reset_less=True), Signal()
        m.d.sync += done.eq(place.valid & place.last)
        with m.If(place.valid):
            m.d.sync += total.eq(Mux(place.first, 0, total) + level[0])
        self._normalise(m, total, done)
        return m

    def _normalise(self, m: Module, value: Signal, valid: Signal) -> None:
        """Shifts leading zeros out, in steps of powers of two, two steps a cycle."""
        steps = [1 << bit for bit in reversed(range(len(self.o.log)))]
        distance: Value = Const(0, 0)
        for pair in zip(steps[::2], steps[1::2], strict=True):
            for step in pair:
                zeros, moved = Signal(name=f"zeros_{step}"), Signal(SUM_BITS, name=f"moved_{step}")
                m.d.comb += [zeros.eq(~value[-step:].any()), moved.eq(Mux(zeros, value << step, value))]
                value, distance = moved, Cat(zeros, distance)
            later = Signal(SUM_BITS, name=f"value_{pair[1]}", reset_less=True)
            later_distance = Signal(len(distance), name=f"distance_{pair[1]}", reset_less=True)
            later_valid = Signal(name=f"valid_{pair[1]}")
            m.d.sync += [later.eq(value), later_distance.eq(distance), later_valid.eq(valid)]
            value, distance, valid = later, later_distance, later_valid
        m.d.comb += [self.o.value.eq(value), self.o.log.eq(SUM_BITS - 1 - distance), self.valid.eq(valid)]
