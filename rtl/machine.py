"""The whole machine: sequencer, units and movers around one memory, seen through a register bus."""

from collections.abc import Callable
from functools import reduce
from operator import or_

from amaranth import Module, ResetInserter, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .array_unit import ArrayUnit
from .config import ADDRESS_BITS, Config
from .counters import Counters
from .depthwise import DepthwiseUnit
from .memory import UnifiedMemory
from .mover import MoveIn, MoveOut
from .ports import ExternalPort, HostBus, Retired, accumulator_row
from .queue import InstructionQueue
from .registers import HostRegisters
from .semaphores import Semaphores
from .sequencer import Sequencer
from .skid import Skid
from .softmax_unit import SoftmaxUnit
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
    of `counter_names`; these are for traces, a board leaves them open.
    """

    def __init__(self, config: Config, *, simulated: bool = False) -> None:
        self.config = config
        c = config
        multiplier = "generic" if simulated else c.multiplier
        self.units: dict[str, wiring.Component] = {
            "array": ArrayUnit(c.rows, c.cols, c.word_bytes, c.accumulator_rows, multiplier),
            "vector": VectorUnit(c.cols, c.word_bytes, c.vector_lanes),
        }
        if c.external_bytes:
            self.units = {"move_in": MoveIn(c.word_bytes, c.external_bytes), **self.units,
                          "move_out": MoveOut(c.word_bytes, c.external_bytes, aligned=True)}
        if c.depthwise_lanes:
            self.units["depthwise"] = DepthwiseUnit(c.cols, c.word_bytes, c.depthwise_lanes, multiplier)
        if c.softmax_lanes:
            self.units["softmax"] = SoftmaxUnit(c.word_bytes, c.softmax_lanes)
        reads = {"feeder": False, "weights": True, "vector": False, "params": True, "fetch": True, "host": True}
        writes = {"vector": False, "host": True}
        if c.external_bytes:
            reads["move_out"] = True
            writes["move_in"] = True
        if c.depthwise_lanes:
            reads["depthwise"] = writes["depthwise"] = False
        if c.softmax_lanes:
            reads["softmax"] = writes["softmax"] = False
        self._memory = UnifiedMemory(c.memory_bytes, c.banks, c.word_bytes, reads, writes, "feeder")
        events = [f"{unit}__{event}" for unit, part in self.units.items() for event in part.events.shape().members]
        self._counters = Counters([*events, *(f"memory__conflict_{port}" for port in self._memory.ports)])
        super().__init__({
            "host": In(HostBus()),
            **({"external": Out(ExternalPort(c.external_bytes))} if c.external_bytes else {}),
            **({"external_reset": Out(1)} if c.external_bytes else {}),
            "interrupt": Out(1),
            "running": Out(1),
            **{f"{unit}_retired": Out(Retired) for unit in self.units},
            "counters": Out(data.ArrayLayout(unsigned(32), len(self._counters.names))),
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
                                    c.instruction_slots)
        m.submodules.sequencer = self._sequencer
        m.submodules.registers = registers = HostRegisters(
            c.word_bytes, c.memory_bytes, self._counters.names, config_hash=c.hash, semaphores=c.semaphores)
        reset = ResetInserter(self._sequencer.unit_reset)
        m.submodules.semaphores = self._semaphores = reset(
            Semaphores(len(self.units) + 1, len(self.units) + 1, c.semaphores))
        busy = [self._unit(m, index, name, reset) for index, name in enumerate(self.units)]
        self._connect_memory(m, memory, registers)
        self._connect_host(m, registers)
        last = len(self.units)
        wiring.connect(m, self._sequencer.take, self._semaphores.takes[last])
        wiring.connect(m, self._sequencer.give, self._semaphores.gives[last])
        m.d.sync += [  # a cycle late: errors come late in their cycle
            self._sequencer.memory_error.eq(memory.error),
            self._sequencer.memory_address.eq(memory.error_address),
            self._sequencer.semaphore_error.eq(self._semaphores.error),
            self._sequencer.semaphore_number.eq(self._semaphores.error_semaphore),
            self._sequencer.progress.eq(reduce(or_, busy)),
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
        if self.config.external_bytes:
            move_in, move_out = self.units["move_in"], self.units["move_out"]
            wiring.connect(m, move_in.memory, memory.w_move_in)
            wiring.connect(m, move_out.memory, memory.r_move_out)
            for unit, names in ((move_in, ("read_request", "read_data")), (move_out, ("write_request", "write_data"))):
                for name in names:
                    wiring.connect(m, getattr(unit, name), wiring.flipped(getattr(self.external, name)))
            m.d.comb += [move_out.write_done.eq(self.external.write_done),
                         self.external_reset.eq(self._sequencer.unit_reset)]

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
            counters.clear.eq(registers.start & ~sequencer.running & ~sequencer.failed),
            counters.index.eq(registers.counter_index),
            registers.counter_value.eq(counters.value),
            registers.semaphores.eq(self._semaphores.counts),
            self.interrupt.eq(registers.interrupt),
        ]
        for name in ("running", "done", "failed", "clearing", "error_code", "error_information", "pc"):
            m.d.comb += getattr(registers, name).eq(getattr(sequencer, name))
