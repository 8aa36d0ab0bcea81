"""The softmax unit's third pass: entries times the reciprocal of their sum."""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .isa import SOFTMAX_ENTRY_BITS
from .softmax_lookup import LATENCY, Place, entries
from .softmax_reciprocal import Factor
from .softmax_sum import SUM_BITS

PRODUCT, SHIFTED, CLAMPED = 5, 6, 8
"""Cycles from a lane's inputs to: the product (when `log` is read), its coarse shift (when it is read again), and the
output."""
_LOW = 13  # bits of the lower half of a factor


class ScaleLane(wiring.Component):
    """o = min(255, (entry * reciprocal + 2**(log + 15)) >> (log + 16)) - 128.

    Free-running, for entries that are part of the sum: entry <= S. The inputs of cycle t meet `log` in t + PRODUCT, its
    lower three bits once more in t + SHIFTED; `o` shows the result in t + CLAMPED.

    Members
    -------
    entry, reciprocal: 25 bits each. log, log_low: see above. o: int8, as bits.
    """

    entry: In(SOFTMAX_ENTRY_BITS)
    reciprocal: In(25)
    log: In((SUM_BITS - 1).bit_length())
    log_low: In(3)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = self._product(m)
        coarse, fine = Signal(17, reset_less=True), Signal(10, reset_less=True)
        byte, rounded = Signal(8, reset_less=True), Signal(10)
        m.d.sync += [
            # to 2 / 2**(log + 16): the last bit rounds
            coarse.eq(product[15:] >> Cat(Const(0, 3), self.log[3:])),
            fine.eq(coarse >> self.log_low),
            byte.eq(Mux(rounded[9], 127, Cat(rounded[1:8], ~rounded[8]))),
        ]
        m.d.comb += [rounded.eq(fine + 1), self.o.eq(byte)]
        return m

    def _product(self, m: Module) -> Signal:
        """Four partial products of 13 x 13 bits, a DSP each, with a register on the way to it and one on the way
        back."""
        near_entry, near_reciprocal = (Signal(25, name=name, reset_less=True)
                                       for name in ("near_entry", "near_reciprocal"))
        outer, middle = Signal(50, reset_less=True), Signal(26, reset_less=True)
        product = Signal(50, reset_less=True)
        m.d.sync += [near_entry.eq(self.entry), near_reciprocal.eq(self.reciprocal)]
        parts = {}
        for a_name, a in (("low", near_entry[:_LOW]), ("high", near_entry[_LOW:])):
            for b_name, b in (("low", near_reciprocal[:_LOW]), ("high", near_reciprocal[_LOW:])):
                near = Signal(len(a) + len(b), name=f"near_{a_name}_{b_name}", reset_less=True)
                back = Signal.like(near, name=f"{a_name}_{b_name}")
                m.d.sync += [near.eq(a * b), back.eq(near)]
                parts[a_name, b_name] = back
        m.d.sync += [
            outer.eq(Cat(parts["low", "low"], parts["high", "high"])),
            middle.eq(parts["low", "high"] + parts["high", "low"]),
            product.eq(Cat(outer[:_LOW], outer[_LOW:] + middle)),
        ]
        return product


def outputs(lanes: int) -> data.StructLayout:
    """A chunk of outputs, bytes: -128 for what takes no part."""
    return data.StructLayout({"place": Place, "values": 8 * lanes})


class RowScale(wiring.Component):
    """The outputs of chunks, CLAMPED cycles after their entries. Free-running.

    Parameters
    ----------
    lanes: values of a chunk.

    Members
    -------
    i: entries. factor: of the row of the chunk whose entries come LATENCY (of the lookup) cycles later. o: outputs.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({"i": In(entries(lanes)), "factor": In(Factor), "o": Out(outputs(lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reciprocals = [self.factor.reciprocal, *(
            Signal(25, name=f"reciprocal_{stage}", reset_less=True) for stage in range(LATENCY))]
        logs = [self.factor.log, *(
            Signal.like(self.factor.log, name=f"log_{stage}", reset_less=True) for stage in range(LATENCY + SHIFTED))]
        places = [self.i.place, *(Signal(Place, name=f"place_{stage}") for stage in range(CLAMPED))]
        for chain in (reciprocals, logs, places):
            m.d.sync += [after.eq(before) for before, after in pairwise(chain)]
        m.d.comb += self.o.place.eq(places[-1])
        for index in range(self._lanes):
            m.submodules[f"lane_{index}"] = lane = ScaleLane()
            m.d.comb += [
                lane.entry.eq(self.i.values.word_select(index, SOFTMAX_ENTRY_BITS)),
                lane.reciprocal.eq(reciprocals[-1]),
                lane.log.eq(logs[LATENCY + PRODUCT]), lane.log_low.eq(logs[LATENCY + SHIFTED][:3]),
                self.o.values.word_select(index, 8).eq(lane.o),
            ]
        return m
