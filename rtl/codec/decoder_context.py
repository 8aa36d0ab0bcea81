"""From a value's neighbours to its context and to what its rank means."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import Op, Sizes, below, distance
from .tables import CONST, MAPS, MODES, SET_BITS, TABLE_MODES, TABLE_SETS

SEEN_BITS = 6
CONTEXT_BITS = SEEN_BITS + 3 + SET_BITS


class Neighbours(data.StructLayout):
    """What the decoder remembers of a channel: left value, upper value or average, values to skip, and mode."""

    def __init__(self) -> None:
        super().__init__({"left": 8, "upper": 8, "skip": 2, "mode": 4})


class Job(data.StructLayout):
    """A value to be decoded.

    parse: it has a code, constant: it is in the next 8 bits; other: the value where it is known, and 0 where it is
    in the next 8 bits or not coded.
    prediction; centre_rank: the place of the centre, which no rank stands for. upper: the average before it.
    skip: values of the channel to skip after it; run: those to skip after the code of a run.
    """

    def __init__(self) -> None:
        super().__init__({"parse": 1, "constant": 1, "other": 8, "prediction": 8, "centre_rank": 8, "upper": 8,
                          "skip": 2, "run": 2})


def _is(modes: list[list[int]], table_set: Value, mode: Value) -> Value:
    """Whether `mode` of set `table_set` is in `modes`."""
    bits = sum(1 << (TABLE_MODES * number + mode) for number, chosen in enumerate(modes) for mode in chosen)
    return Const(bits, TABLE_SETS * TABLE_MODES).bit_select(Cat(mode[:3], table_set), 1)


def _modes(predictor: str | None = None, run: int | None = None) -> list[list[int]]:
    return [[mode for mode, (kind, length) in enumerate(table) if predictor in (None, kind) and run in (None, length)]
            for table in MODES]


class DecoderContext(wiring.Component):
    """A lane's context: free-running, a value a cycle.

    Parameters
    ----------
    sizes: of the decoder.

    Members
    -------
    op, known: the op, and what is known of the lane's channel. active: the lane has a channel.
    context: a cycle after `op`, the place in the table of codes: what `context_number` reads, mode and table set.
    o: two cycles after it.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__({
            "op": In(Op(sizes)),
            "active": In(1),
            "known": In(Neighbours()),
            "context": Out(CONTEXT_BITS),
            "o": Out(Job()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        op, known = self.op, self.known
        first = op.first_row & op.first_column
        left, upper, mode = Signal(8), Signal(8), known.mode
        m.d.comb += [
            left.eq(Mux(op.first_column, known.upper, known.left)),
            upper.eq(Mux(op.first_row & (op.table_set == MAPS), known.left, known.upper)),
        ]
        apart, twice_apart, both, middle = Signal(8), Signal(8), Signal(9), Signal(8)
        from_centre, later_from_centre, table, skipping = Signal(), Signal(), Signal(), Signal()
        job, prediction, centre, place = Signal(Job()), Signal(8), Signal(8), Signal(3 + SET_BITS)
        constant = Signal()
        m.d.comb += [
            from_centre.eq(_is(_modes("Z"), op.table_set, mode)), table.eq(mode < TABLE_MODES),
            skipping.eq((known.skip != 0) & ~op.first_column), constant.eq((mode == CONST) & first),
        ]
        live = op.step & self.active
        total, difference = Signal(9), Signal(8)
        m.d.comb += [total.eq(left + upper + 1), difference.eq(distance(left, upper))]
        m.d.sync += [
            apart.eq(difference), twice_apart.eq(difference), both.eq(total), middle.eq(op.centre),
            prediction.eq(Mux(from_centre | first, op.centre,
                              Mux(_is(_modes("U"), op.table_set, mode), upper, total[1:]))),
            centre.eq(op.centre), place.eq(Cat(mode[:3], op.table_set)), later_from_centre.eq(from_centre),
            job.parse.eq(live & table & ~skipping), job.constant.eq(live & constant),
            job.other.eq(Mux(mode == CONST, left, op.centre)), job.upper.eq(known.upper),
            job.skip.eq(Mux(skipping & table, known.skip - 1, 0)),
            job.run.eq(Mux(_is(_modes(run=4), op.table_set, mode), op.run, op.run != 0)),
        ]
        with m.If(first | ~self.active):  # both neighbours are the centre; lanes have registers of their own
            m.d.sync += [apart.eq(0), both.eq(1), middle.eq(0)]
        with m.If(first | from_centre):
            m.d.sync += twice_apart.eq(0)
        with m.If(op.raw | constant):
            m.d.sync += job.other.eq(0)
        m.d.comb += self.context.eq(Cat(_seen(m, apart, twice_apart, both, middle, later_from_centre), place))
        out = Signal(Job())
        m.d.sync += [out.eq(job), out.prediction.eq(prediction), out.centre_rank.eq(_folded(centre, prediction))]
        m.d.comb += self.o.eq(out)
        return m


def _seen(m: Module, apart: Value, twice_apart: Value, both: Value, centre: Value, from_centre: Value) -> Value:
    """What `context_number` reads, from |L - U|, the same or 0 for predictor Z, and L + U + 1.

    With x = L - centre, y = U - centre, d = |x - y| and t = |x + y|: |x| + |y| is the larger of d and t. Where x and y
    have the same sign, t = 2 max(|x|, |y|) - d; so max(|x|, |y|) > 2d + 2 there where t > 3d + 4. Elsewhere neither is.
    """
    twice_centre = Cat(Const(1, 1), centre)
    upwards, beside = Signal(10), Signal(9)
    m.d.comb += [upwards.eq(both - twice_centre), beside.eq(Mux(upwards[9], (twice_centre - both)[:9], upwards[:9]))]
    rest = Signal(10)  # even
    m.d.comb += rest.eq(beside - (apart + Cat(Const(0, 1), twice_apart)))
    far = ~rest[9] & ~apart[7] & (rest[3:9].any() | rest[1] & rest[2])
    highest = [_leading_one(apart), _leading_one(beside[:8] | Cat(Const(0, 6), beside[8].replicate(2)))]
    larger = from_centre & ~rest[9]  # t, and d elsewhere
    length, following, lowest = (Mux(larger, second, first) for first, second in zip(
        (*highest[0], apart[0]), (*highest[1], beside[0]), strict=True))
    return Cat(length, Mux(from_centre, following, far), lowest, beside[1] | beside[2])


def _leading_one(bits: Value) -> tuple[Value, Value]:
    """Number of the highest one of 8 bits, 0 where there is none, and the bit below it."""
    high = bits[4:].any()
    five = Mux(high, bits[3:], Cat(Const(0, 1), bits[:4]))
    upper = five[3:].any()
    three = Mux(upper, five[2:], five[:3])
    return Cat(three[2], upper, high), Mux(three[2], three[1], three[0])


def context_number(predictor: str, seen: int) -> int:
    """The context of `predictor`, from what `DecoderContext` sees of the neighbours: the number of the highest one of
    |L - U|, or for Z of |L - centre| + |U - centre|; whether m > 2d + 2, or for Z the bit below that one; the lowest
    bit; and whether, if L = U, they are not the centre."""
    place, flag, lowest, apart = seen & 7, seen >> 3 & 1, seen >> 4 & 1, seen >> 5
    if predictor == "Z":
        return 2 * place + flag if place else lowest
    if not place and not lowest:
        return 1 + flag if flag or apart else 0
    return 1 + 2 * min(place + 1, 6) + flag


def _folded(value: Value, prediction: Value) -> Value:
    """Place of a value among those ordered by their distance from the prediction, those above it first."""
    side, down = prediction[7], prediction - value
    above = down[8]
    alone = below(Cat(Const(0, 1), prediction[:7]), value) ^ side  # on the other side the bytes have ended
    return Mux(alone, value ^ side.replicate(8), Cat(above, down[:7] ^ above.replicate(7)))
