"""What the modes are taken to cost: two lanes of the encoder's choice."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .encoder_rank import bucket, fold_of
from .encoder_statistics import Looked, delayed
from .encoder_tile import FEW_PIXELS, MOST_PIXELS
from .tables import BUCKETS, COSTS, MODES, SET_BITS, TABLE_MODES, TABLE_SETS

_LARGEST = max(cost for table in COSTS for mode in table for context in mode for cost in context)
_COST_BITS = _LARGEST.bit_length()
CENTRE_BUCKET = len(BUCKETS) + 1
SUM_BITS = (max(FEW_PIXELS, MOST_PIXELS // 2) * _LARGEST).bit_length()


class Look(data.Struct):
    """`turns`: the sums of the two lanes change places; `adds`: with the costs of this value; `clears`: one that is
    complete is given and begins again with 0."""

    turns: unsigned(1)
    adds: unsigned(1)
    clears: unsigned(1)


def _modes_of(predictor: str) -> list[int]:
    """The modes that have this predictor in some set."""
    return [mode for mode in range(TABLE_MODES) if any(modes[mode][0] == predictor for modes in MODES)]


def _cost_table(predictor: str) -> list[int]:
    """[set, context, bucket]: the costs in all modes with this predictor, side by side; 0 in a set where a mode has
    another."""
    return [sum(COSTS[table_set][mode][context][place] << _COST_BITS * slot
                for slot, mode in enumerate(_modes_of(predictor)) if MODES[table_set][mode][0] == predictor)
            for table_set in range(TABLE_SETS) for context in range(16) for place in range(16)]


class CostSums(wiring.Component):
    """Costs of one of two lanes a cycle, and the sums of both, by mode.

    Parameters
    ----------
    delay: cycles by which all is later.

    Members
    -------
    i: values of two lanes. odd: the second is looked at. table_set, centre: of the tile.
    look: what happens to the sums, five + `delay` cycles later.
    o: the sums that are cleared in this cycle.
    """

    def __init__(self, delay: int) -> None:
        self._delay = delay
        super().__init__({
            "i": In(data.ArrayLayout(Looked, 2)), "odd": In(1), "table_set": In(SET_BITS), "centre": In(8),
            "look": In(Look), "o": Out(data.ArrayLayout(SUM_BITS, TABLE_MODES)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        odds, sets = delayed(m, self.odd, "odd", 2), delayed(m, self.table_set, "table_set", 3)
        chosen, contexts = Signal(Looked, reset_less=True), Signal(8, reset_less=True)
        m.d.sync += [chosen.eq(Mux(self.odd, self.i[1], self.i[0])),
                     contexts.eq(Mux(odds[2], *(Cat(one.map, one.spread) for one in (self.i[1], self.i[0]))))]
        centre = Signal(8, reset_less=True)
        m.d.sync += centre.eq(self.centre)
        centred = delayed(m, chosen.is_centre, "centred", 2)[2]
        costs: list[Any] = [0] * TABLE_MODES
        for predictor, prediction, context in (("A", chosen.mean, contexts[:4]), ("U", chosen.upper, contexts[:4]),
                                               ("Z", centre, contexts[4:])):
            rank = Signal(8, name=f"rank_{predictor}", reset_less=True)
            fold, _ = fold_of(m, predictor, chosen.value, prediction)
            m.d.sync += rank.eq(fold - 1 if predictor == "Z" else fold)
            place = Signal(4, name=f"bucket_{predictor}", reset_less=True, init=CENTRE_BUCKET)
            m.d.sync += place.eq(bucket(rank))
            with m.If(centred):
                m.d.sync += place.eq(CENTRE_BUCKET)
            late = delayed(m, Cat(context, sets[3]), f"context_{predictor}", 1)[1]
            address = delayed(m, Cat(place, late), f"address_{predictor}", self._delay)[-1]
            modes = _modes_of(predictor)
            m.submodules[f"costs_{predictor}"] = rom = memory.Memory(
                shape=_COST_BITS * len(modes), depth=TABLE_SETS << 8, init=_cost_table(predictor),
                attrs={"rom_style": "block"})
            port = rom.read_port()
            m.d.comb += port.addr.eq(address)
            for slot, mode in enumerate(modes):
                costs[mode] = costs[mode] | port.data.word_select(slot, _COST_BITS)
        self._sums(m, costs)
        return m

    def _sums(self, m: Module, costs: list) -> None:
        adds = Signal()
        look = Signal(Look)
        m.d.sync += look.eq(self.look)
        m.d.comb += adds.eq(self.look.adds)
        for mode, given in enumerate(costs):
            cost = Signal(_COST_BITS, name=f"cost_{mode}", reset_less=True)
            here, there = (Signal(SUM_BITS, name=f"{name}_{mode}") for name in ("here", "there"))
            m.d.sync += cost.eq(given)
            with m.If(~adds):
                m.d.sync += cost.eq(0)
            with m.If(look.turns):
                m.d.sync += [there.eq(here + cost), here.eq(there)]
            with m.If(look.clears):
                m.d.sync += here.eq(0)
            m.d.comb += self.o[mode].eq(there)
