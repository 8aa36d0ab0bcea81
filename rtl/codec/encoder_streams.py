"""Codes become units of 16 bits: the streams of the encoder's lanes."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .encoder_code import Code
from .encoder_tile import Taken, check_lanes, phase_bits
from .tables import LANES, UNIT_BITS

_PLACE_BITS = UNIT_BITS.bit_length() - 1


class Part(data.Struct):
    """What the lanes do: `starts`: they take their first units; `codes`: they take a unit where they need one, then a
    code; `ends`: they give their last bits; `pads`: a unit of zeros that they have taken and not touched, and where
    `second`, another one. One of them, or nothing. `last`: the tile's last part."""

    starts: unsigned(1)
    codes: unsigned(1)
    ends: unsigned(1)
    pads: unsigned(1)
    second: unsigned(1)
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
    part, active, codes: of one phase; `active`: the lanes with a channel here. Codes outside of `part.codes` are empty.
    taken: lanes that take a unit now, in order; none is possible.
    units: units that are complete, a cycle later.
    ends: when the lanes of a phase give their last bits, and with `last` when all units are given.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        self._turns: dict[str, list[Signal]] = {}  # for proofs
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
        moves = part.starts | part.codes | part.ends | part.pads
        phase, later = Signal(phase_bits(lanes)), Signal(phase_bits(lanes))
        takes = Signal(lanes)
        with m.If(moves):
            m.d.sync += phase.eq(phase + 1)
        m.d.sync += later.eq(phase)
        m.d.comb += [
            self.taken.phase.eq(phase),
            self.taken.lanes.eq(self.active & (part.starts.replicate(lanes) | (part.codes.replicate(lanes) & takes))),
            self.ends.valid.eq(part.ends), self.ends.last.eq(part.last), self.ends.phase.eq(phase),
            self.ends.entered.eq(takes),
            self.units.phase.eq(later),
        ]
        for lane in range(lanes):
            take, write, unit = self._lane(m, lane, moves)
            m.d.comb += [takes[lane].eq(take), self.units.valid[lane].eq(write), self.units.units[lane].eq(unit)]
        return m

    def _turning(self, m: Module, shape: Any, name: str, enable: Any, following: Any, clear: Any = None) -> Signal:
        """The value of this phase, which becomes `following`, or 0; those of the others go round."""
        turn = self._turns[name] = [Signal(shape, name=f"{name}_{place}") for place in range(LANES // self._lanes)]
        with m.If(enable):
            m.d.sync += [here.eq(there) for here, there in zip(turn, [*turn[1:], following], strict=True)]
        if clear is not None:
            with m.If(clear):
                m.d.sync += turn[-1].eq(0)
        return turn[0]

    def _lane(self, m: Module, lane: int, moves: Any) -> tuple[Signal, Signal, Signal]:
        """Whether the lane takes a unit; a unit that is complete, a cycle later."""
        part, code = self.part, self.codes[lane]
        following, needs = Signal(_PLACE_BITS, name=f"following_{lane}"), Signal(name=f"needs_{lane}")
        total, enters = Signal(_PLACE_BITS + 1, name=f"total_{lane}"), Signal(name=f"enters_{lane}")
        place = self._turning(m, _PLACE_BITS, f"place_{lane}", moves, following)
        wanted = self._turning(m, 1, f"wanted_{lane}", moves, needs)
        begin, wide = Signal(_PLACE_BITS, name=f"begin_{lane}"), Signal(UNIT_BITS, name=f"wide_{lane}")
        m.d.comb += [
            total.eq(place + code.length),
            enters.eq(Mux(place == 0, code.length != 0, total > UNIT_BITS)),
            following.eq(Mux(part.codes, total[:_PLACE_BITS], 0)),
            needs.eq(part.starts | Mux(self.active[lane] & part.codes, enters, wanted)),
            # Zeros before the code's one need no shift of their own. Bits beyond the unit come round to its low end.
            begin.eq(place + code.shift), wide.eq(code.body << begin[:3]),
        ]
        round_bits, from_place = (Signal(UNIT_BITS, name=f"{name}_{lane}", reset_less=True) for name in (
            "round", "from"))
        full, clears = Signal(name=f"full_{lane}"), Signal(name=f"clears_{lane}", reset_less=True)
        turns = Signal(name=f"turns_{lane}")
        m.d.sync += [
            round_bits.eq(Mux(begin[3], wide.rotate_left(8), wide)),
            from_place.eq(Cat(place <= k for k in range(UNIT_BITS))), turns.eq(moves), clears.eq(part.ends),
            full.eq((part.codes & total[-1]) | (part.ends & (place != 0)) |
                    (part.pads & self.active[lane] & ~(part.second & wanted))),
        ]
        held_next, unit = Signal(UNIT_BITS, name=f"held_next_{lane}"), Signal(UNIT_BITS, name=f"unit_{lane}")
        held = self._turning(m, UNIT_BITS, f"held_{lane}", turns, held_next, turns & clears)
        m.d.comb += [unit.eq(held | (round_bits & from_place)),
                     held_next.eq(Mux(full, round_bits & ~from_place, held | round_bits))]
        return wanted, full, unit
