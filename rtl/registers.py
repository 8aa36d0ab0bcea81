"""The host's registers, and the memory window above them."""

import enum

from amaranth import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import LENGTH_BITS, SEMAPHORE_BITS, SEMAPHORES
from .ports import Give, HostBus, MemoryReadPort, MemoryWritePort
from .register_map import COUNTERS_AT, IDENTIFICATION, MAX_COUNTERS, MEMORY_AT, SEMAPHORES_AT, Access, registers_of


class State(enum.IntEnum):
    """Where an access is."""

    IDLE = 0
    DECODE = 1
    COUNTER = 2
    READ = 3
    ANSWER = 4
    WRITE = 5
    RESPOND = 6
    REGISTER = 7
    SEMAPHORE = 8
    GIVE = 9


class HostRegisters(wiring.Component):
    """Answers the host: writes of registers in 2 cycles, reads in 3, memory in 2 and what its port takes.

    One access at a time. Every request gets one response, an error where nothing lives at its address.
    Accesses to memory work at any time, also while the machine runs or has stopped with an error.

    Parameters
    ----------
    word_bytes: of the memory ports. memory_bytes: size of the memory, hence of its window.
    counters: names of the performance counters, "cycles" included.
    version: (major, minor, patch). config_hash: 32 bits that tell configurations apart.
    semaphores: how many the machine has. paged: it has pages. clips: it has the register LENGTH.

    Members
    -------
    bus: the host's accesses.
    read, write: aligned memory ports.
    start, clear: pulses to the sequencer. entry: address at which the program starts.
    running, done, failed, clearing, error_code, error_information, pc: as the sequencer shows them.
    counter_index, counter_value: as `Counters` has them; the value comes one cycle after the index.
    semaphores: the counts. give: what the host gives them. feeding: it will give more. pages: what PAGES reads.
    length: what LENGTH says, where there is one.
    interrupt: 1 while an event that is enabled has happened and has not been cleared.
    """

    def __init__(self, word_bytes: int, memory_bytes: int, counters: list[str],
                 version: tuple[int, int, int] = (0, 1, 0), config_hash: int = 0,
                 semaphores: int = SEMAPHORES, paged: bool = True, clips: bool = True) -> None:
        if word_bytes < 4 or word_bytes & (word_bytes - 1):
            raise ValueError(f"word_bytes must be a power of two from 4 on, not {word_bytes}")
        if not 1 <= len(counters) <= MAX_COUNTERS:
            raise ValueError(f"there must be 1 to {MAX_COUNTERS} counters, not {len(counters)}")
        if not 0 <= config_hash < 1 << 32:
            raise ValueError(f"config_hash must have 32 bits, not {config_hash:#x}")
        if not all(0 <= part < 256 for part in version):
            raise ValueError(f"version must be three numbers up to 255, not {version}")
        self.word_bytes = word_bytes
        self.memory_bytes = memory_bytes
        self.counters = counters
        self._semaphores = semaphores
        self._paged = paged
        self._clips = clips
        self.version = version
        self.config_hash = config_hash
        super().__init__({
            "bus": In(HostBus()),
            "read": Out(MemoryReadPort(word_bytes)),
            "write": Out(MemoryWritePort(word_bytes)),
            "start": Out(1),
            "clear": Out(1),
            "entry": Out(ADDRESS_BITS),
            "running": In(1),
            "done": In(1),
            "failed": In(1),
            "clearing": In(1),
            "error_code": In(8),
            "error_information": In(32),
            "pc": In(ADDRESS_BITS),
            "counter_index": Out(8),
            "counter_value": In(32),
            "semaphores": In(data.ArrayLayout(unsigned(SEMAPHORE_BITS), semaphores)),
            "interrupt": Out(1),
            "give": Out(stream.Signature(Give)),
            "feeding": Out(1),
            "pages": In(32),
            **({"length": Out(LENGTH_BITS)} if clips else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(State)
        self._enabled = Signal(2)
        self._happened = Signal(2)
        access = Signal.like(self.bus.request.payload)
        answer = Signal.like(self.bus.response.payload)
        m.d.comb += [
            self.bus.request.ready.eq(state == State.IDLE),
            self.bus.response.valid.eq(state == State.RESPOND),
            self.bus.response.payload.eq(answer),
            self.counter_index.eq(access.address[2:10] - COUNTERS_AT // 4),
        ]
        with m.If((state == State.IDLE) & self.bus.request.valid):
            m.d.sync += [state.eq(State.DECODE), access.eq(self.bus.request.payload),
                         answer.data.eq(0), answer.error.eq(0)]
        with m.If(state == State.DECODE):
            m.d.sync += [state.eq(State.RESPOND), answer.error.eq(1)]
            self._registers(m, state, access, answer)
            with m.If(self._inside(access, SEMAPHORES_AT + 4, 4 * (self._semaphores - 1)) & ~access.write):
                m.d.sync += [state.eq(State.SEMAPHORE), answer.error.eq(0)]
            with m.If(self._inside(access, COUNTERS_AT, 4 * len(self.counters)) & ~access.write):
                m.d.sync += [state.eq(State.COUNTER), answer.error.eq(0)]
            with m.If(self._inside(access, MEMORY_AT, self.memory_bytes)):
                m.d.sync += [state.eq(Mux(access.write, State.WRITE, State.READ)), answer.error.eq(0)]
        with m.If(state == State.COUNTER):
            m.d.sync += [state.eq(State.RESPOND), answer.data.eq(self.counter_value)]
        self._read_values(m, state, access, answer)
        self._memory(m, state, access, answer)
        give = self.give.payload
        m.d.comb += [self.give.valid.eq(state == State.GIVE), give.semaphore.eq(access.data),
                     give.count.eq(access.data[16:])]
        with m.If((state == State.GIVE) & self.give.ready):
            m.d.sync += state.eq(State.RESPOND)
        with m.If((state == State.RESPOND) & self.bus.response.ready):
            m.d.sync += state.eq(State.IDLE)
        self._interrupts(m)
        return m

    @staticmethod
    def _inside(access: data.View, start: int, size: int) -> Value:
        return (access.address >= start) & (access.address < start + size) & (access.address[:2] == 0)

    def _values(self) -> dict[str, object]:
        """What each readable register reads."""
        major, minor, patch = self.version
        return {
            "ID": IDENTIFICATION,
            "VERSION": major << 16 | minor << 8 | patch,
            "CONFIG": self.config_hash,
            "MEMORY_BYTES": self.memory_bytes,
            "ENTRY": self.entry,
            "STATUS": Cat(self.running, self.done, self.failed, self.clearing),
            "ERROR_CODE": self.error_code,
            "ERROR_INFORMATION": self.error_information,
            "PC": self.pc,
            "INTERRUPT_ENABLE": self._enabled,
            "INTERRUPT_STATUS": self._happened,
            "COUNTERS": len(self.counters),
            "PAGES": self.pages,
            **({"LENGTH": self.length} if self._clips else {}),
        }

    def _read_values(self, m: Module, state: Signal, access: data.View, answer: data.View) -> None:
        """Chooses what is read while the address is decoded: two short ways instead of a long one."""
        register, semaphore = Signal(32), Signal(SEMAPHORE_BITS)
        values = self._values()
        m.d.sync += semaphore.eq(Array(self.semaphores)[access.address[2:2 + (self._semaphores - 1).bit_length()]])
        with m.Switch(access.address[2:6]):
            for one in registers_of(self._paged, self._clips):
                if one.name in values:
                    with m.Case(one.address // 4):
                        m.d.sync += register.eq(values[one.name])
        for choice, value in ((State.REGISTER, register), (State.SEMAPHORE, semaphore)):
            with m.If(state == choice):
                m.d.sync += [state.eq(State.RESPOND), answer.data.eq(value)]

    def _registers(self, m: Module, state: Signal, access: data.View, answer: data.View) -> None:
        values = self._values()
        with m.Switch(access.address):
            for register in registers_of(self._paged, self._clips):
                with m.Case(register.address):
                    if register.access == Access.READ:
                        m.d.sync += answer.error.eq(access.write)
                    elif register.access == Access.WRITE:
                        m.d.sync += answer.error.eq(~access.write)
                    else:
                        m.d.sync += answer.error.eq(0)
                    if register.name in values:
                        with m.If(~access.write):
                            m.d.sync += state.eq(State.REGISTER)
                    with m.If(access.write):
                        self._write_register(m, register.name, access.data, answer)
                        if register.name == "GIVE":
                            m.d.sync += [state.eq(State.GIVE), self.feeding.eq(access.data[31])]

    def _write_register(self, m: Module, name: str, value: Value, answer: data.View) -> None:
        if name == "CONTROL":
            m.d.comb += [self.start.eq(value[0]), self.clear.eq(value[1])]
        elif name in ("ENTRY", "LENGTH"):
            target = self.entry if name == "ENTRY" else self.length
            with m.If(value[len(target):] != 0):
                m.d.sync += answer.error.eq(1)
            with m.Else():
                m.d.sync += target.eq(value)
        elif name == "INTERRUPT_ENABLE":
            m.d.sync += self._enabled.eq(value)
        elif name == "INTERRUPT_STATUS":
            m.d.sync += self._happened.eq(self._happened & ~value[:2])

    def _memory(self, m: Module, state: Signal, access: data.View, answer: data.View) -> None:
        """The window: the memory word around the 32 bits, of which a write changes no others."""
        shift = self.word_bytes.bit_length() - 1
        lane = Signal(max(1, shift - 2))
        address = Signal(ADDRESS_BITS)
        m.d.comb += [
            lane.eq(access.address[2:shift]),
            address.eq(access.address[shift:ADDRESS_BITS] << shift),
            self.read.request.valid.eq(state == State.READ),
            self.read.request.payload.eq(address),
            self.write.request.valid.eq(state == State.WRITE),
            self.write.request.payload.address.eq(address),
            self.write.request.payload.mask.eq(0xF << (lane << 2)),
            self.write.request.payload.data.eq(access.data.replicate(self.word_bytes // 4)),
        ]
        with m.If((state == State.READ) & self.read.request.ready):
            m.d.sync += state.eq(State.ANSWER)
        with m.If((state == State.ANSWER) & self.read.response.valid):
            m.d.sync += [state.eq(State.RESPOND), answer.data.eq(self.read.response.payload.word_select(lane, 32))]
        with m.If((state == State.WRITE) & self.write.request.ready):
            m.d.sync += state.eq(State.RESPOND)

    def _interrupts(self, m: Module) -> None:
        """An event is the rise of its status bit; one that comes as its bit is cleared is kept."""
        events = Cat(self.done, self.failed)
        before = Signal(2)
        m.d.sync += before.eq(events)
        for number in range(2):
            with m.If(events[number] & ~before[number]):
                m.d.sync += self._happened[number].eq(1)
        m.d.comb += self.interrupt.eq((self._enabled & self._happened).any())
