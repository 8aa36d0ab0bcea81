"""From a value and its neighbours to ranks and contexts: one lane of the encoder's first look at a tile."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import RANK_CENTRE
from .tables import BUCKETS, Z_THRESHOLDS

LATENCY = 3
"""Cycles from neighbours to ranks."""


class Neighbourhood(data.Struct):
    """A value, the one to its left and the one above it."""

    value: unsigned(8)
    left: unsigned(8)
    upper: unsigned(8)


class Ranks(data.Struct):
    """Ranks of a value by predictor A, U and Z (or RANK_CENTRE), contexts of A and U and of Z."""

    a: unsigned(8)
    u: unsigned(8)
    z: unsigned(8)
    map: unsigned(4)
    spread: unsigned(4)


def level(value: Value) -> Value:
    """How many of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... `value` reaches: its length and the bit behind its first."""
    result: Value = value[0]
    for k in range(1, len(value)):
        result = Mux(value[k], Cat(value[k - 1], Const(k, 4)), result)
    return result


def level_of(number: int) -> int:
    """`level` of a plain number."""
    length = number.bit_length()
    return number if number < 2 else 2 * (length - 1) + (number >> (length - 2) & 1)


assert all(level_of(at) == place and level_of(at - 1) == place - 1 for place, at in enumerate(Z_THRESHOLDS, 1))
assert Z_THRESHOLDS[:len(BUCKETS)] == BUCKETS


def bucket(rank: Value) -> Value:
    """The place of a rank in the table of costs."""
    return Mux(rank[7], Cat(rank.all(), Const(7, 3)), level(rank[:7])[:4])


def _zigzag(difference: Value) -> Value:
    """A signed number's magnitude with its sign below."""
    return Cat(difference[8], difference[:8] ^ difference[8].replicate(8))


class RankLane(wiring.Component):
    """Ranks and contexts, LATENCY cycles after the neighbours.

    A rank is |value - prediction| with its sign below, `value` or its complement where there are values on one side
    only, less one where that is more than for the centre (`sim.codec.symbols`).

    Members
    -------
    i: neighbours. centre: of their tile, at the same time. o: ranks.
    is_centre: the value is the centre, in the same cycle.
    """

    centre: In(8)
    i: In(Neighbourhood)
    o: Out(Ranks)
    is_centre: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given, centre = self.i, Signal(8, reset_less=True)
        value, upper = Signal(8, reset_less=True), Signal(8, reset_less=True)
        mean, equal = Signal(8, reset_less=True), Signal(reset_less=True)
        m.d.sync += [value.eq(given.value), upper.eq(given.upper), equal.eq(self.is_centre),
                     centre.eq(self.centre), mean.eq((Cat(1, given.left) + Cat(1, given.upper))[2:])]
        m.d.comb += self.is_centre.eq(given.value == self.centre)
        centred, late = Signal(reset_less=True), Signal(8, reset_less=True)
        m.d.sync += [centred.eq(equal), late.eq(value)]
        for name, prediction in (("a", mean), ("u", upper), ("z", centre)):
            m.d.sync += self.o[name].eq(Mux(centred, RANK_CENTRE, self._rank(m, name, value, late, prediction, centre)))
        self._contexts(m)
        return m

    def _rank(self, m: Module, name: str, value: Signal, late: Signal, prediction: Value, centre: Value) -> Value:
        """Begins a cycle after `i`, ends before the last register. `late` is `value` a cycle later."""
        distance, beyond = Signal(9, name=f"distance_{name}"), Signal(9, name=f"beyond_{name}")
        zigzag, other = (Signal(9, name=f"{part}_{name}", reset_less=True) for part in ("zigzag", "other"))
        far, high = Signal(name=f"far_{name}", reset_less=True), Signal(name=f"high_{name}", reset_less=True)
        m.d.comb += [distance.eq(prediction - value), beyond.eq(prediction - centre)]
        m.d.sync += [
            zigzag.eq(_zigzag(distance)), other.eq(_zigzag(beyond)), high.eq(prediction[7]),
            # farther than the nearer end: value > 2 * prediction or, from above, value < 2 * prediction - 255
            far.eq((value < Cat(1, prediction[:7])) ^ ~prediction[7]),
        ]
        fold, less = Signal(8, name=f"fold_{name}"), Signal(name=f"less_{name}")
        m.d.comb += [fold.eq(Mux(far, late ^ high.replicate(8), zigzag[:8])),
                     less.eq(1 if prediction is centre else zigzag > other)]
        return (fold - less)[:8]

    def _contexts(self, m: Module) -> None:
        given, centre = self.i, self.centre
        apart, left, upper = (Signal(8, name=name, reset_less=True) for name in ("apart", "from_left", "from_upper"))
        for distance, a, b in ((apart, given.left, given.upper), (left, given.left, centre),
                               (upper, given.upper, centre)):
            ahead = Signal(9, name=f"{distance.name}_difference")
            m.d.comb += ahead.eq(a - b)
            m.d.sync += distance.eq((ahead[:8] ^ ahead[8].replicate(8)) + ahead[8])
        farthest, both = Signal(8, reset_less=True), Signal(9, reset_less=True)
        limit, length = Signal(10, reset_less=True), Signal(3, reset_less=True)
        m.d.sync += [farthest.eq(Mux(left > upper, left, upper)), both.eq(left + upper), limit.eq((apart + 1) << 1)]
        for k in range(6):
            with m.If(apart[k] if k < 5 else apart[5:].any()):
                m.d.sync += length.eq(k + 1)
        with m.If(apart == 0):
            m.d.sync += length.eq(0)
        m.d.sync += [
            self.o.map.eq(Mux(farthest == 0, 0, Cat(farthest > limit, length) + 1)),
            self.o.spread.eq(Mux(both[8], 15, level(both[:8]))),
        ]
