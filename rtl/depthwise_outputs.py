"""The depthwise unit's output lanes: sums of a tile become bytes, pixel by pixel."""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .depthwise_fetch import Arrival
from .depthwise_parameters import DepthwiseParameters, pick
from .depthwise_sums import SUM_BITS, sums_layout
from .depthwise_taps import TileEnd
from .isa import DOUBLE, EVEN
from .vector_lane import CLAMPED, MULTIPLIED, ROUNDED, SUM_READY, VectorLane
from .vector_walk import SLOTS

TURNS = 9
"""Cycles in which the output lanes must be done with a tile: a window of 3 x 3 keeps the multipliers for as long."""


def output_lanes(cols: int, strip: int) -> int:
    """The least power of two that does a tile in TURNS cycles."""
    return next(1 << log for log in range(8) if strip * -(-cols >> log) <= TURNS)


class DepthwiseSettings(data.Struct):
    """What an instruction's outputs have in common."""

    rounding: unsigned(2)
    zero_point: signed(16)
    low: signed(8)
    high: signed(8)


class _Control(data.Struct):
    """What goes with a chunk through the lanes."""

    valid: unsigned(1)
    last: unsigned(1)
    """Last chunk of its pixel."""
    chunk: unsigned(4)
    slot: unsigned(2)


class _Turn(data.Struct):
    """A turn of the lanes: one chunk of one pixel."""

    valid: unsigned(1)
    lane: unsigned(3)
    """Whose sums: of the pixel."""
    chunk: unsigned(4)
    last: unsigned(1)
    slot: unsigned(2)
    buffer: unsigned(2)
    release: unsigned(1)


