"""Units of the payload: kept for each slot, and handed to the streams that ask, in order."""

from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import ANY_COLLISION, IN_BLOCKS, UNIT_COUNT_BITS, WORD_UNITS, Op, Sizes, added
from .tables import LANES, UNIT_BITS

WORD_BITS = WORD_UNITS * UNIT_BITS
_SUPPLY = 4 * LANES
"""Units that must be there for an op: those under way that are not counted yet, and itself, take no more. With 8 and 4
lanes that is 3 ops of up to 8 units each, with 2 lanes 2 ops of up to 16."""


class Write(data.StructLayout):
    """A word goes into the ring of `slot`, at the `at`-th word."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__({"valid": 1, "at": range(2 * sizes.ring // WORD_UNITS), "slot": range(sizes.slots)})


class DecoderUnits(wiring.Component):
    """A ring of units for each slot; all of them in a memory for each lane, so that each lane reads any unit.

    An op takes units in the cycle in which `op` has it; they are there in the next.

    Parameters
    ----------
    sizes: of the decoder.

    Members
    -------
    words: of each slot, a stream of 4 units, the first one lowest; each tile begins in a word of its own. starts,
    supplied, clean: see `DecoderWalk`. op: what takes; its slot is another one in each cycle, also where nothing is
    to be done: the state of that slot is at hand then. hungry: lanes whose stream takes a unit if it has a channel.
    taken, real, unit: of each lane, a cycle after the op: it takes a unit; from the payload, or zeros from behind it
    (`unit` is something else then).
    raw: the bytes of a step that is not coded. left: there were units left.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        super().__init__({
            "words": In(stream.Signature(WORD_BITS)).array(sizes.slots),
            "starts": In(sizes.slots),
            "supplied": Out(sizes.slots),
            "clean": Out(sizes.slots),
            "op": In(Op(sizes)),
            "hungry": In(sizes.lanes),
            "taken": Out(sizes.lanes),
            "real": Out(sizes.lanes),
            "unit": Out(data.ArrayLayout(UNIT_BITS, sizes.lanes)),
            "raw": Out(8 * sizes.lanes),
            "left": Out(1),
        })
        # `at` and `pointer`: words that came and units that were taken, modulo twice the ring
        self._state = data.StructLayout({"at": range(2 * sizes.ring // WORD_UNITS), "pointer": range(2 * sizes.ring),
                                         "real": UNIT_COUNT_BITS, "padding": 2, "odd": 1})
        self._states = [Signal(self._state, name=f"state_{k}") for k in range(sizes.slots)]  # the last: of op's slot
        self._used = Signal(range(LANES + 1))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        op, states = self.op, self._states
        now, then = states[-1], Signal(self._state)
        m.d.sync += [later.eq(earlier) for later, earlier in zip(states, [then, *states], strict=False)]
        wants, before = self._wants(m)
        few = Mux(now.real >= LANES, LANES, now.real[:3])
        real = Cat(few > count for count in before)
        asked, units, short = Signal(range(LANES + 1)), self._used, Signal()
        moved = Signal(4)  # bytes of a step that is not coded, from the first unit's first on
        m.d.comb += [
            then.eq(now), moved.eq(_count(op.active) + now.odd), short.eq(few < asked),
            units.eq(Mux(short, few[:3] + Mux(op.skip, now.padding, 0), asked)),
            then.pointer.eq(now.pointer + units), then.real.eq(Mux(short, 0, now.real - asked)),
        ]
        with m.If(op.skip):
            m.d.comb += asked.eq(WORD_UNITS)
            with m.If(short):
                m.d.comb += then.padding.eq(0)
        with m.Elif(op.raw & op.step):
            m.d.comb += [asked.eq(moved >> 1), then.odd.eq(moved[0])]
        with m.Else():
            m.d.comb += asked.eq(before[-1] + wants[-1])
        with m.If(op.start):
            m.d.comb += [then.real.eq(op.units), then.padding.eq((-op.units)[:2]), then.odd.eq(0)]
        m.d.sync += [self.taken.eq(wants), self.real.eq(real), self.left.eq(now.real != 0)]
        takes, word = self._take(m, self._watch(m, states[0]))
        write = Signal(Write(self._sizes))
        m.d.comb += then.at.eq(now.at + takes)
        m.d.sync += [write.valid.eq(takes), write.at.eq(now.at), write.slot.eq(op.place.slot)]
        odd = Signal()
        m.d.sync += odd.eq(now.odd)
        for lane in range(self._sizes.lanes):
            index = self._index(m, lane, before[lane], now)
            unit = self._read(m, lane, index, write, word)
            upper = ~odd if lane % 2 else odd  # of a step that is not coded
            m.d.comb += [self.unit[lane].eq(unit),
                         self.raw.word_select(lane, 8).eq(Mux(upper, unit[8:], unit[:8]))]
        return m

    def _watch(self, m: Module, state: data.View) -> Signal:
        """What the walk is told of a slot, and whether it has room for two words, from its `state` after an op."""
        sizes, op = self._sizes, self.op
        slot_before = Signal.like(op.place.slot)
        supplied, clean, starting = (Signal(sizes.slots, name=name) for name in ("supplied", "clean", "starting"))
        room = Signal(sizes.slots, init=(1 << sizes.slots) - 1)
        level = Signal(range(2 * sizes.ring))
        m.d.sync += slot_before.eq(op.place.slot)
        m.d.comb += [level.eq(Cat(Const(0, 2), state.at) - state.pointer), self.supplied.eq(supplied),
                     self.clean.eq(clean)]
        for slot in range(sizes.slots):
            with m.If(slot_before == slot):
                m.d.sync += [
                    clean[slot].eq((state.real == 0) & (state.padding == 0)),
                    supplied[slot].eq(((level >= _SUPPLY) | (level >= state.real)) & ~starting[slot]),
                    room[slot].eq(~level[-1] & ~level[3:-1].all()),  # 2 words and a unit
                ]
            with m.If(op.start & (op.place.slot == slot)):
                m.d.sync += starting[slot].eq(0)
            with m.If(self.starts[slot]):  # until `real` is that of the new tile
                m.d.sync += [starting[slot].eq(1), supplied[slot].eq(0)]
        return room

    def _take(self, m: Module, room: Signal) -> tuple[Signal, Signal]:
        """Takes a word for the op's slot: whether there is one, and a cycle later the word. Registers that are 0 but in
        the cycle after their slot's turn need half of a multiplexer."""
        takes, words = Signal(), []
        for slot, port in enumerate(self.words):
            word = Signal(WORD_BITS, name=f"word_{slot}")
            m.d.sync += word.eq(0)
            with m.If(self.op.place.slot == slot):
                m.d.comb += [port.ready.eq(room[slot]), takes.eq(room[slot] & port.valid)]
                m.d.sync += word.eq(port.payload)
            words.append(word)
        return takes, reduce(or_, words)

    def _wants(self, m: Module) -> tuple[Signal, list[Value]]:
        """Which lanes take a unit, and how many do before each."""
        sizes, op = self._sizes, self.op
        wants = Signal(sizes.lanes)
        header = Cat(op.header & op.active[lane] & (op.place.part * sizes.lanes % WORD_UNITS == 0)
                     if lane % WORD_UNITS == 0 else Const(0, 1) for lane in range(sizes.lanes))
        m.d.comb += wants.eq(header | op.active & (op.fill.replicate(sizes.lanes)
                                                   | (op.step & op.coded).replicate(sizes.lanes) & self.hungry))
        before: list[Value] = []
        for lane in range(sizes.lanes):
            count = Signal(range(max(2, lane + 1)), name=f"before_{lane}")
            m.d.comb += count.eq(_count(wants[:lane]) if lane else 0)
            before.append(count)
        return wants, before

    def _index(self, m: Module, lane: int, before: Value, now: data.View) -> Value:
        """The ring's place of a lane's unit: the next one, and as many further as lanes before it take; where the step
        is not coded, that of the lane's byte."""
        bits = (self._sizes.ring - 1).bit_length()
        pointer, index = now.pointer[:bits], Signal(bits, name=f"index_{lane}")
        byte, ahead = Mux(now.odd, (lane + 1) // 2, lane // 2), Signal(3, name=f"ahead_{lane}")
        low, carry = added(pointer[:3], ahead)
        m.d.comb += [ahead.eq(Mux(self.op.raw, byte, before)),
                     index.eq(Cat(low, Mux(carry, (pointer[3:] + 1)[:bits - 3], pointer[3:])))]
        return index

    def _read(self, m: Module, lane: int, index: Value, write: data.View, word: Value) -> Value:
        """Writes a word, and reads the unit at `index` of the op's slot: it is there a cycle later."""
        sizes = self._sizes
        m.submodules[f"ring_{lane}"] = store = memory.Memory(
            shape=UNIT_BITS, depth=sizes.ring << (sizes.slots - 1).bit_length(), init=[],
            attrs={**ANY_COLLISION, **IN_BLOCKS})
        for number in range(WORD_UNITS):  # together a port of a word
            writer = store.write_port()
            m.d.comb += [
                writer.addr.eq(Cat(Const(number, 2), write.at[:-1], write.slot)),
                writer.data.eq(word.word_select(number, UNIT_BITS)), writer.en.eq(write.valid),
            ]
        reader = store.read_port()
        m.d.comb += reader.addr.eq(Cat(index, self.op.place.slot))
        return reader.data


def _count(bits: Value) -> Value:
    """Number of ones, as a tree."""
    if len(bits) < 2:
        return bits[:]
    half = len(bits) // 2
    return _count(bits[:half]) + _count(bits[half:])
