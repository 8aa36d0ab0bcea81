"""The sequencer: runs the program, hands the units their instructions, and stops where something is wrong."""

import enum

from amaranth import Cat, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .config import ADDRESS_BITS
from .dispatch import Dispatcher
from .errors import ErrorCode
from .faults import Fault, Faults
from .fetch import Fetcher
from .issue import Issue, Signaller, Signals
from .loops import LoopStack
from .ports import Give, MemoryReadPort, Take


class State(enum.IntEnum):
    """What the sequencer does."""

    IDLE = 0
    START = 1
    HEADER = 2
    """waits for an instruction's first word"""
    PASS = 3
    """passes the rest of a unit's instruction on"""
    OPERANDS = 4
    """collects the words of an instruction of its own"""
    EXECUTE = 5
    END = 6
    """waits until every unit is idle"""
    FAILED = 7
    CLEAR = 8
    MASK = 9
    """waits for the mask of an instruction in compact form"""
    SCALE = 10
    """multiplies what an ADDRESS adds by the length"""


class Sequencer(wiring.Component):
    """Fetches a program from memory and executes it up to END.

    Instructions of a unit go to its queue, a word a cycle, with the address register that words 3, 4 and 5 name added;
    those in compact form are made whole (see `isa`), which costs one cycle more.
    END, LOOP, NEXT, ADDRESS, SYNC and JUMP are executed here, in 3 to 5 cycles; a JUMP, and a NEXT that repeats, cost a
    fetch as well, and a `scaled` ADDRESS LENGTH_BITS + 1 cycles.
    A full queue holds everything behind it up. Address registers and the units (see `unit_reset`) start each run as
    after power-up.

    The first error while running is kept (memory before units before semaphores before the sequencer before the
    watchdog where they come together); fetching stops then and nothing but `clear` leaves the state.

    Parameters
    ----------
    word_bytes: of the memory port. memory_bytes: size of the memory.
    units: names of the units that the machine has, out of `isa.UNITS`; opcodes of others are illegal.
    watchdog_cycles: cycles without progress after which it stops with TIMEOUT.
    slots: instructions of each unit that are kept, a power of two up to 16.
    reset_cycles: how long `clear` holds `unit_reset`: longer than any answer to a unit is under way.
    scales: ADDRESS may be `scaled`; without, that bit is ignored.

    Members
    -------
    memory: aligned reading port. take, give: to the semaphores, for SYNC.
    to_<unit>: stream of 32-bit words to the unit's queue.
    length: of the sequence, steady while running; where it `scales`.
    start: pulse; runs from `entry` (bytes) when idle, after the clear when there is one under way; else ignored.
    clear: pulse; ends any run, forgets the error. A start in the same cycle runs after it.
    unit_busy: a bit a unit, 1 while anything is in its queue or under way in it.
    unit_error: a bit a unit; it cannot execute what it got. progress: any unit did something in this cycle.
    stream_fault: a stream's error, code 0 if there is none.
    memory_error, memory_address: somebody asked for memory that is not there.
    semaphore_error, semaphore_number: overflow.
    unit_reset: resets units, queues and semaphores: one cycle at a start, `reset_cycles` at a clear.
    running, done, failed, clearing: status; at most one is 1. done: the last run ended by END.
    error_code, error_information: see `ErrorCode`. pc: address of the instruction that is executed, or was last.
    """

    def __init__(self, word_bytes: int, memory_bytes: int, units: tuple[str, ...], watchdog_cycles: int,
                 slots: int = 1, reset_cycles: int = 64, scales: bool = False) -> None:
        for name in units:
            if name not in isa.UNITS.values():
                raise ValueError(f"units must be out of {', '.join(isa.UNITS.values())}, not {name!r}")
        if not units or len(set(units)) != len(units):
            raise ValueError(f"units must name each unit once and at least one, not {units}")
        if reset_cycles < 1:
            raise ValueError(f"reset_cycles must be at least 1, not {reset_cycles}")
        self.units = {number: name for number, name in isa.UNITS.items() if name in units}
        self._fetch = Fetcher(word_bytes, memory_bytes)
        self._dispatch = Dispatcher(self.units)
        self._loops = LoopStack(isa.LOOP_DEPTH)
        self._faults = Faults(self.units, watchdog_cycles)
        self.reset_cycles = reset_cycles
        self._slots, self._scales = slots, scales
        bits = data.StructLayout({name: 1 for name in self.units.values()})
        super().__init__({
            "memory": Out(MemoryReadPort(word_bytes)),
            "take": Out(stream.Signature(Take)),
            "give": Out(stream.Signature(Give)),
            **{f"to_{name}": Out(stream.Signature(unsigned(32))) for name in self.units.values()},
            **({"length": In(isa.LENGTH_BITS)} if scales else {}),
            "start": In(1),
            "entry": In(ADDRESS_BITS),
            "clear": In(1),
            "unit_busy": In(bits),
            "unit_error": In(bits),
            "progress": In(1),
            "stream_fault": In(Fault),
            "memory_error": In(1),
            "memory_address": In(ADDRESS_BITS),
            "semaphore_error": In(1),
            "semaphore_number": In(range(isa.SEMAPHORES)),
            "unit_reset": Out(1),
            "running": Out(1),
            "done": Out(1),
            "failed": Out(1),
            "clearing": Out(1),
            "error_code": Out(8),
            "error_information": Out(32),
            "pc": Out(ADDRESS_BITS),
        })

    @property
    def queues(self) -> dict[str, stream.Interface]:
        """The word streams to the units' queues, by unit name."""
        return {name: getattr(self, f"to_{name}") for name in self.units.values()}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = self._fetch
        m.submodules.dispatch = self._dispatch
        m.submodules.faults = self._faults
        m.submodules.loops = self._loops
        wiring.connect(m, self._fetch.memory, wiring.flipped(self.memory))
        for name, queue in self.queues.items():
            wiring.connect(m, getattr(self._dispatch, f"to_{name}"), wiring.flipped(queue))
        self._state = Signal(State)
        self._at = Signal(ADDRESS_BITS)  # address of the fetcher's word
        self._header = Signal(32, reset_less=True)
        self._index = Signal(8)  # of the next word of the instruction
        self._unit_index = Signal(range(len(self.units)))  # of the header's unit, among those that there are
        self._operands = Signal(data.ArrayLayout(unsigned(32), 2), reset_less=True)
        self._address = data.View(isa.ADDRESS.layout(), Cat(self._header, self._operands))  # if it is one
        with m.If(self._fetch.o.valid & self._fetch.o.ready):
            m.d.sync += self._at.eq(self._at + 4)
        self._take_words(m)
        self._execute(m)
        self._start(m)
        self._report(m)
        self._clear(m)  # after all the others, so that it wins
        return m

    def _fail(self, m: Module, code: ErrorCode, information: Value | int) -> None:
        m.d.comb += [self._faults.sequencer.code.eq(code), self._faults.sequencer.information.eq(information)]

    def _jump(self, m: Module, target: Value) -> None:
        m.d.comb += [self._fetch.jump.eq(1), self._fetch.target.eq(target)]
        m.d.sync += self._at.eq(target)

    def _starts(self, word: Value, numbers: set[int]) -> Value:
        """Whether `word` is the first one of an instruction of one of the units (0: the sequencer itself)."""
        kinds = [kind for kind in isa.TYPES if kind.opcode >> 4 in numbers]
        return Cat(word[:16] == (kind.opcode | kind.length << 8) for kind in kinds).any()

    def _starts_compact(self, word: Value) -> Value:
        """The same for the compact form of a unit's instruction."""
        kinds = [kind for kind in isa.TYPES if kind.opcode >> 4 in self.units]
        return (Cat(word[:8] == kind.opcode for kind in kinds).any()
                & (word[8:15] < self._slots) & word[15])

    def _take_words(self, m: Module) -> None:
        """States HEADER, MASK, PASS and OPERANDS: words from the fetcher to a unit or into `_operands`."""
        fetched, send = self._fetch.o, self._dispatch.i
        own, whole, compact = Signal(), Signal(), Signal()
        header = Signal(32)  # as in the whole form
        last, given = Signal(), Signal()
        mask = Signal(31, reset_less=True)  # bit 0: the next word is given
        base = Signal(range(max(2, self._slots)), reset_less=True)
        advance = Signal()
        kept, known = self._keep(m, base, advance, send.payload.word)
        m.d.comb += [
            own.eq(self._starts(fetched.payload, {0})),
            whole.eq(self._starts(fetched.payload, set(self.units))),
            compact.eq(self._starts_compact(fetched.payload)),
            header.eq(fetched.payload),
            last.eq(self._index == self._header[8:16] - 1),
            given.eq(mask[0]),
            send.payload.word.eq(Mux(given, fetched.payload, kept)),
            send.payload.unit.eq(self._header[4:8]),
            send.payload.address.eq((self._index >= 3) & (self._index <= 5)),
        ]
        with m.If(compact):
            for kind in isa.TYPES:
                with m.If(fetched.payload[4:8] == kind.opcode >> 4):
                    m.d.comb += header[8:16].eq(kind.length)
        with m.If((self._state == State.HEADER) & fetched.valid):
            m.d.sync += [self._header.eq(header), self.pc.eq(self._at), base.eq(fetched.payload[8:]),
                         self._index.eq(1), mask.eq(~0)]
            for index, number in enumerate(self.units):
                with m.If(fetched.payload[4:8] == number):
                    m.d.sync += self._unit_index.eq(index)
            m.d.comb += [send.payload.word.eq(header), send.payload.unit.eq(header[4:8]), send.payload.address.eq(0)]
            with m.If(whole | compact):
                m.d.comb += [send.valid.eq(1), fetched.ready.eq(send.ready)]
            with m.Elif(own):
                m.d.comb += fetched.ready.eq(1)
            with m.Else():
                self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION, self._at)
            with m.If(fetched.ready):
                m.d.sync += self._state.eq(Mux(whole, State.PASS, Mux(compact, State.MASK, State.OPERANDS)))
                with m.If(own & (fetched.payload[8:16] == 1)):
                    m.d.sync += self._state.eq(State.EXECUTE)
        with m.If((self._state == State.MASK) & fetched.valid):
            m.d.comb += fetched.ready.eq(1)
            m.d.sync += [mask.eq(fetched.payload[1:]), self._state.eq(State.PASS)]
            with m.If(~known):
                self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION, self.pc)
        with m.If(self._state == State.PASS):
            m.d.comb += [send.valid.eq(fetched.valid | ~given), fetched.ready.eq(send.ready & given),
                         advance.eq(send.valid & send.ready)]
            with m.If(advance):
                m.d.sync += [self._index.eq(self._index + 1), mask.eq(mask >> 1)]
                with m.If(last):
                    m.d.sync += self._state.eq(State.HEADER)
        with m.If((self._state == State.OPERANDS) & fetched.valid):
            m.d.comb += fetched.ready.eq(1)
            m.d.sync += [self._operands[self._index == 2].eq(fetched.payload), self._index.eq(self._index + 1)]
            with m.If(last):
                m.d.sync += self._state.eq(State.EXECUTE)
                if self._scales:
                    with m.If((self._header[:8] == isa.ADDRESS.opcode) & self._address.scaled):
                        m.d.sync += self._state.eq(State.SCALE)
        wanting = self._state.matches(State.HEADER, State.MASK, State.OPERANDS) | ((self._state == State.PASS) & given)
        with m.If(wanting & self._fetch.past_end):
            self._fail(m, ErrorCode.ADDRESS_OUT_OF_RANGE, self._at)

    def _keep(self, m: Module, base: Signal, advance: Signal, word: Value) -> tuple[Value, Value]:
        """Keeps the words of each unit's instructions by slot. The word at `_index` of the one in slot `base` of the
        header's unit, and whether there is one since the start."""
        bits = (self._slots - 1).bit_length()
        words = 1 << (isa.LONGEST - 1).bit_length() - 1
        units = 1 << (len(self.units) - 1).bit_length()
        m.submodules.kept = kept = memory.Memory(shape=32, depth=units * self._slots * words, init=[])
        read, write = kept.read_port(), kept.write_port()
        unit, slot = self._unit_index, self._header[16:16 + bits]
        written = Signal(units * self._slots)
        index = Mux(advance, self._index + 1, self._index)
        m.d.comb += [
            read.addr.eq(Cat(index[:words.bit_length() - 1], base[:bits], unit)),
            write.addr.eq(Cat(self._index[:words.bit_length() - 1], slot, unit)),
            write.data.eq(word), write.en.eq(advance),
        ]
        with m.If(self.unit_reset):
            m.d.sync += written.eq(0)
        with m.Elif(advance):
            m.d.sync += written.bit_select(Cat(slot, unit), 1).eq(1)
        return read.data, written.bit_select(Cat(base[:bits], unit), 1)

    def _execute(self, m: Module) -> None:
        """States EXECUTE and END: the sequencer's own instructions."""
        operands = self._operands
        with m.If(self._state == State.EXECUTE):
            with m.Switch(self._header[:8]):
                with m.Case(isa.END.opcode):
                    m.d.sync += self._state.eq(State.END)
                with m.Case(isa.LOOP.opcode):
                    self._loop(m, operands[0][:16])
                with m.Case(isa.NEXT.opcode):
                    self._next(m)
                with m.Case(isa.JUMP.opcode):
                    self._go(m, operands[0][:ADDRESS_BITS])
                with m.Case(isa.ADDRESS.opcode):
                    m.d.comb += self._dispatch.change.valid.eq(1)
                    with m.If(self._dispatch.change.ready):
                        m.d.sync += self._state.eq(State.HEADER)
        if self._scales:
            self._scale(m)
        change, address = self._dispatch.change.payload, self._address
        m.d.comb += [change.register.eq(address.register), change.add.eq(address.add), change.value.eq(address.value)]
        self._sync(m, (self._state == State.EXECUTE) & (self._header[:8] == isa.SYNC.opcode))
        busy = Cat(self.unit_busy.as_value(), self._dispatch.busy).any()
        with m.If((self._state == State.END) & ~busy):
            m.d.sync += [self._state.eq(State.IDLE), self.done.eq(1)]
            m.d.comb += self._fetch.stop.eq(1)

    def _scale(self, m: Module) -> None:
        """State SCALE: the second operand times the length, a bit of the length a cycle."""
        value = self._operands[1][:ADDRESS_BITS]
        product = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(isa.LENGTH_BITS, reset_less=True)
        step = Signal(range(isa.LENGTH_BITS + 1), reset_less=True)
        m.d.sync += step.eq(step + 1)
        with m.If(self._state != State.SCALE):
            m.d.sync += [step.eq(0), left.eq(self.length), product.eq(0)]
        with m.Elif(step == isa.LENGTH_BITS):
            m.d.sync += [value.eq(product), self._state.eq(State.EXECUTE)]
        with m.Else():
            m.d.sync += [left.eq(left >> 1), product.eq(product + Mux(left[0], value, 0)), value.eq(value << 1)]

    def _loop(self, m: Module, count: Value) -> None:
        m.d.comb += [self._loops.body.eq(self._at), self._loops.count.eq(count)]
        with m.If(self._loops.full):
            self._fail(m, ErrorCode.LOOP_NESTING, self.pc)
        with m.Elif(count == 0):
            self._fail(m, ErrorCode.ILLEGAL_OPERAND, 0)
        with m.Else():
            m.d.comb += self._loops.enter.eq(1)
            m.d.sync += self._state.eq(State.HEADER)

    def _next(self, m: Module) -> None:
        with m.If(self._loops.empty):
            self._fail(m, ErrorCode.LOOP_NESTING, self.pc)
        with m.Else():
            m.d.comb += self._loops.following.eq(1)
            m.d.sync += self._state.eq(State.HEADER)
            with m.If(self._loops.again):
                self._jump(m, self._loops.target)

    def _go(self, m: Module, target: Value) -> None:
        with m.If(~self._loops.empty):
            self._fail(m, ErrorCode.LOOP_NESTING, self.pc)
        with m.Elif(target[:2] != 0):
            self._fail(m, ErrorCode.ILLEGAL_OPERAND, 0)
        with m.Else():
            m.d.sync += self._state.eq(State.HEADER)
            self._jump(m, target)

    def _sync(self, m: Module, active: Value) -> None:
        """SYNC: the takes, then the gives."""
        m.submodules.issue = issue = ResetInserter(self.unit_reset)(Issue(isa.SYNC.layout()))
        m.submodules.signaller = signaller = ResetInserter(self.unit_reset)(Signaller())
        wiring.connect(m, issue.take, wiring.flipped(self.take))
        wiring.connect(m, signaller.o, wiring.flipped(self.give))
        m.d.comb += [
            issue.i.valid.eq(active),
            issue.i.payload.eq(Cat(self._header, self._operands)),
            signaller.i.valid.eq(issue.o.valid),
            issue.o.ready.eq(signaller.i.ready),
            *(signaller.i.payload[name].eq(issue.o.payload[name]) for name, _ in data.Layout.cast(Signals)),
        ]
        with m.If(active & issue.i.ready):
            m.d.sync += self._state.eq(State.HEADER)

    def _start(self, m: Module) -> None:
        self._pending = Signal()  # a start that came during a clear
        m.d.comb += [self._loops.clear.eq(self.unit_reset), self._dispatch.clear.eq(self.unit_reset)]
        with m.If((self._state == State.IDLE) & (self.start | self._pending)):
            m.d.sync += [self._state.eq(State.START), self.done.eq(0), self._pending.eq(0), self.pc.eq(self.entry)]
        with m.If(self._state == State.START):
            m.d.sync += self._state.eq(State.HEADER)
            self._jump(m, self.pc)
            with m.If(self.pc[:2] != 0):
                self._fail(m, ErrorCode.ILLEGAL_INSTRUCTION, self.pc)
        m.d.comb += [
            self.clearing.eq(self._state == State.CLEAR),
            self.failed.eq(self._state == State.FAILED),
            self.running.eq(~self._state.matches(State.IDLE, State.FAILED, State.CLEAR)),
            self.unit_reset.eq(self._state.matches(State.START, State.CLEAR)),
        ]

    def _report(self, m: Module) -> None:
        """Errors from everywhere; the first one stops the machine."""
        faults = self._faults
        for name in ("unit_error", "memory_error", "memory_address", "semaphore_error", "semaphore_number", "running",
                     "clear"):
            m.d.comb += getattr(faults, name).eq(getattr(self, name))
        m.d.comb += [
            faults.stream.eq(self.stream_fault),
            faults.progress.eq((self._fetch.o.valid & self._fetch.o.ready) | self.progress),
            faults.waiting[0].eq((self._state != State.END) | self._dispatch.busy),
            *(faults.waiting[number].eq(self.unit_busy[name]) for number, name in self.units.items()),
            self.error_code.eq(faults.fault.code),
            self.error_information.eq(faults.fault.information),
        ]
        with m.If(faults.stop):
            m.d.comb += self._fetch.stop.eq(1)
            m.d.sync += [self._state.eq(State.FAILED), self.done.eq(0)]

    def _clear(self, m: Module) -> None:
        remaining = Signal(range(self.reset_cycles + 1))
        with m.If(self._state == State.CLEAR):
            m.d.sync += remaining.eq(remaining - 1)
            with m.If(remaining == 1):
                m.d.sync += self._state.eq(State.IDLE)
            with m.If(self.start):
                m.d.sync += self._pending.eq(1)
        with m.If(self.clear):
            m.d.comb += self._fetch.stop.eq(1)
            m.d.sync += [self._state.eq(State.CLEAR), remaining.eq(self.reset_cycles), self._pending.eq(self.start),
                         self.done.eq(0)]
