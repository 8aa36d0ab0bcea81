"""Units become words of eight bytes."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import DIMENSION_BITS, Payload, check_lanes
from .tables import LANES, UNIT_BITS

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
        lanes = self._lanes
        left, offset = Signal(DIMENSION_BITS - 3), Signal(2)  # words; units in the one that is being filled
        direct = self.direct
        named = Signal(lanes)  # what comes directly takes the place of the first lanes' units
        m.d.comb += named.eq(self.lanes | (direct.valid & ~direct.whole))
        places, following = self._places(m, named, offset)
        chosen = [Signal(lanes, name=f"chosen_{slot}", reset_less=True) for slot in range(SLOTS)]
        fills, next_word = Signal(SLOTS), Signal(SLOTS, reset_less=True)
        straight, given = Signal(reset_less=True), Signal(WORD_BITS, reset_less=True)
        complete, last, ends = Signal(), Signal(reset_less=True), Signal()
        whole = Signal()
        self._state, self._ends = (left, offset, complete, last), ends
        m.d.comb += [self.go.eq(~self.o.valid | self.o.ready), self.busy.eq(left != 0),
                     whole.eq(direct.valid & direct.whole),
                     ends.eq(following[2] | whole | (self.flush & (left != 0)))]
        with m.If(self.go):
            m.d.sync += [offset.eq(following[:2]), complete.eq(ends), last.eq(left == 1), left.eq(left - ends),
                         next_word.eq(Cat(offset > slot for slot in range(SLOTS))), straight.eq(direct.valid),
                         given.eq(direct.word)]
            with m.If(~direct.whole):
                m.d.sync += given[:UNIT_BITS].eq(direct.unit)
            for slot in range(SLOTS):
                here = Cat(named[lane] & (place == slot) for lane, place in enumerate(places))
                if lanes > slot:
                    here = Cat(here[:slot], here[slot] | whole, here[slot + 1:])
                m.d.sync += [chosen[slot].eq(here), fills[slot].eq(here.any())]
            m.d.sync += [self.o.valid.eq(complete), self.o.payload.last.eq(last)]
        direct_lanes = SLOTS if lanes == LANES else 1
        units = [Mux(straight & (lane < direct_lanes), given.word_select(lane % SLOTS, UNIT_BITS), self.units[lane])
                 for lane in range(lanes)]
        self._words(m, units, chosen, fills, next_word, complete)
        with m.If(self.begin):
            m.d.sync += [left.eq(self.words), offset.eq(0)]
        return m

    def _places(self, m: Module, named: Signal, offset: Signal) -> tuple[list, Signal]:
        """The slot of each lane's unit, and the slot behind all."""
        places = []
        before = Signal(3, name="place_0")
        m.d.comb += before.eq(Cat(offset, 0))
        for lane in range(self._lanes):
            places.append(before[:2])
            behind = Signal(3, name=f"place_{lane + 1}")
            m.d.comb += behind.eq(Cat(before[0] ^ named[lane], before[1] ^ (before[0] & named[lane]),
                                      before[2] | (before[:2].all() & named[lane])))
            before = behind
        return places, before

    def _words(self, m: Module, units: list, chosen: list, fills: Signal, next_word: Signal, complete: Signal) -> None:
        """Puts the chosen units where they belong."""
        for slot in range(SLOTS):
            terms = [unit & chosen[slot][lane].replicate(UNIT_BITS) for lane, unit in enumerate(units)]
            while len(terms) > 1:
                terms = [terms[k] | terms[k + 1] for k in range(0, len(terms), 2)]
            found, kept = Signal(UNIT_BITS, name=f"found_{slot}"), Signal(UNIT_BITS, name=f"kept_{slot}")
            m.d.comb += found.eq(terms[0])
            target = self.o.payload.data.word_select(slot, UNIT_BITS)
            if slot == SLOTS - 1:  # its unit ends the word
                with m.If(self.go):
                    m.d.sync += target.eq(found)
                continue
            with m.If(self.go & fills[slot]):
                m.d.sync += kept.eq(found)
            with m.If(self.go & complete & ~(fills[slot] & next_word[slot])):
                m.d.sync += kept.eq(0)
            with m.If(self.go):
                m.d.sync += target.eq(Mux(fills[slot] & ~next_word[slot], found, kept))
