"""Counting semaphores: how units wait for each other."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import SEMAPHORE_BITS, SEMAPHORES
from .issue import Merge
from .ports import Give, Take


class Semaphores(wiring.Component):
    """Counters that units take from and give to.

    One take and one give complete in a cycle at most. A take completes when its semaphore holds its count; what it
    took cannot be taken again. Takes that can be granted are granted in turns, so that none waits for ever while
    others are served; a take that is refused is looked at again only after a give to its semaphore, and holds up
    no other. Earliest grant: one cycle after the take comes, two cycles after the give that makes it possible (three
    where the two come in the same cycle).
    A unit is granted at most every second cycle.
    Semaphore 0 is none: takes from it are granted, gives to it have no effect.

    Parameters
    ----------
    takers, givers: numbers of the ports, at least 1.

    Members
    -------
    takes: streams of `Take`; `ready` is the grant. gives: streams of `Give`.
    counts: the counters, for the host to read.
    error: pulses when a give would count past 2**16 - 1 (before a take of the same cycle); it then has no effect.
    error_semaphore: the number of that semaphore, in the same cycle.
    """

    def __init__(self, takers: int, givers: int) -> None:
        if takers < 1:
            raise ValueError(f"takers must be at least 1, not {takers}")
        if givers < 1:
            raise ValueError(f"givers must be at least 1, not {givers}")
        self.takers = takers
        self.givers = givers
        super().__init__({
            "takes": In(stream.Signature(Take)).array(takers),
            "gives": In(stream.Signature(Give)).array(givers),
            "counts": Out(data.ArrayLayout(unsigned(SEMAPHORE_BITS), SEMAPHORES)),
            "error": Out(1),
            "error_semaphore": Out(range(SEMAPHORES)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.merge = merge = Merge(Give, self.givers)
        for index in range(self.givers):
            wiring.connect(m, wiring.flipped(self.gives[index]), merge.i[index])
        give = Signal(Give)  # the give that is added in this cycle
        giving = Signal()
        m.d.comb += merge.o.ready.eq(1)
        m.d.sync += [give.eq(merge.o.payload), giving.eq(merge.o.valid)]
        coming = Signal(SEMAPHORES)  # semaphores that change in this cycle or the next
        with m.If(merge.o.valid):
            m.d.comb += coming.bit_select(merge.o.payload.semaphore, 1).eq(1)
        with m.If(giving):
            m.d.comb += coming.bit_select(give.semaphore, 1).eq(1)

        tested, take = self._choose(m, coming)
        net = Signal(signed(14))  # of the two, should they meet
        m.d.sync += net.eq(merge.o.payload.count - self._chosen.count)
        self._count(m, tested, take, giving, give, net)
        return m

    def _choose(self, m: Module, coming: Signal) -> tuple[Signal, data.View]:
        """Which take is looked at in this cycle (one bit a taker, at most one is 1): chosen in the cycle before."""
        tested = Signal(self.takers)
        refused = Signal(self.takers)  # nothing has changed for these since they were looked at
        candidates = Signal(self.takers)
        choice = Signal(range(self.takers))
        last = Signal(range(self.takers))
        self._chosen = Signal(Take)
        take = Signal(Take)
        for index, port in enumerate(self.takes):
            changed = coming.bit_select(port.payload.semaphore, 1)
            m.d.comb += candidates[index].eq(port.valid & ~refused[index] & ~tested[index])
            m.d.sync += refused[index].eq((refused[index] | (tested[index] & ~port.ready)) & port.valid & ~changed)
        with m.Switch(last):  # the one looked at last comes last
            for number in range(self.takers):
                with m.Case(number):
                    for index in reversed([(number + 1 + k) % self.takers for k in range(self.takers)]):
                        with m.If(candidates[index]):
                            m.d.comb += choice.eq(index)
        with m.Switch(choice):
            for index, port in enumerate(self.takes):
                with m.Case(index):
                    m.d.comb += self._chosen.eq(port.payload)
        m.d.sync += [tested.eq(0), take.eq(self._chosen)]
        with m.If(candidates.any()):
            m.d.sync += [tested.eq(1 << choice), last.eq(choice)]
        return tested, take

    def _count(self, m: Module, tested: Signal, take: data.View, giving: Signal, give: data.View, net: Signal) -> None:
        """Grants what the counts allow, and writes the new counts."""
        held = Signal(SEMAPHORE_BITS)
        rest = Signal(signed(SEMAPHORE_BITS + 1))
        total = Signal(SEMAPHORE_BITS + 1)
        both = Signal(SEMAPHORE_BITS)
        granted, given = Signal(), Signal()
        m.d.comb += [
            held.eq(self.counts[take.semaphore]),
            rest.eq(held - take.count),
            total.eq(self.counts[give.semaphore] + give.count),
            both.eq(held + net),
            granted.eq((rest >= 0) | (take.semaphore == 0)),
            self.error.eq(giving & (give.semaphore != 0) & total[-1]),
            self.error_semaphore.eq(give.semaphore),
            given.eq(giving & ~self.error),
            *(port.ready.eq(tested[index] & granted) for index, port in enumerate(self.takes)),
        ]
        taken = tested.any() & granted
        for number in range(1, SEMAPHORES):
            with m.If(taken & (take.semaphore == number)):
                m.d.sync += self.counts[number].eq(Mux(given & (give.semaphore == number), both, rest))
            with m.Elif(given & (give.semaphore == number)):
                m.d.sync += self.counts[number].eq(total)
