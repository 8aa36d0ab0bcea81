"""The decoder: tiles' payloads to values."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .decoder_context import DecoderContext, Job
from .decoder_lane import DecoderLane
from .decoder_memory import DecoderMemory, DecoderTables
from .decoder_ops import WORD_UNITS, Beat, Op, Sizes, Tile
from .decoder_queue import DecoderQueue
from .decoder_units import WORD_BITS, DecoderUnits
from .decoder_value import DecoderValue
from .decoder_walk import DecoderWalk
from .tables import MAPS, MODE_BITS, UNIT_BITS, ZERO

BEATS = 64
"""Beats that wait for the output."""

OUTPUT_LATENCY = 6
"""Cycles from the decision on an op to its beat."""


def under_way(sizes: Sizes) -> int:
    """Beats that may come after there is no room: those between decision and output, and all parts of steps that have
    begun."""
    return OUTPUT_LATENCY + 1 + sizes.slots * (sizes.parts - 1)


class Decoder(wiring.Component):
    """Decodes tiles: `lanes` values a cycle, where enough slots work.

    Tiles go to the slots in turns: the i-th one to slot i modulo `slots`, and its payload must come there. Slots take
    turns a step each, so one tile takes `period` cycles a step. A step waits until 32 units of the payload, or all that
    is left of it, have come; until the output has room; and for the channel's last value where a pixel's steps take
    fewer than 6 cycles (7 where averages are neighbours, or a tile has one column).

    A tile's output: its values in order, min(8, channels left) a step, in beats of up to `lanes`, then a beat `end`. A
    damaged tile has as many values, without meaning from the damage on; then the tile's payload is dropped up to
    its end and the slot goes on. Bits of `error`:

    0. the index entry or the header cannot be;
    1. a rank that does not exist;
    2. a code goes on behind the payload;
    3. there are units that no stream took, or bits that are not 0 behind the last code.

    The payload of a tile is 4-unit words: ceil(units / 4) of the entry's units, whatever the tag; ceil(size / 8) for
    RAW with 0 units.

    Parameters
    ----------
    lanes: 2, 4 or 8. slots: tiles at the same time, 1 to 6 (from 2 with 8 lanes); with 8 lanes and 6 slots no step
    of a map waits for the one before it. row_steps: columns * ceil(channels / 8) of a map with more than one row must
    be at most that; a power of two from 256 on.

    Members
    -------
    tile: stream of `Tile`. words: for each slot, a stream of words of 4 units, the first one lowest.
    o: stream of `Beat`.
    """

    def __init__(self, lanes: int, slots: int = 2, row_steps: int = 512) -> None:
        self.sizes = sizes = Sizes(lanes, slots, row_steps)
        super().__init__({
            "tile": In(stream.Signature(Tile)),
            "words": In(stream.Signature(WORD_BITS)).array(slots),
            "o": Out(stream.Signature(Beat(sizes))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes, slots = self.sizes, self.sizes.slots
        m.submodules.walk = walk = DecoderWalk(sizes)
        m.submodules.units = units = DecoderUnits(sizes)
        m.submodules.memory = store = DecoderMemory(sizes)
        m.submodules.tables = tables = DecoderTables(sizes.lanes)
        wiring.connect(m, wiring.flipped(self.tile), walk.tile)
        for outer, inner in zip(self.words, units.words, strict=True):
            wiring.connect(m, wiring.flipped(outer), inner)
        ops = [walk.place, walk.o, *(  # by cycle
            Signal(Op(sizes), name=f"op_{cycle}", init={"place": {"slot": -cycle % slots}})
            for cycle in range(2, OUTPUT_LATENCY + 1))]
        m.d.sync += [later.eq(earlier) for later, earlier in zip(ops[2:], ops[1:], strict=False)]
        m.d.comb += [
            units.op.eq(ops[3]), units.starts.eq(walk.starts), walk.supplied.eq(units.supplied),
            walk.clean.eq(units.clean),
            store.place.eq(ops[0]), store.op.eq(ops[1]), store.lefts.eq(ops[5]), store.uppers.eq(ops[6]),
            store.header.eq(ops[5]),
        ]
        decoded, missing, wrong, dirty = [], [], [], []
        for number in range(sizes.lanes):
            value, lane = self._lane(m, number, ops, units, store, tables)
            decoded.append(value)
            missing.append(lane.o.missing)
            wrong.append(lane.o.wrong)
            dirty.append(lane.dirty)
        spoilt = self._header(m, ops[4], ops[5], units, store)
        left, ranks, behind = Signal(), Signal(sizes.lanes), Signal(sizes.lanes)  # of each lane: they come late
        m.d.sync += [left.eq(ops[4].check & ops[4].coded & (Cat(dirty).any() | units.left)), ranks.eq(Cat(wrong)),
                     behind.eq(Cat(missing))]
        error = self._errors(m, ops[5], Cat(spoilt | ops[5].check & ops[5].bad, ranks.any(), behind.any(), left))
        m.d.comb += walk.room.eq(self._queue(m, ops[6], Cat(decoded), error))
        return m

    def _lane(self, m: Module, number: int, ops: list[data.View], units: DecoderUnits, store: DecoderMemory,
              tables: DecoderTables) -> tuple[Value, DecoderLane]:
        """One lane from the neighbours on; its values, and its stream."""
        sizes = self.sizes
        m.submodules[f"context_{number}"] = context = DecoderContext(sizes)
        m.submodules[f"lane_{number}"] = lane = DecoderLane(sizes)
        m.submodules[f"value_{number}"] = value = DecoderValue()
        job = Signal(Job(), name=f"job_{number}")
        m.d.sync += job.eq(context.o)
        m.d.comb += [
            context.op.eq(ops[1]), context.active.eq(ops[1].active[number]), context.known.eq(store.known[number]),
            tables.context[number].eq(context.context), tables.entry[number].eq(lane.entry),
            lane.turn.fill.eq(ops[3].fill), lane.turn.parse.eq(context.o.parse),
            lane.turn.constant.eq(context.o.constant), lane.turn.code.eq(tables.code[number]),
            lane.found.eq(tables.found[number]), units.hungry[number].eq(lane.hungry),
            lane.taken.eq(units.taken[number] & ~ops[4].header), lane.real.eq(units.real[number]),
            lane.unit.eq(units.unit[number]),
            value.job.eq(job), value.symbol.eq(lane.o), value.raw.eq(ops[4].raw),
            value.byte.eq(units.raw[8 * number:8 * number + 8]), value.first.eq(ops[4].first_column & ops[4].first_row),
            store.left[number].eq(value.value), store.skip[number].eq(value.skip),
            store.upper[number].eq(Mux(ops[6].table_set != MAPS, value.average, value.decoded)),
        ]
        return value.decoded, lane

    def _header(self, m: Module, op: data.View, later: data.View, units: DecoderUnits, store: DecoderMemory) -> Value:
        """Modes from the payload to their memory; whether there are some that cannot be."""
        lanes = self.sizes.lanes
        wrong = []
        for index, lane in enumerate(range(0, lanes, WORD_UNITS)):
            unit, taken = Signal(UNIT_BITS, name=f"modes_{index}"), Signal(name=f"modes_{index}_taken")
            m.d.sync += [unit.eq(units.unit[lane]), taken.eq(units.taken[lane] & op.header)]
            m.d.comb += store.modes.word_select(index, UNIT_BITS).eq(unit)
            for channel in range(UNIT_BITS // MODE_BITS):
                mode = unit.word_select(channel, MODE_BITS)
                inside = later.count > later.place.part * lanes + lane + channel
                wrong.append(taken & (mode > Mux(inside, ZERO, 0)))
        return Cat(wrong).any()

    def _errors(self, m: Module, op: data.View, new: Value) -> Signal:
        """What was seen of each slot's tile so far, a cycle later."""
        states = [Signal(4, name=f"errors_{slot}") for slot in range(self.sizes.slots)]
        m.d.sync += [later.eq(earlier) for later, earlier in zip(states[1:], states, strict=False)]
        m.d.sync += states[0].eq(Mux(op.start, 0, states[-1]) | new)
        return states[0]

    def _queue(self, m: Module, op: data.View, values: Value, error: Value) -> Signal:
        """The output's queue; whether it has room for what may be under way."""
        m.submodules.queue = queue = DecoderQueue(self.sizes, BEATS, under_way(self.sizes))
        beat = queue.beat
        m.d.comb += [
            beat.values.eq(values), beat.end.eq(op.end), beat.error.eq(Mux(op.end, error, 0)),
            beat.slot.eq(op.place.slot),
            beat.count.eq(Mux(op.end, 0, sum(op.active[lane] for lane in range(self.sizes.lanes)))),
            queue.write.eq(op.step & op.active[0] | op.end),
        ]
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return queue.room
