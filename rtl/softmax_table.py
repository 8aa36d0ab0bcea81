"""The softmax unit's tables: an instruction's is loaded while the one before it still uses its own."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .isa import SOFTMAX_ENTRIES, SOFTMAX_ENTRY_BITS
from .ports import MemoryReadPort
from .vector_reader import ReadAhead

TABLES = 2
"""Tables that the unit holds; instructions use them in turns."""


class TableWrite(data.Struct):
    """An entry on its way into all copies of a table."""

    valid: unsigned(1)
    table: unsigned(1)
    index: unsigned(8)
    entry: unsigned(SOFTMAX_ENTRY_BITS)


class TableLoader(wiring.Component):
    """Loads tables, an entry a cycle, in the order of the instructions.

    A table is overwritten when the instruction that uses it has released it; the instruction may be on its way
    through the unit long before its table is there.

    Parameters
    ----------
    word_bytes: of the memory, a power of two, at least 4.

    Members
    -------
    i: stream of addresses, multiples of word_bytes. port: memory. write: to the tables.
    loaded: the table of the instruction that comes next in the second pass is there.
    begun: pulse: that instruction's last lookup of the second pass has begun; `loaded` is the next one's from then on.
    released: pulse: the oldest instruction has made its last lookup of the third pass.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({
            "i": In(stream.Signature(unsigned(ADDRESS_BITS))),
            "port": Out(MemoryReadPort(word_bytes)),
            "write": Out(TableWrite),
            "loaded": Out(1),
            "begun": In(1),
            "released": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = ReadAhead(self._word_bytes, max(4, 64 // self._word_bytes))
        connect(m, words.port, flipped(self.port))
        asked = Signal(range(4 * SOFTMAX_ENTRIES // self._word_bytes + 1))  # words still to be asked for
        address = Signal(ADDRESS_BITS, reset_less=True)
        index, running, table = Signal(range(SOFTMAX_ENTRIES)), Signal(), Signal()
        free, ready = Signal(range(TABLES + 1), init=TABLES), Signal(range(TABLES + 1))
        write, starts, ends = Signal(TableWrite), Signal(), Signal()
        part = index[:(self._word_bytes // 4).bit_length() - 1]
        m.d.comb += [
            self.i.ready.eq(~running & (free != 0)),
            starts.eq(self.i.valid & self.i.ready),
            words.i.payload.eq(address), words.i.valid.eq(asked != 0),
            words.o.ready.eq(part.all()),
            ends.eq(words.o.valid & index.all()),
            self.write.eq(write), self.loaded.eq(ready != 0),
        ]
        stored = Signal()  # the last entry is in the tables
        m.d.sync += [
            free.eq(free - starts + self.released),
            ready.eq(ready + stored - self.begun),
            stored.eq(ends),
            write.valid.eq(words.o.valid), write.table.eq(table), write.index.eq(index),
            write.entry.eq(words.o.payload.word_select(part, 32)),
        ]
        with m.If(words.o.valid):
            m.d.sync += index.eq(index + 1)
        with m.If(starts):
            m.d.sync += [running.eq(1), address.eq(self.i.payload), asked.eq(4 * SOFTMAX_ENTRIES // self._word_bytes)]
        with m.Elif(words.i.valid & words.i.ready):
            m.d.sync += [address.eq(address + self._word_bytes), asked.eq(asked - 1)]
        with m.If(ends):
            m.d.sync += [running.eq(0), table.eq(~table)]
        return m
