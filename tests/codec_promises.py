# amaranth: UnusedElaboratable=no
"""Parts of the codec's decoder with their promises as assertions.

The decoder is cut where its parts meet: what one of them is given is free here, but for what its neighbour's proof
asserts. Where an assertion says more than the promise, it is what makes the induction hold.
"""

from functools import reduce
from operator import add
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.rtl.codec.decoder import OUTPUT_LATENCY, under_way
from systolith.rtl.codec.decoder_ops import Op, Sizes, Tile
from systolith.rtl.codec.decoder_queue import DecoderQueue
from systolith.rtl.codec.decoder_units import DecoderUnits
from systolith.rtl.codec.decoder_walk import DecoderWalk, State
from systolith.rtl.codec.tables import TILE_VALUES


def total(terms: Any) -> Value:
    return reduce(add, terms, Const(0, 1))


class Output(wiring.Component):
    """Walk, the way to the output, and the queue: it never holds more than it has room for.

    Payloads come when they like, `ready` of the output is free. `spare`: beats that the queue is told less than
    there may be under way, to see the proof fail.
    """

    depth = 64
    spare = 0

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        super().__init__({"fields": In(Tile), "valid": In(1), "supplied": In(sizes.slots), "clean": In(sizes.slots),
                          "ready": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self.sizes
        m.submodules.walk = walk = DecoderWalk(sizes)
        m.submodules.queue = queue = DecoderQueue(sizes, self.depth, under_way(sizes) - self.spare)
        coming = Signal(OUTPUT_LATENCY - 1)  # beats of earlier ops
        beat = walk.o.step & walk.o.active[0] | walk.o.end
        m.d.sync += coming.eq(Cat(beat, coming))
        m.d.comb += [
            walk.tile.valid.eq(self.valid), walk.tile.payload.eq(self.fields), walk.supplied.eq(self.supplied),
            walk.clean.eq(self.clean), walk.room.eq(queue.room), queue.write.eq(coming[-1]), queue.o.ready.eq(self.ready),
        ]
        slot, part = walk.place.slot, walk.place.part
        begun = []  # beats of the further parts of steps that have begun
        for ahead, state in enumerate(reversed(walk._walks)):
            following = part + (slot + ahead >= sizes.slots)  # the part that comes next of this slot
            makes = state.going & ((state.state == State.STEP) | (state.state == State.CHECK))
            begun.append(Mux((following > 0) & (following < sizes.parts) & makes, sizes.parts - following, 0))
        m.d.comb += [
            Assert(slot < sizes.slots),
            Assert(~queue.room | (queue.waiting <= self.depth - under_way(sizes))),
            Assert(queue.waiting + beat + total(coming) + total(begun) <= self.depth),
        ]
        return m


class Supply(wiring.Component):
    """Walk and units: no unit is taken before it has come, no word overwrites one, each tile begins with its own.

    Words come when they like, streams are hungry when they like, and so is the output's room. `hasty`: the walk is
    always told that there is enough.
    """

    hasty = False

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        super().__init__({"fields": In(Tile), "valid": In(1), "words": In(sizes.slots), "hungry": In(sizes.lanes),
                          "room": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes, slots, ring = self.sizes, self.sizes.slots, self.sizes.ring
        m.submodules.walk = walk = DecoderWalk(sizes)
        m.submodules.units = units = DecoderUnits(sizes)
        ops = [walk.o, *(Signal(Op(sizes), name=f"op_{cycle}", init={"place": {"slot": -cycle % slots}})
                         for cycle in (2, 3))]
        m.d.sync += [ops[1].eq(ops[0]), ops[2].eq(ops[1])]
        m.d.comb += [
            walk.tile.valid.eq(self.valid), walk.tile.payload.eq(self.fields), walk.room.eq(self.room),
            walk.supplied.eq(~0 if self.hasty else units.supplied), walk.clean.eq(units.clean),
            units.op.eq(ops[2]), units.starts.eq(walk.starts), units.hungry.eq(self.hungry),
            *(port.valid.eq(valid) for port, valid in zip(units.words, self.words, strict=True)),
        ]
        size = self.fields
        m.d.comb += Assume((size.size > 0) & (size.size <= TILE_VALUES))
        for cycle, op in enumerate((walk.place.slot, *(op.place.slot for op in ops))):
            m.d.comb += Assert((op < slots) & (op == Mux(walk.place.slot >= cycle % slots, 0, slots)
                                               + walk.place.slot - cycle % slots))
        for ahead, state in enumerate(reversed(units._states)):
            level = _level(state, ring)
            m.d.comb += Assert(level <= ring)
            m.d.comb += Assert((state.pointer + state.real + state.padding)[:2] == 0)
            at = walk._walks[-1 - (ahead - 3) % slots]  # of the same slot
            m.d.comb += Assert((at.state != State.IDLE) | (state.real == 0) & (state.padding == 0))
        now, op = units._states[-1], ops[2]
        takes = Cat(port.valid & port.ready for port in units.words)
        m.d.comb += [
            Assert(units._used <= _level(now, ring)),
            Assert(~op.start | (now.real == 0) & (now.padding == 0)),
            Assert(takes.any() | ~self.words.bit_select(op.place.slot, 1) | (_level(now, ring) > ring - 16)),
        ]
        return m


def _level(state: Any, ring: int) -> Value:
    return (Cat(Const(0, 2), state.at) - state.pointer)[:(2 * ring - 1).bit_length()]
