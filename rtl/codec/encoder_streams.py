"""Codes become units of 16 bits: the streams of the encoder's lanes."""

from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .encoder_code import Code
from .encoder_tile import Taken, check_lanes, phase_bits
from .tables import LANES, UNIT_BITS

_PLACE_BITS = UNIT_BITS.bit_length() - 1


class Part(data.Struct):
    """What the lanes do: `starts`: they take their first units; `codes`: they take a unit where they need one, then a
    code; `ends`: they give their last bits. One of them, or nothing. `last`: the tile's last part."""

    starts: unsigned(1)
    codes: unsigned(1)
    ends: unsigned(1)
    last: unsigned(1)


def unit_writes(lanes: int) -> data.StructLayout:
    """Units on their way into the lanes' rings."""
    return data.StructLayout({"valid": lanes, "phase": phase_bits(lanes),
                              "units": data.ArrayLayout(UNIT_BITS, lanes)})


def lane_ends(lanes: int) -> data.StructLayout:
    """The lanes of a phase have ended; those `entered` have left one taken unit untouched, the others two; `last`: the
    tile has ended."""
    return data.StructLayout({"valid": 1, "last": 1, "phase": 2, "entered": lanes})


class Streams(wiring.Component):
    """Packs codes into units, and says which lanes take units in which order.

    Stream s = phase * lanes + lane; phases come in turn, and state goes round with them. A lane takes a unit at the
    first pixel, and later when its last code went into a unit that it had not touched: the decoder holds fewer than
    HELD_BITS then. So of the units that it has taken it has not touched two in the end, or one.

    Parameters
    ----------
    lanes: codes that come at once.

    Members
    -------
    part, active, codes: of one phase; `active`: the lanes with a channel here.
    taken: lanes that take a unit now, in order; none is possible.
    units: units that are complete, a cycle later.
    ends: at the end of the lanes of a phase.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "part": In(Part),
            "active": In(lanes),
            "codes": In(data.ArrayLayout(Code, lanes)),
            "taken": Out(Taken),
            "ends": Out(lane_ends(lanes)),
            "units": Out(unit_writes(lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, part = self._lanes, self.part
        moves = part.starts | part.codes | part.ends
        phase, later = Signal(phase_bits(lanes)), Signal(phase_bits(lanes))
        takes, entered = Signal(lanes), Signal(lanes)
        with m.If(moves):
            m.d.sync += phase.eq(phase + 1)
        m.d.sync += later.eq(phase)
        m.d.comb += [
            self.taken.phase.eq(phase),
            self.taken.lanes.eq(self.active & Mux(part.starts, (1 << lanes) - 1, Mux(part.codes, takes, 0))),
            self.ends.valid.eq(part.ends), self.ends.last.eq(part.ends & part.last), self.ends.phase.eq(phase),
            self.ends.entered.eq(entered),
            self.units.phase.eq(later),
        ]
        for lane in range(lanes):
            take, write, unit = self._lane(m, lane, moves)
            m.d.comb += [takes[lane].eq(take), entered[lane].eq(take),
                         self.units.valid[lane].eq(write), self.units.units[lane].eq(unit)]
        return m

    def _turning(self, m: Module, shape: Any, name: str, enable: Any, following: Any) -> Signal:
        """The value of this phase, which becomes `following`; those of the others go round."""
        turn = [Signal(shape, name=f"{name}_{place}") for place in range(LANES // self._lanes)]
        with m.If(enable):
            m.d.sync += [here.eq(there) for here, there in zip(turn, [*turn[1:], following], strict=True)]
        return turn[0]

    def _lane(self, m: Module, lane: int, moves: Any) -> tuple[Signal, Signal, Signal]:
        """Whether the lane takes a unit; a unit that is complete, a cycle later."""
        part, code = self.part, self.codes[lane]
        length, bits = Mux(part.codes, code.length, 0), code.bits
        following = Signal(_PLACE_BITS, name=f"following_{lane}")
        needs = Signal(name=f"needs_{lane}")
        total, enters = Signal(_PLACE_BITS + 1, name=f"total_{lane}"), Signal(name=f"enters_{lane}")
        place = self._turning(m, _PLACE_BITS, f"place_{lane}", moves, following)
        wanted = self._turning(m, 1, f"wanted_{lane}", moves, needs)
        m.d.comb += [
            total.eq(place + length),
            enters.eq(Mux(place == 0, length != 0, total > UNIT_BITS)),
            following.eq(Mux(part.codes, total[:_PLACE_BITS], 0)),
            needs.eq(Mux(part.starts, 1, Mux(self.active[lane], enters, wanted))),
        ]
        # Then the bits join those before them.
        wide, full = Signal(2 * UNIT_BITS - 1, name=f"wide_{lane}", reset_less=True), Signal(name=f"full_{lane}")
        turns, clears = Signal(name=f"turns_{lane}"), Signal(name=f"clears_{lane}")
        m.d.sync += [wide.eq(Mux(part.codes, bits, 0) << place), turns.eq(moves), clears.eq(part.ends),
                     full.eq((part.codes & total[-1]) | (part.ends & (place != 0)))]
        held_next, unit = Signal(UNIT_BITS, name=f"held_next_{lane}"), Signal(UNIT_BITS, name=f"unit_{lane}")
        held = self._turning(m, UNIT_BITS, f"held_{lane}", turns, held_next)
        m.d.comb += [unit.eq(held | wide[:UNIT_BITS]),
                     held_next.eq(Mux(clears, 0, Mux(full, wide[UNIT_BITS:], unit)))]
        return wanted, full, unit
