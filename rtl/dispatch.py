"""Words of instructions on their way to the units, with the address registers added."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from . import isa
from .config import ADDRESS_BITS


class UnitWord(data.Struct):
    """A word of an instruction: of which unit, and whether the address register that it names is added."""

    word: unsigned(32)
    unit: unsigned(4)
    address: unsigned(1)


class AddressChange(data.Struct):
    """Sets an address register to `value`, or adds it. Register 0 stays 0."""

    register: unsigned(4)
    add: unsigned(1)
    value: unsigned(ADDRESS_BITS)


class Dispatcher(wiring.Component):
    """Holds the address registers and passes words on to the units' queues, one a cycle, a cycle later.

    A change is taken in the second cycle in which no word waits; words after it see it. Words do not come together
    with a change.

    Parameters
    ----------
    units: names by number.

    Members
    -------
    i: stream of `UnitWord`; its unit must be there. change: stream of `AddressChange`.
    to_<unit>: streams of 32-bit words. busy: a word has not left yet.
    clear: all registers are 0, and a word that has not left is dropped.
    """

    def __init__(self, units: dict[int, str]) -> None:
        self.units = units
        super().__init__({
            "i": In(stream.Signature(UnitWord)),
            "change": In(stream.Signature(AddressChange)),
            **{f"to_{name}": Out(stream.Signature(unsigned(32))) for name in units.values()},
            "busy": Out(1),
            "clear": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(UnitWord, reset_less=True)
        unit = Signal(4)
        ready = Signal()
        register = self._registers(m)
        m.d.comb += self.i.ready.eq(~self.busy | ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(self.i.payload), unit.eq(self.i.payload.unit), self.busy.eq(1)]
        with m.Elif(ready):
            m.d.sync += self.busy.eq(0)
        with m.If(self.clear):
            m.d.sync += self.busy.eq(0)
        total = Signal(ADDRESS_BITS)
        m.d.comb += total.eq(word.word[:ADDRESS_BITS] + register)
        for number, name in self.units.items():
            queue = getattr(self, f"to_{name}")
            m.d.comb += [queue.valid.eq(self.busy & (unit == number)),
                         queue.payload.eq(Mux(word.address, Cat(total, word.word[ADDRESS_BITS:]), word.word))]
            with m.If(unit == number):
                m.d.comb += ready.eq(queue.ready)
        return m

    def _registers(self, m: Module) -> Signal:
        """A memory, and a bit a register that says whether it holds anything since the clear."""
        m.submodules.registers = registers = memory.Memory(shape=ADDRESS_BITS, depth=isa.ADDRESS_REGISTERS, init=[])
        read, write = registers.read_port(), registers.write_port()
        written = Signal(isa.ADDRESS_REGISTERS)
        known = Signal()
        value = Signal(ADDRESS_BITS)
        second = Signal()  # cycle of a change: the register has been read
        change = self.change.payload
        first = self.change.valid & ~second & ~self.busy  # a word that waits still uses what was read for it
        m.d.comb += [
            read.addr.eq(Mux(first, change.register, self.i.payload.word[ADDRESS_BITS:ADDRESS_BITS + 4])),
            read.en.eq(first | (self.i.valid & self.i.ready)),
            value.eq(Mux(known, read.data, 0)),
            self.change.ready.eq(second),
            write.addr.eq(change.register),
            write.data.eq(change.value + Mux(change.add, value, 0)),
            write.en.eq(second & (change.register != 0)),
        ]
        m.d.sync += second.eq(first & ~self.clear)
        with m.If(read.en):
            m.d.sync += known.eq(written.bit_select(read.addr, 1))
        with m.If(self.clear):
            m.d.sync += written.eq(0)
        with m.Elif(write.en):
            m.d.sync += written.bit_select(change.register, 1).eq(1)
        return value
