"""Units become words of eight bytes."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import DIMENSION_BITS, Payload, check_lanes
from .tables import UNIT_BITS

SLOTS = 4
"""Units of a word."""
WORD_BITS = SLOTS * UNIT_BITS


class Direct(data.Struct):
    """What does not come from the streams' units: a `whole` word, or the unit in the lowest bits of `unit`."""

    valid: 1
    whole: 1
    unit: UNIT_BITS
    word: WORD_BITS


class Packer(wiring.Component):
    """Puts units side by side, those of up to four lanes in a cycle, or what comes directly.

    Units of lanes are in place two cycles after the lanes were named. A tile's last word is filled up with zeros.

    Parameters
    ----------
    lanes: of the machine.

    Members
    -------
    begin: a tile of `words` words begins in the next cycle, and all of the one before have been taken in.
    go: everything here moves in this cycle; otherwise what comes in is ignored.
    lanes: that give a unit each, in order; four at most. units: theirs, when it next moves.
    direct: in place of lanes. Whole words come to whole words only.
    flush: units that wait go out, with zeros behind them.
    busy: words are missing. o: stream of words.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "begin": In(1), "words": In(DIMENSION_BITS - 3),
            "go": Out(1), "lanes": In(lanes), "units": In(data.ArrayLayout(UNIT_BITS, lanes)),
            "direct": In(Direct), "flush": In(1), "busy": Out(1), "o": Out(stream.Signature(Payload)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, offset = Signal(DIMENSION_BITS - 3), Signal(2)  # words; units in the one that is being filled
        places, following = self._places(m, offset)
        chosen = [Signal(self._lanes, name=f"chosen_{slot}", reset_less=True) for slot in range(SLOTS)]
        given = [Signal(UNIT_BITS, name=f"given_{slot}", reset_less=True) for slot in range(SLOTS)]
        fills, next_word = Signal(SLOTS), Signal(SLOTS, reset_less=True)
        complete, last, ends = Signal(), Signal(reset_less=True), Signal()
        direct = self.direct
        m.d.comb += [self.go.eq(~self.o.valid | self.o.ready), self.busy.eq(left != 0),
                     ends.eq(following[2] | (direct.valid & direct.whole) | (self.flush & (left != 0)))]
        with m.If(self.go):
            m.d.sync += [offset.eq(following), complete.eq(ends), last.eq(left == 1), left.eq(left - ends),
                         next_word.eq(Cat(offset > slot for slot in range(SLOTS)))]
            for slot in range(SLOTS):
                here = Cat(self.lanes[lane] & (place == slot) for lane, place in enumerate(places))
                straight = direct.valid & (direct.whole | (offset == slot))
                m.d.sync += [chosen[slot].eq(here), fills[slot].eq(here.any() | straight),
                             given[slot].eq(Mux(direct.whole, direct.word.word_select(slot, UNIT_BITS), direct.unit))]
                with m.If(~straight):
                    m.d.sync += given[slot].eq(0)
            m.d.sync += [self.o.valid.eq(complete), self.o.payload.last.eq(last)]
        self._words(m, chosen, given, fills, next_word, complete)
        with m.If(self.begin):
            m.d.sync += [left.eq(self.words), offset.eq(0)]
        return m

    def _places(self, m: Module, offset: Signal) -> tuple[list, Signal]:
        """The slot of each lane's unit, and the slot behind all."""
        places = []
        before = Signal(3, name="place_0")
        m.d.comb += before.eq(Cat(offset, 0))
        for lane in range(self._lanes):
            places.append(before[:2])
            behind = Signal(3, name=f"place_{lane + 1}")
            m.d.comb += behind.eq(Cat(before[0] ^ self.lanes[lane], before[1] ^ (before[0] & self.lanes[lane]),
                                      before[2] | (before[:2].all() & self.lanes[lane])))
            before = behind
        following = Signal(3)
        unit = self.direct.valid & ~self.direct.whole
        m.d.comb += following.eq(Mux(unit, offset + 1, before))
        return places, following

    def _words(self, m: Module, chosen: list, given: list, fills: Signal, next_word: Signal, complete: Signal) -> None:
        for slot in range(SLOTS):
            terms = [self.units[lane] & chosen[slot][lane].replicate(UNIT_BITS) for lane in range(self._lanes)]
            while len(terms) > 1:
                terms = [terms[k] | terms[k + 1] for k in range(0, len(terms), 2)]
            found = Signal(UNIT_BITS, name=f"found_{slot}")
            kept = Signal(UNIT_BITS, name=f"kept_{slot}")
            m.d.comb += found.eq(terms[0] | given[slot])
            with m.If(self.go & fills[slot]):
                m.d.sync += kept.eq(found)
            with m.If(self.go & complete & ~(fills[slot] & next_word[slot])):
                m.d.sync += kept.eq(0)
            target = self.o.payload.data.word_select(slot, UNIT_BITS)
            with m.If(self.go):
                m.d.sync += target.eq(Mux(fills[slot] & ~next_word[slot], found, kept))
