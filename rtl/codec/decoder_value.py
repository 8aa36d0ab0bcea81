"""From ranks to values."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .decoder_context import Job
from .decoder_lane import Symbol


class DecoderValue(wiring.Component):
    """A lane's last stages: free-running, a value a cycle.

    Members
    -------
    job, symbol: of the value. raw: it is not coded, and is `byte`. first: of its channel, for the average.
    value, skip: a cycle later, combinational: the value, and how many of the channel to skip after it.
    decoded, average: two cycles later: the value, and the average of its channel with it.
    """

    job: In(Job())
    symbol: In(Symbol())
    raw: In(1)
    byte: In(8)
    first: In(1)
    value: Out(8)
    skip: Out(2)
    decoded: Out(8)
    average: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, symbol = self.job, self.symbol
        coded, skip = Signal(), Signal(2)
        start, centre_rank, rank, upper, first = Signal(8), Signal(8), Signal(8), Signal(8), Signal()
        by_rank = job.parse & ~symbol.centre
        m.d.sync += [
            coded.eq(by_rank), rank.eq(Mux(by_rank, symbol.rank, 0)), centre_rank.eq(job.centre_rank),
            start.eq(Mux(by_rank, job.prediction, job.other) | symbol.bits & job.constant.replicate(8)
                     | self.byte & self.raw.replicate(8)),
            upper.eq(job.upper), first.eq(self.first), skip.eq(Mux(symbol.run, job.run, job.skip)),
        ]
        value = Signal(8)
        behind = coded & (rank >= centre_rank)
        m.d.comb += [value.eq(_unfolded(m, rank, behind, start)), self.value.eq(value), self.skip.eq(skip)]
        decoded, later_upper, later_first = Signal(8), Signal(8), Signal()
        step = Signal(signed(9))
        m.d.sync += [decoded.eq(value), later_upper.eq(upper), later_first.eq(first)]
        m.d.comb += [
            self.decoded.eq(decoded), step.eq(decoded - later_upper),  # average + (step + 2 >> 2)
            self.average.eq(Mux(later_first, decoded, (later_upper + Cat(step[2:], step[8]) + step[1])[:8])),
        ]
        return m


def _unfolded(m: Module, rank: Value, behind: Value, prediction: Value) -> Value:
    """The value of a rank: upwards and downwards from the prediction in turns, then what is left on one side. Its place
    is one more where it is `behind` the centre: for place 2k + 1 and 2k that is k + 1 above, and k below.

    All is one sum: of the prediction and half of the place; or of 0 and the place, from the end that is farther. Rank 0
    that is not behind gives the prediction.
    """
    high, odd = prediction[7], rank[0]
    room = prediction[:7] ^ high.replicate(7)
    alone, down, inverted, carry = Signal(), Signal(), Signal(), Signal()
    m.d.comb += [
        alone.eq(Cat(Const(0, 1), room) < Cat(odd | behind, rank[1:])), down.eq(odd == behind),
        inverted.eq(Mux(alone, high, down)), carry.eq(Mux(alone, behind & ~high, ~(odd & behind))),
    ]
    start = Mux(alone, (high & behind).replicate(8), prediction)
    step = Cat(Mux(alone, rank[:7], rank[1:]), alone & rank[7]) ^ inverted.replicate(8)
    return (start + step + carry)[:8]
