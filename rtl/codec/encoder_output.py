"""The last stage of the encoder: a tile goes out, coded or as it is."""

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .encoder_gather import Gather
from .encoder_pack import Packer, Piece
from .encoder_tile import (
    DIMENSION_BITS,
    GROUP_BITS,
    STEPS,
    STORED_STEPS,
    UNIT_NUMBER_BITS,
    Chosen,
    Entry,
    Payload,
    Taken,
    check_lanes,
    ones,
    phase_bits,
    ring_bits,
)
from .encoder_units import coded_layout, order_bits
from .tables import LANES, MODE_BITS, TAG_CHANNELS, TAG_RAW, UNIT_BITS

_DEPTH, _UNDER_WAY = 16, 6
"""Words that wait, and at most come after the last piece that was asked for."""


class TileOutput(wiring.Component):
    """Finds how many units a tile has without those behind the last code, decides, and sends entry and payload.

    To find the end it goes back through the order of the units, three cycles a step that took some, a few steps in all.
    The payload then takes a cycle for each 8 bytes, or for each up to four units that streams took together, or, as it
    is, for each lanes bytes.

    Parameters
    ----------
    lanes: of the machine.

    Members
    -------
    i: stream of tiles; coded, done, accept: their units (`UnitStore`).
    modes_address, modes, values_address, values, order_address, order, addresses, units: read ports, a cycle; tiles
    follow each other in the rings of modes and values.
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
            "modes_address": Out(ring_bits(STEPS, lanes)), "modes": In(MODE_BITS * lanes),
            "values_address": Out(ring_bits(STORED_STEPS, lanes)), "values": In(8 * lanes),
            "order_address": Out(order_bits(lanes)), "order": In(Taken),
            "addresses": Out(data.ArrayLayout(ring_bits(STEPS, lanes), lanes)),
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
        m.submodules.packer = packer = Packer()
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=Payload.as_shape().size, depth=_DEPTH)
        tile, coded = Signal(Chosen, reset_less=True), Signal(coded_layout(lanes), reset_less=True)
        units, start = Signal(UNIT_NUMBER_BITS, reset_less=True), Signal(order_bits(lanes))
        walk, untouched = Signal(order_bits(lanes)), [Signal(2, name=f"untouched_{s}") for s in range(LANES)]
        header, size = Signal(DIMENSION_BITS, reset_less=True), Signal(DIMENSION_BITS, reset_less=True)
        entry, raw = Signal(Entry, reset_less=True), Signal()
        modes, values = Signal.like(self.modes_address), Signal.like(self.released)
        enable = Signal()
        m.d.sync += enable.eq(words.level < _DEPTH - _UNDER_WAY)
        pieces, read_done = self._direct(m, tile, raw, Mux(raw, size, header), modes, values, enable, packer.begin)
        m.d.comb += [
            gather.units.eq(units), gather.start.eq(start), gather.stop.eq(walk), gather.places.eq(coded.places),
            gather.order.eq(self.order), gather.values.eq(self.units), self.addresses.eq(gather.addresses),
            packer.i.eq(Mux(pieces.count != 0, pieces, gather.o)), packer.size.eq(size),
            words.w_data.eq(packer.o), words.w_en.eq(packer.valid),
            self.payload.payload.eq(words.r_data), self.payload.valid.eq(words.r_rdy),
            words.r_en.eq(self.payload.ready),
            self.entry.payload.eq(entry), self.steps.eq(tile.steps), self.parts.eq(tile.groups << extra),
            self.released.eq(values), self.order_address.eq(gather.order_address),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [tile.eq(self.i.payload), coded.eq(self.coded), units.eq(self.coded.units),
                             walk.eq(self.coded.order)]
                m.d.sync += [left.eq(2 - self.coded.entered[s]) for s, left in enumerate(untouched)]
                with m.If(self.i.valid & self.done):
                    m.d.comb += [self.i.ready.eq(1), self.accept.eq(1)]
                    m.next = "back"
            with m.State("back"):
                m.d.comb += self.order_address.eq(walk - 1)
                m.next = "answer"
            with m.State("answer"):
                found = Signal(Taken, reset_less=True)
                m.d.sync += found.eq(self.order)
                m.next = "drop"
            with m.State("drop"):
                touched, dropped = self._drop(m, found, untouched)
                with m.If(units == 0):
                    m.next = "decide"
                with m.Else():
                    m.d.sync += units.eq(units - ones(dropped))
                    m.next = "back"
                    with m.If(touched):
                        m.next = "decide"
                    with m.Else():
                        m.d.sync += walk.eq(walk - 1)
            with m.State("decide"):
                named = (tile.choice.tag == TAG_CHANNELS) & ~tile.choice.empty
                quarter = (tile.c + 3) >> 2
                m.d.sync += [header.eq(Mux(named, quarter << 1, 0)),
                             size.eq((units + Mux(named, quarter, 0)) << 1),
                             raw.eq(((units + Mux(named, quarter, 0)) << 1) >= tile.values)]
                m.next = "settle"
            with m.State("settle"):
                m.d.sync += [entry.tag.eq(Mux(raw, TAG_RAW, tile.choice.tag)), entry.units.eq(Mux(raw, 0, size >> 1))]
                with m.If(raw):
                    m.d.sync += size.eq(tile.values)
                m.next = "entry"
            with m.State("entry"):
                m.d.comb += self.entry.valid.eq(1)
                with m.If(self.entry.ready):
                    m.d.comb += packer.begin.eq(1)
                    m.next = "direct"
            with m.State("direct"):
                with m.If(read_done):
                    m.d.comb += gather.begin.eq(~raw)
                    m.next = "gather"
            with m.State("gather"):
                m.d.comb += gather.enable.eq(enable)
                with m.If(~gather.busy & ~packer.busy):
                    m.next = "sent"
            with m.State("sent"):
                m.d.comb += [self.sent.eq(1), gather.finish.eq(1)]
                m.d.sync += [start.eq(coded.order), modes.eq(modes + self.parts)]
                m.d.sync += values.eq(values + (tile.steps << extra))
                m.next = "idle"
        return m

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

    def _direct(self, m: Module, tile: Any, raw: Signal, todo: Signal, modes: Signal, values: Signal,
                enable: Signal, begin: Value) -> tuple[Signal, Value]:
        """`todo` bytes of the header, or of a tile as it is, from `begin` on: pieces; and whether all are under way."""
        lanes, extra = self._lanes, phase_bits(self._lanes)
        left, at = Signal(DIMENSION_BITS), Signal.like(values)  # bytes; places from the tile's first on
        channels = Signal(DIMENSION_BITS + 1, reset_less=True)  # from this part on; top bit: none
        missing = Signal.like(self.parts, reset_less=True)  # parts of the pixel that follow
        count, counted, piece = Signal(4), Signal(4), Signal(Piece)
        limit = Signal(DIMENSION_BITS)
        m.d.comb += [
            self.values_address.eq(values + at), self.modes_address.eq(modes + at),
            limit.eq(Mux(raw, Mux(channels[-1], 0, channels), left)),
        ]
        most = Mux(raw, lanes, lanes // 2)
        with m.If(enable & (left != 0)):
            m.d.comb += count.eq(Mux(limit > most, most, limit))
            m.d.sync += [at.eq(at + 1), left.eq(left - count), channels.eq(channels - lanes), missing.eq(missing - 1)]
            with m.If(missing == 0):
                m.d.sync += [channels.eq(tile.c), missing.eq((tile.groups << extra) - 1)]
        with m.If(begin):
            m.d.sync += [left.eq(todo), at.eq(0), channels.eq(tile.c), missing.eq((tile.groups << extra) - 1)]
        late = Signal()
        m.d.sync += [counted.eq(count), late.eq(raw), piece.count.eq(counted),
                     piece.data.eq(Mux(late, self.values, self.modes))]
        return piece, left == 0
