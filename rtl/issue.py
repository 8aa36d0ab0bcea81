"""What every unit does before and after an instruction: take semaphores, give semaphores."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import SEMAPHORE_NUMBER_BITS, TAKE_BITS
from .ports import Give, Take


class Signals(data.Struct):
    """The two signals of an instruction, as in its word 2."""

    signal0: unsigned(SEMAPHORE_NUMBER_BITS)
    signal0_count: unsigned(TAKE_BITS)
    signal1: unsigned(SEMAPHORE_NUMBER_BITS)
    signal1_count: unsigned(TAKE_BITS)


class Issue(wiring.Component):
    """Passes instructions on once their two waits are granted.

    An instruction without waits passes in the cycle in which it comes; each wait costs at least one cycle.
    The instruction stays on `i` until `o` takes it.

    Parameters
    ----------
    layout: layout of a unit's instruction (it has `wait0`, `wait0_count`, `wait1`, `wait1_count`).

    Members
    -------
    i, o: streams of `layout`. take: what it asks the semaphores for. waiting: 1 while a take is refused.
    """

    def __init__(self, layout: data.StructLayout) -> None:
        super().__init__({
            "i": In(stream.Signature(layout)),
            "o": Out(stream.Signature(layout)),
            "take": Out(stream.Signature(Take)),
            "waiting": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.i.payload
        taken = Signal(2)
        needed = Cat((p.wait0 != 0) & (p.wait0_count != 0), (p.wait1 != 0) & (p.wait1_count != 0))
        open_ = Signal(2)
        m.d.comb += [
            open_.eq(needed & ~taken),
            self.o.payload.eq(p),
            self.o.valid.eq(self.i.valid & (open_ == 0)),
            self.i.ready.eq(self.o.valid & self.o.ready),
            self.take.valid.eq(self.i.valid & (open_ != 0)),
            self.waiting.eq(self.take.valid & ~self.take.ready),
        ]
        with m.If(open_[0]):
            m.d.comb += [self.take.payload.semaphore.eq(p.wait0), self.take.payload.count.eq(p.wait0_count)]
        with m.Else():
            m.d.comb += [self.take.payload.semaphore.eq(p.wait1), self.take.payload.count.eq(p.wait1_count)]
        with m.If(self.i.ready):
            m.d.sync += taken.eq(0)
        with m.Elif(self.take.valid & self.take.ready):
            with m.If(open_[0]):
                m.d.sync += taken[0].eq(1)
            with m.Else():
                m.d.sync += taken[1].eq(1)
        return m


class Signaller(wiring.Component):
    """Turns the signals of a finished instruction into gives, one a cycle; those of semaphore 0 or count 0 are none.

    Members
    -------
    i: stream of `Signals`. It is taken when the last give has been.
    o: stream of `Give`.
    """

    i: In(stream.Signature(Signals))
    o: Out(stream.Signature(Give))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.i.payload
        first_done = Signal()
        need0, need1 = Signal(), Signal()
        m.d.comb += [
            need0.eq((p.signal0 != 0) & (p.signal0_count != 0) & ~first_done),
            need1.eq((p.signal1 != 0) & (p.signal1_count != 0)),
            self.o.valid.eq(self.i.valid & (need0 | need1)),
            self.i.ready.eq((~need0 & ~need1) | (self.o.ready & ~(need0 & need1))),
        ]
        with m.If(need0):
            m.d.comb += [self.o.payload.semaphore.eq(p.signal0), self.o.payload.count.eq(p.signal0_count)]
        with m.Else():
            m.d.comb += [self.o.payload.semaphore.eq(p.signal1), self.o.payload.count.eq(p.signal1_count)]
        with m.If(self.i.valid):
            with m.If(self.i.ready):
                m.d.sync += first_done.eq(0)
            with m.Elif(self.o.ready):
                m.d.sync += first_done.eq(1)
        return m


class Merge(wiring.Component):
    """Joins streams into one; the lowest index goes first, and a stream that has just been served goes last.

    Parameters
    ----------
    shape: of the payload. count: number of inputs, at least 1.

    Members
    -------
    i: list of `count` streams. o: stream.
    """

    def __init__(self, shape: object, count: int) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self.count = count
        super().__init__({"i": In(stream.Signature(shape)).array(count), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turn = Signal(range(self.count))  # who goes first now
        held = Signal()  # a stream must not change its payload while it waits
        choice = Signal(range(self.count))
        held_choice = Signal(range(self.count))
        with m.Switch(turn):
            for first in range(self.count):
                with m.Case(first):
                    for index in reversed([(first + k) % self.count for k in range(self.count)]):
                        with m.If(self.i[index].valid):
                            m.d.comb += choice.eq(index)
        with m.If(held):
            m.d.comb += choice.eq(held_choice)
        with m.Switch(choice):
            for index in range(self.count):
                with m.Case(index):
                    m.d.comb += [
                        self.o.valid.eq(self.i[index].valid),
                        self.o.payload.eq(self.i[index].payload),
                        self.i[index].ready.eq(self.o.ready),
                    ]
        with m.If(self.o.valid):
            m.d.sync += [held.eq(~self.o.ready), held_choice.eq(choice)]
            with m.If(self.o.ready):
                m.d.sync += turn.eq(0 if self.count == 1 else choice + 1)
                if self.count > 1:
                    with m.If(choice == self.count - 1):
                        m.d.sync += turn.eq(0)
        return m
