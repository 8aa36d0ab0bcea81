"""The vector unit: executes VECTOR instructions."""

from amaranth import Module, Shape
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .isa import VECTOR
from .issue import Issue
from .ports import MemoryReadPort, MemoryWritePort, accumulator_row, unit_members
from .skid import Skid
from .vector_address import Step
from .vector_datapath import Settings, VectorDatapath, check_sizes
from .vector_parameters import ParameterFetch
from .vector_port import SharedPort
from .vector_reader import ReadAhead
from .vector_setup import VectorSetup
from .vector_tables import TableLoader
from .vector_walk import VectorWalk
from .vector_writer import VectorWriter

EVENTS = data.StructLayout({"busy": 1, "wait_input": 1, "wait_output": 1, "wait_semaphore": 1})


class VectorUnit(wiring.Component):
    """Executes VECTOR instructions as `rtl.isa` defines them, up to four at once in its pipeline.

    A step of min(lanes, word_bytes / size of the largest element) elements enters every cycle in every mode,
    as long as memory grants a read and a write a cycle. An instruction starts as soon as its waits are granted,
    even when outputs of the one before it are not in memory yet: where it reads what that one writes, it must wait
    for a semaphore that the other signals. Its outputs come after all reads and outputs of the one before.

    Parameters
    ----------
    cols: columns of the array. word_bytes: of the memory, a power of two, at least cols and 4.
    lanes: a power of two up to word_bytes.

    Members
    -------
    instruction: stream of instructions. accumulators: rows from the array. take, give: semaphores.
    read: operands, unaligned. write: outputs, unaligned. params: parameter sets and tables, aligned.
    busy: from taking an instruction until its signals are given. retired: pulse when its last output is in memory.
    error: an instruction that cannot be executed, or a block of accumulators of another length than the
    instruction says; until reset.
    events: what happened in this cycle, one of: busy (a step entered the pipeline), wait_input (one did not, for want
    of elements or parameters), wait_output (for want of room: memory refuses outputs), wait_semaphore (there is
    none, and the next instruction waits).
    """

    def __init__(self, cols: int, word_bytes: int, lanes: int) -> None:
        check_sizes(cols, word_bytes, lanes)
        self._cols, self._word_bytes, self._lanes = cols, word_bytes, lanes
        super().__init__({
            **unit_members(VECTOR.layout(), EVENTS),
            "accumulators": In(stream.Signature(accumulator_row(cols))),
            "read": Out(MemoryReadPort(word_bytes)),
            "write": Out(MemoryWritePort(word_bytes)),
            "params": Out(MemoryReadPort(word_bytes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.issue = issue = Issue(VECTOR.layout())
        m.submodules.setup = setup = VectorSetup(self._cols, self._word_bytes, self._lanes)
        m.submodules.parameters = parameters = ParameterFetch(self._cols, self._word_bytes)
        m.submodules.loader = loader = TableLoader(self._word_bytes)
        m.submodules.constants = constants = SharedPort(self._word_bytes)
        m.submodules.walk = walk = VectorWalk()
        m.submodules.reader = reader = ReadAhead(self._word_bytes)
        m.submodules.datapath = datapath = VectorDatapath(self._cols, self._word_bytes, self._lanes)
        m.submodules.writer = writer = VectorWriter(self._word_bytes)
        connect(m, flipped(self.instruction), issue.i)
        connect(m, issue.take, flipped(self.take))
        connect(m, issue.o, setup.i)
        connect(m, setup.job, parameters.i)
        connect(m, parameters.port, constants.clients[0])
        connect(m, loader.port, constants.clients[1])
        connect(m, constants.port, flipped(self.params))
        connect(m, parameters.o, datapath.parameters)
        connect(m, walk.fetch, reader.i)
        connect(m, reader.port, flipped(self.read))
        connect(m, reader.o, datapath.words)
        connect(m, flipped(self.accumulators), datapath.accumulators)
        connect(m, datapath.o, writer.words)
        connect(m, writer.write, flipped(self.write))
        connect(m, writer.give, flipped(self.give))
        m.submodules.next_step = next_step = Skid(Step)  # the queue's head, in registers
        _queue(m, "steps", walk.step, next_step.i, 16)
        connect(m, next_step.o, datapath.steps)
        _queue(m, "stores", walk.store, writer.stores, 48)  # those of queued steps, and of what is in the pipeline
        _load(m, setup, loader, datapath, writer)
        _begin(m, setup, walk, datapath, writer)
        m.d.comb += [
            self.busy.eq(setup.busy | walk.active | writer.busy),
            self.retired.eq(writer.retired),
            self.error.eq(setup.error | datapath.mismatch),
            self.events.busy.eq(datapath.entered),
            self.events.wait_output.eq(datapath.blocked),
            self.events.wait_input.eq(datapath.starved | (walk.active & ~datapath.steps.valid)),
            self.events.wait_semaphore.eq(issue.waiting & ~walk.active & ~datapath.steps.valid),
        ]
        return m


def _load(m: Module, setup: VectorSetup, loader: TableLoader, datapath: VectorDatapath, writer: VectorWriter) -> None:
    """A table goes to the slot that its instruction will get, once the instruction that had it before is over."""
    m.d.comb += [
        loader.i.valid.eq(setup.table.valid & writer.open.ready), setup.table.ready.eq(loader.i.ready),
        loader.i.payload.address.eq(setup.table.payload), loader.i.payload.slot.eq(writer.slot),
        datapath.table.eq(loader.o),
    ]


def _begin(m: Module, setup: VectorSetup, walk: VectorWalk, datapath: VectorDatapath, writer: VectorWriter) -> None:
    """A plan goes to the loops, the settings and the writer's list in the same cycle."""
    instruction = setup.o.payload.instruction
    m.d.comb += [
        walk.i.payload.eq(setup.o.payload), walk.slot.eq(writer.slot),
        walk.i.valid.eq(setup.o.valid & writer.open.ready),
        setup.o.ready.eq(walk.i.ready & writer.open.ready),
        writer.open.valid.eq(setup.o.valid & walk.i.ready),
        writer.open.payload.tag.eq(instruction.tag),
        datapath.set.eq(setup.o.valid & setup.o.ready), datapath.slot.eq(writer.slot),
    ]
    m.d.comb += [datapath.settings[name].eq(instruction[name]) for name in Settings.as_shape().members]
    m.d.comb += [writer.open.payload.signals[name].eq(instruction[name])
                 for name in ("signal0", "signal0_count", "signal1", "signal1_count")]


def _queue(m: Module, name: str, i: stream.Interface, o: stream.Interface, depth: int) -> None:
    """Puts a FIFO between two streams of one shape."""
    m.submodules[name] = queue = fifo.SyncFIFO(width=Shape.cast(i.payload.shape()).width, depth=depth)
    m.d.comb += [
        queue.w_data.eq(i.payload), queue.w_en.eq(i.valid), i.ready.eq(queue.w_rdy),
        o.payload.eq(queue.r_data), o.valid.eq(queue.r_rdy), queue.r_en.eq(o.ready),
    ]
