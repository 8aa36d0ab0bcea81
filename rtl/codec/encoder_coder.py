"""The encoder's second look at a tile: step by step, from symbols to units."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .encoder_code import LATENCY, CodeInput, CodePair
from .encoder_statistics import delayed
from .encoder_streams import Part, Streams, lane_ends, unit_writes
from .encoder_tile import (
    DIMENSION_BITS,
    GROUP_BITS,
    MODE_STEPS,
    SYMBOL_STEPS,
    Chosen,
    Taken,
    check_lanes,
    phase_bits,
    ring_bits,
    symbol_layout,
)
from .tables import LANES, MODE_BITS, TAG_CHANNELS


class Coder(wiring.Component):
    """Codes a part of a step a cycle; a tile takes four steps more than it has, and a cycle.

    Parameters
    ----------
    lanes: values of a part.

    Members
    -------
    i: stream of tiles, taken when they begin. Nothing stops the coder then.
    symbols_address, symbols, modes_address, modes: read ports of the rings, a cycle; tiles follow each other there.
    read: the symbols of a step have been read.
    taken, ends, units: what becomes of them, as `Streams` says.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "i": In(stream.Signature(Chosen)),
            "symbols_address": Out(ring_bits(SYMBOL_STEPS, lanes)),
            "symbols": In(data.ArrayLayout(symbol_layout(), lanes)),
            "modes_address": Out(ring_bits(MODE_STEPS, lanes)),
            "modes": In(MODE_BITS * lanes),
            "read": Out(1),
            "taken": Out(Taken), "ends": Out(lane_ends(lanes)), "units": Out(unit_writes(lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        m.submodules.streams = streams = Streams(lanes)
        part, active, first, tile = self._walk(m)
        parts, actives = delayed(m, part, "pixel", 2 + LATENCY), delayed(m, active, "active", 2 + LATENCY)
        firsts, sets, tags = (delayed(m, value, name, 2) for value, name in (
            (first, "first"), (tile.table_set, "table_set"), (tile.choice.tag, "tag")))
        m.d.comb += [streams.part.eq(parts[-1]), streams.active.eq(actives[-1])]
        m.d.comb += [getattr(self, name).eq(getattr(streams, name)) for name in ("taken", "ends", "units")]
        for pair in range(lanes // 2):
            m.submodules[f"codes_{pair}"] = codes = CodePair()
            for k in range(2):
                lane, given = 2 * pair + k, Signal(CodeInput, name=f"given_{2 * pair + k}", reset_less=True)
                own = self.modes.word_select(lane, MODE_BITS)
                m.d.sync += [given.symbol.eq(self.symbols[lane]), given.table_set.eq(sets[1]),
                             given.first.eq(firsts[1]), given.centre.eq(tile.centre),
                             given.active.eq(actives[1][lane] & parts[1].codes),
                             given.mode.eq(Mux(tags[1] == TAG_CHANNELS, own, tags[1]))]
                m.d.comb += [codes.i[k].eq(given), streams.codes[lane].eq(codes.o[k])]
        return m

    def _walk(self, m: Module) -> tuple[Signal, Value, Signal, Signal]:
        """What is read now: part, lanes with a channel, whether it is the first pixel; the tile."""
        lanes, extra = self._lanes, phase_bits(self._lanes)
        phases = LANES // lanes
        tile = Signal(Chosen, reset_less=True)
        part = Signal(Part)
        state = Signal(3)  # nothing, starts, codes, ends, and pads twice
        first = Signal(reset_less=True)
        steps = Signal.like(tile.steps, reset_less=True)  # that follow
        missing = Signal(GROUP_BITS + extra, reset_less=True)  # parts of the pixel, or of the start, that follow
        left = Signal(DIMENSION_BITS + 1, reset_less=True)  # channels from this part on; top bit: none
        symbol, mode = Signal.like(self.symbols_address), Signal.like(self.modes_address)
        base = Signal.like(self.modes_address)
        phase = Signal(extra)
        turn = phase.all()
        pixel = tile.groups << extra
        self._state, self._phase, self._missing, self._channels, self._left_steps = state, phase, missing, left, steps
        m.d.comb += [
            part.starts.eq(state == 1), part.codes.eq(state == 2), part.ends.eq(state == 3),
            part.pads.eq(state[2]), part.second.eq(state == 5), part.last.eq((state == 5) & turn),
            self.read.eq((state == 2) & turn),
            self.i.ready.eq(state == 0),
            self.symbols_address.eq(symbol), self.modes_address.eq(mode),
        ]
        m.d.sync += phase.eq(Mux(state == 0, 0, phase + 1))
        with m.Switch(state):
            with m.Case(0):
                given = self.i.payload
                m.d.sync += [tile.eq(given), steps.eq(given.steps - 1), left.eq(given.c), first.eq(1), mode.eq(base)]
                with m.If(self.i.valid):
                    m.d.sync += state.eq(1)
            with m.Case(1):
                m.d.sync += [left.eq(left - lanes), missing.eq(pixel - 1)]
                with m.If(turn):
                    m.d.sync += [state.eq(2), left.eq(tile.c)]
            with m.Case(2):
                m.d.sync += [symbol.eq(symbol + 1), mode.eq(mode + 1), missing.eq(missing - 1), left.eq(left - lanes)]
                with m.If(missing == 0):
                    m.d.sync += [missing.eq(pixel - 1), mode.eq(base), left.eq(tile.c), first.eq(0)]
                with m.If(turn):
                    m.d.sync += steps.eq(steps - 1)
                    with m.If(steps == 0):
                        m.d.sync += [state.eq(3), base.eq(base + pixel)]
            with m.Default():
                m.d.sync += left.eq(left - lanes)
                with m.If(turn):
                    m.d.sync += [state.eq(Mux(state == 5, 0, state + 1)), left.eq(tile.c)]
        assert phases == 1 << extra
        active = Cat(~left[-1] & (left[:-1] > lane) for lane in range(lanes))
        return part, active, first, tile
