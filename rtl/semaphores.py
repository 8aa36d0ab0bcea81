"""Counting semaphores: how units wait for each other."""

from amaranth import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import SEMAPHORE_BITS, SEMAPHORE_NUMBER_BITS, SEMAPHORES, TAKE_BITS
from .issue import Merge
from .ports import Give, Take


class Change(data.Struct):
    """A take or a give on its way to the counter."""

    valid: unsigned(1)
    giving: unsigned(1)
    """A give, else a take."""
    semaphore: unsigned(SEMAPHORE_NUMBER_BITS)
    count: unsigned(TAKE_BITS)


class Semaphores(wiring.Component):
    """Counters that units take from and give to.

    Takes and gives pass one after the other, one a cycle and gives first, through a pipeline: choice of a taker,
    choice of the change, reading of the counter, test and writing. A take completes when its semaphore holds its
    count; what it took cannot be taken again. Takes are looked at in turns, so that none waits for ever while others
    are served; one that is refused is looked at again only after a give to its semaphore, and holds up no other.
    Earliest grant: four cycles after the take comes, five to seven after the give that makes it possible.
    Semaphore 0 is none: takes from it are granted, gives to it have no effect.

    Parameters
    ----------
    takers, givers: numbers of the ports, at least 1. semaphores: how many there are, a power of two up to SEMAPHORES;
    takes from others are never granted, gives to them are errors.

    Members
    -------
    takes: streams of `Take`; `ready` is the grant. gives: streams of `Give`.
    counts: the counters, for the host to read.
    error: pulses when a give would count past 2**16 - 1 or its semaphore is not there; it then has no effect.
    error_semaphore: the number of that semaphore, in the same cycle.
    """

    def __init__(self, takers: int, givers: int, semaphores: int = SEMAPHORES) -> None:
        if takers < 1:
            raise ValueError(f"takers must be at least 1, not {takers}")
        if givers < 1:
            raise ValueError(f"givers must be at least 1, not {givers}")
        if not 2 <= semaphores <= SEMAPHORES or semaphores & (semaphores - 1):
            raise ValueError(f"semaphores must be a power of two up to {SEMAPHORES}, not {semaphores}")
        self.takers = takers
        self.givers = givers
        self.semaphores = semaphores
        super().__init__({
            "takes": In(stream.Signature(Take)).array(takers),
            "gives": In(stream.Signature(Give)).array(givers),
            "counts": Out(data.ArrayLayout(unsigned(SEMAPHORE_BITS), semaphores)),
            "error": Out(1),
            "error_semaphore": Out(range(SEMAPHORES)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.merge = merge = Merge(Give, self.givers)
        for index in range(self.givers):
            wiring.connect(m, wiring.flipped(self.gives[index]), merge.i[index])
        give, giving = Signal(Give), Signal()
        m.d.comb += merge.o.ready.eq(1)
        m.d.sync += [give.eq(merge.o.payload), giving.eq(merge.o.valid)]

        asking = Signal(self.takers)  # one bit a taker, at most one is 1: whose take is the next change
        asked = Signal(self.takers)  # this change is this one's
        tested = Signal(self.takers)
        granted = Signal(self.takers)
        change, test = Signal(Change), Signal(Change)
        self._ask(m, asking, asked | tested | granted, granted, giving, give)
        m.d.sync += asked.eq(Mux(giving, 0, asking))
        with m.If(giving):
            m.d.sync += [change.semaphore.eq(give.semaphore), change.count.eq(give.count)]
        for index, port in enumerate(self.takes):
            m.d.comb += port.ready.eq(granted[index])
            with m.If(~giving & asking[index]):
                m.d.sync += [change.semaphore.eq(port.payload.semaphore), change.count.eq(port.payload.count)]
        m.d.sync += [change.giving.eq(giving), change.valid.eq(giving | asking.any())]

        number_bits = (self.semaphores - 1).bit_length()
        held, amount = Signal(SEMAPHORE_BITS), Signal(signed(SEMAPHORE_BITS + 1))
        total, result = Signal(SEMAPHORE_BITS + 1), Signal(SEMAPHORE_BITS)
        refused, again = Signal(), Signal()
        m.d.comb += [
            total.eq(held + amount),
            # below nothing, or more than fits
            refused.eq(total[-1] & (test.semaphore != 0) | test.semaphore[number_bits:].any()),
            result.eq(Mux(refused, held, total)),
            again.eq(test.valid & (change.semaphore == test.semaphore)),  # it is not written yet
            self.error.eq(test.valid & test.giving & refused),
            self.error_semaphore.eq(test.semaphore),
        ]
        m.d.sync += [
            test.eq(change),
            tested.eq(asked),
            held.eq(Mux(again, result, Array(self.counts)[change.semaphore[:number_bits]])),
            amount.eq(Mux(change.giving, change.count, -change.count)),
            granted.eq(Mux(refused, 0, tested)),
        ]
        for number in range(1, self.semaphores):
            with m.If(test.valid & (test.semaphore == number)):
                m.d.sync += self.counts[number].eq(result)
        return m

    def _ask(self, m: Module, asking: Signal, under_way: Signal, granted: Signal, giving: Signal, give: Signal) -> None:
        """Whose turn it is, out of those about whose semaphore there is news."""
        known = Signal(self.takers)  # nothing has been given to their semaphores since they were asking
        candidates, choice = Signal(self.takers), Signal(range(self.takers))
        last = Signal(range(self.takers))
        for index, port in enumerate(self.takes):
            news = giving & (port.payload.semaphore == give.semaphore)
            m.d.comb += candidates[index].eq(port.valid & ~known[index] & ~asking[index] & ~under_way[index])
            m.d.sync += known[index].eq((known[index] | asking[index]) & ~news & ~granted[index])
        with m.Switch(last):  # the one that asked last comes last
            for number in range(self.takers):
                with m.Case(number):
                    for index in reversed([(number + 1 + k) % self.takers for k in range(self.takers)]):
                        with m.If(candidates[index]):
                            m.d.comb += choice.eq(index)
        with m.If(~giving | (asking == 0)):  # a give goes first
            m.d.sync += asking.eq(0)
            with m.If(candidates.any()):
                m.d.sync += [asking.eq(1 << choice), last.eq(choice)]
