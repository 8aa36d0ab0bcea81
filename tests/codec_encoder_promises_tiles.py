# amaranth: UnusedElaboratable=no
"""Further parts of the codec's encoder with their promises as assertions: see `codec_encoder_promises`."""

from types import SimpleNamespace
from typing import Any

import pytest
from amaranth import Array, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from systolith.rtl.codec import encoder as encoder_module
from systolith.rtl.codec import encoder_room
from systolith.rtl.codec.encoder import Encoder
from systolith.rtl.codec.encoder_queue import TileQueue
from systolith.rtl.codec.encoder_room import Room, SymbolRoom
from systolith.rtl.codec.encoder_tile import CODED_STEPS, CODED_TILES, STEPS, SYMBOL_STEPS, Choice, Chosen, Stored

COUNT_BITS = 6


class Shown(TileQueue):
    """A queue whose elements can be seen."""

    def __init__(self, shape: Any, depth: int) -> None:
        super().__init__(shape, depth)
        self.m = super().elaborate(None)
        self.rows = []
        for number in range(depth):
            port = self.m.submodules.elements.read_port(domain="comb")
            self.m.d.comb += port.addr.eq(number)
            self.rows.append(port.data)

    def elaborate(self, platform: object) -> Module:
        return self.m

    @property
    def level(self) -> Value:
        return (self._tail - self._head)[:len(self._tail)]

    def follow(self, m: Module, begin: Value, end: Value) -> list[Any]:
        """Beside each tile, from the first on, where its steps end when all are counted from reset on; `begin`, `end`:
        of the first, of the last. What makes the induction hold."""
        pushes, pops = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        ends = [Signal(COUNT_BITS, name=f"end_{place}") for place in range(self._depth)]
        with m.If(pops):
            m.d.sync += [here.eq(there) for here, there in zip(ends, ends[1:], strict=False)]
        with m.If(pushes):
            m.d.sync += Array(ends)[(self.level - pops)[:len(self._head) - 1]].eq(
                (end + self.i.payload.steps)[:COUNT_BITS])
        found = [Assert((self.level > 0) | (begin == end))]
        for place, upto in enumerate(ends):
            row = Array(row.steps for row in self.rows)[(self._head + place)[:len(self._head) - 1]]
            before = ends[place - 1] if place else begin
            found += [Assert((self.level <= place) | (upto == (before + row)[:COUNT_BITS])),
                      Assert((self.level != place + 1) | (upto == end))]
        return found

    def sound(self) -> list[Any]:
        """What makes the induction hold."""
        names = [name for name in ("steps", "pixels") if hasattr(self.rows[0], name)]
        pairs = [(getattr(self.o.payload, name), [getattr(row, name) for row in self.rows]) for name in names]
        if self._shape == 4:
            pairs = [(self.o.payload, self.rows)]
        return [Assert(self.level <= self._depth), Assert(~self.o.valid | (self.level > 0)),
                *(Assert(~self.o.valid | (now == Array(rows)[self._head[:-1]])) for now, rows in pairs)]


class OpenRoom(Room):
    """Its count can be seen."""

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self.m = super().elaborate(None)

    def elaborate(self, platform: object) -> Module:
        return self.m


class OpenSymbolRoom(SymbolRoom):
    """Its counts can be seen."""

    def __init__(self, places: int, shift: int) -> None:
        super().__init__(places, shift)
        self.m = super().elaborate(None)

    def elaborate(self, platform: object) -> Module:
        return self.m


