"""What the softmax unit's second and third pass begin with: a row from the buffer becomes entries of the table."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import SOFTMAX_ELEMS, SOFTMAX_ENTRIES, SOFTMAX_ENTRY_BITS
from .softmax_rows import buffer_write, place_bits, row
from .softmax_table import TABLES, TableWrite

LATENCY = 5
"""Cycles from reading a chunk to its entries."""


class Place(data.Struct):
    """Where a chunk is in its row; `final`: it is of the instruction's last row."""

    valid: unsigned(1)
    first: unsigned(1)
    last: unsigned(1)
    final: unsigned(1)


def entries(lanes: int) -> data.StructLayout:
    """The table's entries for a chunk; 0 for what takes no part."""
    return data.StructLayout({"place": Place, "values": SOFTMAX_ENTRY_BITS * lanes})


class RowLookup(wiring.Component):
    """table[maximum - x] for every value x of a row; a chunk a cycle while `enable` lets it.

    It has its own copies of the buffer and, for each lane, of the tables; the instructions use the tables in turns.
    Buffer and tables have registers behind them.

    Parameters
    ----------
    lanes: values of a chunk, a power of two.

    Members
    -------
    i: stream of `row(lanes)`, in the order in which they are in the buffer; taken with the last chunk.
    enable: a chunk may be read. buffer, tables: writes.
    reads: place (all but `valid` without meaning while that is 0) of the chunk that is read in this cycle.
    read: chunks that have been read, modulo twice the buffer's. o: the entries, LATENCY cycles after `reads`.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "i": In(stream.Signature(row(lanes))),
            "enable": In(1),
            "buffer": In(buffer_write(lanes)),
            "tables": In(TableWrite),
            "reads": Out(Place),
            "read": Out(place_bits(lanes) + 1),
            "o": Out(entries(lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, given = self._lanes, self.i.payload
        at, begun, past, table = Signal.like(self.read), Signal(), Signal(), Signal()
        end, valid_end = at[:-1] == given.end, at[:-1] == given.valid_end
        m.d.comb += [
            self.read.eq(at),
            self.reads.valid.eq(self.i.valid & self.enable),
            self.reads.first.eq(~begun), self.reads.last.eq(end), self.reads.final.eq(given.final),
            self.i.ready.eq(self.enable & end),
        ]
        with m.If(self.reads.valid):
            m.d.sync += [at.eq(at + 1), begun.eq(~end), past.eq((past | valid_end) & ~end)]
            with m.If(end & given.final):
                m.d.sync += table.eq(~table)
        place = self.reads
        for stage in range(LATENCY):
            later = Signal(Place, name=f"place_{stage + 1}")
            m.d.sync += later.eq(place)
            place = later
        m.d.comb += self.o.place.eq(place)
        keep = [Signal(lanes, name=f"keep_{stage}", reset_less=True) for stage in range(1, 5)]
        maximum = [Signal(signed(8), name=f"maximum_{stage}", reset_less=True) for stage in range(1, 3)]
        tables = [Signal(name=f"table_{stage}", reset_less=True) for stage in range(1, 4)]
        m.d.sync += [keep[0].eq(Mux(past, 0, Mux(valid_end, given.keep, ~0))), maximum[0].eq(given.maximum),
                     tables[0].eq(table)]
        for chain in (keep, maximum, tables):
            m.d.sync += [after.eq(before) for before, after in zip(chain, chain[1:], strict=False)]
        values = Signal(8 * lanes, reset_less=True)
        m.d.sync += values.eq(self._buffer(m, at[:-1]))
        for lane in range(lanes):
            distance = Signal(8, name=f"distance_{lane}", reset_less=True)
            entry = Signal(SOFTMAX_ENTRY_BITS, name=f"entry_{lane}", reset_less=True)
            m.d.sync += [
                distance.eq(maximum[1] - values[8 * lane:8 * lane + 8].as_signed()),
                entry.eq(Mux(keep[3][lane], self._table(m, lane, Cat(distance, tables[2])), 0)),
            ]
            m.d.comb += self.o.values.word_select(lane, SOFTMAX_ENTRY_BITS).eq(entry)
        return m

    def _buffer(self, m: Module, place: Signal) -> Signal:
        """The chunk at `place`, a cycle later."""
        m.submodules.chunks = chunks = memory.Memory(
            shape=8 * self._lanes, depth=SOFTMAX_ELEMS // self._lanes, init=[])
        write, read = chunks.write_port(), chunks.read_port()
        m.d.comb += [
            write.addr.eq(self.buffer.place), write.data.eq(self.buffer.values), write.en.eq(self.buffer.valid),
            read.addr.eq(place),
        ]
        return read.data

    def _table(self, m: Module, lane: int, address: Signal) -> Signal:
        """The entry at `address`, a cycle later: a lane's copy of the tables."""
        m.submodules[f"tables_{lane}"] = copy = memory.Memory(
            shape=SOFTMAX_ENTRY_BITS, depth=TABLES * SOFTMAX_ENTRIES, init=[])
        write, read = copy.write_port(), copy.read_port()
        given = self.tables
        m.d.comb += [
            write.addr.eq(Cat(given.index, given.table)), write.data.eq(given.entry), write.en.eq(given.valid),
            read.addr.eq(address),
        ]
        return read.data