class DepthwiseOutputs(wiring.Component):
    """out = clamp(round_shift((sum + bias) * multiplier, shift) + zero_point, low, high), a chunk of channels a cycle.

    A pixel is rows * columns of a tile, column by column; it takes `chunks` + 1 turns. Free-running: nothing stops
    here, so the queue must have room for all pixels of a tile when its taps begin, and tiles must come as far
    apart as they take turns.

    Parameters
    ----------
    cols, word_bytes, strip: of the unit. depth: outputs in the queue.

    Members
    -------
    arrival, word: a word that has come. ends, end, sums: a tile, as `DepthwiseSums` gives it.
    settings, slot, set: stores an instruction's settings under its slot's number, before its first tile.
    release: pulse: a group's constants are free. o: stream of words: a pixel's channels from byte 0 on. taken: one has
    left.
    """

    def __init__(self, cols: int, word_bytes: int, strip: int, depth: int) -> None:
        self._cols, self._word_bytes, self._strip, self._depth = cols, word_bytes, strip, depth
        self._lanes = output_lanes(cols, strip)
        self._chunks = -(-cols // self._lanes)
        super().__init__({
            "arrival": In(Arrival),
            "word": In(8 * word_bytes),
            "ends": In(1),
            "end": In(TileEnd),
            "sums": In(sums_layout(strip, cols)),
            "settings": In(DepthwiseSettings),
            "slot": In(range(SLOTS)),
            "set": In(1),
            "release": Out(1),
            "o": Out(stream.Signature(unsigned(8 * word_bytes))),
            "taken": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turn = self._turns(m)
        m.submodules.parameters = parameters = DepthwiseParameters(self._cols, self._word_bytes, self._lanes)
        m.d.comb += [
            parameters.arrival.eq(self.arrival), parameters.word.eq(self.word),
            parameters.chunk.eq(turn.chunk), parameters.buffer.eq(turn.buffer),
            self.release.eq(turn.valid & turn.release),
        ]
        sums = Signal(self._lanes * SUM_BITS, reset_less=True)
        m.d.sync += sums.eq(self._chosen(turn))
        control = [Signal(_Control, name=f"control_{stage}") for stage in range(CLAMPED + 1)]  # 0: the lanes' inputs
        m.d.sync += [control[0][name].eq(turn[name]) for name in ("valid", "last", "chunk", "slot")]
        for before, after in pairwise(control):
            m.d.sync += after.eq(before)
        settings = self._settings(m, *(control[stage - 1].slot for stage in (SUM_READY, ROUNDED)))
        bytes_out = []
        for index in range(min(self._lanes, self._cols)):
            m.submodules[f"lane_{index}"] = lane = VectorLane()
            m.d.comb += [
                lane.x.eq(sums[index * SUM_BITS:(index + 1) * SUM_BITS].as_signed()),
                lane.bias.eq(parameters.bias[index]), lane.multiplier.eq(parameters.multiplier[index]),
                lane.shift.eq(parameters.shift[index]), lane.reduce.load.eq(control[MULTIPLIED].valid),
                lane.double.eq(settings[0].rounding == DOUBLE), lane.even.eq(settings[0].rounding == EVEN),
                lane.zero_point.eq(settings[1].zero_point),
                lane.low.eq(settings[1].low), lane.high.eq(settings[1].high),
            ]
            bytes_out.append(lane.o[:8])
        self._pack(m, control[CLAMPED], Cat(bytes_out))
        return m

    def _turns(self, m: Module) -> data.View:
        """Counts the turns of a tile; from `ends` on they show after two cycles, when the sums are there."""
        end = Signal(TileEnd, reset_less=True)
        active = Signal()
        left_rows, left_columns = Signal(4, reset_less=True), Signal(4, reset_less=True)
        lane, top, chunk = Signal(3, reset_less=True), Signal(3, reset_less=True), Signal(4, reset_less=True)
        turn = Signal(_Turn)
        pixel_ends, column_ends, over = Signal(), Signal(), Signal()
        following = Signal(3)  # first lane of the next column
        m.d.comb += [
            pixel_ends.eq(chunk == end.chunks), column_ends.eq(pixel_ends & (left_rows == 0)),
            over.eq(column_ends & (left_columns == 0)), following.eq(top + (1 << end.log_rows)),
        ]
        with m.If(self.ends):
            m.d.sync += [end.eq(self.end), active.eq(1), left_rows.eq(self.end.rows - 1), lane.eq(0), top.eq(0),
                         left_columns.eq(self.end.columns - 1), chunk.eq(0)]
        with m.Else():
            m.d.sync += [active.eq(active & ~over), chunk.eq(Mux(pixel_ends, 0, chunk + 1))]
            with m.If(pixel_ends):
                m.d.sync += [lane.eq(lane + 1), left_rows.eq(left_rows - 1)]
            with m.If(column_ends):
                m.d.sync += [lane.eq(following), top.eq(following), left_rows.eq(end.rows - 1),
                             left_columns.eq(left_columns - 1)]
        m.d.sync += [
            turn.valid.eq(active), turn.lane.eq(lane), turn.chunk.eq(chunk), turn.last.eq(pixel_ends),
            turn.slot.eq(end.slot), turn.buffer.eq(end.buffer), turn.release.eq(over & end.release),
        ]
        return turn

    def _chosen(self, turn: data.View) -> Value:
        """Sums of the turn's chunk."""
        size = self._lanes * SUM_BITS
        pixels = [self.sums.as_value()[v * self._cols * SUM_BITS:][:self._cols * SUM_BITS] for v in range(self._strip)]
        chunks = [[Cat(pixel[e * size:(e + 1) * size], Const(0, size))[:size] for pixel in pixels]
                  for e in range(self._chunks)]
        lane = turn.lane[:(self._strip - 1).bit_length()]
        return pick([pick(chunk, lane) for chunk in chunks], turn.chunk[:(self._chunks - 1).bit_length()])

    def _settings(self, m: Module, *slots: Signal) -> list[data.View]:
        """The settings of each of `slots`, a cycle later."""
        m.submodules.settings = kept = memory.Memory(shape=DepthwiseSettings, depth=SLOTS, init=[])
        write = kept.write_port()
        m.d.comb += [write.addr.eq(self.slot), write.data.eq(self.settings), write.en.eq(self.set)]
        ports = [kept.read_port() for _ in slots]
        m.d.comb += [port.addr.eq(slot) for port, slot in zip(ports, slots, strict=True)]
        return [port.data for port in ports]

    def _pack(self, m: Module, control: data.View, chunk: Value) -> None:
        """Collects a pixel's chunks; the whole word goes into the queue."""
        m.submodules.queue = queue = SyncFIFO(width=8 * self._cols, depth=self._depth)
        parts = [Signal(len(chunk), name=f"part_{e}", reset_less=True) for e in range(self._chunks)]
        for e, part in enumerate(parts):
            with m.If(control.chunk == e):
                m.d.sync += part.eq(chunk)
        whole = Signal()
        m.d.sync += whole.eq(control.valid & control.last)
        m.d.comb += [
            queue.w_data.eq(Cat(parts)), queue.w_en.eq(whole),
            self.o.payload.eq(queue.r_data), self.o.valid.eq(queue.r_rdy), queue.r_en.eq(self.o.ready),
            self.taken.eq(self.o.valid & self.o.ready),
        ]
