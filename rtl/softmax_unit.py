"""The softmax unit: executes SOFTMAX instructions."""

from amaranth import Cat, Module, Value, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import Out, connect, flipped

from .config import ADDRESS_BITS
from .isa import SOFTMAX
from .issue import Issue
from .ports import MemoryReadPort, MemoryWritePort, unit_members
from .skid import Skid
from .softmax_lookup import RowLookup
from .softmax_mask import RowMask
from .softmax_maximum import RowMaximum
from .softmax_pack import RowPack
from .softmax_reader import RowReader
from .softmax_reciprocal import Reciprocal
from .softmax_rows import RowLengths, Rows, RowWalk, check_sizes, row
from .softmax_scale import RowScale
from .softmax_setup import SoftmaxSetup
from .softmax_sum import Normal, RowSum
from .softmax_table import TableLoader
from .stream_fifo import StreamFifo
from .vector_address import SLOTS
from .vector_port import SharedPort
from .vector_writer import VectorWriter

EVENTS = data.StructLayout({"busy": 1, "wait_input": 1, "wait_output": 1, "wait_semaphore": 1})
_ROWS = 8
"""Rows from the second pass to the third at most."""


class SoftmaxUnit(wiring.Component):
    """Executes SOFTMAX instructions as `rtl.isa` defines them.

    Three passes work on different rows at once, a chunk of `lanes` values a cycle each: the first reads a row into a
    buffer of SOFTMAX_ELEMS bytes and finds its maximum, the second sums the table's entries, the third scales and
    writes them. A row takes max(ceil(elems / lanes), 15) cycles in the long run (the 15 are the division's) while
    three rows fit the buffer, as long as memory grants a read and a write each word_bytes / lanes cycles; an
    instruction's table is loaded in 256 cycles while the one before it runs. An instruction starts as soon as its waits
    are granted, even when outputs of the one before it are not in memory yet: where it reads what that one writes, it
    must wait for a semaphore that the other signals.

    Parameters
    ----------
    word_bytes: of the memory, a power of two from 4 to 128. lanes: a power of two up to word_bytes.

    Members
    -------
    instruction: stream of instructions. take, give: semaphores.
    read: rows and tables, unaligned. write: outputs, unaligned.
    busy: from taking an instruction until its signals are given. retired: pulse when its last output is in memory.
    error: an instruction that cannot be executed; until reset.
    events: what happened in this cycle, one of: busy (a pass, a division or the loading of a table went on),
    wait_output (none did, and an output is at the memory), wait_input (none did, for want of rows or of a table),
    wait_semaphore (there is nothing to do, and the next instruction waits).
    """

    def __init__(self, word_bytes: int, lanes: int) -> None:
        check_sizes(word_bytes, lanes)
        self._word_bytes, self._lanes = word_bytes, lanes
        super().__init__({
            **unit_members(SOFTMAX.layout(), EVENTS),
            "read": Out(MemoryReadPort(word_bytes)),
            "write": Out(MemoryWritePort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word_bytes, lanes = self._word_bytes, self._lanes
        m.submodules.issue = issue = Issue(SOFTMAX.layout())
        m.submodules.setup = setup = SoftmaxSetup(word_bytes)
        m.submodules.port = port = SharedPort(word_bytes, 32)  # the readers' words at most
        m.submodules.requests = requests = Skid(unsigned(ADDRESS_BITS))
        m.submodules.reader = reader = RowReader(word_bytes, lanes)
        m.submodules.tables = tables = TableLoader(word_bytes)
        m.submodules.writer = writer = VectorWriter(word_bytes)
        connect(m, flipped(self.instruction), issue.i)
        connect(m, issue.take, flipped(self.take))
        connect(m, issue.o, setup.i)
        connect(m, setup.table, tables.i)
        connect(m, reader.port, port.clients[0])
        connect(m, tables.port, port.clients[1])
        connect(m, port.port.request, requests.i)
        connect(m, requests.o, flipped(self.read.request))
        connect(m, flipped(self.read.response), port.port.response)
        connect(m, writer.write, flipped(self.write))
        connect(m, writer.give, flipped(self.give))
        m.submodules.mask = self._mask = RowMask(lanes)
        self._begin(m, setup, reader, writer)
        works = self._passes(m, reader, tables, writer)
        writes = self.write.request.valid  # not whether it is granted: that comes late in the cycle
        m.d.comb += [
            self.busy.eq(setup.busy | writer.busy),
            self.retired.eq(writer.retired),
            self.error.eq(setup.error),
            self.events.busy.eq(works),
            self.events.wait_output.eq(~works & writes),
            self.events.wait_input.eq(~works & ~writes & writer.busy),
            self.events.wait_semaphore.eq(~works & ~writer.busy & issue.waiting),
        ]
        return m

    def _begin(self, m: Module, setup: SoftmaxSetup, reader: RowReader, writer: VectorWriter) -> None:
        """An instruction goes to the reader, the mask and the writer's lists in the same cycle."""
        m.submodules.stores = stores = StreamFifo(Rows, SLOTS)
        m.submodules.lengths = lengths = StreamFifo(RowLengths, SLOTS)
        connect(m, lengths.o, self._mask.lengths)
        m.submodules.store_walk = walk = RowWalk(self._word_bytes)
        connect(m, stores.o, walk.i)
        m.d.comb += [writer.stores.payload[name].eq(walk.o.payload[name]) for name in ("address", "count", "final")]
        m.d.comb += [writer.stores.valid.eq(walk.o.valid), walk.o.ready.eq(writer.stores.ready)]
        i, takers = setup.o.payload, [reader.i, lengths.i, stores.i, writer.open]
        m.d.comb += [taker.valid.eq(setup.o.valid & Cat(other.ready for other in takers if other is not taker).all())
                     for taker in takers]
        m.d.comb += [setup.o.ready.eq(Cat(taker.ready for taker in takers).all()),
                     lengths.i.payload.eq(setup.lengths), writer.open.payload.tag.eq(i.tag)]
        for part, base, pitch in ((reader.i.payload, i.a, i.a_row), (stores.i.payload, i.c, i.c_row)):
            m.d.comb += [part.base.eq(base), part.pitch.eq(pitch), part.rows.eq(i.rows), part.elems.eq(i.elems)]
        m.d.comb += [writer.open.payload.signals[name].eq(i[name])
                     for name in ("signal0", "signal0_count", "signal1", "signal1_count")]

    def _passes(self, m: Module, reader: RowReader, tables: TableLoader, writer: VectorWriter) -> Value:
        """Everything from chunks of rows to words of outputs; 1 while any of it moves."""
        lanes = self._lanes
        m.submodules.maximum = maximum = RowMaximum(lanes)
        m.submodules.sum_lookup = second = RowLookup(lanes)
        m.submodules.sum = total = RowSum(lanes)
        m.submodules.sums = sums = fifo.SyncFIFO(width=Normal.as_shape().size, depth=_ROWS)
        m.submodules.reciprocal = reciprocal = Reciprocal()
        m.submodules.rows = rows = fifo.SyncFIFO(width=row(lanes).size, depth=_ROWS)
        m.submodules.scale_lookup = third = RowLookup(lanes)
        m.submodules.scale = scale = RowScale(lanes)
        # A word a chunk at worst: then there must be places for as many as are under way in the pipeline.
        m.submodules.pack = pack = RowPack(self._word_bytes, lanes, 16 if lanes < self._word_bytes else 32)
        connect(m, reader.o, self._mask.i)
        connect(m, self._mask.o, maximum.i)
        connect(m, maximum.o, second.i)
        connect(m, pack.o, writer.words)
        for lookup in (second, third):
            m.d.comb += [lookup.buffer.eq(maximum.write), lookup.tables.eq(tables.write)]
        m.d.comb += [
            maximum.read.eq(third.read),
            second.enable.eq(tables.loaded & rows.w_rdy),  # room for the sum as well: it leaves before its row does
            tables.begun.eq(second.reads.valid & second.reads.last & second.reads.final),
            rows.w_data.eq(second.i.payload), rows.w_en.eq(second.i.valid & second.i.ready),
            total.i.eq(second.o),
            sums.w_data.eq(total.o), sums.w_en.eq(total.valid),
            reciprocal.i.payload.eq(sums.r_data), reciprocal.i.valid.eq(sums.r_rdy), sums.r_en.eq(reciprocal.i.ready),
            third.i.payload.eq(rows.r_data), third.i.valid.eq(reciprocal.o.valid),
            reciprocal.o.ready.eq(third.i.ready), rows.r_en.eq(third.i.valid & third.i.ready),
            third.enable.eq(pack.enable), pack.reads.eq(third.reads),
            scale.factor.eq(reciprocal.o.payload), scale.i.eq(third.o),
            pack.i.eq(scale.o),
            tables.released.eq(third.o.place.valid & third.o.place.last & third.o.place.final),
        ]
        return (maximum.i.valid & maximum.i.ready) | second.reads.valid | third.reads.valid | reciprocal.busy \
            | tables.write.valid
