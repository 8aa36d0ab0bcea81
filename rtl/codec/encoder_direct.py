"""What goes out of a tile and is not coded: the header, or the values as they are."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .encoder_pack import Direct
from .encoder_tile import DIMENSION_BITS, GROUP_BITS, MODE_STEPS, STORED_STEPS, check_lanes, phase_bits, ring_bits
from .tables import LANES, MODE_BITS


class DirectOutput(wiring.Component):
    """Reads a tile's modes or values and gives them as units, in a cycle one, of an odd number of channels half of one;
    with 8 lanes and channels by the eight a whole word.

    Parameters
    ----------
    lanes: of the machine.

    Members
    -------
    begin: `size` bytes are wanted of the values if `raw`, else of the modes, of a tile with `c` channels, `parts` of a
    pixel; its values and modes stand from `values_base` and `modes_base` on.
    go: everything here moves in this cycle.
    values_address, values, modes_address, modes: read ports, a cycle; they stand still without `go`.
    o: for the packer. busy: bytes are missing, or on their way.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        values, modes = ring_bits(STORED_STEPS, lanes), ring_bits(MODE_STEPS, lanes)
        super().__init__({
            "begin": In(1), "go": In(1), "raw": In(1), "size": In(DIMENSION_BITS), "c": In(DIMENSION_BITS),
            "parts": In(GROUP_BITS + phase_bits(lanes)), "values_base": In(values), "modes_base": In(modes),
            "values_address": Out(values), "values": In(8 * lanes),
            "modes_address": Out(modes), "modes": In(MODE_BITS * lanes),
            "o": Out(Direct), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        left, values, modes = Signal(DIMENSION_BITS), Signal.like(self.values_base), Signal.like(self.modes_base)
        channels = Signal(DIMENSION_BITS + 1, reset_less=True)  # behind this part's first; top bit: none, not even that
        missing = Signal.like(self.parts, reset_less=True)  # parts of the pixel that follow
        place = Signal(range(lanes), reset_less=True)  # of the next byte
        whole, bytewise = Signal(), Signal()
        m.d.comb += [
            whole.eq(self.raw & ~self.c[:3].any() if lanes == LANES else 0),
            bytewise.eq(Mux(self.raw, self.c[0], int(lanes == 2))),
            self.values_address.eq(values), self.modes_address.eq(modes),
        ]
        some, ends, more, last = Signal(), Signal(), Signal(3), Signal(3)  # bytes after the first, the last one's place
        m.d.comb += [
            more.eq(Mux(whole, LANES - 1, ~bytewise)), last.eq(place + more),
            some.eq((left != 0) & ~(self.raw & channels[-1])),
            ends.eq(Mux(self.raw, channels[-1] | (last == lanes - 1) | (channels[:-1] == last),
                        last == lanes // 2 - 1)),
        ]
        with m.If(self.go & (left != 0)):
            m.d.sync += place.eq(last + 1)
            with m.If(some):
                m.d.sync += left.eq(Mux(left == 1, 0, left - more - 1))
            with m.If(ends):
                m.d.sync += [place.eq(0), values.eq(values + 1), modes.eq(modes + 1), missing.eq(missing - 1),
                             channels.eq(channels - lanes)]
                with m.If(missing == 0):
                    m.d.sync += [channels.eq(self.c - 1), missing.eq(self.parts - 1)]
        with m.If(self.begin):
            m.d.sync += [left.eq(self.size), values.eq(self.values_base), modes.eq(self.modes_base), place.eq(0),
                         channels.eq(self.c - 1), missing.eq(self.parts - 1)]
        self._answer(m, some, place, left == 1, whole, bytewise)
        m.d.comb += self.busy.eq((left != 0) | self.o.valid | self._coming)
        return m

    def _answer(self, m: Module, some: Any, place: Any, last: Any, whole: Any, bytewise: Any) -> None:
        """Pairs of bytes, when the memories have answered."""
        lanes = self._lanes
        self._coming = coming = Signal()
        at, final, odd, low = Signal.like(place, reset_less=True), Signal(reset_less=True), Signal(), Signal(8)
        word, pair, byte = Signal(8 * lanes), Signal(16), Signal(8)
        m.d.comb += [
            word.eq(Mux(self.raw, self.values, self.modes)),
            pair.eq(word.word_select(at[1:], 16)), byte.eq(Mux(at[0], pair[8:], pair[:8])),
            self.o.whole.eq(whole), self.o.word.eq(self.values),
            self.o.valid.eq(coming & (~bytewise | odd | final)),
            self.o.unit.eq(Mux(bytewise, Mux(odd, Cat(low, byte), byte), pair)),
        ]
        with m.If(self.go):
            m.d.sync += [coming.eq(some), at.eq(place), final.eq(last)]
            with m.If(coming):
                m.d.sync += [odd.eq(bytewise & ~odd), low.eq(byte)]
        with m.If(self.begin):
            m.d.sync += odd.eq(0)
