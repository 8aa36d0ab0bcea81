# amaranth: UnusedElaboratable=no
"""Parts of the codec's encoder with their promises as assertions.

As in `codec_promises`: the encoder is cut where its parts meet, what a part is given is free but for what its
neighbour promises. All sizes are the real ones where nothing else is said.
"""

from functools import reduce
from operator import add
from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from systolith.rtl.codec.encoder_code import Code
from systolith.rtl.codec.encoder_coder import Coder
from systolith.rtl.codec.encoder_load import TileLoader
from systolith.rtl.codec.encoder_streams import Streams
from systolith.rtl.codec.encoder_tile import STEPS, STORED_STEPS, Chosen, Tile, ring_bits
from systolith.rtl.codec.tables import LANES

STARTS, CODES, ENDS, PADS, PADS_AGAIN = range(1, 6)


def total(terms: Any) -> Value:
    return reduce(add, terms, Const(0, 1))


class LaneUnits(wiring.Component):
    """`Streams`, one lane of each phase: as many units are given as were taken, never one that was not, at most three
    are open; they hold the bits of the codes in order, then zeros; `ends.entered` tells how many follow the last code.

    Parts come as `CoderWalk` promises; codes are free, but for having no bits beyond their length.
    """

    streams = Streams

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"goes": In(1), "stays": In(1), "code": In(Code), "has": In(1), "active": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phases = LANES // self.lanes
        streams = self.streams(self.lanes)
        m.submodules.streams = streams.elaborate(None)
        # The coder's way through a tile, of any number of steps.
        state, phase = Signal(3), Signal(range(phases))
        has = [Signal(name=f"has_{k}") for k in range(phases)]
        mine, active, code = Signal(), Signal(), self.code
        turn = phase == phases - 1
        m.d.sync += phase.eq(Mux((state == 0) | turn, 0, phase + 1))
        with m.If(state == 0):
            m.d.sync += state.eq(self.goes)
        with m.Elif(turn & ~((state == CODES) & self.stays)):
            m.d.sync += state.eq(Mux(state == PADS_AGAIN, 0, state + 1))
        m.d.comb += [mine.eq(Mux(state == STARTS, self.has, Array(has)[phase])),
                     active.eq(mine & (self.active | (state != CODES)))]
        with m.If(state == STARTS):
            m.d.sync += Array(has)[phase].eq(self.has)
        part, bits = streams.part, Signal(24)
        m.d.comb += [
            part.starts.eq(state == STARTS), part.codes.eq(state == CODES), part.ends.eq(state == ENDS),
            part.pads.eq(state[2]), part.second.eq(state == PADS_AGAIN), streams.active[0].eq(active),
            streams.codes[0].eq(code), bits.eq(Mux(code.shift == 15, code.body >> 1, code.body << code.shift)),
            Assume((code.shift < 9) | (code.shift == 15) & ~code.body[0]), Assume(code.length <= 16),
            Assume(bits >> code.length == 0), Assume((code.length == 0) | active & part.codes),
        ]
        self._ledger(m, streams, state, phase, mine, bits)
        return m

    def _ledger(self, m: Module, streams: Streams, state: Signal, phase: Signal, mine: Signal, bits: Value) -> None:
        phases = LANES // self.lanes
        layout = data.StructLayout({"bits": 32, "count": 5, "open": 3, "at": 3})
        ledgers = [Signal(layout, name=f"ledger_{k}") for k in range(phases)]
        was, later, took, exists, entered = Signal(3), Signal.like(phase), Signal(), Signal(), Signal()
        came, length = Signal(16), Signal(5)
        m.d.sync += [was.eq(state), later.eq(phase), took.eq(streams.taken.lanes[0]), exists.eq(mine),
                     came.eq(bits), length.eq(self.code.length), entered.eq(streams.ends.entered[0])]
        now, then = Signal(layout), Signal(layout)
        appended, count, gives, unit = Signal(32), Signal(6), streams.units.valid[0], streams.units.units[0]
        m.d.comb += [
            now.eq(Array(ledgers)[later]), then.eq(now), appended.eq(now.bits | came << now.count),
            count.eq(now.count + length), then.open.eq(now.open + took - gives), then.at.eq(was),
            then.bits.eq(Mux(gives, appended >> 16, appended)), then.count.eq(Mux(gives, Mux(
                count > 16, count - 16, 0), count)),
            Assert((was == 0) | ~gives | (unit == appended[:16])), Assert((was != 0) | ~gives),
            Assert(~gives | (now.open + took > 0)), Assert(then.open <= 3),
            Assert((was != CODES) | (gives == (count >= 16))), Assert((was != ENDS) | (gives == (count != 0))),
            Assert((was != PADS) | (gives == exists)), Assert((was != STARTS) | (took == exists) & ~gives),
            Assert((was != ENDS) | ~exists | (then.open == Mux(entered, 1, 2))),
            Assert((was != PADS_AGAIN) | (then.open == 0)),
        ]
        with m.If(was != 0):
            m.d.sync += Array(ledgers)[later].eq(then)
        turns = was != 0
        for number, ledger in enumerate(ledgers):  # what makes the induction hold
            after, pending = Signal(layout, name=f"after_{number}"), turns & (later == number)
            m.d.comb += after.eq(Mux(pending, then, ledger))
            own = [streams._turns[f"{name}_0"] for name in ("place", "wanted")]
            place, wanted = (Array(one)[(number - phase)[:len(phase)]] if len(phase) else one[0] for one in own)
            held = streams._turns["held_0"]
            holds = Array(held)[(number - phase + turns)[:len(phase)]] if len(phase) else held[0]
            # how far the tile is with this stream
            done = number < phase
            at = Mux(state == 0, 0, Mux(done, state, Mux(state == STARTS, 0, Mux(state == CODES, after.at, state - 1))))
            exist = self._exists(m, number, pending, exists)
            m.d.comb += [
                Assert((after.at == at) | (state == 0) & (after.at == PADS_AGAIN)
                       | (state == STARTS) & ~done & (after.at == PADS_AGAIN)),
                Assert((state != CODES) | (after.at == CODES) | ~done & (after.at == STARTS)),
                Assert(after.count < 16), Assert(after.bits >> after.count == 0),
                Assert(place == after.count[:4]), Assert(holds == ledger.bits[:16]),
                Assert(ledger.bits[16:] == 0), Assert(ledger.count < 16), Assert(ledger.bits >> ledger.count == 0),
                Assert(ledger.open <= 3), Assert((after.at != 0) | (after.open == 0) & (after.count == 0)),
                Assert((after.at != PADS_AGAIN) | (after.open == 0) & (after.count == 0)),
                Assert(exist | (after.open == 0) & (after.count == 0)),
                Assert(~exist | (after.at != STARTS) & (after.at != CODES)
                       | (after.open == Mux(wanted, 1, 2) + (after.count != 0))),
                Assert(~exist | (after.at != ENDS) | (after.open == Mux(wanted, 1, 2)) & (after.count == 0)),
                Assert(~exist | (after.at != PADS) | (after.open == Mux(wanted, 0, 1)) & (after.count == 0)),
            ]
        m.d.comb += [Assert(state <= PADS_AGAIN), Assert(was <= PADS_AGAIN), Assert(phase < phases),
                     Assert(streams.ends.phase == phase)]

    def _exists(self, m: Module, number: int, pending: Value, exists: Value) -> Value:
        known = Signal(name=f"exists_{number}")
        with m.If(pending):
            m.d.sync += known.eq(exists)
        return Mux(pending, exists, known)


