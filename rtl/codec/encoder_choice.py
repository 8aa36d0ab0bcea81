"""The encoder's choice of a mode for each channel of a tile."""

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .encoder_rank import bucket
from .encoder_statistics import delayed, looked_layout
from .encoder_tile import DIMENSION_BITS, RANK_CENTRE, STEPS, Choice, check_lanes
from .tables import CONST, COST_BITS, COSTS, MODE_BITS, MODES, TABLE_MODES, TAG_CHANNELS, ZERO

_LARGEST = max(cost for table in COSTS for mode in table for context in mode for cost in context)
_COST_WIDTH = _LARGEST.bit_length()
_SUM_BITS = (STEPS * _LARGEST).bit_length()
_TOTAL_BITS = ((1 << DIMENSION_BITS) * _LARGEST).bit_length()
_OWN_BITS = _TOTAL_BITS + 2  # with what naming the modes costs


class _Smallest(data.Struct):
    total: unsigned(_SUM_BITS)
    mode: unsigned(3)


class _Lane(data.Struct):
    """A channel: what each mode costs, what its values have in common; `active`: there is one."""

    sums: data.ArrayLayout(_SUM_BITS, TABLE_MODES)
    zero: unsigned(1)
    alike: unsigned(1)
    active: unsigned(1)


def _modes_of(predictor: str) -> list[list[int]]:
    """The modes with a predictor, by set."""
    return [[mode for mode, (used, _) in enumerate(modes) if used == predictor] for modes in MODES]


def _slot(table_set: int, mode: int) -> int:
    """Place of a mode among those with its predictor."""
    return _modes_of(MODES[table_set][mode][0])[table_set].index(mode)


def _cost_table(predictor: str) -> list[int]:
    """[set, context, bucket]: the costs in all modes with this predictor, side by side."""
    return [sum(COSTS[table_set][mode][context][place] << _COST_WIDTH * slot for slot, mode in enumerate(modes))
            for table_set, modes in enumerate(_modes_of(predictor)) for context in range(16) for place in range(16)]


def smallest(a: tuple[Value, Value], b: tuple[Value, Value]) -> tuple[Value, Value]:
    """Of two sums with their modes the smaller; the first of equals."""
    less = b[0] < a[0]
    return Mux(less, b[0], a[0]), Mux(less, b[1], a[1])


