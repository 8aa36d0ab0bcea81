# amaranth: UnusedElaboratable=no
"""The encoder's first look with its promises as assertions: see `codec_encoder_promises`."""

from typing import Any

import pytest
from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from systolith.rtl.codec import encoder_choice, encoder_room, encoder_statistics
from systolith.rtl.codec.encoder_choice import ModeChoice
from systolith.rtl.codec.encoder_costs import CostSums
from systolith.rtl.codec.encoder_statistics import Statistics, delayed
from systolith.rtl.codec.encoder_tile import FEW_PIXELS, Stored
from tests.codec_encoder_promises_tiles import OpenRoom, OpenSymbolRoom

WRITE_STAGE = 3
"""Cycles from a pixel to its write; 7 in fact, which would let small tiles get away with anything."""


class Symbols(wiring.Component):
    """Statistics, the room for symbols and the coder, eight lanes: no symbol is written over one that has not been
    read, nor in the cycle in which it is. A tile's writes go to the places that follow those of the one before.

    The coder begins with whole tiles when it likes, and reads them without waiting (`CoderWalk`). The ring is small:
    `steps` of the largest tile, twice that in all. `loose`: so many steps too early.
    """

    loose = 0

    def __init__(self, steps: int) -> None:
        self.steps = steps
        super().__init__({"offer": In(1), "stored": In(Stored), "begins": In(1), "size": In(5)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = 2 * self.steps
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoder_statistics, "STORED_STEPS", 16 * self.steps)
            patch.setattr(encoder_statistics, "SYMBOL_STEPS", places)
            statistics = Statistics(8)
            patch.setattr(encoder_room, "Room", OpenRoom)
            m.submodules.room = room = OpenSymbolRoom(places, 0)
            pixels, *_ = statistics._walk(m)
        at = delayed(m, statistics.address, "at", WRITE_STAGE)
        # A tile is offered until it is taken.
        offered, offer, takes = Signal(), Signal(Stored), Signal()
        m.d.comb += [statistics.i.valid.eq(offered & room.fits), statistics.i.payload.eq(offer),
                     takes.eq(statistics.i.valid & statistics.i.ready)]
        with m.If(takes | ~offered):
            m.d.sync += [offered.eq(self.offer), offer.eq(self.stored)]
        given = self.stored
        small = Cat(given.steps[5:], given.pixels[5:], given.groups[5:]) == 0
        m.d.comb += [Assume(small & (given.steps > 0) & (given.steps <= self.steps)),
                     Assume(given.steps[:5] == given.pixels[:5] * given.groups[:5])]
        # The coder.
        size = len(statistics.address)
        read, starts, rest = Signal(size), Signal(), Signal(5)
        ready, begins = Signal(size), Signal()
        reads = (rest > 0) & ~starts
        end = Signal(size)
        base, whole, still = Signal(size), Signal(size), Signal()
        m.d.comb += [ready.eq(read + rest), begins.eq(self.begins & (rest == 0) & (self.size > 0)),
                     Assume(~begins | (self.size <= (whole - read)[:size])), Assume(self.size <= self.steps),
                     still.eq(~statistics._running & ~Cat(pixel.valid for pixel in pixels[:WRITE_STAGE + 1]).any())]
        with m.If(still):  # tiles are complete
            m.d.sync += whole.eq(end)
        m.d.sync += [read.eq(read + reads), starts.eq(begins), rest.eq(Mux(begins, self.size, rest - reads))]
        with m.If(takes):
            m.d.sync += [end.eq(end + offer.steps), base.eq(end)]
        m.d.comb += [room.asked.eq(offered), room.steps.eq(offer.steps),
                     room.pixels.eq(offer.pixels + self.loose), room.take.eq(takes),
                     room.begins.eq(begins), room.returned.eq(self.size), room.read.eq(reads)]
        for stage in range(WRITE_STAGE + 1):
            ahead, over = Signal(5, name=f"ahead_{stage}"), Signal(size, name=f"over_{stage}")
            left = max(0, WRITE_STAGE - stage)
            soon = Mux(starts, max(0, left - 1), left)
            m.d.comb += [ahead.eq(Mux(rest < soon, rest, soon)), over.eq(at[stage] - read - places),
                         Assert(~pixels[stage].valid | (over.as_signed() < ahead)),
                         Assert(~pixels[stage].valid | ((at[stage] - whole)[:size] < (end - whole)[:size]))]
        m.d.comb += [Assert((end - whole)[:size] <= 2 * places), Assert((whole - ready)[:size] <= 2 * places),
                     Assert(~statistics._running | ((base - whole)[:size] <= 2 * places))]
        self._invariants(m, statistics, room, offered, offer, base, read, end, ready, rest, starts)
        return m

    def _invariants(self, m: Module, statistics: Statistics, room: Any, offered: Value, offer: Any, base: Signal,
                    read: Signal, end: Signal, ready: Signal, rest: Signal, starts: Signal) -> None:
        """What makes the induction hold."""
        places, tile, running = 2 * self.steps, statistics._tile, statistics._running
        steps, pixels, groups = tile.steps[:5], tile.pixels[:5], tile.groups[:5]
        group, pixel, lag = Signal(5), Signal(5), Signal(len(read))
        m.d.comb += [group.eq(groups - 1 - statistics._missing), pixel.eq(pixels - 1 - statistics._rest),
                     lag.eq(base - read)]
        early = (group == 0) & ~statistics._again
        due = Signal(8)
        m.d.comb += due.eq(steps + lag[:6] + starts - Mux(early, pixels - pixel, 0))
        high = Cat(tile.steps[5:], tile.pixels[5:], tile.groups[5:]) == 0
        offer_high = Cat(offer.steps[5:], offer.pixels[5:], offer.groups[5:]) == 0
        m.d.comb += [
            Assert(~offered | offer_high & (offer.steps[:5] == offer.pixels[:5] * offer.groups[:5]) & (
                offer.steps > 0) & (offer.steps <= self.steps)),
            Assert(~running | high & (steps == pixels * groups) & (steps > 0) & (steps <= self.steps)),
            Assert(~running | (statistics._missing < groups) & (statistics._rest < pixels)),
            Assert(~running | ~statistics._waiting | (pixel == 0)),
            Assert(~running | ~statistics._again | (pixels <= FEW_PIXELS)),
            Assert(~running | (statistics._begin == (base + group)[:len(base)])),
            Assert(~running | (statistics.address == (statistics._begin + pixel * groups)[:len(base)])),
            Assert(~running | (end == (base + steps)[:len(base)])), Assert(running | (statistics._begin == end)),
            Assert((end - ready)[:len(end)] == (places - room._begun._left)), Assert(room._begun._left <= places),
            Assert((end - read)[:len(end)].as_signed() == places - room._left), Assert(rest <= self.steps),
            Assert(~starts | (rest > 0)), Assert(~running | (lag <= places)),
            Assert((end - read)[:len(end)] <= places + self.steps),
            Assert(~running | (rest == 0) | (due <= places + 2)),
            Assert(~room.fits | offered & (offer.steps <= room._begun._left)
                   & (offer.steps <= room._left + room.pixels)),
        ]


class Silent(CostSums):
    """No sums: no count and no time depends on them."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += Value.cast(self.o).eq(~Value.cast(self.o))
        return m


class Choosing(wiring.Component):
    """Statistics and choice: a choice for each tile, of its own channels only, in a bounded time; the sums of a group
    of channels have left when the next ones come.

    Tiles come when they like. Of the sums nothing is here.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"valid": In(1), "stored": In(Stored)})

    statistics = Statistics

    def elaborate(self, platform: object) -> Module:
        m = Module()
        statistics, choice = self.statistics(self.lanes), ModeChoice(self.lanes)
        pixels, _, active, _ = statistics._walk(m)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoder_choice, "CostSums", Silent)
            m.submodules.choice = choice.elaborate(None)
        given = self.stored
        m.d.comb += [statistics.i.valid.eq(self.valid), statistics.i.payload.eq(given),
                     Assume((given.pixels > 0) & (given.groups > 0)), choice.i.pixel.eq(pixels[4]),
                     choice.i.active.eq(active[4])]
        lanes, now = self.lanes, pixels[0]
        come, priced, looking, judged, judging = choice._judge_state
        more, ends, leaves, place, final = choice._walk_state
        # What came to the first stage so many cycles ago.
        overs, finals = ([now.valid & bit, *(Signal(name=f"{name}_{k}") for k in range(1, lanes + 23))]
                         for name, bit in (("over", now.over), ("final", now.final)))
        since, last_final, fresh, before = Signal(6, init=63), Signal(init=1), Signal(), Signal()
        for chain in (overs, finals):
            m.d.sync += [later.eq(earlier) for earlier, later in zip(chain, chain[1:], strict=False)]
        m.d.sync += [since.eq(Mux(overs[0], 1, Mux(since == 63, 63, since + 1))), before.eq(now.valid & now.last)]
        begins, running = statistics.i.valid & statistics.i.ready, statistics._running
        with m.If(overs[0]):
            m.d.sync += [last_final.eq(now.final), fresh.eq(0)]
        with m.If(begins):
            m.d.sync += fresh.eq(1)

        def some(chain: list, first: int, last: int) -> Value:
            return Cat(chain[max(0, first):last + 1]).any()

        m.d.comb += [
            # the promises
            *(Assert(~overs[k] | ~some(overs, k + 1, k + lanes)) for k in range(22)),
            *(Assert(~finals[k] | ~some(overs, k - 10 - lanes, k - 1)) for k in range(1, lanes + 23)),
            Assert(~before | ~now.valid), Assert(~ends | ~leaves), Assert(choice.done == finals[lanes + 22]),
            Assert(~come.valid | ~(looking | judged) & ~some(finals, 12 + lanes, 22 + lanes)),
            Assert(~priced.valid | ~some(finals, 14 + lanes, 22 + lanes)),
        ]
        self._invariants(m, statistics, since, last_final, fresh)
        stages = list(choice._stages)
        m.d.comb += [
            *(Assert((pixel.valid & pixel.over) == overs[k]) for k, pixel in enumerate([*pixels[:5], *more[1:]])),
            *(Assert((pixel.valid & pixel.final) == finals[k]) for k, pixel in enumerate([*pixels[:5], *more[1:]])),
            Assert(ends == overs[10]), Assert(leaves == some(overs, 11, 10 + lanes)),
            *(Assert(~overs[11 + k] | (place == k) & (final == finals[11 + k])) for k in range(lanes)),
            *(Assert(stage.valid == some(overs, 12 + k, 11 + lanes + k)) for k, stage in enumerate(stages)),
            *(Assert(stage.final == finals[11 + lanes + k]) for k, stage in enumerate(stages)),
            Assert(looking == some(finals, 14 + lanes, 21 + lanes)), Assert(judged == finals[22 + lanes]),
            *(Assert(~finals[14 + lanes + k] | (judging == k)) for k in range(8)), Assert(looking | (judging == 0)),
            *(Assert((since != k) | overs[k] & ~some(overs, 1, k - 1)) for k in range(1, lanes + 23)),
            Assert((since < lanes + 23) | ~some(overs, 1, lanes + 22)), Assert(since > 0),
            *(Assert(~finals[k] | overs[k]) for k in range(lanes + 23)),
            *(Assert((since != k) | (finals[k] == last_final)) for k in range(1, lanes + 23)),
            Assert(~before | statistics._waiting | ~running),
        ]
        return m

    def _invariants(self, m: Module, statistics: Statistics, since: Signal, last_final: Signal, fresh: Signal) -> None:
        """How long it takes to the next `over`, at least."""
        lanes, tile, running = self.lanes, statistics._tile, statistics._running
        few, very_few, fewest = statistics._spans
        cycles, waiting, rest = statistics._cycles, statistics._waiting, statistics._rest
        start, left = Signal(6), Signal(12)
        soon = Mux(very_few, cycles, Mux(few, Mux(cycles > 15, cycles - 15, 0), 0))
        m.d.comb += [
            start.eq(Mux(waiting, 1 + Mux(statistics._begins, soon, Mux(fewest, cycles, 0)), 0)),
            left.eq(start + rest + Mux(fewest & ~statistics._again, tile.pixels + 1, 0)),
            Assert(~running | (tile.pixels > 0) & (rest < tile.pixels)), Assert(~running | ~waiting | (
                rest == tile.pixels - 1)),
            Assert(~running | (few == (tile.pixels < 32)) & (very_few == (tile.pixels < 16))
                   & (fewest == (tile.pixels <= FEW_PIXELS))),
            Assert(running | last_final), Assert(~running | (fresh == last_final)),
            Assert(~running | fewest | ~statistics._again),
            Assert(~running | ~statistics._begins | fresh & waiting & ~statistics._again),
            Assert(cycles == Mux(last_final, Mux(since < 25, 25 - since, 0),
                                 Mux(since < max(lanes - 2, 1), max(lanes - 2, 1) - since, 0))),
            Assert(~running | (since + left >= Mux(fresh, 11 + lanes, 1 + lanes))),
        ]
