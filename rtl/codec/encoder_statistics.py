"""The encoder's first look at a tile: channel by channel, so that neighbours and sums stay in registers."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .decoder_ops import ANY_COLLISION
from .encoder_rank import Contexts
from .encoder_tile import (
    DIMENSION_BITS,
    FEW_PIXELS,
    MOST_PIXELS,
    SIDE_BITS,
    STEPS,
    STORED_STEPS,
    SYMBOL_STEPS,
    Run,
    Stored,
    check_lanes,
    phase_bits,
    ring_bits,
    symbol_layout,
)
from .tables import MAPS, SET_BITS

COLUMN_BITS = (STEPS // 2 - 1).bit_length()
_CHOICE_CYCLES = 24
"""So long the choice may be busy with a tile after its last pixel."""


def delayed(m: Module, value: Any, name: str, stages: int = 7) -> list:
    """`value` now, and after 1, 2, ... `stages` cycles."""
    chain = [value]
    for stage in range(1, stages + 1):
        chain.append(Signal.like(value, name=f"{name}_{stage}", reset_less=name != "pixel"))
        m.d.sync += chain[-1].eq(chain[-2])
    return chain


class Pixel(data.Struct):
    """A pixel on its way; `first`, `last`: of these channels; `final`: of the tile. `narrow`: the tile has
    one column. `odd`: odd channels are looked at here, else even ones,
    where it is `early`. `over`: the channels are done with, it is not only the first of two looks at them."""

    valid: unsigned(1)
    left_edge: unsigned(1)
    right_edge: unsigned(1)
    top: unsigned(1)
    first: unsigned(1)
    last: unsigned(1)
    final: unsigned(1)
    table_set: unsigned(SET_BITS)
    narrow: unsigned(1)
    odd: unsigned(1)
    early: unsigned(1)
    over: unsigned(1)


class Looked(data.Struct):
    """What the choice sees of a value: in stage 4 itself, its neighbours' mean and its upper neighbour, whether it is
    the centre, and whether it equals the one before or is the first; contexts in stage 6."""

    value: unsigned(8)
    mean: unsigned(8)
    upper: unsigned(8)
    is_centre: unsigned(1)
    same: unsigned(1)
    map: unsigned(4)
    spread: unsigned(4)


def looked_layout(lanes: int) -> data.StructLayout:
    """The values of a pixel, of those lanes that `active` names; stage 4, and the tile's centre then."""
    return data.StructLayout({"pixel": Pixel, "active": lanes, "centre": 8, "values": data.ArrayLayout(Looked, lanes)})


def symbol_write(lanes: int) -> data.StructLayout:
    """Symbols of `lanes` channels of a pixel on their way into the ring of the coder."""
    return data.StructLayout({"valid": 1, "address": ring_bits(SYMBOL_STEPS, lanes),
                              "data": data.ArrayLayout(symbol_layout(), lanes)})