class ModeChoice(wiring.Component):
    """Adds up what each table mode is taken to cost each channel; the smallest sum wins, the first of equals.

    The sums of `lanes` channels are complete when their last pixel has come; lane by lane they leave in the next
    `lanes` cycles, while those of the next channels grow. After a tile's last channels the sums of all channels decide
    whether one mode serves them all (`sim.codec.choose`).

    Parameters
    ----------
    lanes: channels at a time.

    Members
    -------
    i: values; a cycle without one follows each last pixel.
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
        pixels, actives = delayed(m, self.i.pixel, "pixel", 3), delayed(m, self.i.active, "active", 3)
        captures = pixels[3].valid & pixels[3].last
        waiting = [Signal(_Lane, name=f"waiting_{lane}", reset_less=True) for lane in range(lanes)]
        for lane in range(lanes):
            sums = self._sums(m, lane, pixels, captures)
            zero, const = self._flags(m, lane, pixels)
            with m.If(captures):
                m.d.sync += [waiting[lane].sums[mode].eq(total) for mode, total in enumerate(sums)]
                m.d.sync += [waiting[lane].zero.eq(zero), waiting[lane].alike.eq(const),
                             waiting[lane].active.eq(actives[3][lane])]
        place, leaves, final = Signal(range(lanes)), Signal(), Signal()
        with m.If(captures):
            m.d.sync += [place.eq(0), leaves.eq(1), final.eq(pixels[3].final)]
        with m.Elif(leaves):
            m.d.sync += [place.eq(place + 1), leaves.eq(place != lanes - 1)]
        lane = Signal(_Lane)
        m.d.comb += lane.eq(Array(Value.cast(one) for one in waiting)[place])
        self._decide(m, lane, leaves, place == lanes - 1, final)
        return m

    def _sums(self, m: Module, lane: int, pixels: list, clear: Value) -> list[Signal]:
        """What the modes cost a channel up to now."""
        ranks = self.i.values[lane].ranks
        sums = []
        costs: dict[str, list] = {}
        for predictor, rank, context in (("A", ranks.a, ranks.map), ("U", ranks.u, ranks.map),
                                         ("Z", ranks.z, ranks.spread)):
            table = _cost_table(predictor)
            width = _COST_WIDTH * max(len(modes) for modes in _modes_of(predictor))
            m.submodules[f"costs_{predictor}_{lane}"] = rom = memory.Memory(shape=width, depth=len(table), init=table)
            port = rom.read_port()
            m.d.comb += port.addr.eq(Cat(bucket(rank), context, pixels[0].single))
            costs[predictor] = [port.data.word_select(k, _COST_WIDTH) for k in range(width // _COST_WIDTH)]
        for mode in range(TABLE_MODES):
            cost, total = (Signal(width, name=f"{name}_{lane}_{mode}", reset_less=True)
                           for name, width in (("cost", _COST_WIDTH), ("sum", _SUM_BITS)))
            by_set = [costs[MODES[table_set][mode][0]][_slot(table_set, mode)] for table_set in (0, 1)]
            m.d.sync += cost.eq(Mux(pixels[1].single, by_set[1], by_set[0]))
            with m.If(clear):
                m.d.sync += total.eq(0)
            with m.Elif(pixels[2].valid):
                m.d.sync += total.eq(total + cost)
            sums.append(total)
        return sums

    def _flags(self, m: Module, lane: int, pixels: list) -> list[Signal]:
        """Whether all values of a channel are the centre, and whether all are equal."""
        value = self.i.values[lane]
        flags = []
        for name, now in (("zero", value.ranks.z == RANK_CENTRE), ("const", value.same)):
            late, flag = delayed(m, now, f"{name}_{lane}", 2)[2], Signal(name=f"{name}_{lane}", reset_less=True)
            with m.If(pixels[2].valid):
                m.d.sync += flag.eq((flag | pixels[2].first) & late)
            flags.append(flag)
        return flags

    def _decide(self, m: Module, lane: Any, valid: Value, last: Value, final: Value) -> None:
        """A lane's mode, two cycles later; after a tile's last one, the tag."""
        sums = [(lane.sums[mode], Const(mode, range(TABLE_MODES))) for mode in range(TABLE_MODES)]
        halves = [Signal(_Smallest, name=f"half_{k}", reset_less=True) for k in range(2)]
        for k, half in enumerate(halves):
            total, mode = smallest(smallest(sums[4 * k], sums[4 * k + 1]), smallest(sums[4 * k + 2], sums[4 * k + 3]))
            m.d.sync += [half.total.eq(total), half.mode.eq(mode)]
        total, mode = smallest((halves[0].total, halves[0].mode), (halves[1].total, halves[1].mode))
        stage = data.StructLayout({"valid": 1, "last": 1, "final": 1, "zero": 1, "alike": 1, "active": 1})
        now, one, two = (Signal(stage, name=f"stage_{k}") for k in range(3))
        best, price = Signal(MODE_BITS, reset_less=True), Signal(_SUM_BITS, reset_less=True)
        m.d.comb += [now.valid.eq(valid), now.last.eq(valid & last), now.final.eq(valid & last & final),
                     now.zero.eq(lane.zero), now.alike.eq(lane.alike), now.active.eq(lane.active)]
        m.d.sync += [one.eq(now), two.eq(one), best.eq(Mux(one.zero, ZERO, Mux(one.alike, CONST, mode))),
                     price.eq(Mux(one.zero, 0, Mux(one.alike, 8 * COST_BITS, total)))]
        modes, complete = Signal.like(self.modes.modes), Signal()
        m.d.sync += complete.eq(two.last)
        with m.If(two.valid):
            m.d.sync += modes.eq(Cat(modes[MODE_BITS:], Mux(two.active, best, 0)))
        m.d.comb += [self.modes.modes.eq(modes), self.modes.valid.eq(complete)]
        self._judge(m, lane, valid, two, price)

    def _judge(self, m: Module, lane: Any, valid: Value, priced: Any, price: Value) -> None:
        """Sums of all channels, one mode for all against each its own; looked through in TABLE_MODES cycles."""
        totals = [Signal(_TOTAL_BITS, name=f"total_{mode}") for mode in range(TABLE_MODES)]
        own, some = Signal(_OWN_BITS), Signal()  # some: not all values are the centre
        least, found, place = Signal(_TOTAL_BITS), Signal(range(TABLE_MODES)), Signal(range(TABLE_MODES))
        looking, judged = Signal(), Signal()
        with m.If(valid & lane.active):
            m.d.sync += [total.eq(total + lane.sums[mode]) for mode, total in enumerate(totals)]
        with m.If(priced.valid & priced.active):
            m.d.sync += [own.eq(own + price + MODE_BITS * COST_BITS), some.eq(some | ~priced.zero)]
        with m.If(priced.final):
            m.d.sync += looking.eq(1)
        with m.If(looking):
            # The totals pass by, the first mode's first.
            m.d.sync += [before.eq(after) for before, after in zip(totals, [*totals[1:], Const(0)], strict=True)]
            m.d.sync += place.eq(place + 1)
            with m.If((place == 0) | (totals[0] < least)):
                m.d.sync += [least.eq(totals[0]), found.eq(place)]
            with m.If(place == TABLE_MODES - 1):
                m.d.sync += [looking.eq(0), judged.eq(1)]
        with m.If(judged):
            m.d.sync += [judged.eq(0), own.eq(0), some.eq(0)]
        m.d.comb += [self.done.eq(judged), self.o.empty.eq(~some),
                     self.o.tag.eq(Mux(some & (least < own), found, TAG_CHANNELS))]
