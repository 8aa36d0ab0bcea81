"""The whole machine: sequencer, units and movers around one memory, seen through a register bus."""

from collections.abc import Callable
from functools import reduce
from operator import or_

from amaranth import Cat, Module, ResetInserter, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .array_unit import ArrayUnit
from .clip import RULES, Clip
from .config import ADDRESS_BITS, Config
from .counters import Counters
from .depthwise import DepthwiseUnit
from .errors import ErrorCode
from .faults import Fault
from .memory import UnifiedMemory
from .mover import MoveIn, MoveOut
from .norm_unit import NormUnit
from .pack_unit import PackUnit
from .pager import Pager
from .ports import ExternalPort, HostBus, Retired, accumulator_row
from .queue import InstructionQueue
from .registers import HostRegisters
from .semaphores import Semaphores
from .sequencer import Sequencer
from .shared_port import SharedReads, SharedWrites
from .skid import Skid
from .softmax_unit import SoftmaxUnit
from .unpack_unit import UnpackUnit
from .vector_unit import VectorUnit

_TYPES = {isa.UNITS[kind.opcode >> 4]: kind for kind in isa.TYPES if kind.opcode >> 4}


class Machine(wiring.Component):
    """A machine of the size that `config` says; `simulated`: with multipliers that any simulator knows.

    Members
    -------
    host: register bus; see `registers.REGISTERS` for the map.
    external: external memory, where `config.external_bytes` is not 0.
    external_reset: the movers are reset; external memory is to forget what is under way (a write burst may stop
    halfway).
    interrupt: 1 while an enabled interrupt is pending.
    running: 1 from a start to END or an error.
    <unit>_retired: an instruction of the unit has ended in this cycle. counters: all performance counters, in the order
    of `counter_names`. pages_used: on the chip, where there is a codec. These are for traces, a board leaves them open.
    """

    def __init__(self, config: Config, *, simulated: bool = False) -> None:
        self.config = config
        c = config
        multiplier = "generic" if simulated else c.multiplier
        self.units: dict[str, wiring.Component] = {
            "array": ArrayUnit(c.rows, c.cols, c.word_bytes, c.accumulator_rows, multiplier,
                               bool(c.activation_products)),
            "vector": VectorUnit(c.cols, c.word_bytes, c.vector_lanes),
        }
        if c.external_bytes:
            self.units = {"move_in": MoveIn(c.word_bytes, c.external_bytes, bool(c.activation_products)),
                          **self.units,
                          "move_out": MoveOut(c.word_bytes, c.external_bytes, aligned=True)}
        if c.depthwise_lanes:
            self.units["depthwise"] = DepthwiseUnit(c.cols, c.word_bytes, c.depthwise_lanes, multiplier)
        if c.softmax_lanes:
            self.units["softmax"] = SoftmaxUnit(c.word_bytes, c.softmax_lanes)
        if c.norm_lanes:
            self.units["norm"] = NormUnit(c.word_bytes, c.norm_lanes)
        if c.codec_lanes:
            self.units["pack"] = PackUnit(c.word_bytes, c.external_bytes, c.codec_lanes, c.page_bytes, c.pages,
                                          isa.STREAMS)
            self.units["unpack"] = UnpackUnit(c.word_bytes, c.external_bytes, c.codec_lanes, c.page_bytes, c.pages,
                                              isa.STREAMS, isa.READERS)
        reads = {"feeder": False, "weights": True, "vector": False, "params": True, "fetch": True, "host": True}
        writes = {"vector": False, "host": True}
        if c.external_bytes:
            reads["move_out"] = True
            if c.activation_products:
                reads["numbers"] = False
            writes["move_in"] = True
        if c.depthwise_lanes:
            reads["depthwise"] = writes["depthwise"] = False
        if c.softmax_lanes:
            reads["softmax"] = writes["softmax"] = False
        if c.norm_lanes:
            reads["norm"] = writes["norm"] = False
        if c.codec_lanes:
            reads |= {"pack": False, "unpack": True}
            writes |= {"pack": True, "unpack": False}
        self._memory = UnifiedMemory(c.memory_bytes, c.banks, c.word_bytes, reads, writes, "feeder")
        events = [f"{unit}__{event}" for unit, part in self.units.items() for event in part.events.shape().members]
        if c.codec_lanes and c.external_bytes:
            events += ["external__unpacked", "external__packed"]  # beats of pages outside
        self._counters = Counters([*events, *(f"memory__conflict_{port}" for port in self._memory.ports)])
        super().__init__({
            "host": In(HostBus()),
            **({"external": Out(ExternalPort(c.external_bytes))} if c.external_bytes else {}),
            **({"external_reset": Out(1)} if c.external_bytes else {}),
            "interrupt": Out(1),
            "running": Out(1),
            **{f"{unit}_retired": Out(Retired) for unit in self.units},
            "counters": Out(data.ArrayLayout(unsigned(32), len(self._counters.names))),
            **({"pages_used": Out(16)} if c.codec_lanes else {}),
        })

    @property
    def counter_names(self) -> list[str]:
        """Names of the counters: "cycles", then "unit.event"."""
        return [name.replace("__", ".", 1) for name in self._counters.names]

    @property
    def latencies(self) -> dict[str, int]:
        """Cycles from a granted read to its answer, a port of the memory."""
        return {f"memory_{name}": cycles for name, cycles in self._memory.latencies.items()}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        m.submodules.memory = memory = self._memory
        m.submodules.counters = self._counters
        self._sequencer = Sequencer(c.word_bytes, c.memory_bytes, tuple(self.units), c.watchdog_cycles,
                                    c.instruction_slots, scales=c.clips)
        m.submodules.sequencer = self._sequencer
        m.submodules.registers = self._registers = registers = HostRegisters(
            c.word_bytes, c.memory_bytes, self._counters.names, config_hash=c.hash, semaphores=c.semaphores,
            paged=bool(c.codec_lanes), clips=c.clips)
        reset = ResetInserter(self._sequencer.unit_reset)
        m.submodules.semaphores = self._semaphores = reset(
            Semaphores(len(self.units) + 1, len(self.units) + (2 if c.codec_lanes else 1), c.semaphores))
        busy = [self._unit(m, index, name, reset) for index, name in enumerate(self.units)]
        self._connect_memory(m, memory, registers)
        self._connect_external(m, reset)
        self._connect_host(m, registers)
        if c.codec_lanes:
            self._connect_pages(m, registers, reset)
        last = len(self.units)
        wiring.connect(m, self._sequencer.take, self._semaphores.takes[last])
        wiring.connect(m, self._sequencer.give, self._semaphores.gives[last])
        m.d.sync += [  # a cycle late: errors come late in their cycle
            self._sequencer.memory_error.eq(memory.error),
            self._sequencer.memory_address.eq(memory.error_address),
            self._sequencer.semaphore_error.eq(self._semaphores.error),
            self._sequencer.semaphore_number.eq(self._semaphores.error_semaphore),
            self._sequencer.progress.eq(reduce(or_, busy) | registers.feeding),
        ]
        m.d.comb += [
            self._counters.running.eq(self._sequencer.running),
            self.running.eq(self._sequencer.running),
            self.counters.eq(self._counters.values),
        ]
        for index, port in enumerate(memory.ports):
            m.d.comb += self._counters.events[f"memory__conflict_{port}"].eq(memory.conflicts[index])
        return m

    def _unit(self, m: Module, index: int, name: str, reset: ResetInserter) -> Signal:
        """A unit, its queue, its semaphores and its counters; a signal that says that it does something."""
        unit = self.units[name]
        m.submodules[name] = reset(unit)
        m.submodules[f"{name}_queue"] = queue = reset(InstructionQueue(_TYPES[name], self.config.queue_words))
        words = self._sequencer.queues[name]
        wiring.connect(m, words, queue.i)
        if self.config.clips and _TYPES[name] in RULES:
            m.submodules[f"{name}_clip"] = clip = reset(Clip(_TYPES[name]))
            wiring.connect(m, queue.o, clip.i)
            wiring.connect(m, clip.o, unit.instruction)
            m.d.comb += clip.length.eq(self._registers.length)
        else:
            wiring.connect(m, queue.o, unit.instruction)
        wiring.connect(m, unit.take, self._semaphores.takes[index])
        wiring.connect(m, unit.give, self._semaphores.gives[index])
        m.d.comb += [
            self._sequencer.unit_busy[name].eq(queue.busy | unit.busy),
            self._sequencer.unit_error[name].eq(unit.error),
            getattr(self, f"{name}_retired").eq(unit.retired),
        ]
        for event in unit.events.shape().members:
            m.d.comb += self._counters.events[f"{name}__{event}"].eq(unit.events[event])
        active = Signal(name=f"{name}_active")
        m.d.comb += active.eq(unit.events.busy | unit.retired.valid | (words.valid & words.ready))
        return active

    def _connect_memory(self, m: Module, memory: UnifiedMemory, registers: HostRegisters) -> None:
        array, vector = self.units["array"], self.units["vector"]
        # The feeder is never refused, so what it asks for is read a cycle later; nobody writes what the others read.
        reset = ResetInserter(self._sequencer.unit_reset)
        self._registered(m, "feeder", array.input, memory.r_feeder, reset)
        self._registered(m, "params", vector.params, memory.r_params, reset)
        self._registered(m, "fetch", self._sequencer.memory, memory.r_fetch, lambda part: part)
        wiring.connect(m, array.weights, memory.r_weights)
        m.submodules.accumulator_rows = rows = reset(Skid(accumulator_row(self.config.cols)))
        wiring.connect(m, array.o, rows.i)
        wiring.connect(m, rows.o, vector.accumulators)
        wiring.connect(m, vector.read, memory.r_vector)
        wiring.connect(m, vector.write, memory.w_vector)
        wiring.connect(m, registers.read, memory.r_host)
        wiring.connect(m, registers.write, memory.w_host)
        if self.config.depthwise_lanes:
            wiring.connect(m, self.units["depthwise"].read, memory.r_depthwise)
            wiring.connect(m, self.units["depthwise"].write, memory.w_depthwise)
        if self.config.softmax_lanes:
            wiring.connect(m, self.units["softmax"].read, memory.r_softmax)
            wiring.connect(m, self.units["softmax"].write, memory.w_softmax)
        if self.config.norm_lanes:
            wiring.connect(m, self.units["norm"].read, memory.r_norm)
            wiring.connect(m, self.units["norm"].write, memory.w_norm)
        if self.config.external_bytes:
            wiring.connect(m, self.units["move_in"].memory, memory.w_move_in)
            if self.config.activation_products:
                wiring.connect(m, self.units["move_in"].numbers, memory.r_numbers)
            wiring.connect(m, self.units["move_out"].memory, memory.r_move_out)
        if self.config.codec_lanes:
            wiring.connect(m, self.units["pack"].read, memory.r_pack)
            wiring.connect(m, self.units["pack"].memory, memory.w_pack)
            wiring.connect(m, self.units["unpack"].memory, memory.r_unpack)
            wiring.connect(m, self.units["unpack"].write, memory.w_unpack)

    def _connect_external(self, m: Module, reset: ResetInserter) -> None:
        """The movers to the external port, and the codec's units beside them where there are such."""
        if not self.config.external_bytes:
            return
        readers = [self.units[name] for name in ("move_in", "unpack") if name in self.units]
        writers = [self.units[name] for name in ("move_out", "pack") if name in self.units]
        m.d.comb += self.external_reset.eq(self._sequencer.unit_reset)
        if len(readers) == 1:
            for unit, names in ((readers[0], ("read_request", "read_data")),
                                (writers[0], ("write_request", "write_data"))):
                for name in names:
                    wiring.connect(m, getattr(unit, name), wiring.flipped(getattr(self.external, name)))
            m.d.comb += writers[0].write_done.eq(self.external.write_done)
            return
        width = self.config.external_bytes
        m.submodules.external_reads = reads = reset(SharedReads(width, len(readers)))
        m.submodules.external_writes = writes = reset(SharedWrites(width, len(writers)))
        for index, (reader, writer) in enumerate(zip(readers, writers, strict=True)):
            wiring.connect(m, reader.read_request, reads.requests[index])
            wiring.connect(m, reads.data[index], reader.read_data)
            wiring.connect(m, writer.write_request, writes.requests[index])
            wiring.connect(m, writer.write_data, writes.data[index])
            m.d.comb += writer.write_done.eq(writes.done[index])
        for shared, names in ((reads, ("read_request", "read_data")), (writes, ("write_request", "write_data"))):
            for name in names:
                wiring.connect(m, getattr(shared, name), wiring.flipped(getattr(self.external, name)))
        m.d.comb += [
            writes.write_done.eq(self.external.write_done),
            self._counters.events["external__unpacked"].eq(reads.data[1].valid & reads.data[1].ready),
            self._counters.events["external__packed"].eq(writes.data[1].valid & writes.data[1].ready),
        ]

    def _connect_pages(self, m: Module, registers: HostRegisters, reset: ResetInserter) -> None:
        """The pager between the codec's units, their errors, and the host's gives."""
        c, pack, unpack = self.config, self.units["pack"], self.units["unpack"]
        outside = c.outside_pages if c.external_bytes else 0
        m.submodules.pager = pager = reset(Pager(c.pages, outside, isa.STREAMS, isa.READERS, 2))
        for index, (request, response) in enumerate((
                (pack.page_request, pack.page_response), (unpack.requests, unpack.responses))):
            wiring.connect(m, request, pager.requests[index])
            wiring.connect(m, pager.responses[index], response)
        wiring.connect(m, registers.give, self._semaphores.gives[len(self.units) + 1])
        fault = Signal(Fault)
        with m.If(pager.error):
            m.d.comb += [fault.code.eq(ErrorCode.MISUSED_STREAM), fault.information.eq(pager.code)]
        with m.Elif(pack.out_of_pages):
            m.d.comb += [fault.code.eq(ErrorCode.OUT_OF_PAGES), fault.information.eq(pack.out_of_pages_tag)]
        with m.Elif(unpack.damaged):
            m.d.comb += [fault.code.eq(ErrorCode.DAMAGED_STREAM), fault.information.eq(unpack.damaged_tag)]
        m.d.comb += [pager.limit.eq(pack.limit), registers.pages.eq(Cat(pager.high_water, pager.high_water_outside)),
                     self.pages_used.eq(pager.used)]
        m.d.sync += self._sequencer.stream_fault.eq(fault)

    @staticmethod
    def _registered(m: Module, name: str, client: wiring.PureInterface, port: wiring.PureInterface,
                    reset: Callable[[Skid], Skid]) -> None:
        """A reading port whose requests pass a register: the memory's arbitration gets the whole cycle."""
        m.submodules[f"{name}_request"] = skid = reset(Skid(unsigned(ADDRESS_BITS)))
        wiring.connect(m, client.request, skid.i)
        wiring.connect(m, skid.o, port.request)
        wiring.connect(m, port.response, client.response)

    def _connect_host(self, m: Module, registers: HostRegisters) -> None:
        wiring.connect(m, wiring.flipped(self.host), registers.bus)
        sequencer, counters = self._sequencer, self._counters
        m.d.comb += [
            sequencer.start.eq(registers.start),
            sequencer.clear.eq(registers.clear),
            sequencer.entry.eq(registers.entry),
            self._memory.restart.eq(sequencer.unit_reset),
            *([sequencer.length.eq(registers.length)] if self.config.clips else []),
            counters.clear.eq(registers.start & ~sequencer.running & ~sequencer.failed),
            counters.index.eq(registers.counter_index),
            registers.counter_value.eq(counters.value),
            registers.semaphores.eq(self._semaphores.counts),
            self.interrupt.eq(registers.interrupt),
        ]
        for name in ("running", "done", "failed", "clearing", "error_code", "error_information", "pc"):
            m.d.comb += getattr(registers, name).eq(getattr(sequencer, name))