class Statistics(wiring.Component):
    """Neighbours, contexts and runs of a tile's values.

    It goes through `lanes` channels of the tile at a time, pixel by pixel, then through the next ones: a pixel a cycle
    and a cycle between channels. Through tiles of FEW_PIXELS or less it goes twice. Tiles of fewer than 32 pixels wait
    until the choice is done with the tile before, those of 8 and fewer also between channels.

    Parameters
    ----------
    lanes: channels at a time.

    Members
    -------
    i: stream of tiles in the values' ring, in their order there; taken when the tile begins.
    address, values: the ring's read port, a cycle.
    symbols: write port of the symbols' ring; the places are those in the values' ring, modulo the size.
    o: what the choice sees.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "i": In(stream.Signature(Stored)),
            "address": Out(ring_bits(STORED_STEPS, lanes)),
            "values": In(8 * lanes),
            "symbols": Out(symbol_write(lanes)),
            "o": Out(looked_layout(lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        pixels, columns, active, centres = self._walk(m)
        places = delayed(m, self.address[:ring_bits(SYMBOL_STEPS, lanes)], "place")
        write, read = self._line(m, columns)
        words = Signal(8 * lanes, reset_less=True)  # between channels the centre: what the first pixel's neighbours are
        m.d.sync += words.eq(Mux(pixels[1].valid, self.values, centres[1].replicate(lanes)))
        m.d.comb += [write.addr.eq(columns[2]), write.data.eq(words), write.en.eq(pixels[2].valid)]
        for lane in range(lanes):
            m.submodules[f"contexts_{lane}"] = contexts = Contexts()
            value, above = words.word_select(lane, 8), read.data.word_select(lane, 8)
            given, same = self._neighbours(m, lane, contexts, pixels[2], value, above)
            is_centre = Signal(name=f"is_centre_{lane}")
            m.d.comb += [contexts.i.centre.eq(centres[3]), is_centre.eq(given == centres[3])]
            looked, written = self.o.values[lane], self.symbols.data[lane]
            values, uppers = (delayed(m, one, f"{name}_{lane}", 4) for name, one in (
                ("value", given), ("upper", contexts.i.upper)))
            means = delayed(m, contexts.mean, f"mean_{lane}", 3)
            m.d.comb += [
                looked.value.eq(values[1]), looked.mean.eq(means[0]), looked.upper.eq(uppers[1]),
                looked.map.eq(contexts.map), looked.spread.eq(contexts.spread),
                written.value.eq(values[4]), written.mean.eq(means[3]), written.upper.eq(uppers[4]),
            ]
            m.d.sync += [looked.same.eq(same), looked.is_centre.eq(is_centre),
                         written.map.eq(contexts.map), written.spread.eq(contexts.spread)]
            m.d.comb += written.is_centre.eq(delayed(m, is_centre, f"is_centre_{lane}", 4)[4])
            self._runs(m, lane, is_centre, contexts.map, written, pixels)
        m.d.comb += [self.symbols.valid.eq(pixels[7].valid), self.symbols.address.eq(places[7]),
                     self.o.pixel.eq(pixels[4]), self.o.active.eq(active[4]), self.o.centre.eq(centres[4])]
        return m

    def _walk(self, m: Module) -> tuple[list, list, list, list]:
        """Pixels, their columns, the active lanes and the tile's centre, by stage: 1 has the values' ring's answer."""
        lanes, extra = self._lanes, phase_bits(self._lanes)
        tile = Signal(Stored, reset_less=True)
        running, waiting, begins = Signal(), Signal(), Signal()  # waiting: for channels to begin
        x, top = Signal(SIDE_BITS, reset_less=True), Signal(reset_less=True)
        rest = Signal.like(tile.pixels, reset_less=True)  # pixels after this one
        at, begin = Signal.like(self.address), Signal.like(self.address)
        missing = Signal(len(tile.groups) + extra, reset_less=True)  # parts of a pixel after this one
        left = Signal(DIMENSION_BITS + 1, reset_less=True)  # channels from this part on; top bit: none
        cycles = Signal(5)
        few, very_few, fewest = (Signal(name=name, reset_less=True) for name in ("few", "very_few", "fewest"))
        again, number = Signal(), Signal(MOST_PIXELS.bit_length(), reset_less=True)  # number: of the pixel
        now, shape = Signal(Pixel), tile.tile
        self._tile, self._running, self._begin, self._missing, self._rest = tile, running, begin, missing, rest
        self._again, self._waiting, self._spans, self._cycles = again, waiting, (few, very_few, fewest), cycles
        self._begins = begins
        m.d.comb += [
            self.address.eq(at), self.i.ready.eq(~running),
            now.valid.eq(running & ~waiting),
            now.left_edge.eq(x == 0), now.right_edge.eq(x + 1 == shape.w),
            now.top.eq(top), now.first.eq(now.left_edge & top),
            now.last.eq(rest == 0), now.over.eq(now.last & (again | ~fewest)),
            now.final.eq(now.over & (missing == 0)),
            now.odd.eq(number[0] ^ again), now.early.eq(~number[-1]),
            now.table_set.eq(shape.table_set), now.narrow.eq(shape.w == 1),
        ]
        with m.If(cycles != 0):
            m.d.sync += cycles.eq(cycles - 1)
        with m.If(self.i.valid & self.i.ready):
            given = self.i.payload
            m.d.sync += [tile.eq(given), running.eq(1), waiting.eq(1), begins.eq(1), x.eq(0), top.eq(1), at.eq(begin),
                         rest.eq(given.pixels - 1),
                         missing.eq((given.groups << extra) - 1), left.eq(given.tile.c), again.eq(0), number.eq(0),
                         few.eq(given.pixels < 32), very_few.eq(given.pixels < 16),
                         fewest.eq(given.pixels <= FEW_PIXELS)]
        soon = ~cycles[4] & ~very_few
        with m.If(running & waiting & ((cycles == 0) | ~Mux(begins, few & ~soon, fewest))):
            m.d.sync += [waiting.eq(0), begins.eq(0)]
        with m.If(now.valid):
            m.d.sync += [x.eq(Mux(now.right_edge, 0, x + 1)), at.eq(at + (tile.groups << extra)), rest.eq(rest - 1)]
            with m.If(now.right_edge):
                m.d.sync += top.eq(0)
            with m.If(~number[-1]):
                m.d.sync += number.eq(number + 1)
            with m.If(now.last):
                m.d.sync += [waiting.eq(1), number.eq(0), again.eq(~now.over), at.eq(begin), top.eq(1),
                             rest.eq(tile.pixels - 1)]
            with m.If(now.over):
                m.d.sync += [missing.eq(missing - 1), left.eq(left - lanes), cycles.eq(max(lanes - 3, 0)),
                             at.eq(begin + 1), begin.eq(begin + 1)]
            with m.If(now.final):
                m.d.sync += [begin.eq(at + 1), running.eq(0), cycles.eq(_CHOICE_CYCLES)]
        active = Signal(lanes)
        m.d.comb += active.eq(Cat(~left[-1] & (left[:-1] > lane) for lane in range(lanes)))
        return (delayed(m, now, "pixel"), delayed(m, x[:COLUMN_BITS], "column", 2),
                delayed(m, active, "active"), delayed(m, shape.centre, "centre", 4))

    def _line(self, m: Module, columns: list) -> tuple[Any, Any]:
        """Write and read port of the row above."""
        m.submodules.line = line = memory.Memory(shape=8 * self._lanes, depth=1 << COLUMN_BITS, init=[],
                                              attrs=ANY_COLLISION)
        write, read = line.write_port(), line.read_port()
        m.d.comb += read.addr.eq(columns[1])
        return write, read

    def _neighbours(self, m: Module, lane: int, contexts: Contexts, pixel: Any, value: Value,
                    line: Value) -> tuple[Signal, Signal]:
        """The neighbours, in stage 3; the value and whether it equals the one before, then too."""
        given, before, average = (Signal(8, name=f"{name}_{lane}", reset_less=True) for name in (
            "given", "before", "average"))
        same = Signal(name=f"same_{lane}", reset_less=True)
        error, nearer = Signal(signed(9), name=f"error_{lane}"), Signal(8, name=f"nearer_{lane}")
        upper = Mux(pixel.table_set != MAPS, average, Mux(pixel.top | pixel.narrow, before, line))
        m.d.comb += [
            error.eq(value - average),
            nearer.eq((Cat(1, average) + Cat(error[1], error[2:], error[8].replicate(2)))[1:]),  # + (error + 2) >> 2
        ]
        m.d.sync += [
            before.eq(value), average.eq(Mux(pixel.first | ~pixel.valid, value, nearer)), given.eq(value),
            contexts.i.left.eq(Mux(pixel.left_edge, upper, before)), contexts.i.upper.eq(upper),
            same.eq(pixel.first | (value == before)),
        ]
        return given, same

    def _runs(self, m: Module, lane: int, is_centre: Signal, context: Value, written: Any, pixels: list) -> None:
        """Runs of centres in stage 6, when the three values that follow in the row are in stages 5 to 3."""
        centres = [is_centre, *(Signal(name=f"centre_{lane}_{stage}", reset_less=True) for stage in range(4, 7))]
        m.d.sync += [after.eq(earlier) for earlier, after in zip(centres, centres[1:], strict=False)]
        pixel, zero = pixels[6], Signal(name=f"flat_{lane}")
        m.d.comb += zero.eq(centres[3] & (context == 0))
        two = pixels[6].right_edge | centres[2]
        four = pixels[6].right_edge | (centres[2] & (pixels[5].right_edge | (
            centres[1] & (pixels[4].right_edge | centres[0]))))
        for name, length, enough in (("two", 2, two), ("four", 4, four)):
            left = Signal(range(length), name=f"{name}_{lane}", reset_less=True)
            run = Signal(Run, name=f"run_{name}_{lane}", reset_less=True)
            covered, begins = Signal(name=f"covered_{name}_{lane}"), Signal(name=f"begins_{name}_{lane}")
            m.d.comb += [covered.eq((left != 0) & ~pixel.left_edge), begins.eq(zero & enough & ~covered)]
            with m.If(pixel.valid):
                m.d.sync += left.eq(Mux(begins, length - 1, Mux(covered, left - 1, 0)))
            m.d.sync += [run.begins.eq(begins), run.covered.eq(covered)]
            m.d.comb += written[name].eq(run)
