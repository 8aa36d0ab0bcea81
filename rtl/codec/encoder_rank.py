"""From a value and its neighbours to ranks and contexts."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .tables import BUCKETS, Z_THRESHOLDS

LATENCY = 3
"""Cycles from neighbours to contexts."""

_LEVEL_BITS, _LENGTH_BITS, _LONGEST = 4, 3, 6


class Neighbourhood(data.Struct):
    """A value's neighbours, to its left and above, and the centre of its tile."""

    left: unsigned(8)
    upper: unsigned(8)
    centre: unsigned(8)


class Distance(data.Struct):
    """What the contexts need of a distance: the threshold that it reaches, its length, that and one, not 0."""

    level: unsigned(_LEVEL_BITS)
    length: unsigned(_LENGTH_BITS)
    longer: unsigned(_LENGTH_BITS)
    some: unsigned(1)


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
    return Mux(rank[7], len(BUCKETS), level(rank[:7])[:4])


def _zigzag(difference: Value) -> Value:
    """A signed number's magnitude with its sign below."""
    return Cat(difference[8], difference[:8] ^ difference[8].replicate(8))


def fold_of(m: Module, name: str, value: Value, prediction: Value) -> tuple[Value, Signal]:
    """|value - prediction| with its sign below, `value` or its complement where there are values on one side only, a
    cycle later and without a register behind. Also the first of these by itself."""
    distance, zigzag = Signal(9, name=f"distance_{name}"), Signal(9, name=f"zigzag_{name}", reset_less=True)
    far, high = Signal(name=f"far_{name}", reset_less=True), Signal(name=f"high_{name}", reset_less=True)
    late, fold = Signal(8, name=f"late_{name}", reset_less=True), Signal(8, name=f"fold_{name}")
    m.d.comb += distance.eq(prediction - value)
    m.d.sync += [
        zigzag.eq(_zigzag(distance)), high.eq(prediction[7]), late.eq(value),
        # farther than the nearer end: value > 2 * prediction or, from above, value < 2 * prediction - 255
        far.eq((value < Cat(1, prediction[:7])) ^ ~prediction[7]),
    ]
    m.d.comb += fold.eq(Mux(far, late ^ high.replicate(8), zigzag[:8]))
    return fold, zigzag


def rank_of(m: Module, name: str, value: Value, prediction: Value, centre: Value, keep: Value) -> Value:
    """The rank of a value that is not the centre (`sim.codec.symbols`), a cycle later and without a register behind:
    its fold, less one where the value is farther than the centre. Where `keep`, and `prediction` is 0, it is the value;
    `keep` comes a cycle after the others."""
    fold, zigzag = fold_of(m, name, value, prediction)
    beyond, other = Signal(9, name=f"beyond_{name}"), Signal(9, name=f"other_{name}", reset_less=True)
    less = Signal(name=f"less_{name}")
    m.d.comb += [beyond.eq(prediction - centre), less.eq((zigzag > other) & ~keep)]
    m.d.sync += other.eq(_zigzag(beyond))
    return (fold - less)[:8]


class Contexts(wiring.Component):
    """The contexts of a value, LATENCY cycles after its neighbours, and the mean of these after one cycle.

    With d = left - upper and t = left + upper - 2 * centre, the greater of |d| and |t| is |left - centre| +
    |upper - centre|. Levels and lengths of |d| and |t| come from a ROM.

    Members
    -------
    i: neighbours. mean: prediction of A. map, spread: contexts of A and U, and of Z.
    """

    i: In(Neighbourhood)
    mean: Out(8)
    map: Out(4)
    spread: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given = self.i
        m.submodules.distances = distances = memory.Memory(
            shape=Distance, depth=1024, init=[_distance(k if k < 512 else 1024 - k) for k in range(1024)],
            attrs={"rom_style": "block"})
        apart, off = distances.read_port(), distances.read_port()
        total, centre = Signal(9, reset_less=True), Signal(8, reset_less=True)
        difference, above = Signal(9, reset_less=True), Signal(9, reset_less=True)
        m.d.sync += [
            total.eq((Cat(1, given.left) + Cat(1, given.upper)) >> 1),  # and one
            difference.eq(given.left - given.upper), above.eq(given.upper - given.centre), centre.eq(given.centre),
        ]
        d, b = difference.as_signed(), above.as_signed()
        first, second = Signal(10), Signal(10)  # 2u - l and 2l - u, from the centre
        m.d.comb += [
            self.mean.eq(total[1:]), apart.addr.eq(Cat(difference, difference[-1])),
            off.addr.eq(total - Cat(1, centre)), first.eq(b - d), second.eq(b + (d << 1)),
        ]
        # max(|l|, |u|) > 2|d| + 2
        over, under = (Signal(2, name=name, reset_less=True) for name in ("over", "under"))
        for k, value in enumerate((first, second)):
            m.d.sync += [over[k].eq(~value[-1] & (value[2:].any() | value[:2].all())),
                         under[k].eq(value[-1] & ~value[1:].all())]
        a, c, near = apart.data, off.data, Signal()
        m.d.comb += near.eq(over.all() | under.all())
        m.d.sync += [self.map.eq(Cat(~near, Mux(near, a.longer, a.length))),
                     self.spread.eq(Mux(a.level > c.level, a.level, c.level))]
        with m.If(~(a.some | c.some)):
            m.d.sync += self.map.eq(0)
        return m


def _distance(number: int) -> dict[str, int]:
    length = min(number.bit_length(), _LONGEST)
    return {"level": min(level_of(number), len(Z_THRESHOLDS)), "length": length, "longer": length + 1,
            "some": int(number > 0)}
