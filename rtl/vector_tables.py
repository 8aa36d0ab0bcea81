"""The vector unit's tables: 256 bytes of memory an instruction, and a look-up for every lane in every cycle."""

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from .config import ADDRESS_BITS
from .ports import MemoryReadPort
from .vector_address import SLOTS
from .vector_reader import ReadAhead

ROWS = 64
"""Rows of a table, 4 bytes each."""
LOOKED_UP = 3
"""Cycles from a value to its byte of the table."""


class TableJob(data.Struct):
    """A table to load: from `address`, for the instruction in `slot`."""

    address: unsigned(ADDRESS_BITS)
    slot: unsigned(exact_log2(SLOTS))


class TableRow(data.Struct):
    """Four bytes of a table, written where `enable` is 1."""

    enable: unsigned(1)
    slot: unsigned(exact_log2(SLOTS))
    row: unsigned(exact_log2(ROWS))
    data: unsigned(32)


class TableLoader(wiring.Component):
    """Reads tables from memory, four bytes a cycle at best, after the memory's latency.

    Parameters
    ----------
    word_bytes: of the memory.

    Members
    -------
    i: stream of `TableJob`; it is taken when the last row is on its way: it is in its place two cycles later.
    port: aligned. o: `TableRow`.
    """

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        super().__init__({
            "i": In(stream.Signature(TableJob)),
            "port": Out(MemoryReadPort(word_bytes)),
            "o": Out(TableRow),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = ReadAhead(self._word_bytes, 8)
        connect(m, reader.port, flipped(self.port))
        words, per_word = 4 * ROWS // self._word_bytes, self._word_bytes // 4
        asked = Signal(range(words + 1))
        row = Signal(range(ROWS))
        place = row[:exact_log2(per_word)]  # of a row in its word
        job, written = self.i.payload, Signal(TableRow, reset_less=True)
        enable = Signal()
        m.d.comb += [
            reader.i.valid.eq(self.i.valid & (asked != words)),
            reader.i.payload.eq(job.address + asked * self._word_bytes),
            reader.o.ready.eq(place == per_word - 1),
            self.i.ready.eq(reader.o.valid & row.all()),
            self.o.eq(written), self.o.enable.eq(enable),
        ]
        m.d.sync += [enable.eq(reader.o.valid), written.slot.eq(job.slot), written.row.eq(row),
                     written.data.eq(reader.o.payload.word_select(place, 32))]
        with m.If(reader.i.valid & reader.i.ready):
            m.d.sync += asked.eq(asked + 1)
        with m.Elif(self.i.ready):
            m.d.sync += asked.eq(0)
        with m.If(reader.o.valid):
            m.d.sync += row.eq(row + 1)
        return m


class Tables(wiring.Component):
    """Replaces int8 values by bytes of the tables, a value of each lane a cycle: `LOOKED_UP` cycles later.

    Each lane has a memory of its own with the tables of all slots. There is a register on the way to it and one on the
    way back.

    Parameters
    ----------
    lanes: values a cycle.

    Members
    -------
    write: `TableRow`. slot: whose table it is. i: values. o: bytes i + 128 of the table.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "write": In(TableRow),
            "slot": In(range(SLOTS)),
            "i": In(data.ArrayLayout(signed(8), lanes)),
            "o": Out(data.ArrayLayout(unsigned(8), lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slot = Signal.like(self.slot, reset_less=True)
        m.d.sync += slot.eq(self.slot)
        for lane in range(self._lanes):
            m.submodules[f"table_{lane}"] = table = memory.Memory(shape=32, depth=SLOTS * ROWS, init=[])
            write, read = table.write_port(), table.read_port()
            byte = Signal(8, name=f"byte_{lane}", reset_less=True)
            row = Signal(32, name=f"row_{lane}", reset_less=True)
            places = [Signal(2, name=f"place_{lane}_{stage}", reset_less=True) for stage in range(2)]
            m.d.comb += [
                write.addr.eq(Cat(self.write.row, self.write.slot)), write.data.eq(self.write.data),
                write.en.eq(self.write.enable), read.addr.eq(Cat(byte[2:], slot)),
                self.o[lane].eq(row.word_select(places[1], 8)),
            ]
            m.d.sync += [
                byte.eq(self.i[lane] ^ 0x80), row.eq(read.data),  # i + 128
                places[0].eq(byte[:2]), places[1].eq(places[0]),
            ]
        return m
