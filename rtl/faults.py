"""What went wrong first, and the watchdog."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .config import ADDRESS_BITS
from .errors import ErrorCode


class Fault(data.Struct):
    """An error: a code of `ErrorCode`, none if that is 0, and what the code says the information is."""

    code: unsigned(8)
    information: unsigned(32)


class Faults(wiring.Component):
    """Keeps the first error of a run until it is cleared.

    Of those that come together it keeps memory before streams before units (lowest number first) before semaphores
    before the sequencer before the watchdog. Errors are looked at only while `running`; the watchdog counts the cycles
    of the run since the last `progress`.

    Parameters
    ----------
    units: names by number. watchdog_cycles: cycles without progress that are too many, at least 16.

    Members
    -------
    running, progress: of this cycle. clear: forgets the error.
    memory_error, memory_address, stream, unit_error, semaphore_error, semaphore_number, sequencer: where errors come
    from.
    waiting: information of a timeout.
    stop: an error is kept in this cycle. fault: the error that was kept.
    """

    def __init__(self, units: dict[int, str], watchdog_cycles: int) -> None:
        if watchdog_cycles < 16:
            raise ValueError(f"watchdog_cycles must be at least 16, not {watchdog_cycles}")
        self.units = units
        self.watchdog_cycles = watchdog_cycles
        super().__init__({
            "running": In(1),
            "progress": In(1),
            "clear": In(1),
            "memory_error": In(1),
            "memory_address": In(ADDRESS_BITS),
            "stream": In(Fault),
            "unit_error": In(data.StructLayout({name: 1 for name in units.values()})),
            "semaphore_error": In(1),
            "semaphore_number": In(range(isa.SEMAPHORES)),
            "sequencer": In(Fault),
            "waiting": In(1 + max(isa.UNITS)),
            "stop": Out(1),
            "fault": Out(Fault),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        idle_cycles = Signal(range(self.watchdog_cycles + 1))
        late = Signal()
        m.d.comb += late.eq(idle_cycles == self.watchdog_cycles)
        with m.If(self.progress | ~self.running):
            m.d.sync += idle_cycles.eq(0)
        with m.Elif(~late):
            m.d.sync += idle_cycles.eq(idle_cycles + 1)

        now = Signal(Fault)
        with m.If(late):
            m.d.comb += [now.code.eq(ErrorCode.TIMEOUT), now.information.eq(self.waiting)]
        with m.If(self.sequencer.code != ErrorCode.NONE):
            m.d.comb += now.eq(self.sequencer)
        with m.If(self.semaphore_error):
            m.d.comb += [now.code.eq(ErrorCode.SEMAPHORE_OVERFLOW), now.information.eq(self.semaphore_number)]
        for number, name in sorted(self.units.items(), reverse=True):
            with m.If(self.unit_error[name]):
                m.d.comb += [now.code.eq(ErrorCode.ILLEGAL_OPERAND), now.information.eq(number)]
        with m.If(self.stream.code != ErrorCode.NONE):
            m.d.comb += now.eq(self.stream)
        with m.If(self.memory_error):
            m.d.comb += [now.code.eq(ErrorCode.ADDRESS_OUT_OF_RANGE), now.information.eq(self.memory_address)]
        m.d.comb += self.stop.eq(self.running & (now.code != ErrorCode.NONE))
        with m.If(self.clear):
            m.d.sync += self.fault.eq(0)
        with m.Elif(self.stop):
            m.d.sync += self.fault.eq(now)
        return m
