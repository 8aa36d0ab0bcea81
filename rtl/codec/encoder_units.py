"""Where the encoder's units wait until their tile goes out."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import ANY_COLLISION
from .encoder_queue import TileQueue
from .encoder_streams import lane_ends, unit_writes
from .encoder_tile import (
    CODED_TILES,
    UNIT_NUMBER_BITS,
    UNIT_STEPS,
    Taken,
    check_lanes,
    ones,
    phase_bits,
    ring_bits,
)
from .tables import LANES, UNIT_BITS


def coded_layout(lanes: int) -> data.StructLayout:
    """A tile whose units are stored: so many, their order up to `order`; `entered`: streams with one untouched unit at
    their end, the others have two."""
    return data.StructLayout({"units": UNIT_NUMBER_BITS, "order": order_bits(lanes), "entered": LANES})


def order_layout(lanes: int) -> data.StructLayout:
    """The lanes of a phase that took units in a step; `many`: more than four."""
    return data.StructLayout({"phase": phase_bits(lanes), "many": 1, "lanes": lanes})


def order_bits(lanes: int) -> int:
    """Bits of a place in the ring of `Taken`."""
    return ring_bits(UNIT_STEPS, lanes)


class UnitStore(wiring.Component):
    """A ring of units for each stream, and one that says which streams took units, step by step.

    Both have UNIT_STEPS places a stream.

    Parameters
    ----------
    lanes: units that come at once.

    Members
    -------
    taken, ends, units: from `Streams`.
    coded: the first tile that ended and was not taken; `done`: there is one. accept: it is taken.
    order_address, order: read port of the order. addresses, values: of the units, each with the stream's phase above
    the place. Both answer after a cycle, and stand still without `order_read` and `read`. walk_address, walked: another
    read port of the order.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "taken": In(Taken), "ends": In(lane_ends(lanes)), "units": In(unit_writes(lanes)),
            "coded": Out(coded_layout(lanes)), "done": Out(1), "accept": In(1),
            "order_read": In(1), "order_address": In(order_bits(lanes)), "order": Out(order_layout(lanes)),
            "walk_address": In(order_bits(lanes)), "walked": Out(order_layout(lanes)),
            "read": In(1), "addresses": In(data.ArrayLayout(ring_bits(UNIT_STEPS, lanes), lanes)),
            "values": Out(data.ArrayLayout(UNIT_BITS, lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        taken = self.taken.lanes[:lanes]
        end, total, count = Signal(order_bits(lanes)), Signal(UNIT_NUMBER_BITS), Signal(range(lanes + 1))
        m.submodules.order = order = memory.Memory(shape=order_layout(lanes), depth=1 << order_bits(lanes), init=[],
                                                attrs=ANY_COLLISION)
        write, read, walk = order.write_port(), order.read_port(), order.read_port()
        number = Signal(range(lanes + 1))
        m.d.comb += [
            number.eq(ones(taken)), write.addr.eq(end), write.en.eq(taken.any()), write.data.lanes.eq(taken),
            write.data.phase.eq(self.taken.phase), write.data.many.eq(number > 4),
            read.addr.eq(self.order_address), read.en.eq(self.order_read), self.order.eq(read.data),
            walk.addr.eq(self.walk_address), self.walked.eq(walk.data),
        ]
        m.d.sync += [end.eq(end + taken.any()), count.eq(number), total.eq(total + count)]
        for lane in range(lanes):
            self._ring(m, lane)
        m.submodules.tiles = tiles = TileQueue(coded_layout(lanes), CODED_TILES + 1)
        ended = Signal(LANES)
        with m.If(self.ends.valid):
            for phase in range(LANES // lanes):
                with m.If(self.ends.phase == phase):
                    m.d.sync += ended[phase * lanes:(phase + 1) * lanes].eq(self.ends.entered)
        last = Signal()
        m.d.sync += last.eq(self.ends.last)
        m.d.comb += [
            tiles.i.valid.eq(last), tiles.i.payload.units.eq(total), tiles.i.payload.order.eq(end),
            tiles.i.payload.entered.eq(ended), self.coded.eq(tiles.o.payload), self.done.eq(tiles.o.valid),
            tiles.o.ready.eq(self.accept),
        ]
        with m.If(last):  # now the tile's last units are written
            m.d.sync += total.eq(count)
        return m

    def _ring(self, m: Module, lane: int) -> None:
        """The units of a lane's streams."""
        lanes = self._lanes
        m.submodules[f"units_{lane}"] = ring = memory.Memory(
            shape=UNIT_BITS, depth=1 << ring_bits(UNIT_STEPS, lanes), init=[], attrs=ANY_COLLISION)
        write, read = ring.write_port(), ring.read_port()
        places = [Signal(ring_bits(UNIT_STEPS, LANES), name=f"place_{stream}") for stream in range(lane, LANES, lanes)]
        m.d.comb += [read.addr.eq(self.addresses[lane]), read.en.eq(self.read), self.values[lane].eq(read.data),
                     write.en.eq(self.units.valid[lane]), write.data.eq(self.units.units[lane])]
        with m.Switch(self.units.phase):
            for phase, place in enumerate(places):
                with m.Case(phase):
                    m.d.comb += write.addr.eq(Cat(place, self.units.phase))
                    m.d.sync += place.eq(place + self.units.valid[lane])
