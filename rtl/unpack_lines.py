"""Reading lines of pages: from the unified memory and from external memory, in order."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .mover_words import Packer
from .ports import Burst, MemoryReadPort
from .skid import Skid
from .stream_fifo import StreamFifo
from .unpack_pages import PIECE, Line

LINES = 16
"""Lines from their request to their last piece at most."""


class UnpackLines(wiring.Component):
    """Reads lines, one a cycle while there is room, and hands their pieces on, one a cycle.

    Lines in external memory that follow each other go into one burst, which is asked for with the last of them. Lines
    of one memory are asked for when those of the other have come. Beats are never held back.

    Parameters
    ----------
    word_bytes: of the memory, from 4 on. line_bytes: word_bytes, at least PIECE. external_bytes: of a beat, at most
    line_bytes; 0: there is no external memory.

    Members
    -------
    lines: stream of `Line`. o: stream of pieces. answered: all lines have come.
    memory: `MemoryReadPort`, aligned. read_request, read_data: the reading half of `ExternalPort`, where there is one.
    """

    def __init__(self, word_bytes: int, external_bytes: int) -> None:
        self._word_bytes, self._external_bytes = word_bytes, external_bytes
        self.line_bytes = max(word_bytes, PIECE)
        self._line = Line(self.line_bytes // PIECE)
        external = {"read_request": Out(stream.Signature(Burst)),
                    "read_data": In(stream.Signature(unsigned(8 * external_bytes)))}
        super().__init__({
            "lines": In(stream.Signature(self._line)),
            "o": Out(stream.Signature(unsigned(8 * PIECE))),
            "answered": Out(1),
            "memory": Out(MemoryReadPort(word_bytes)),
            **(external if external_bytes else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.arrived = arrived = StreamFifo(8 * self.line_bytes, LINES)
        m.submodules.parts = parts = StreamFifo(self._line, LINES)  # which pieces of each
        line, taken, used = self.lines.payload, Signal(), Signal()
        room, coming = Signal(range(LINES + 1), init=LINES), Signal(range(LINES + 1))
        beyond = Signal()  # those that are coming come from outside
        same = (coming == 0) | (line.outside == beyond)
        asked = self._ask_memory(m, arrived, taken & ~line.outside)
        if self._external_bytes:
            sent = self._ask_outside(m, arrived, taken & line.outside)
            asked = Mux(line.outside, sent, asked)
        m.d.comb += [
            self.lines.ready.eq((room != 0) & same & asked),
            taken.eq(self.lines.valid & self.lines.ready),
            parts.i.payload.eq(line), parts.i.valid.eq(taken),
            self.answered.eq(coming == 0),
        ]
        with m.If(taken):
            m.d.sync += beyond.eq(line.outside)
        m.d.sync += [room.eq(room - taken + used), coming.eq(coming + taken - (arrived.i.valid & arrived.i.ready))]
        # The pieces of the first line.
        part, given = parts.o.payload, Signal.like(line.pieces)
        last = given + 1 == part.pieces
        m.d.comb += [
            self.o.valid.eq(arrived.o.valid & parts.o.valid),
            self.o.payload.eq(arrived.o.payload.word_select((part.first + given)[:len(line.first)], 8 * PIECE)),
            used.eq(self.o.valid & self.o.ready & last), arrived.o.ready.eq(used), parts.o.ready.eq(used),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += given.eq(Mux(last, 0, given + 1))
        return m

    def _ask_memory(self, m: Module, arrived: StreamFifo, go: Signal) -> Signal:
        """A line's words, one after the other, and what comes back; 1 where a line can be taken."""
        words = self.line_bytes // self._word_bytes
        m.submodules.requests = requests = Skid(unsigned(ADDRESS_BITS))
        m.submodules.joined = joined = Packer(self._word_bytes, self.line_bytes)
        connect(m, requests.o, flipped(self.memory.request))
        m.d.comb += [joined.i.payload.eq(self.memory.response.payload), joined.i.valid.eq(self.memory.response.valid),
                     joined.o.ready.eq(1)]
        with m.If(joined.o.valid):
            m.d.comb += [arrived.i.payload.eq(joined.o.payload), arrived.i.valid.eq(1)]
        ready = Signal()
        if words == 1:
            m.d.comb += [requests.i.payload.eq(self.lines.payload.address), requests.i.valid.eq(go),
                         ready.eq(requests.i.ready)]
            return ready
        second, rest = Signal(), Signal(ADDRESS_BITS, reset_less=True)  # two words a line
        m.d.comb += [
            ready.eq(requests.i.ready & ~second), requests.i.valid.eq(go | second),
            requests.i.payload.eq(Mux(second, rest, self.lines.payload.address)),
        ]
        with m.If(requests.i.ready):
            m.d.sync += [second.eq(go), rest.eq(self.lines.payload.address + self._word_bytes)]
        return ready

    def _ask_outside(self, m: Module, arrived: StreamFifo, go: Signal) -> Signal:
        """Bursts of lines, and what comes back; 1 where a line can be taken."""
        beats = self.line_bytes // self._external_bytes
        m.submodules.bursts = bursts = Skid(Burst)
        m.submodules.packed = packed = Packer(self._external_bytes, self.line_bytes)
        connect(m, flipped(self.read_data), packed.i)
        connect(m, bursts.o, flipped(self.read_request))
        line, begin = self.lines.payload, Signal(32, reset_less=True)
        most = min(LINES, 256 // beats)
        count = Signal(range(most))  # lines before this one that the burst has
        full = Signal()
        m.d.comb += [
            packed.o.ready.eq(1),
            full.eq(line.end | (count == most - 1)),
            bursts.i.payload.address.eq(Mux(count == 0, line.address, begin)),
            bursts.i.payload.beats.eq((count + 1) * beats - 1),
            bursts.i.valid.eq(go & full),
        ]
        with m.If(packed.o.valid):
            m.d.comb += [arrived.i.payload.eq(packed.o.payload), arrived.i.valid.eq(1)]
        with m.If(go):
            m.d.sync += count.eq(Mux(full, 0, count + 1))
            with m.If(count == 0):
                m.d.sync += begin.eq(line.address)
        ready = Signal()
        m.d.comb += ready.eq(bursts.i.ready)
        return ready
