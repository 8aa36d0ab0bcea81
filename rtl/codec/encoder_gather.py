"""Units of the encoder's streams in the order in which the decoder takes them."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import UNIT_STEPS, check_lanes, ring_bits
from .encoder_units import order_bits, order_layout
from .tables import LANES


class Gather(wiring.Component):
    """Reads the order of a tile's units and addresses the units, those of up to four lanes a cycle.

    The order of all of a tile is read, also behind its last unit: each stream's next unit is then the next tile's.

    Parameters
    ----------
    lanes: of the machine.

    Members
    -------
    begin: a tile's order stands from where the last one's ended to before `stop`; up to `final` its units are wanted,
    of that place those of the lanes in `mask`. none: no unit is wanted.
    go: everything here moves in this cycle. enable: wanted units may be named.
    lanes: whose units, which their ring answers after a cycle, are wanted.
    order_address, order: read port, a cycle, which stands still without `order_read`. addresses: of the units' rings.
    busy: the tile's order has not been read.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "begin": In(1), "stop": In(order_bits(lanes)), "final": In(order_bits(lanes)), "mask": In(lanes),
            "none": In(1), "go": In(1), "enable": In(1), "lanes": Out(lanes), "busy": Out(1),
            "order_address": Out(order_bits(lanes)), "order_read": Out(1), "order": In(order_layout(lanes)),
            "addresses": Out(data.ArrayLayout(ring_bits(UNIT_STEPS, lanes), lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        at, ahead, ahead_final = Signal(order_bits(lanes)), Signal(), Signal(reset_less=True)
        now, valid, final = Signal(order_layout(lanes), reset_less=True), Signal(), Signal(reset_less=True)
        running, dropping, second = Signal(), Signal(), Signal()
        more, moves, done = Signal(), Signal(), Signal()
        part, wanted = Signal(lanes), Signal(lanes)
        m.d.comb += [
            more.eq(running & (at != self.stop)), self.order_address.eq(at), self.order_read.eq(done | ~valid),
            moves.eq(self.go & valid & (dropping | self.enable)),
            done.eq(moves & (dropping | ~now.many | second)),
            part.eq(now.lanes), self.busy.eq(more | ahead | valid),
            wanted.eq(part & Mux(final, self.mask, (1 << lanes) - 1)),
        ]
        if lanes > 4:  # at most four a cycle
            with m.If(now.many & ~dropping):
                m.d.comb += part.eq(Mux(second, now.lanes[4:] << 4, now.lanes[:4]))
        with m.If(moves & ~dropping):
            m.d.comb += self.lanes.eq(wanted)
            m.d.sync += second.eq(now.many & ~second)
        with m.If(done & final):
            m.d.sync += dropping.eq(1)
        with m.If(self.order_read):
            m.d.sync += [now.eq(self.order), valid.eq(ahead), final.eq(ahead_final), ahead.eq(more),
                         ahead_final.eq(at == self.final), at.eq(at + more)]
        with m.If(self.begin):
            m.d.sync += [running.eq(1), dropping.eq(self.none)]
        with m.Elif(~more):
            m.d.sync += running.eq(0)
        self._state = at, ahead, ahead_final, now, valid, final, running, dropping, second
        self._done, self._moves, self._reads = done, moves, part & moves.replicate(lanes)
        self._addresses(m, now.phase, part & moves.replicate(lanes))
        return m

    def _addresses(self, m: Module, phase: Signal, reads: Signal) -> None:
        """The next unit of each lane, and the one behind it for those that `reads` names."""
        lanes = self._lanes
        for lane in range(lanes):
            mine = [Signal(ring_bits(UNIT_STEPS, LANES), name=f"place_{stream}")
                    for stream in range(lane, LANES, lanes)]
            now = mine[0] if lanes == LANES else Array(mine)[phase]
            m.d.comb += self.addresses[lane].eq(Cat(now, phase))
            for number, place in enumerate(mine):
                with m.If(reads[lane] & (phase == number)):
                    m.d.sync += place.eq(place + 1)
