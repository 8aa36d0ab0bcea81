"""The encoder's choice of a mode for each channel of a tile."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .encoder_costs import SUM_BITS, CostSums, Look
from .encoder_statistics import delayed, looked_layout
from .encoder_tile import DIMENSION_BITS, Choice, check_lanes
from .tables import CONST, MODE_BITS, TABLE_MODES, TAG_CHANNELS, ZERO

_TOTAL_BITS = DIMENSION_BITS - 1 + 5
_OWN_BITS = _TOTAL_BITS + 1  # with what naming the modes costs
_NAMING, _CONSTANT = 6, 8  # `sim.codec.choose`
_FLAGS_STAGE = 6
"""Cycles after `ModeChoice.i` in which channels are done with."""


class _Smallest(data.Struct):
    total: unsigned(SUM_BITS)
    mode: unsigned(3)


class _Lane(data.Struct):
    """A channel: what its values have in common; `active`: there is one."""

    zero: unsigned(1)
    alike: unsigned(1)
    active: unsigned(1)


def smallest(a: tuple[Value, Value], b: tuple[Value, Value]) -> tuple[Value, Value]:
    """Of two sums with their modes the smaller; the first of equals."""
    less = b[0] < a[0]
    return Mux(less, b[0], a[0]), Mux(less, b[1], a[1])


class ModeChoice(wiring.Component):
    """Adds up what each table mode is taken to cost each channel; the smallest sum wins, the first of equals.

    Two lanes share the hardware that adds, since of two neighbouring values one is looked at. Pair by pair, two cycles
    apart, the sums of `lanes` channels leave when their last pixel has come, while those of the next channels grow.
    After a tile's last channels the sums of all channels decide whether one mode serves them all (`sim.codec.choose`).

    Parameters
    ----------
    lanes: channels at a time.

    Members
    -------
    i: values; a cycle without one follows each last pixel, and each `over` comes at least `lanes` + 1 cycles after
    another.
    modes: of `lanes` channels, 0 where there is none; valid for a cycle.
    o: the choice for a tile; `done` for a cycle.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "i": In(looked_layout(lanes)),
            "modes": Out(data.StructLayout({"valid": 1, "modes": MODE_BITS * lanes})),
            "o": Out(Choice),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        pixels = delayed(m, self.i.pixel, "pixel", _FLAGS_STAGE)
        actives = delayed(m, self.i.active, "active", _FLAGS_STAGE)
        now, before = pixels[-2], pixels[-1]
        look = Signal(Look)
        m.d.comb += [
            look.adds.eq(now.valid & now.early), look.clears.eq((now.valid & now.over) | (before.valid & before.over)),
            look.turns.eq(look.adds | look.clears | (before.valid & before.last & before.odd)),
        ]
        looks = delayed(m, look, "look", lanes)
        rows = []
        for pair in range(lanes // 2):
            m.submodules[f"sums_{pair}"] = sums = CostSums(2 * pair + 1)
            one, other = self.i.values[2 * pair], self.i.values[2 * pair + 1]
            m.d.comb += [
                sums.odd.eq(self.i.pixel.odd), sums.table_set.eq(self.i.pixel.table_set), sums.centre.eq(self.i.centre),
                sums.i[0].eq(one), sums.i[1].eq(other), sums.look.eq(looks[2 * pair + 1]),
            ]
            rows.append(sums.o)
        ends = pixels[-1].valid & pixels[-1].over
        waiting = [Signal(_Lane, name=f"waiting_{lane}", reset_less=True) for lane in range(lanes)]
        place, leaves = Signal(range(lanes)), Signal()
        given = []
        for pair, sums in enumerate(rows):  # 0 where another pair's turn is
            one = Signal.like(sums, name=f"given_{pair}", reset_less=True)
            m.d.sync += one.eq(sums)
            with m.If(place[1:] != pair):
                m.d.sync += one.eq(0)
            given.append(Value.cast(one))
        final, swaps = (Signal(name=name, reset_less=True) for name in ("final", "swaps"))
        for lane in range(lanes):
            zero, alike = self._flags(m, lane, pixels)
            with m.If(ends):
                m.d.sync += [waiting[lane].zero.eq(zero), waiting[lane].alike.eq(alike),
                             waiting[lane].active.eq(actives[-1][lane])]
        with m.If(ends):
            m.d.sync += [place.eq(0), leaves.eq(1), final.eq(before.final), swaps.eq(~before.odd)]
        with m.Elif(leaves):
            m.d.sync += [place.eq(place + 1), leaves.eq(place != lanes - 1)]
        lane, row = Signal(_Lane), Signal(data.ArrayLayout(SUM_BITS, TABLE_MODES))
        number = Cat(place[0] ^ swaps, place[1:])
        m.d.comb += [lane.eq(Array(Value.cast(one) for one in waiting)[number]),
                     row.eq(reduce(or_, given))]
        self._walk_state = pixels, ends, leaves, place, final
        self._decide(m, lane, row, number, leaves, place == lanes - 1, final)
        return m

    def _flags(self, m: Module, lane: int, pixels: list) -> list[Signal]:
        """Whether all values of a channel are the centre, and whether all are equal."""
        value = self.i.values[lane]
        flags = []
        for name, now in (("zero", value.is_centre), ("alike", value.same)):
            late = delayed(m, now, f"{name}_{lane}", _FLAGS_STAGE - 1)[-1]
            flag = Signal(name=f"{name}_{lane}", reset_less=True)
            with m.If(pixels[-2].valid):
                m.d.sync += flag.eq((flag | pixels[-2].first) & late)
            flags.append(flag)
        return flags

    def _decide(self, m: Module, lane: Any, sums: Any, number: Value, valid: Value, last: Value,
                final: Value) -> None:
        """A lane's mode, three cycles later; after a tile's last one, the tag. `sums` come a cycle after the rest."""
        each = [(sums[mode], Const(mode, range(TABLE_MODES))) for mode in range(TABLE_MODES)]
        halves = [Signal(_Smallest, name=f"half_{k}", reset_less=True) for k in range(2)]
        for k, half in enumerate(halves):
            total, mode = smallest(smallest(each[4 * k], each[4 * k + 1]), smallest(each[4 * k + 2], each[4 * k + 3]))
            m.d.sync += [half.total.eq(total), half.mode.eq(mode)]
        total, mode = smallest((halves[0].total, halves[0].mode), (halves[1].total, halves[1].mode))
        stage = data.StructLayout({"valid": 1, "last": 1, "final": 1, "lane": _Lane, "number": len(number)})
        now, one, two, three = (Signal(stage, name=f"stage_{k}") for k in range(4))
        self._stages = one, two, three
        best, price = Signal(MODE_BITS, reset_less=True), Signal(SUM_BITS, reset_less=True)
        m.d.comb += [now.valid.eq(valid), now.last.eq(valid & last), now.final.eq(valid & last & final),
                     now.lane.eq(lane), now.number.eq(number)]
        m.d.sync += [one.eq(now), two.eq(one), three.eq(two),
                     best.eq(Mux(two.lane.zero, ZERO, Mux(two.lane.alike, CONST, mode))),
                     price.eq(Mux(two.lane.alike, _CONSTANT, total))]
        with m.If(two.lane.zero):
            m.d.sync += price.eq(0)
        modes, complete = Signal.like(self.modes.modes), Signal()
        m.d.sync += complete.eq(three.last)
        for k in range(self._lanes):
            with m.If(three.valid & (three.number == k)):
                m.d.sync += modes.word_select(k, MODE_BITS).eq(Mux(three.lane.active, best, 0))
        m.d.comb += [self.modes.modes.eq(modes), self.modes.valid.eq(complete)]
        self._judge(m, sums, one, three, price)

    def _judge(self, m: Module, row: Any, come: Any, priced: Any, price: Value) -> None:
        """Sums of all channels, one mode for all against each its own; looked through in TABLE_MODES cycles."""
        totals = [Signal(_TOTAL_BITS, name=f"total_{mode}") for mode in range(TABLE_MODES)]
        own, some = Signal(_OWN_BITS), Signal()  # some: not all values are the centre
        least, found, place = Signal(_TOTAL_BITS), Signal(range(TABLE_MODES)), Signal(range(TABLE_MODES))
        looking, judged = Signal(), Signal()
        self._judge_state = come, priced, looking, judged, place
        with m.If(come.valid & come.lane.active):
            m.d.sync += [total.eq(total + row[mode]) for mode, total in enumerate(totals)]
        with m.If(priced.valid & priced.lane.active):
            m.d.sync += [own.eq(own + (price + _NAMING)), some.eq(some | ~priced.lane.zero)]
        with m.If(priced.final):
            m.d.sync += looking.eq(1)
        with m.If(looking):
            total = Array(totals)[place]
            m.d.sync += place.eq(place + 1)
            with m.If((place == 0) | (total < least)):
                m.d.sync += [least.eq(total), found.eq(place)]
            with m.If(place == TABLE_MODES - 1):
                m.d.sync += [looking.eq(0), judged.eq(1)]
        with m.If(judged):
            m.d.sync += [judged.eq(0), own.eq(0), some.eq(0), *(total.eq(0) for total in totals)]
        m.d.comb += [self.done.eq(judged), self.o.empty.eq(~some),
                     self.o.tag.eq(Mux(some & (least < own), found, TAG_CHANNELS))]
