"""The norm unit: executes NORM instructions."""

from amaranth import Cat, Module, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out, connect, flipped

from .config import ADDRESS_BITS
from .isa import NORM
from .issue import Issue
from .norm_moments import RowMoments
from .norm_outputs import OutputJob, RowOutputs
from .norm_pack import NormPack
from .norm_parameters import ParameterLoader
from .norm_reader import NormReader
from .norm_root import ReciprocalRoot
from .norm_rows import Factor, check_sizes
from .norm_setup import NormSetup
from .norm_variance import Variance, VarianceJob
from .ports import MemoryReadPort, MemoryWritePort, unit_members
from .skid import Skid
from .softmax_rows import Rows, RowWalk
from .stream_fifo import StreamFifo
from .vector_address import SLOTS
from .vector_port import SharedPort
from .vector_writer import VectorWriter

EVENTS = data.StructLayout({"busy": 1, "wait_input": 1, "wait_output": 1, "wait_semaphore": 1})


class NormUnit(wiring.Component):
    """Executes NORM instructions as `rtl.isa` defines them.

    Two passes work on different rows at once, a chunk of `lanes` elements a cycle each: the first reads a row into a
    buffer of NORM_ELEMS elements and adds up its elements and squares, the second normalises and writes them. In
    between a row's variance and then its reciprocal root are made, those of two rows at once. A row takes
    max(ceil(elems / lanes), 20) cycles in the long run (the 20 are the root's) while the buffer holds it and what comes
    in the 50 cycles or so of variance and root, as long as memory grants what it asks for; the channels' parameters are
    loaded while the instruction before runs, 8 * elems / word_bytes words. An instruction starts as soon as its waits
    are granted, even when outputs of the one before it are not in memory yet: where it reads what that one writes, it
    must wait for a semaphore that the other signals.

    Parameters
    ----------
    word_bytes: of the memory, a power of two from 4 to 128. lanes: a power of two up to word_bytes / 2.

    Members
    -------
    instruction: stream of instructions. take, give: semaphores.
    read: rows and parameters, unaligned. write: outputs, unaligned.
    busy: from taking an instruction until its signals are given. retired: pulse when its last output is in memory.
    error: an instruction that cannot be executed; until reset.
    events: what happened in this cycle, one of: busy (a pass, a variance, a root or the loading of parameters went on),
    wait_output (none did, and an output is at the memory), wait_input (none did, for want of rows or of parameters),
    wait_semaphore (there is nothing to do, and the next instruction waits).
    """

    def __init__(self, word_bytes: int, lanes: int) -> None:
        check_sizes(word_bytes, lanes)
        self._word_bytes, self._lanes = word_bytes, lanes
        super().__init__({
            **unit_members(NORM.layout(), EVENTS),
            "read": Out(MemoryReadPort(word_bytes)),
            "write": Out(MemoryWritePort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word_bytes, lanes = self._word_bytes, self._lanes
        m.submodules.issue = issue = Issue(NORM.layout())
        m.submodules.setup = setup = NormSetup(word_bytes)
        m.submodules.port = port = SharedPort(word_bytes, 32)  # the readers' words at most
        m.submodules.requests = requests = Skid(unsigned(ADDRESS_BITS))
        m.submodules.reader = reader = NormReader(word_bytes, lanes)
        m.submodules.parameters = parameters = ParameterLoader(word_bytes, lanes)
        m.submodules.writer = writer = VectorWriter(word_bytes)
        m.submodules.variance = variance = Variance()
        m.submodules.outputs = outputs = RowOutputs(lanes)
        connect(m, flipped(self.instruction), issue.i)
        connect(m, issue.take, flipped(self.take))
        connect(m, issue.o, setup.i)
        connect(m, setup.channels, parameters.i)
        connect(m, reader.port, port.clients[0])
        connect(m, parameters.port, port.clients[1])
        connect(m, port.port.request, requests.i)
        connect(m, requests.o, flipped(self.read.request))
        connect(m, flipped(self.read.response), port.port.response)
        connect(m, writer.write, flipped(self.write))
        connect(m, writer.give, flipped(self.give))
        self._begin(m, setup, reader, variance, outputs, writer)
        works = self._passes(m, reader, variance, parameters, outputs, writer)
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

    def _begin(self, m: Module, setup: NormSetup, reader: NormReader, variance: Variance, outputs: RowOutputs,
               writer: VectorWriter) -> None:
        """An instruction goes to all parts that follow it in the same cycle."""
        m.submodules.stores = stores = StreamFifo(Rows, SLOTS)
        m.submodules.store_walk = walk = RowWalk(self._word_bytes)
        m.submodules.variances = variances = StreamFifo(VarianceJob, SLOTS)
        m.submodules.jobs = jobs = StreamFifo(OutputJob, SLOTS)
        connect(m, stores.o, walk.i)
        connect(m, variances.o, variance.job)
        connect(m, jobs.o, outputs.job)
        m.d.comb += [writer.stores.payload[name].eq(walk.o.payload[name]) for name in ("address", "count", "final")]
        m.d.comb += [writer.stores.valid.eq(walk.o.valid), walk.o.ready.eq(writer.stores.ready)]
        i, takers = setup.o.payload, [reader.i, stores.i, variances.i, jobs.i, writer.open]
        ready = Cat(taker.ready for taker in takers)
        m.d.comb += setup.o.ready.eq(ready.all())
        m.d.comb += [taker.valid.eq(setup.o.valid & Cat(other.ready for other in takers if other is not taker).all())
                     for taker in takers]
        source, target = reader.i.payload.rows, stores.i.payload
        for part, base, pitch, kind in ((source, i.a, i.a_row, i.in_type), (target, i.c, i.c_row, i.out_type)):
            m.d.comb += [part.base.eq(base), part.pitch.eq(pitch), part.rows.eq(i.rows),
                         part.elems.eq(i.elems << kind[0])]
        job, output = variances.i.payload, jobs.i.payload
        m.d.comb += [
            reader.i.payload.wide.eq(i.in_type), output.wide.eq(i.out_type),
            job.elems.eq(i.elems), job.rms.eq(i.rms), job.epsilon.eq(Cat(i.epsilon, i.epsilon_high)),
            *(output[name].eq(i[name]) for name in ("elems", "zero_point", "low", "high")),
            writer.open.payload.tag.eq(i.tag),
        ]
        m.d.comb += [writer.open.payload.signals[name].eq(i[name])
                     for name in ("signal0", "signal0_count", "signal1", "signal1_count")]

    def _passes(self, m: Module, reader: NormReader, variance: Variance, parameters: ParameterLoader,
                outputs: RowOutputs, writer: VectorWriter) -> Value:
        """Everything from chunks of rows to words of outputs; 1 while any of it moves."""
        m.submodules.moments = moments = RowMoments(self._lanes)
        m.submodules.root = root = ReciprocalRoot()
        m.submodules.rows = rows = StreamFifo(Factor, 2)
        # A word a chunk at worst: then there must be places for as many as are under way in the pipeline.
        m.submodules.pack = pack = NormPack(self._word_bytes, self._lanes,
                                            16 if 2 * self._lanes < self._word_bytes else 32)
        connect(m, reader.o, moments.i)
        connect(m, moments.o, variance.i)
        connect(m, variance.o, root.i)
        connect(m, root.o, rows.i)
        connect(m, rows.o, outputs.i)
        connect(m, pack.o, writer.words)
        m.d.comb += [
            moments.read.eq(outputs.read), outputs.buffer.eq(moments.write),
            outputs.parameters.eq(parameters.write),
            outputs.loaded.eq(parameters.loaded), parameters.released.eq(outputs.released),
            outputs.enable.eq(pack.enable), pack.reads.eq(outputs.reads),
            pack.wide.eq(outputs.wide), pack.i.eq(outputs.o),
        ]
        return (moments.i.valid & moments.i.ready) | outputs.reads.valid | variance.busy | root.busy \
            | parameters.write.words.any()
