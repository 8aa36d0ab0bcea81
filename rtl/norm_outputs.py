"""The norm unit's second pass: rows from the buffer become outputs."""

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import NORM_ELEMS
from .norm_lane import (
    DOWN,
    GAIN,
    GAIN_BITS,
    LATENCY,
    OFFSET,
    RECIPROCAL,
    SHIFT,
    SHIFT_BITS,
    SUM,
    NormLane,
)
from .norm_parameters import parameter_write
from .norm_rows import COUNT_BITS, Factor, Place, buffer_write, delayed, place_bits

_READ = 2
"""Cycles of a memory and the register behind it."""


class OutputJob(data.Struct):
    """What an instruction says of its outputs; `wide`: they have 16 bits."""

    elems: unsigned(COUNT_BITS)
    zero_point: signed(16)
    low: signed(16)
    high: signed(16)
    wide: unsigned(1)


def outputs(lanes: int) -> data.StructLayout:
    """A chunk of outputs of 16 bits; those past the row's end have no meaning."""
    return data.StructLayout({"place": Place, "values": 16 * lanes})


class RowOutputs(wiring.Component):
    """Normalises rows, a chunk a cycle while `enable` lets it. Its pipeline never stops, and has one instruction at a
    time: the next one begins when the last chunk of the one before it has come out.

    Parameters
    ----------
    lanes: elements of a chunk, a power of two.

    Members
    -------
    job: stream of `OutputJob`; taken when the instruction's last chunk comes out. i: stream of `Factor`, in the order
    of the rows in the buffer; taken with the last chunk.
    enable: a chunk may be read. loaded: the parameters of the next instruction are there. released: pulse: no longer
    needed. buffer, parameters: writes.
    reads: place (all but `valid` without meaning while that is 0) of the chunk that is read in this cycle.
    read: chunks that have been read, modulo twice the buffer's.
    wide: of the chunks in `reads` and `o`. o: the outputs.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "job": In(stream.Signature(OutputJob)),
            "i": In(stream.Signature(Factor)),
            "enable": In(1),
            "loaded": In(1),
            "released": Out(1),
            "buffer": In(buffer_write(lanes)),
            "parameters": In(parameter_write(lanes)),
            "reads": Out(Place),
            "read": Out(place_bits(lanes) + 1),
            "wide": Out(1),
            "o": Out(outputs(lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entry = self._walk(m)
        m.d.comb += self.o.place.eq(delayed(m, self.reads, _READ + LATENCY, "place", reset=True)[-1])
        row, job = self.i.payload, self.job.payload
        sums, reciprocals, downs = (delayed(m, row[name], _READ + cycles, name)[-1] for name, cycles in (
            ("sum", SUM), ("reciprocal", RECIPROCAL), ("down", DOWN)))
        entries = delayed(m, entry, OFFSET, "entry")
        values = self._buffer(m)
        for lane in range(self._lanes):
            m.submodules[f"lane_{lane}"] = part = NormLane()
            # The parameters' read addresses come as late as they can: a word of parameters waits nowhere.
            scale = self._parameters(m, lane, 0, entries[GAIN])
            *_, shift = delayed(m, scale[:SHIFT_BITS], SHIFT - GAIN, f"shift_{lane}")
            m.d.comb += [
                part.x.eq(values[16 * lane:16 * lane + 16]), part.n.eq(job.elems),
                part.sum.eq(sums), part.reciprocal.eq(reciprocals), part.down.eq(downs),
                part.gain.eq(scale[-GAIN_BITS:]), part.shift.eq(shift),
                part.offset.eq(self._parameters(m, lane, 1, entries[OFFSET])),
                part.zero_point.eq(job.zero_point), part.low.eq(job.low), part.high.eq(job.high),
                self.o.values.word_select(lane, 16).eq(part.o),
            ]
        return m

    def _walk(self, m: Module) -> Signal:
        """Goes through rows, and through the parameters for each; where in these the chunk finds its own."""
        lanes, job = self._lanes, self.job.payload
        last = Signal(place_bits(lanes))
        column, first, entry = (Signal(place_bits(lanes), name=name) for name in ("column", "first", "entry"))
        closing, end = Signal(), Signal()  # closing: the instruction's last chunk is on its way
        ended = self.o.place.valid & self.o.place.final
        m.d.comb += [
            last.eq((job.elems - 1) >> lanes.bit_length() - 1),
            end.eq(column == last),
            self.reads.valid.eq(self.i.valid & self.job.valid & self.loaded & self.enable & ~closing),
            self.reads.last.eq(end), self.reads.final.eq(end & self.i.payload.final),
            self.i.ready.eq(self.reads.valid & end),
            self.job.ready.eq(ended), self.released.eq(ended), self.wide.eq(job.wide),
        ]
        with m.If(self.reads.valid):
            m.d.sync += [
                self.read.eq(self.read + 1), column.eq(Mux(end, 0, column + 1)), entry.eq(entry + 1),
                closing.eq(self.reads.final),
            ]
            with m.If(end):
                with m.If(self.i.payload.final):
                    m.d.sync += first.eq(entry + 1)
                with m.Else():
                    m.d.sync += entry.eq(first)
        with m.If(ended):
            m.d.sync += closing.eq(0)
        return entry

    def _buffer(self, m: Module) -> Signal:
        """The chunk of the cycle before last."""
        m.submodules.chunks = chunks = memory.Memory(
            shape=16 * self._lanes, depth=NORM_ELEMS // self._lanes, init=[])
        write, read = chunks.write_port(), chunks.read_port()
        values = Signal(16 * self._lanes, reset_less=True)
        m.d.comb += [
            write.addr.eq(self.buffer.place), write.data.eq(self.buffer.values), write.en.eq(self.buffer.valid),
            read.addr.eq(self.read[:-1]),
        ]
        m.d.sync += values.eq(read.data)
        return values

    def _parameters(self, m: Module, lane: int, kind: int, place: Value) -> Signal:
        """A lane's gains and shifts, or its offsets: the word at `place`, two cycles later."""
        bits = 32 if kind else GAIN_BITS + SHIFT_BITS
        name = "offsets" if kind else "scales"
        m.submodules[f"{name}_{lane}"] = words = memory.Memory(shape=bits, depth=NORM_ELEMS // self._lanes, init=[])
        write, read = words.write_port(), words.read_port()
        number, given = 2 * lane + kind, self.parameters
        word, found = given.values.word_select(number, 32), Signal(bits, name=f"{name}_found_{lane}", reset_less=True)
        m.d.comb += [
            write.addr.eq(given.place), write.en.eq(given.words[number]),
            write.data.eq(word if kind else Cat(word[:SHIFT_BITS], word[-GAIN_BITS:])), read.addr.eq(place),
        ]
        m.d.sync += found.eq(read.data)
        return found
