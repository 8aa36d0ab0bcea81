"""From a value's neighbours to its context and to what its rank means."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import Op, Sizes, below, distance
from .tables import CONST, MAPS, MODES, SET_BITS, TABLE_MODES, TABLE_SETS


class Neighbours(data.StructLayout):
    """What the decoder remembers of a channel: left value, upper value or average, values to skip, and mode."""

    def __init__(self) -> None:
        super().__init__({"left": 8, "upper": 8, "skip": 2, "mode": 4})


class Job(data.StructLayout):
    """A value to be decoded.

    parse: it has a code, constant: it is in the next 8 bits; other: where it has neither, the value.
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
    context: a cycle after `op`: table set, mode and context, the place in the table of codes. o: two cycles after it.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__({
            "op": In(Op(sizes)),
            "active": In(1),
            "known": In(Neighbours()),
            "context": Out(7 + SET_BITS),
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
        apart, left_far, upper_far = (Signal(8, name=name) for name in ("apart", "left_far", "upper_far"))
        from_centre, table, skipping = Signal(), Signal(), Signal()
        job, prediction, centre, place = Signal(Job()), Signal(8), Signal(8), Signal(3 + SET_BITS)
        m.d.comb += [
            from_centre.eq(_is(_modes("Z"), op.table_set, mode)), table.eq(mode < TABLE_MODES),
            skipping.eq((known.skip != 0) & ~op.first_column),
        ]
        live = op.step & self.active
        average = (left + upper + 1)[1:]
        m.d.sync += [
            apart.eq(distance(left, upper)), left_far.eq(distance(left, op.centre)),
            upper_far.eq(distance(upper, op.centre)),
            prediction.eq(Mux(from_centre | first, op.centre,
                              Mux(_is(_modes("U"), op.table_set, mode), upper, average))),
            centre.eq(op.centre), place.eq(Cat(mode[:3], op.table_set)),
            job.parse.eq(live & table & ~skipping), job.constant.eq(live & (mode == CONST) & first),
            job.other.eq(Mux(mode == CONST, left, op.centre)), job.upper.eq(known.upper),
            job.skip.eq(Mux(skipping & table, known.skip - 1, 0)),
            job.run.eq(Mux(_is(_modes(run=4), op.table_set, mode), op.run, op.run != 0)),
        ]
        with m.If(first):  # both neighbours are the centre
            m.d.sync += [apart.eq(0), left_far.eq(0), upper_far.eq(0)]
        context = Signal(4)
        later_from_centre = Signal()
        m.d.sync += later_from_centre.eq(from_centre)
        m.d.comb += [
            context.eq(Mux(later_from_centre, _far_context(left_far, upper_far), _near_context(
                apart, left_far, upper_far))),
            self.context.eq(Cat(context, place)),
        ]
        out = Signal(Job())
        m.d.sync += [out.eq(job), out.prediction.eq(prediction), out.centre_rank.eq(_folded(centre, prediction))]
        m.d.comb += self.o.eq(out)
        return m


def _near_context(apart: Value, left_far: Value, upper_far: Value) -> Value:
    """Context of the predictors A and U."""
    out: Value = Const(0, 3)
    more: Value = Const(1, 3)
    for bit in range(5):
        out, more = Mux(apart[bit], bit + 1, out), Mux(apart[bit], bit + 2, more)
    high = apart[5:].any()
    bound = Cat(0, (apart + 1)[:9])
    far = below(bound, Cat(left_far, Const(0, 2))) | below(bound, Cat(upper_far, Const(0, 2)))
    return Mux((left_far | upper_far).any(), Mux(far, Cat(0, Mux(high, 7, more)), Cat(1, Mux(high, 6, out))), 0)


def _far_context(left_far: Value, upper_far: Value) -> Value:
    """Context of predictor Z: its thresholds are the powers of two, and the middles between them."""
    total = left_far + upper_far
    out: Value = Cat(total[0], Const(0, 3))
    for bit in range(1, 8):
        out = Mux(total[bit], Cat(total[bit - 1], Const(bit, 3)), out)
    return Mux(total[8], 15, out)


def _folded(value: Value, prediction: Value) -> Value:
    """Place of a value among those ordered by their distance from the prediction, those above it first."""
    side, down, twice = prediction[7], prediction - value, 2 * prediction - value
    above = down[8]
    alone = Mux(side, twice[8], twice[9])  # on the other side the bytes have ended
    return Mux(alone, value ^ side.replicate(8), Cat(above, down[:7] ^ above.replicate(7)))
