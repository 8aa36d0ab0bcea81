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
        whole, known = Signal(), Signal(8)  # `known` is the value
        prediction, centre_rank, rank, upper, first = Signal(8), Signal(8), Signal(8), Signal(8), Signal()
        skip = Signal(2)
        m.d.sync += [
            whole.eq(self.raw | ~job.parse | symbol.centre),
            known.eq(Mux(self.raw, self.byte, Mux(job.constant, symbol.bits, job.other))),
            prediction.eq(job.prediction), centre_rank.eq(job.centre_rank), rank.eq(symbol.rank),
            upper.eq(job.upper), first.eq(self.first), skip.eq(Mux(symbol.run, job.run, job.skip)),
        ]
        value = Signal(8)
        m.d.comb += [value.eq(Mux(whole, known, _unfolded(m, rank, centre_rank, prediction))),
                     self.value.eq(value), self.skip.eq(skip)]
        decoded, later_upper, later_first = Signal(8), Signal(8), Signal()
        step = Signal(signed(9))
        m.d.sync += [decoded.eq(value), later_upper.eq(upper), later_first.eq(first)]
        m.d.comb += [
            self.decoded.eq(decoded), step.eq(decoded - later_upper),
            self.average.eq(Mux(later_first, decoded, (Cat(Const(2, 2), later_upper) + step)[2:])),
        ]
        return m


def _unfolded(m: Module, rank: Value, centre_rank: Value, prediction: Value) -> Value:
    """The value of a rank: upwards and downwards from the prediction in turns, then what is left on one side."""
    high = prediction[7]
    place, both = Signal(8), Signal(8)
    sides = (prediction ^ high.replicate(8))[:7] << 1
    m.d.comb += place.eq(rank + (rank >= centre_rank))
    # an odd place 2k + 1 is k + 1 above, an even one 2k is k below: k + 1 and ~k + 1
    m.d.comb += both.eq(prediction + Cat(place[1:] ^ (~place[0]).replicate(7), ~place[0]) + 1)
    return Mux(place > sides, place ^ high.replicate(8), both)

