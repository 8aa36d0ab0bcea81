"""The first stage of the encoder: the values of tiles go into a ring."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .encoder_tile import STEPS, STORED_STEPS, Stored, Tile, check_lanes, phase_bits, ring_bits, value_write
from .tables import LANES


class TileLoader(wiring.Component):
    """Counts through a tile while its words come: LANES / lanes cycles each, and two cycles more a tile.

    Parameters
    ----------
    lanes: values that are written in a cycle.

    Members
    -------
    tile, values: streams of the next tile and of its words, one for each step.
    released: places of the ring that are free again, counted without end (modulo twice the ring).
    write: into the ring. o: stream of tiles that are there.
    error: a tile has more than STEPS steps; until reset.
    """

    def __init__(self, lanes: int) -> None:
        check_lanes(lanes)
        self._lanes = lanes
        super().__init__({
            "tile": In(stream.Signature(Tile)),
            "values": In(stream.Signature(8 * LANES)),
            "released": In(ring_bits(STORED_STEPS, lanes) + 1),
            "write": Out(value_write(lanes)),
            "o": Out(stream.Signature(Stored)),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        stored = Signal(Stored, reset_less=True)  # `pixels`, `steps` and `values` grow
        running, done = Signal(), Signal()
        group, x, y = Signal.like(stored.groups), Signal.like(stored.tile.w), Signal.like(stored.tile.h)
        phase, address = Signal(phase_bits(lanes)), Signal.like(self.released)
        self._running, self._address, self._phase = running, address, phase
        room = (address[:-1] != self.released[:-1]) | (address[-1] == self.released[-1])
        moves, word = Signal(), Signal()
        m.d.comb += [
            moves.eq(running & room & self.values.valid),
            word.eq(moves & phase.all()),
            self.values.ready.eq(running & room & phase.all()),
            self.tile.ready.eq(~running & ~done),
            self.write.valid.eq(moves),
            self.write.address.eq(address),
            self.write.data.eq(self.values.payload.word_select(phase, 8 * lanes)),
            self.o.valid.eq(done), self.o.payload.eq(stored),
        ]
        with m.If(self.tile.valid & self.tile.ready):
            given = self.tile.payload
            m.d.sync += [stored.tile.eq(given), stored.groups.eq((given.c + LANES - 1) >> 3), stored.pixels.eq(0),
                         stored.steps.eq(0), stored.values.eq(0), group.eq(1), x.eq(1), y.eq(1), running.eq(1)]
        with m.If(moves):
            m.d.sync += [address.eq(address + 1), phase.eq(phase + 1)]
        with m.If(word):
            m.d.sync += [stored.steps.eq(stored.steps + 1), group.eq(group + 1)]
            with m.If(stored.steps == STEPS):
                m.d.sync += self.error.eq(1)
            with m.If(group == stored.groups):
                m.d.sync += [group.eq(1), x.eq(x + 1), stored.pixels.eq(stored.pixels + 1),
                             stored.values.eq(stored.values + stored.tile.c)]
                with m.If(x == stored.tile.w):
                    m.d.sync += [x.eq(1), y.eq(y + 1)]
                    with m.If(y == stored.tile.h):
                        m.d.sync += [running.eq(0), done.eq(1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += done.eq(0)
        return m
