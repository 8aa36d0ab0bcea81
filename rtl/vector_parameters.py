"""Fetches the parameter sets of VECTOR instructions, one ahead of the one in use."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .ports import MemoryReadPort
from .vector_setup import Job


def parameter_set(cols: int) -> data.StructLayout:
    """A set as it is used: an entry a column. Source MEMORY: entry 0 is operand A's, and B has its own."""
    return data.StructLayout({
        "bias": data.ArrayLayout(signed(32), cols),
        "multiplier": data.ArrayLayout(signed(32), cols),
        "shift": data.ArrayLayout(unsigned(6), cols),
        "b_bias": signed(32),
        "b_multiplier": signed(32),
    })


class ParameterFetch(wiring.Component):
    """Reads parameter sets into a register that holds one; the next is read as soon as that one is taken.

    For source ACCUMULATORS a set is 2 * wide + 1 words (wide = 4 * cols / word_bytes, rounded up), one word a
    cycle, and there is one for each tile; for source MEMORY one for the whole instruction, of 3 or 5 words.

    Parameters
    ----------
    cols: columns of the array, at most `word_bytes`. word_bytes: of the memory.

    Members
    -------
    i: stream of `Job`. port: aligned. o: stream of `parameter_set(cols)`; entries beyond what the mode uses are noise.
    """

    def __init__(self, cols: int, word_bytes: int) -> None:
        if not 1 <= cols <= word_bytes:
            raise ValueError(f"cols must be from 1 to word_bytes ({word_bytes}), not {cols}")
        self._cols, self._word_bytes = cols, word_bytes
        super().__init__({
            "i": In(stream.Signature(Job)),
            "port": Out(MemoryReadPort(word_bytes)),
            "o": Out(stream.Signature(parameter_set(cols))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wide = -(-4 * self._cols // self._word_bytes)
        size = 2 * wide + 1
        job = Signal(Job, reset_less=True)
        last = Signal(range(max(size, 5)), reset_less=True)  # number of a fetch's last word
        asked, arrived = Signal(range(max(size, 5) + 1)), Signal(range(max(size, 5)))
        held = Signal(parameter_set(self._cols), reset_less=True)
        place = Signal(range(2 * size))  # the arriving word's place, in words from the set's start
        near = job.memory & (asked == 2)  # from the first set's shifts to the second set is one word; else a plane
        m.d.comb += [
            self.port.request.payload.eq(job.params),
            place.eq(arrived),
            self.o.payload.eq(held),
        ]
        with m.If(job.memory), m.Switch(arrived):
            for number, word in enumerate((0, wide, 2 * wide, size, size + wide)):
                with m.Case(number):
                    m.d.comb += place.eq(word)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [job.eq(self.i.payload), asked.eq(0), arrived.eq(0)]
                m.d.sync += last.eq(Mux(self.i.payload.memory, Mux(self.i.payload.operands, 4, 2), size - 1))
                with m.If(self.i.valid):
                    m.next = "fetch"
            with m.State("fetch"):
                m.d.comb += self.port.request.valid.eq(asked <= last)
                with m.If(self.port.request.valid & self.port.request.ready):
                    m.d.sync += asked.eq(asked + 1)
                    m.d.sync += job.params.eq(job.params + Mux(job.memory & ~near, wide, 1) * self._word_bytes)
                with m.If(self.port.response.valid):
                    self._store(m, held, place, wide)
                    m.d.sync += arrived.eq(arrived + 1)
                    with m.If(arrived == last):
                        m.next = "full"
            with m.State("full"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [job.tiles.eq(job.tiles - 1), asked.eq(0), arrived.eq(0)]
                    m.next = "fetch"
                    with m.If(job.memory | (job.tiles == 1)):
                        m.next = "idle"
        return m

    def _store(self, m: Module, held: data.View, place: Signal, wide: int) -> None:
        """Each register has one place in one word, so that a word needs no shifting."""
        word = self.port.response.payload
        per_word = self._word_bytes // 4
        with m.Switch(place):
            for plane, entries in enumerate((held.bias, held.multiplier)):
                for index in range(wide):
                    with m.Case(plane * wide + index):
                        for column in range(index * per_word, min((index + 1) * per_word, self._cols)):
                            m.d.sync += entries[column].eq(word[32 * (column % per_word):][:32])
            with m.Case(2 * wide):
                for column in range(self._cols):
                    m.d.sync += held.shift[column].eq(word[8 * column:][:8])
            with m.Case(2 * wide + 1):
                m.d.sync += held.b_bias.eq(word[:32])
            with m.Case(3 * wide + 1):
                m.d.sync += held.b_multiplier.eq(word[:32])
