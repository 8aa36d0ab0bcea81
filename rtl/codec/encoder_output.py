"""The last stage of the encoder: a tile goes out, coded or as it is."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .encoder_direct import DirectOutput
from .encoder_gather import Gather
from .encoder_pack import Packer
from .encoder_tile import (
    DIMENSION_BITS,
    GROUP_BITS,
    MODE_STEPS,
    STEPS,
    STORED_STEPS,
    UNIT_NUMBER_BITS,
    UNIT_STEPS,
    Chosen,
    Entry,
    Payload,
    check_lanes,
    ones,
    phase_bits,
    ring_bits,
)
from .encoder_units import coded_layout, order_bits, order_layout
from .tables import LANES, MODE_BITS, TAG_CHANNELS, TAG_RAW, UNIT_BITS


def _decided(lanes: int) -> data.StructLayout:
    """A tile of which is known what goes out: as it is if `raw`; `size` bytes, `header` of them of modes; no unit if
    `none`, or those up to `final` in the order, there of the lanes in `mask`; the order ends before `stop`."""
    return data.StructLayout({
        "tile": Chosen, "stop": order_bits(lanes), "final": order_bits(lanes), "mask": lanes, "none": 1, "raw": 1,
        "size": DIMENSION_BITS + 1, "header": DIMENSION_BITS})


class TileOutput(wiring.Component):
    """Finds how many units a tile has without those behind the last code, decides, and sends entry and payload.

    To find the end it goes back through the order of the units, three cycles a step that took some, a few steps in all,
    while the tile before is on its way. The payload then takes a cycle for each step's units, two where there are more
    than four, or, as it is, a cycle for each step (more where `DirectOutput` says so).

    Parameters
    ----------
    lanes: of the machine.

    Members
    -------
    i: stream of tiles; coded, done, accept: their units (`UnitStore`).
    modes_address, modes, values_address, values, order_address, order, addresses, units: read ports, a cycle; tiles
    follow each other in the rings of modes and values. order_read, read: these ports' enables, of the order's and of
    all others. walk_address, walked: another one of the order.
    released: places of the values' ring that are free again, without end. sent: a tile is out, `steps`, `parts` (of a
    pixel) are its size.
    entry, payload: streams; a tile without payload has no word.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "i": In(stream.Signature(Chosen)),
            "coded": In(coded_layout(lanes)), "done": In(1), "accept": Out(1),
            "modes_address": Out(ring_bits(MODE_STEPS, lanes)), "modes": In(MODE_BITS * lanes),
            "values_address": Out(ring_bits(STORED_STEPS, lanes)), "values": In(8 * lanes),
            "order_read": Out(1), "order_address": Out(order_bits(lanes)), "order": In(order_layout(lanes)),
            "walk_address": Out(order_bits(lanes)), "walked": In(order_layout(lanes)),
            "read": Out(1), "addresses": Out(data.ArrayLayout(ring_bits(UNIT_STEPS, lanes), lanes)),
            "units": In(data.ArrayLayout(UNIT_BITS, lanes)),
            "released": Out(ring_bits(STORED_STEPS, lanes) + 1),
            "sent": Out(1), "steps": Out(STEPS.bit_length()), "parts": Out(GROUP_BITS + phase_bits(lanes)),
            "entry": Out(stream.Signature(Entry)),
            "payload": Out(stream.Signature(Payload)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, extra = self._lanes, phase_bits(self._lanes)
        m.submodules.gather = gather = Gather(lanes)
        m.submodules.direct = direct = DirectOutput(lanes)
        m.submodules.packer = packer = Packer(lanes)
        connect(m, packer.o, flipped(self.payload))
        given, decided, accepts = Signal(_decided(lanes)), Signal(), Signal()
        self._decide(m, given, decided, accepts)
        now = Signal(_decided(lanes), reset_less=True)
        modes, values = Signal.like(self.modes_address), Signal.like(self.released)
        raw, tile = now.raw, now.tile
        m.d.comb += [
            gather.stop.eq(now.stop), gather.final.eq(now.final), gather.mask.eq(now.mask), gather.none.eq(now.none),
            gather.go.eq(packer.go), gather.order.eq(self.order), self.addresses.eq(gather.addresses),
            self.order_read.eq(gather.order_read), self.order_address.eq(gather.order_address),
            direct.go.eq(packer.go), direct.raw.eq(raw), direct.size.eq(Mux(raw, tile.values, now.header)),
            direct.c.eq(tile.c), direct.parts.eq(self.parts), direct.values_base.eq(values),
            direct.modes_base.eq(modes),
            self.values_address.eq(direct.values_address), direct.values.eq(self.values),
            self.modes_address.eq(direct.modes_address), direct.modes.eq(self.modes),
            packer.lanes.eq(gather.lanes), packer.units.eq(self.units), packer.direct.eq(direct.o),
            packer.words.eq((Mux(raw, tile.values, now.size) + 7) >> 3), self.read.eq(packer.go),
            self.entry.payload.tag.eq(Mux(raw, TAG_RAW, tile.choice.tag)),
            self.entry.payload.units.eq(Mux(raw, 0, now.size >> 1)),
            self.steps.eq(tile.steps), self.parts.eq(tile.groups << extra), self.released.eq(values),
        ]
        with m.FSM(name="sends"):
            with m.State("idle"):
                m.d.comb += accepts.eq(1)
                m.d.sync += now.eq(given)
                with m.If(decided):
                    m.next = "entry"
            with m.State("entry"):
                m.d.comb += self.entry.valid.eq(1)
                with m.If(self.entry.ready):
                    m.d.comb += [packer.begin.eq(1), direct.begin.eq(1), gather.begin.eq(1)]
                    m.next = "direct"
            with m.State("direct"):
                with m.If(~direct.busy):  # nothing of the tile is read any more but its units
                    m.d.sync += [modes.eq(modes + self.parts), values.eq(values + (tile.steps << extra))]
                    m.next = "gather"
            with m.State("gather"):
                m.d.comb += gather.enable.eq(1)
                with m.If(~gather.busy):
                    m.next = "flush"
            with m.State("flush"):
                m.d.comb += packer.flush.eq(1)
                with m.If(~packer.busy):
                    m.d.comb += self.sent.eq(1)
                    m.next = "idle"
        return m

    def _decide(self, m: Module, given: Any, decided: Signal, accepts: Signal) -> None:
        """`given` is decided; it is taken where that `accepts`."""
        lanes = self._lanes
        tile, coded = Signal(Chosen, reset_less=True), Signal(coded_layout(lanes), reset_less=True)
        units = Signal(UNIT_NUMBER_BITS, reset_less=True)
        walk, untouched = Signal(order_bits(lanes)), [Signal(2, name=f"untouched_{s}") for s in range(LANES)]
        size, quarter = Signal(DIMENSION_BITS + 1, reset_less=True), Signal(DIMENSION_BITS - 2)
        mask, found = Signal(lanes, reset_less=True), Signal(order_layout(lanes), reset_less=True)
        named = (tile.choice.tag == TAG_CHANNELS) & ~tile.choice.empty
        m.d.comb += [
            quarter.eq(Mux(named, (tile.c + 3) >> 2, 0)), self.walk_address.eq(walk),
            given.tile.eq(tile), given.stop.eq(coded.order), given.final.eq(walk), given.mask.eq(mask),
            given.raw.eq(size >= tile.values), given.none.eq(given.raw | (units == 0)), given.size.eq(size),
            given.header.eq(quarter << 1),
        ]
        self._count, self._found = (units, walk, coded, mask, untouched), found
        with m.FSM(name="decides") as self._deciding:
            with m.State("idle"):
                m.d.sync += [tile.eq(self.i.payload), coded.eq(self.coded), units.eq(self.coded.units),
                             walk.eq(self.coded.order - 1)]
                m.d.sync += [left.eq(2 - self.coded.entered[s]) for s, left in enumerate(untouched)]
                with m.If(self.i.valid & self.done):
                    m.d.comb += [self.i.ready.eq(1), self.accept.eq(1)]
                    m.next = "back"
            with m.State("back"):
                m.next = "answer"
            with m.State("answer"):
                m.d.sync += found.eq(self.walked)
                m.next = "drop"
            with m.State("drop"):
                touched, dropped = self._drop(m, found, untouched)
                m.d.sync += mask.eq(found.lanes & ~dropped)
                with m.If(units == 0):
                    m.next = "size"
                with m.Else():
                    m.d.sync += units.eq(units - ones(dropped))
                    m.next = "back"
                    with m.If(touched):
                        m.next = "size"
                    with m.Else():
                        m.d.sync += walk.eq(walk - 1)
            with m.State("size"):
                m.d.sync += size.eq((units + quarter) << 1)
                m.next = "decided"
            with m.State("decided"):
                m.d.comb += decided.eq(1)
                with m.If(accepts):
                    m.next = "idle"

    def _drop(self, m: Module, found: Any, untouched: list) -> tuple[Value, Value]:
        """Takes a step's units away, from the last on, up to one that its stream has touched: whether there is such a
        one, and the lanes that lose theirs."""
        lanes, phases = self._lanes, LANES // self._lanes
        used, touched, dropped = Signal(lanes), Signal(lanes), Signal(lanes)
        for phase in range(phases):
            with m.If(found.phase == phase):
                m.d.comb += used.eq(0)
                for lane in range(lanes):
                    left = untouched[phase * lanes + lane]
                    m.d.comb += used[lane].eq(left == 0)
                    m.d.sync += left.eq(left - dropped[lane])
        m.d.comb += touched.eq(used & found.lanes[:lanes])
        m.d.comb += dropped.eq(0)
        m.d.comb += [dropped[lane].eq(found.lanes[lane] & ~touched[lane:].any()) for lane in range(lanes)]
        return touched.any(), dropped
