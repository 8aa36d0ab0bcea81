"""Units of the encoder's streams in the order in which the decoder takes them."""

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from .encoder_pack import Piece
from .encoder_tile import STEPS, UNIT_NUMBER_BITS, Taken, check_lanes, ones, ring_bits
from .encoder_units import order_bits
from .tables import LANES, UNIT_BITS

WIDTH = 4
"""Units of a piece at most."""
_AHEAD = 8


class Gather(wiring.Component):
    """Reads the order of a tile's units and from it the units, up to four of one phase a cycle.

    Parameters
    ----------
    lanes: of the machine.

    Members
    -------
    begin: a tile begins: `units` of them, whose order stands from `start` to before `stop` (it may name more);
    `places`: where each stream ends, behind which a unit is zero.
    enable: a piece may leave. o: pieces; count 0 where there is none, three cycles after.
    order_address, order, addresses, values: read ports, a cycle.
    finish: the tile is done with, all of it or nothing: its streams' next units come at `places`.
    busy: units are missing.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        place = ring_bits(STEPS, LANES)
        super().__init__({
            "begin": In(1), "units": In(UNIT_NUMBER_BITS),
            "start": In(order_bits(lanes)), "stop": In(order_bits(lanes)),
            "places": In(data.ArrayLayout(place, LANES)), "enable": In(1), "finish": In(1),
            "o": Out(Piece), "busy": Out(1),
            "order_address": Out(order_bits(lanes)), "order": In(Taken),
            "addresses": Out(data.ArrayLayout(ring_bits(STEPS, lanes), lanes)),
            "values": In(data.ArrayLayout(UNIT_BITS, lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        left, kept = Signal(UNIT_NUMBER_BITS), Signal(lanes)  # kept: lanes of a step that have to go before the next's
        queue = self._order(m, left)
        phase, offered, older, newer = queue.r_data[:2], Signal(lanes), Signal(lanes), Signal(lanes)
        moves = self.enable & (left != 0)
        # Of the next step those below all that were kept: no lane twice.
        free = Cat(~kept[:lane + 1].any() for lane in range(lanes))
        m.d.comb += [older.eq(Mux(moves, kept, 0)), newer.eq(Mux(moves & queue.r_rdy, queue.r_data[2:] & free, 0)),
                     offered.eq(older | newer)]
        width = min(WIDTH, lanes)
        among = Signal(range(lanes + 1))
        m.d.comb += among.eq(ones(older))
        before = Signal(data.ArrayLayout(range(lanes + 1), lanes))  # lanes offered before this one
        chosen = [Signal(lanes, name=f"chosen_{place}") for place in range(width)]
        goes, rest = Signal(lanes), Signal(lanes)
        for lane in range(lanes):
            m.d.comb += before[lane].eq(Mux(older[lane], ones(older[:lane]), among + ones(newer[:lane])))
            m.d.comb += [chosen[place][lane].eq(offered[lane] & (before[lane] == place) & (left > place))
                         for place in range(width)]
            m.d.comb += goes[lane].eq(offered[lane] & (before[lane] < width))
        went = goes & newer
        taken = went.any()
        m.d.comb += rest.eq(Mux(taken, queue.r_data[2:] & ~went, older & ~goes))
        count = Signal(3)
        m.d.comb += count.eq(ones([one.any() for one in chosen]))
        with m.If(offered.any()):
            m.d.sync += [left.eq(left - count), kept.eq(rest)]
        m.d.comb += queue.r_en.eq(taken)
        zeros = self._read(m, phase, goes)
        self._pick(m, chosen, count, zeros)
        m.d.comb += self.busy.eq(left != 0)
        with m.If(self.begin):
            m.d.sync += [left.eq(self.units), kept.eq(0)]
        with m.If(left == 0):  # what is left of the last step's lanes have not touched their units
            m.d.comb += queue.r_en.eq(1)
        return m

    def _order(self, m: Module, left: Signal) -> Any:
        """A queue of the lanes that took units, filled ahead."""
        m.submodules.queue = queue = fifo.SyncFIFO(width=2 + self._lanes, depth=_AHEAD)
        at, reads, answered = Signal.like(self.order_address), Signal(), Signal()
        stop = Signal.like(at)
        m.d.comb += [
            reads.eq((left != 0) & (at != stop) & (queue.level < _AHEAD - 2)),
            self.order_address.eq(at), queue.w_en.eq(answered),
            queue.w_data.eq(Cat(self.order.phase, self.order.lanes[:self._lanes])),
        ]
        m.d.sync += [answered.eq(reads), at.eq(at + reads)]
        with m.If(self.begin):
            m.d.sync += [at.eq(self.start), stop.eq(self.stop)]
        return queue

    def _read(self, m: Module, phase: Any, goes: Signal) -> Signal:
        """Reads the next unit of the lanes that go; whether it is untouched, with the answer."""
        lanes, width = self._lanes, len(self.places[0])
        zeros = Signal(lanes, reset_less=True)
        for lane in range(lanes):
            mine = [Signal(width, name=f"place_{stream}") for stream in range(lane, LANES, lanes)]
            ends = [self.places[stream] for stream in range(lane, LANES, lanes)]
            now, end = (mine[0], ends[0]) if lanes == LANES else (Array(mine)[phase], Array(ends)[phase])
            over = Signal(name=f"over_{lane}")
            m.d.comb += [over.eq(now == end), self.addresses[lane].eq(Cat(now, phase))]
            m.d.sync += zeros[lane].eq(over)
            for number, place in enumerate(mine):
                with m.If(goes[lane] & ~over & (phase == number)):
                    m.d.sync += place.eq(place + 1)
                with m.If(self.finish):
                    m.d.sync += place.eq(ends[number])
        return zeros

    def _pick(self, m: Module, chosen: list, count: Signal, zeros: Signal) -> None:
        """The units of the chosen lanes side by side."""
        counted = Signal.like(count)
        m.d.sync += [counted.eq(count), self.o.count.eq(counted << 1)]
        units = []
        for place, lanes in enumerate(chosen):
            later = Signal.like(lanes, name=f"later_{place}", reset_less=True)
            m.d.sync += later.eq(lanes)
            terms = [Mux(later[lane] & ~zeros[lane], self.values[lane], 0) for lane in range(self._lanes)]
            while len(terms) > 1:
                terms = [terms[k] | terms[k + 1] for k in range(0, len(terms), 2)]
            units.append(terms[0])
        m.d.sync += self.o.data.eq(Cat(units))