class Queue(wiring.Component):
    """`TileQueue`: nothing is lost, doubled or exchanged, and what is in it comes out. An element is followed from
    where it goes in, any one; those before it are counted."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__({"valid": In(1), "given": In(4), "ready": In(1), "pick": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = Shown(4, self.depth)
        m.d.comb += [queue.i.valid.eq(self.valid), queue.i.payload.eq(self.given), queue.o.ready.eq(self.ready)]
        comes, goes = self.valid & queue.i.ready, queue.o.valid & self.ready
        followed, gone, before, value = Signal(), Signal(), Signal(range(self.depth + 1)), Signal(4)
        level, waits = Signal(range(self.depth + 1)), Signal()
        m.d.sync += [level.eq(level + comes - goes), waits.eq(level - goes > 0)]
        with m.If(comes & self.pick & ~followed):
            m.d.sync += [followed.eq(1), before.eq((level - goes)[:len(level)]), value.eq(self.given)]
        with m.If(followed & ~gone & goes):
            m.d.sync += [before.eq(before - 1), gone.eq(before == 0)]
        at = (queue._head[:-1] + before)[:len(queue._head) - 1]
        m.d.comb += [
            Assert(level == queue.level), Assert(queue.i.ready == (level < self.depth)),
            Assert(queue.o.valid == waits),
            Assert(~(followed & ~gone & goes & (before == 0)) | (queue.o.payload == value)),
            Assert(~(followed & ~gone) | (before < level) & (Array(queue.rows)[at] == value)),
            *queue.sound(),
        ]
        return m


class Tiles(wiring.Component):
    """The tiles' way from stage to stage: whatever time the stages take, no queue and no ring is filled beyond its
    size, and where no stage works, the next one begins, as long as there is a tile.

    The stages promise: a tile is chosen for once, after it was looked at; the coder takes its steps once; it then goes
    out. The largest tile has `steps`, and the rings are as much smaller. `hasty`: a choice comes at any time.
    """

    hasty = False

    def __init__(self, steps: int) -> None:
        self.steps = steps
        super().__init__({
            "valid": In(1), "stored": In(Stored), "looks": In(1), "chooses": In(1), "choice": In(Choice),
            "reads": In(1), "codes": In(1), "accepts": In(1), "sends": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        assert (SYMBOL_STEPS, CODED_STEPS) == (2 * STEPS, 3 * STEPS)
        queues: list[Shown] = []

        def shown(shape: Any, depth: int) -> Shown:
            queues.append(Shown(shape, depth))
            return queues[-1]

        load, statistics = (SimpleNamespace(**{name: stream.Signature(Stored).create()}) for name in "oi")
        choice = SimpleNamespace(done=Signal(), o=Signal(Choice))
        coder = SimpleNamespace(i=stream.Signature(Chosen).create(), read=Signal())
        output = SimpleNamespace(i=stream.Signature(Chosen).flip().create(), sent=Signal(), steps=Signal(10))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoder_module, "SYMBOL_STEPS", 2 * self.steps)
            patch.setattr(encoder_module, "CODED_STEPS", 3 * self.steps)
            patch.setattr(encoder_module, "TileQueue", shown)
            patch.setattr(encoder_module, "Room", OpenRoom)
            patch.setattr(encoder_module, "SymbolRoom", OpenSymbolRoom)
            patch.setattr(encoder_room, "Room", OpenRoom)
            Encoder(8)._tiles(m, load, statistics, choice, coder, output)  # type: ignore[arg-type]
        stored, looked, choices, coding = queues
        symbols, units, tiles = m.submodules.symbol_room, m.submodules.unit_room, m.submodules.tile_room
        # Looking at one; owed: tiles without a choice.
        looking, owed = Signal(), Signal(4)
        begins, chosen = statistics.i.valid & statistics.i.ready, self.chooses & (self.hasty | (owed > looking))
        m.d.comb += [load.o.valid.eq(self.valid), load.o.payload.eq(self.stored), statistics.i.ready.eq(~looking),
                     choice.done.eq(chosen), choice.o.eq(self.choice),
                     Assume((self.stored.steps > 0) & (self.stored.steps <= self.steps)),
                     Assume((self.stored.pixels > 0) & (self.stored.pixels <= self.stored.steps))]
        m.d.sync += [owed.eq(owed + begins - chosen), looking.eq(Mux(looking, ~self.looks, begins))]
        # Coding one; ended: coded tiles that wait.
        busy, left, ended = Signal(), Signal(10), Signal(3)
        goes, reads, codes = coder.i.valid & coder.i.ready, self.reads & (left > 0), busy & (left == 0) & self.codes
        accepted = Signal()
        m.d.comb += [coder.i.ready.eq(~busy), coder.read.eq(reads)]
        m.d.sync += [busy.eq(Mux(busy, ~codes, goes)), left.eq(Mux(goes, coder.i.payload.steps, left - reads)),
                     ended.eq(ended + codes - accepted)]
        # Two on their way out.
        out = [Signal(10, name=f"out_{k}") for k in range(2)]
        held, sent = Signal(2), Signal()
        m.d.comb += [output.i.ready.eq((ended > 0) & (held < 2) & self.accepts),
                     accepted.eq(output.i.valid & output.i.ready), sent.eq(self.sends & (held > 0)),
                     output.sent.eq(sent), output.steps.eq(out[0])]
        m.d.sync += held.eq(held + accepted - sent)
        with m.If(sent):
            m.d.sync += out[0].eq(out[1])
        with m.If(accepted):
            m.d.sync += Array(out)[held - sent].eq(output.i.payload.steps)
        begun, gone, taken, done = (Signal(COUNT_BITS, name=name) for name in ("begun", "gone", "taken", "done"))
        second = Signal(COUNT_BITS)
        with m.If(begins):
            m.d.sync += begun.eq(begun + statistics.i.payload.steps)
        with m.If(goes):
            m.d.sync += gone.eq(gone + coder.i.payload.steps)
        with m.If(accepted):
            m.d.sync += taken.eq(taken + output.i.payload.steps)
        with m.If(sent):
            m.d.sync += done.eq(done + out[0])
        m.d.comb += [*looked.follow(m, gone, begun), *coding.follow(m, taken, gone), second.eq(done + out[0]),
                     Assert((held > 0) | (taken == done)), Assert((held != 1) | (taken == second)),
                     Assert((held != 2) | (taken == (second + out[1])[:COUNT_BITS]))]
        looked_steps, under_way = Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.comb += [looked_steps.eq(begun - gone), under_way.eq(gone - done)]
        waits = [Signal(name=f"waits_{k}") for k in range(2)]  # a cycle ago, for what registers say
        quiet = ~looking & (owed == 0) & ~busy & (held == 0) & (ended == coding.level)
        told = [Signal(name=f"told_{k}") for k in range(4)]
        for flag, queue in zip(told, queues, strict=True):
            m.d.sync += flag.eq((queue.level - (queue.o.valid & queue.o.ready)) > 0)
            m.d.comb += Assert(flag == queue.o.valid)
            m.d.comb += queue.sound()
            for row in queue.rows:
                if hasattr(row, "steps"):
                    m.d.comb += Assert(row.steps <= self.steps)
        for number, row in enumerate(stored.rows):
            inside = ((number - stored._head)[:len(stored._head) - 1] < stored.level)
            m.d.comb += Assert(~inside | (row.pixels <= row.steps) & (row.steps > 0))
        m.d.comb += [
            # what is offered without asking is taken
            Assert(~choices.i.valid | choices.i.ready), Assert(~coding.i.valid | coding.i.ready),
            Assert(looked.i.valid == begins), Assert(choices.level + owed == looked.level),
            # rooms
            *(Assert(~room.fits | room.asked & (room.amount <= room._left)) for room in (units, tiles)),
            Assert(~symbols.fits | symbols.asked & (symbols.steps <= symbols._begun._left)
                   & (symbols.steps <= symbols._left + symbols.pixels)),
            Assert(symbols._begun._left + looked_steps == 2 * self.steps),
            Assert(symbols._left + looked_steps + left == 2 * self.steps), Assert(symbols._left >= -self.steps),
            Assert(units._left + under_way == 3 * self.steps),
            Assert(tiles._left + coding.level + held == CODED_TILES), Assert(held <= 2),
            Assert(ended + busy == coding.level), Assert(left <= self.steps), Assert(busy | (left == 0)),
            Assert((looking == 0) | (owed > 0)), *(Assert(one <= self.steps) for one in out),
            # nothing waits for what will not come
            Assert(~waits[0] | begins), Assert(~waits[1] | goes), Assert(~(quiet & coding.o.valid) | (ended > 0)),
            Assert(~quiet | (looked.level == 0) | (choices.level > 0)),
        ]
        empty = quiet & (coding.level == 0)
        m.d.sync += [waits[0].eq(empty & stored.o.valid & (looked.level == 0) & ~begins),
                     waits[1].eq(empty & looked.o.valid & choices.o.valid & ~goes)]
        return m
