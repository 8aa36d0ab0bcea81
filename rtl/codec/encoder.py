"""The encoder: tiles of activations to index entries and payloads."""

from amaranth import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .decoder_ops import ANY_COLLISION
from .encoder_choice import ModeChoice
from .encoder_coder import Coder
from .encoder_load import TileLoader
from .encoder_output import TileOutput
from .encoder_queue import TileQueue
from .encoder_room import Room, SymbolRoom
from .encoder_statistics import Statistics
from .encoder_tile import (
    CODED_STEPS,
    CODED_TILES,
    MODE_STEPS,
    STORED_STEPS,
    SYMBOL_STEPS,
    Choice,
    Chosen,
    Entry,
    Payload,
    Stored,
    Tile,
    check_lanes,
    phase_bits,
    ring_bits,
    symbol_layout,
)
from .encoder_units import UnitStore
from .tables import LANES, MODE_BITS

_TILES = 4
"""Tiles between the first look and the second."""


class Encoder(wiring.Component):
    """Codes tiles as docs/codec.md says, the same bytes as `sim.codec.encode_tile`.

    Four stages work on a tile each: its values come in; statistics choose the modes, channel by channel; it is coded
    step by step; it goes out. So a sequence of tiles takes LANES / lanes cycles a step and a few a tile in the long
    run, as long as both sides of the streams keep up. Tiles of fewer than 32 pixels take longer (`Statistics`).

    Parameters
    ----------
    lanes: values a cycle: 2, 4 or 8.

    Members
    -------
    tile: stream of the tiles' sizes, of 1 to 4096 values and up to 512 steps (rows x columns x ceil(channels / 8)).
    values: stream of 8 bytes, a word a step: channels 8g .. 8g + 7 of a pixel, the first lowest; those that are not
    there are ignored. Words may come before their tile's size is taken, and wait.
    entry: stream of index entries. payload: stream of the bytes that belong to them, none where an entry has none
    (tag 14, 0 units).
    stored, sent: a step's values were taken, a tile is out whole, in this cycle. error: a tile had more steps;
    until reset, and the encoder waits.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "tile": In(stream.Signature(Tile)),
            "values": In(stream.Signature(8 * LANES)),
            "entry": Out(stream.Signature(Entry)),
            "payload": Out(stream.Signature(Payload)),
            "stored": Out(1), "sent": Out(1), "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        m.submodules.load = load = TileLoader(lanes)
        m.submodules.statistics = statistics = Statistics(lanes)
        m.submodules.choice = choice = ModeChoice(lanes)
        m.submodules.coder = coder = Coder(lanes)
        m.submodules.units = units = UnitStore(lanes)
        m.submodules.output = output = TileOutput(lanes)
        connect(m, flipped(self.tile), load.tile)
        connect(m, flipped(self.values), load.values)
        connect(m, output.entry, flipped(self.entry))
        connect(m, output.payload, flipped(self.payload))
        m.d.comb += [
            self.stored.eq(self.values.valid & self.values.ready), self.sent.eq(output.sent), self.error.eq(load.error),
            choice.i.eq(statistics.o),
            units.taken.eq(coder.taken), units.ends.eq(coder.ends), units.units.eq(coder.units),
            output.coded.eq(units.coded), output.done.eq(units.done), units.accept.eq(output.accept),
            units.order_address.eq(output.order_address), output.order.eq(units.order),
            units.walk_address.eq(output.walk_address), output.walked.eq(units.walked),
            units.order_read.eq(output.order_read), units.read.eq(output.read),
            units.addresses.eq(output.addresses), output.units.eq(units.values),
            load.released.eq(output.released),
        ]
        self._rings(m, load, statistics, choice, coder, output)
        self._tiles(m, load, statistics, choice, coder, output)
        return m

    def _rings(self, m: Module, load: TileLoader, statistics: Statistics, choice: ModeChoice, coder: Coder,
               output: TileOutput) -> None:
        """Values, symbols and modes of the tiles that are under way."""
        lanes = self._lanes
        for name, address, answer in (("looked", statistics.address, statistics.values),
                                      ("sent", output.values_address, output.values)):
            m.submodules[f"values_{name}"] = values = memory.Memory(
                shape=8 * lanes, depth=1 << ring_bits(STORED_STEPS, lanes), init=[],
                attrs=ANY_COLLISION)
            write, read = values.write_port(), values.read_port()
            m.d.comb += [write.addr.eq(load.write.address), write.en.eq(load.write.valid),
                         write.data.eq(load.write.data), read.addr.eq(address), answer.eq(read.data)]
            if name == "sent":
                m.d.comb += read.en.eq(output.read)
        m.submodules.symbols = symbols = memory.Memory(
            shape=lanes * symbol_layout().size, depth=1 << ring_bits(SYMBOL_STEPS, lanes), init=[],
            attrs=ANY_COLLISION)
        write, read = symbols.write_port(), symbols.read_port()
        m.d.comb += [write.addr.eq(statistics.symbols.address), write.en.eq(statistics.symbols.valid),
                     write.data.eq(statistics.symbols.data), read.addr.eq(coder.symbols_address),
                     coder.symbols.eq(read.data)]
        at = Signal(ring_bits(MODE_STEPS, lanes))
        for name, address, answer in (("coded", coder.modes_address, coder.modes),
                                      ("sent", output.modes_address, output.modes)):
            m.submodules[f"modes_{name}"] = modes = memory.Memory(
                shape=MODE_BITS * lanes, depth=1 << ring_bits(MODE_STEPS, lanes), init=[],
                attrs=ANY_COLLISION)
            write, read = modes.write_port(), modes.read_port()
            m.d.comb += [write.addr.eq(at), write.en.eq(choice.modes.valid), write.data.eq(choice.modes.modes),
                         read.addr.eq(address), answer.eq(read.data)]
            if name == "sent":
                m.d.comb += read.en.eq(output.read)
        m.d.sync += at.eq(at + choice.modes.valid)

    def _tiles(self, m: Module, load: TileLoader, statistics: Statistics, choice: ModeChoice, coder: Coder,
               output: TileOutput) -> None:
        """From stage to stage, where there is room for all of a tile in what the next one fills."""
        m.submodules.stored = stored = TileQueue(Stored, 2)
        m.submodules.looked = looked = TileQueue(Chosen, _TILES)
        m.submodules.choices = choices = TileQueue(Choice, 2 * _TILES)
        m.submodules.coding = coding = TileQueue(Chosen, CODED_TILES + 1)
        m.submodules.symbol_room = symbol_room = SymbolRoom(SYMBOL_STEPS, phase_bits(self._lanes))
        m.submodules.unit_room = unit_room = Room(CODED_STEPS)
        m.submodules.tile_room = tile_room = Room(CODED_TILES)
        connect(m, load.o, stored.i)
        connect(m, coding.o, output.i)
        given, begins = stored.o.payload, Signal()
        m.d.comb += [
            symbol_room.asked.eq(stored.o.valid),
            symbol_room.steps.eq(given.steps), symbol_room.pixels.eq(given.pixels),
            begins.eq(stored.o.valid & symbol_room.fits & looked.i.ready),
            statistics.i.valid.eq(begins), statistics.i.payload.eq(given),
            stored.o.ready.eq(begins & statistics.i.ready), looked.i.valid.eq(stored.o.ready),
            symbol_room.take.eq(stored.o.ready),
            looked.i.payload.c.eq(given.tile.c), looked.i.payload.groups.eq(given.groups),
            looked.i.payload.steps.eq(given.steps), looked.i.payload.values.eq(given.values),
            looked.i.payload.table_set.eq(given.tile.table_set), looked.i.payload.centre.eq(given.tile.centre),
            choices.i.valid.eq(choice.done), choices.i.payload.eq(choice.o),
        ]
        next_tile, goes = Signal(Chosen), Signal()
        m.d.comb += [
            next_tile.eq(looked.o.payload), next_tile.choice.eq(choices.o.payload),
            unit_room.asked.eq(looked.o.valid), tile_room.asked.eq(looked.o.valid),
            unit_room.amount.eq(next_tile.steps), tile_room.amount.eq(1),
            coder.i.valid.eq(looked.o.valid & choices.o.valid & unit_room.fits & tile_room.fits),
            coder.i.payload.eq(next_tile), goes.eq(coder.i.valid & coder.i.ready),
            looked.o.ready.eq(goes), choices.o.ready.eq(goes),
            coding.i.valid.eq(goes), coding.i.payload.eq(next_tile),
            unit_room.take.eq(goes), tile_room.take.eq(goes),
            unit_room.give.eq(output.sent), unit_room.returned.eq(output.steps),
            tile_room.give.eq(output.sent), tile_room.returned.eq(1),
            symbol_room.begins.eq(goes), symbol_room.returned.eq(next_tile.steps), symbol_room.read.eq(coder.read),
        ]
