"""The half of a mover that is the same in both directions: instructions, semaphores, and their end."""

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .blocks import Block, BlockEnd, Blocks
from .isa import MOVE_IN
from .issue import Issue, Signaller
from .ports import Give, MemoryReadPort, Retired, Take


class Finisher(wiring.Component):
    """Gives what a done block owes, one give a cycle; `retired` pulses once an instruction's last is given.

    Members
    -------
    i: stream of `BlockEnd`, taken when all is given. give: stream of `Give`. retired: see above.
    """

    i: In(stream.Signature(BlockEnd))
    give: Out(stream.Signature(Give))
    retired: Out(Retired)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.signaller = signaller = Signaller()
        p = self.i.payload
        given = Signal()
        m.d.comb += signaller.i.payload.eq(p.signals)
        with m.If(self.i.valid & (p.give != 0) & ~given):
            m.d.comb += [
                self.give.valid.eq(1),
                self.give.payload.semaphore.eq(p.give),
                self.give.payload.count.eq(1),
                self.i.ready.eq(self.give.ready & ~p.last),
            ]
            m.d.sync += given.eq(self.give.ready & p.last)
        with m.Elif(self.i.valid & p.last):
            m.d.comb += [
                signaller.i.valid.eq(1),
                self.give.valid.eq(signaller.o.valid),
                self.give.payload.eq(signaller.o.payload),
                signaller.o.ready.eq(self.give.ready),
                self.i.ready.eq(signaller.i.ready),
            ]
            with m.If(self.i.ready):
                m.d.sync += given.eq(0)
        with m.Else():
            m.d.comb += self.i.ready.eq(1)
        m.d.sync += self.retired.valid.eq(0)
        with m.If(self.i.valid & self.i.ready & p.last):
            m.d.sync += [self.retired.valid.eq(1), self.retired.tag.eq(p.tag)]
        return m


class MoverFront(wiring.Component):
    """Takes move instructions, hands out their blocks, and gives the semaphores of those that are done.

    Parameters
    ----------
    word_bytes, external_bytes, aligned, indexed: as in `Blocks`.

    Members
    -------
    instruction, take, give, busy, retired, error: of the unit. waiting: a take is refused.
    o: stream of `Block`, in order. done: stream of `BlockEnd`: the ends of the blocks that are done, in the same order.
    numbers: as in `Blocks`.
    """

    def __init__(self, word_bytes: int, external_bytes: int, aligned: bool, indexed: bool = False) -> None:
        self.check(word_bytes, external_bytes)
        self.word_bytes, self.external_bytes, self.aligned, self.indexed = (
            word_bytes, external_bytes, aligned, indexed)
        super().__init__({
            **({"numbers": Out(MemoryReadPort(word_bytes))} if indexed else {}),
            "instruction": In(stream.Signature(MOVE_IN.layout())),
            "take": Out(stream.Signature(Take)),
            "give": Out(stream.Signature(Give)),
            "busy": Out(1),
            "retired": Out(Retired),
            "error": Out(1),
            "waiting": Out(1),
            "o": Out(stream.Signature(Block)),
            "done": In(stream.Signature(BlockEnd)),
        })

    @staticmethod
    def check(word_bytes: int, external_bytes: int) -> None:
        """Refuse widths that no mover can have."""
        for name, value in (("word_bytes", word_bytes), ("external_bytes", external_bytes)):
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value}")
        if external_bytes > word_bytes:
            raise ValueError(f"external_bytes must be at most word_bytes ({word_bytes}), not {external_bytes}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.issue = issue = Issue(MOVE_IN.layout())
        m.submodules.blocks = blocks = Blocks(self.word_bytes, self.external_bytes, self.aligned, self.indexed)
        m.submodules.finisher = finisher = Finisher()
        wiring.connect(m, wiring.flipped(self.instruction), issue.i)
        wiring.connect(m, issue.o, blocks.i)
        wiring.connect(m, blocks.o, wiring.flipped(self.o))
        if self.indexed:
            wiring.connect(m, blocks.numbers, wiring.flipped(self.numbers))
        wiring.connect(m, wiring.flipped(self.done), finisher.i)
        wiring.connect(m, finisher.give, wiring.flipped(self.give))
        # An instruction's blocks come after its waits, and the next one's waits after its last block.
        for part in (issue, blocks):
            m.d.comb += part.take.ready.eq(self.take.ready)
            with m.If(part.take.valid):
                m.d.comb += [self.take.valid.eq(1), self.take.payload.eq(part.take.payload)]
        begun = Signal(6)  # instructions whose last block has been handed out; the queues behind hold fewer
        m.d.sync += begun.eq(begun + (issue.o.valid & issue.o.ready) - finisher.retired.valid)
        m.d.comb += [
            self.busy.eq(self.instruction.valid | (begun != 0)),
            self.retired.eq(finisher.retired),
            self.error.eq(blocks.error),
            self.waiting.eq(issue.waiting | blocks.waiting),
        ]
        return m


EVENTS = data.StructLayout({"busy": 1, "wait_external": 1, "wait_memory": 1, "wait_semaphore": 1})
"""Events of a mover: a beat moved; the external port kept it waiting; the memory refused it; a take was refused."""


def connect_front(m: Module, unit: Any, front: MoverFront) -> None:
    """Connect the members of a mover that every unit has to its front."""
    wiring.connect(m, wiring.flipped(unit.instruction), front.instruction)
    wiring.connect(m, front.take, wiring.flipped(unit.take))
    wiring.connect(m, front.give, wiring.flipped(unit.give))
    m.d.comb += [
        unit.busy.eq(front.busy),
        unit.retired.eq(front.retired),
        unit.error.eq(front.error),
        unit.events.wait_semaphore.eq(front.waiting),
    ]