class CoderWalk(wiring.Component):
    """The coder's way through a tile: it starts, takes each step's symbols once, in order and without waiting, ends and
    pads twice; then it is free. A lane without a channel is never active."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"valid": In(1), "tile": In(Chosen)})

    coder = Coder

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, phases = self.lanes, LANES // self.lanes
        coder = self.coder(lanes)
        part, active, _, tile = coder._walk(m)
        given = self.tile
        m.d.comb += [coder.i.valid.eq(self.valid), coder.i.payload.eq(given),
                     Assume((given.steps > 0) & (given.steps <= STEPS)), Assume((given.c > 0) & (given.c <= 4096)),
                     Assume(given.groups == (given.c + 7) >> 3),
                     # steps are a number of whole pixels
                     Assume(~(part.codes & (coder._left_steps == 0)) | (coder._missing < phases))]
        begins, busy = coder.i.valid & coder.i.ready, ~coder.i.ready
        todo, c = Signal(range((STEPS + 4) * phases + 1)), Signal(14)
        symbol, done, phase = Signal.like(coder.symbols_address), Signal(11), Signal(range(phases))
        with m.If(begins):
            m.d.sync += [todo.eq((given.steps + 4) * phases), c.eq(given.c), done.eq(0), phase.eq(0),
                         symbol.eq(coder.symbols_address)]
        with m.Elif(busy):
            m.d.sync += [todo.eq(todo - 1), phase.eq(phase + 1 if phases > 1 else 0), done.eq(done + coder.read)]
        kinds = Cat(part.starts, part.codes, part.ends, part.pads)
        rest, steps = 3 * phases, tile.steps
        gone = Signal(13)  # parts of this pixel
        m.d.comb += [
            gone.eq((tile.groups << (phases - 1).bit_length()) - 1 - coder._missing),
            Assert(busy == (todo > 0)), Assert(total(kinds) == busy), Assert(coder._state <= 5),
            Assert(~busy | (c == tile.c) & (tile.groups == (tile.c + 7) >> 3) & (steps <= STEPS) & (steps > 0)),
            Assert(~busy | (phase == coder._phase)), Assert((c <= 4096) & (~busy | (c > 0))),
            Assert(part.starts == (todo > (steps + 3) * phases) & busy),
            Assert(part.codes == (todo > rest) & (todo <= (steps + 3) * phases) & busy),
            Assert(part.ends == (todo > 2 * phases) & (todo <= rest)),
            Assert(part.second == (todo > 0) & (todo <= phases)), Assert(part.last == (todo == 1)),
            Assert(~part.codes | (todo == (coder._left_steps + 4) * phases - phase)),
            Assert(~part.starts | (todo == (steps + 4) * phases - phase) & (coder._left_steps == steps - 1)),
            Assert(~busy | part.codes | part.starts | ((todo + phase)[:5] == Mux(part.ends, 3, Mux(
                part.second, 1, 2)) * phases)),
            # a place of the ring is read for each part of a step, one after the other
            Assert(~busy | (coder.symbols_address == (symbol + Mux(part.codes, done * phases + phase, Mux(
                part.starts, 0, done * phases)))[:len(symbol)])),
            Assert(~busy | (done == Mux(part.starts, 0, Mux(part.codes, steps - 1 - coder._left_steps, steps)))),
            Assert(coder.read == (part.codes & (phase == phases - 1))),
            # channels
            Assert(~part.codes | (coder._missing < tile.groups * phases) & (gone[:phases.bit_length() - 1] == phase
                                                                          if phases > 1 else 1)),
            Assert(~busy | (coder._channels == (tile.c - Mux(part.codes, gone, phase) * lanes)[:14])),
            *(Assert(~busy | ~active[lane] | (tile.c > phase * lanes + lane)) for lane in range(lanes)),
            *(Assert(~busy | part.codes | (active[lane] == (tile.c > phase * lanes + lane)))
              for lane in range(lanes)),
        ]
        return m


class Load(wiring.Component):
    """A tile's words go to the places that follow, each once; none that is not free is written; with words and room it
    ends. Places are given back after they were written. `early`: so many before."""

    loader = TileLoader
    early = 0

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"fields": In(Tile), "valid": In(1), "words": In(1), "ready": In(1), "back": In(11)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phases = LANES // self.lanes
        load = self.loader(self.lanes)
        m.submodules.load = load.elaborate(None)
        places = 1 << ring_bits(STORED_STEPS, self.lanes)
        released, used, written = Signal.like(load.released), Signal.like(load.released), Signal.like(load.released)
        back = Signal.like(released)
        m.d.comb += [
            load.tile.valid.eq(self.valid), load.tile.payload.eq(self.fields), load.values.valid.eq(self.words),
            load.o.ready.eq(self.ready), load.released.eq(released), back.eq(self.back),
            Assume(back <= used + self.early),
            Assert(load._address == written), Assert(load._phase == written % phases),
            Assert(~load._running | ~load.o.valid), Assert(used <= places),
            Assert((released + used)[:len(used)] == written),
            Assert(~load.write.valid | (used < places)),
            Assert(~load.write.valid | (load.write.address == written[:-1])),
            # It waits for nothing but words and room.
            Assert(load.write.valid == (self.words & ~load.tile.ready & ~load.o.valid & (used < places))),
            Assert(~load.values.ready | (written % phases == phases - 1)),
        ]
        m.d.sync += [released.eq(released + back), used.eq(used - back + load.write.valid),
                     written.eq(written + load.write.valid)]
        return m
