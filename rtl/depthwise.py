"""The depthwise unit: executes DEPTHWISE instructions."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out, connect, flipped

from .depthwise_fetch import DepthwiseFetch
from .depthwise_outputs import DepthwiseOutputs, output_lanes
from .depthwise_parameters import wide_words
from .depthwise_setup import DepthwiseSetup, check_sizes
from .depthwise_stores import DepthwiseStores
from .depthwise_strips import DepthwiseStrips, StoreStrip, TileStrip
from .depthwise_sums import DepthwiseSums
from .depthwise_taps import DepthwiseTaps
from .depthwise_tiles import DepthwiseTiles
from .isa import DEPTHWISE
from .issue import Issue
from .ports import MemoryReadPort, MemoryWritePort, unit_members
from .stream_fifo import StreamFifo
from .vector_unit import EVENTS
from .vector_writer import VectorWriter

_STRIPS = 17  # 16 and the buffer's output register: strips read and not computed or written yet


class DepthwiseUnit(wiring.Component):
    """Executes DEPTHWISE instructions as `rtl.isa` defines them; up to four may be under way.

    lanes / cols pixels are computed at once, a tap a cycle: rows side by side in a strip, and columns beside them where
    few rows are left. Words are read a cycle each, up to 32 columns and four groups ahead of their use. An instruction
    starts as soon as its waits are granted, even when outputs of the one before it are not in memory yet.

    Parameters
    ----------
    cols: channels of a group. word_bytes: of the memory, a power of two, at least cols and 4.
    lanes: multipliers, cols times 1, 2, 4 or 8. multiplier: back end of `Products`.

    Members
    -------
    instruction: stream of instructions. take, give: semaphores.
    read: input and constants, unaligned. write: outputs, unaligned.
    busy: from taking an instruction until its signals are given. retired: pulse when its last output is in memory.
    error: an instruction that cannot be executed; until reset.
    events: what happened in this cycle, one of: busy (a tap entered the pipeline), wait_input (none did, for want of
    input), wait_output (for want of room: memory refuses outputs, or the output lanes are not done), wait_semaphore
    (there is nothing to do, and the next instruction waits).
    """

    def __init__(self, cols: int, word_bytes: int, lanes: int, multiplier: str = "generic") -> None:
        check_sizes(cols, word_bytes, lanes)
        self._cols, self._word_bytes, self._strip, self._multiplier = cols, word_bytes, lanes // cols, multiplier
        super().__init__({
            **unit_members(DEPTHWISE.layout(), EVENTS),
            "read": Out(MemoryReadPort(word_bytes)),
            "write": Out(MemoryWritePort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cols, word_bytes, strip = self._cols, self._word_bytes, self._strip
        room = max(16, 8 * strip)
        m.submodules.issue = issue = Issue(DEPTHWISE.layout())
        m.submodules.setup = setup = DepthwiseSetup(cols, word_bytes, strip)
        m.submodules.strips = strips = DepthwiseStrips(output_lanes(cols, strip))
        m.submodules.fetch = fetch = DepthwiseFetch(word_bytes, 2 * wide_words(cols, word_bytes) + 1)
        m.submodules.tile_strips = tile_strips = StreamFifo(TileStrip, _STRIPS)
        m.submodules.tiles = tiles = DepthwiseTiles(strip)
        m.submodules.taps = taps = DepthwiseTaps(strip, room)
        m.submodules.sums = sums = DepthwiseSums(cols, word_bytes, strip, self._multiplier)
        m.submodules.outputs = outputs = DepthwiseOutputs(cols, word_bytes, strip, room)
        m.submodules.store_strips = store_strips = StreamFifo(StoreStrip, _STRIPS)
        m.submodules.stores = stores = DepthwiseStores()
        m.submodules.writer = writer = VectorWriter(word_bytes)
        connect(m, flipped(self.instruction), issue.i)
        connect(m, issue.take, flipped(self.take))
        connect(m, issue.o, setup.i)
        connect(m, fetch.port, flipped(self.read))
        connect(m, tile_strips.o, tiles.i)
        connect(m, tiles.o, taps.i)
        connect(m, store_strips.o, stores.i)
        connect(m, stores.o, writer.stores)
        connect(m, outputs.o, writer.words)
        connect(m, writer.write, flipped(self.write))
        connect(m, writer.give, flipped(self.give))
        m.d.comb += [
            taps.columns.eq(fetch.columns), fetch.free.eq(taps.free), fetch.release.eq(outputs.release),
            taps.taken.eq(outputs.taken), sums.tap.eq(taps.o),
            outputs.ends.eq(sums.ends), outputs.end.eq(sums.end), outputs.sums.eq(sums.sums),
            *(part.arrival.eq(fetch.arrival) for part in (sums, outputs)),
            *(part.word.eq(fetch.word) for part in (sums, outputs)),
        ]
        self._begin(m, setup, strips, outputs, writer)
        self._fork(m, strips, {"fetch": fetch.i, "tiles": tile_strips.i, "stores": store_strips.i})
        working = strips.busy | tiles.busy | tile_strips.o.valid
        m.d.comb += [
            self.busy.eq(setup.busy | strips.busy | writer.busy),
            self.retired.eq(writer.retired), self.error.eq(setup.error),
            self.events.busy.eq(taps.entered),
            self.events.wait_output.eq(taps.blocked),
            self.events.wait_input.eq(~taps.entered & ~taps.blocked & working),
            self.events.wait_semaphore.eq(issue.waiting & ~taps.entered & ~taps.blocked & ~working),
        ]
        return m

    def _begin(self, m: Module, setup: DepthwiseSetup, strips: DepthwiseStrips, outputs: DepthwiseOutputs,
               writer: VectorWriter) -> None:
        """A plan goes to the strips, the settings and the writer's list in the same cycle."""
        instruction = setup.o.payload.instruction
        m.d.comb += [
            strips.i.payload.eq(setup.o.payload), strips.slot.eq(writer.slot), outputs.slot.eq(writer.slot),
            strips.i.valid.eq(setup.o.valid & writer.open.ready),
            setup.o.ready.eq(strips.i.ready & writer.open.ready), outputs.set.eq(setup.o.valid & setup.o.ready),
            writer.open.valid.eq(setup.o.valid & strips.i.ready), writer.open.payload.tag.eq(instruction.tag),
            *(outputs.settings[name].eq(instruction[name]) for name in ("rounding", "zero_point", "low", "high")),
            *(writer.open.payload.signals[name].eq(instruction[name])
              for name in ("signal0", "signal0_count", "signal1", "signal1_count")),
        ]

    def _fork(self, m: Module, strips: DepthwiseStrips, streams: dict[str, stream.Interface]) -> None:
        """A strip goes to all in the same cycle."""
        for name, target in streams.items():
            others = [other.ready for other in streams.values() if other is not target]
            m.d.comb += [target.payload.eq(strips.o.payload[name]),
                         target.valid.eq(strips.o.valid & others[0] & others[1])]
        first, second, third = streams.values()
        m.d.comb += strips.o.ready.eq(first.ready & second.ready & third.ready)
