"""Before a VECTOR instruction runs: is it legal, and which steps do its loops take in memory."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import ACCUMULATORS, EVEN, INT8, INT32, MEMORY, PRODUCT, VECTOR


class Walk(data.Struct):
    """Addresses of one operand: of the first element, and how far each loop steps (modulo 2**24)."""

    base: unsigned(ADDRESS_BITS)
    y: unsigned(ADDRESS_BITS)
    wy: unsigned(ADDRESS_BITS)
    x: unsigned(ADDRESS_BITS)
    wx: unsigned(ADDRESS_BITS)


PLAN = data.StructLayout({
    "instruction": VECTOR.layout(),
    "walks": data.ArrayLayout(Walk, 2),
    "group": 3,  # log2 of the elements of a step
})
"""A legal instruction and what was computed from it."""


class Job(data.Struct):
    """Parameter sets to fetch: those of an instruction."""

    params: unsigned(ADDRESS_BITS)
    memory: unsigned(1)
    operands: unsigned(1)
    tiles: unsigned(16)


class VectorSetup(wiring.Component):
    """Checks an instruction and computes its plan, while the one before it runs.

    One multiplier of 24 x 17 bits makes the products of steps and strides one after the other: a plan is
    there 12 cycles (one operand) or 18 (two) after the instruction was taken, 2 for source ACCUMULATORS, and not before
    its table, if it has one, is loaded.
    An instruction that cannot be executed raises `error` until reset and goes no further.

    Parameters
    ----------
    cols: columns of the array. word_bytes: of the memory. lanes: of the vector unit.

    Members
    -------
    i: instructions. o: their plans. job: parameters to fetch, as soon as the instruction is known to be legal.
    table: stream of addresses of tables to load; each is taken when that is done.
    busy: an instruction is here. error: see above.
    """

    def __init__(self, cols: int, word_bytes: int, lanes: int) -> None:
        self._cols, self._word_bytes, self._lanes = cols, word_bytes, lanes
        super().__init__({
            "i": In(stream.Signature(VECTOR.layout())),
            "o": Out(stream.Signature(PLAN)),
            "job": Out(stream.Signature(Job)),
            "table": Out(stream.Signature(unsigned(ADDRESS_BITS))),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        instruction = Signal(VECTOR.layout(), reset_less=True)
        walks = Signal(data.ArrayLayout(Walk, 2), reset_less=True)
        m.d.comb += [
            self.o.payload.instruction.eq(instruction), self.o.payload.walks.eq(walks),
            self.job.payload.params.eq(instruction.params), self.job.payload.operands.eq(instruction.operands),
            self.job.payload.memory.eq(instruction.source == MEMORY), self.job.payload.tiles.eq(instruction.tiles),
            self.table.payload.eq(instruction.table),
        ]
        self._group(m, instruction)
        planned, done = Signal(), Signal()
        with m.If(self.job.ready):
            m.d.sync += self.job.valid.eq(0)
        with m.If(self.table.ready):
            m.d.sync += self.table.valid.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += instruction.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "check"
            with m.State("check"):
                with m.If(self._legal(m, instruction)):
                    m.d.sync += [self.job.valid.eq(1), self.table.valid.eq(instruction.lookup)]
                    m.next = "ready"
                    with m.If(instruction.source == MEMORY):
                        m.next = "products"
                with m.Else():
                    m.next = "illegal"
            with m.State("products"), m.If(done):
                m.next = "ready"
            with m.State("ready"):
                m.d.comb += [planned.eq((~self.job.valid | self.job.ready) & ~self.table.valid),
                                 self.o.valid.eq(planned)]
                with m.If(planned & self.o.ready):
                    m.next = "idle"
            with m.State("illegal"):
                m.d.comb += self.error.eq(1)
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        m.d.comb += done.eq(self._products(m, instruction, walks, fsm.ongoing("check"), fsm.ongoing("products")))
        return m

    def _legal(self, m: Module, i: data.View) -> Signal:
        legal = Signal()
        large = (i.elems > self._cols) | (i.elems_last > self._cols)
        windowed = (i.wy != 1) | (i.wx != 1)
        wide = Cat(bound[7:].any() & ~bound[7:].all() for bound in (i.low, i.high)).any()  # not an int8
        no_table = (i.out_type != INT8) | wide | (i.table % self._word_bytes != 0)
        m.d.comb += legal.eq(
            Cat(i[name] != 0 for name in ("tiles", "ny", "nx", "wy", "wx", "elems", "elems_last")).all()
            & (i.in_type <= INT32) & (i.out_type <= INT32) & (i.rounding <= EVEN) & (i.reduce <= PRODUCT)
            & (i.low <= i.high) & (i.params % self._word_bytes == 0) & ~(i.lookup & no_table)
            & ~((i.source == ACCUMULATORS) & (large | windowed | i.operands))
            & ~((i.reduce == PRODUCT) & (windowed | ~i.operands)))
        return legal

    def _group(self, m: Module, i: data.View) -> None:
        """min(lanes, word_bytes / largest element): a step moves at most one word in each direction."""
        lanes, word = self._lanes.bit_length() - 1, self._word_bytes.bit_length() - 1
        element = Signal(2)
        m.d.comb += element.eq(Mux((i.source == MEMORY) & (i.in_type > i.out_type), i.in_type, i.out_type))
        with m.Switch(element):
            for log in range(INT32 + 1):
                with m.Case(log):
                    m.d.comb += self.o.payload.group.eq(min(lanes, word - log))

    def _products(self, m: Module, i: data.View, walks: data.View, start: Signal, run: Signal) -> Signal:
        """Six products an operand through one registered multiplier; 1 in the cycle in which the last is stored."""
        index = Signal(4)
        # Number of the product in each register on the way; one before the DSP and one behind it only shorten wires.
        stages = [Signal(4, name=f"index_{stage}", reset_less=True) for stage in range(4)]
        stride, near_stride = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        factor, near_factor = Signal(signed(17), reset_less=True), Signal(signed(17), reset_less=True)
        near_product, product = Signal(ADDRESS_BITS, reset_less=True), Signal(ADDRESS_BITS, reset_less=True)
        wanted = (("row", "y_start"), ("pixel", "x_start"), ("row", "y_step"), ("row", "wy_step"),
                  ("pixel", "x_step"), ("pixel", "wx_step"))
        targets = ("base", "base", "y", "wy", "x", "wx")
        m.d.sync += [near_stride.eq(stride), near_factor.eq(factor), near_product.eq(near_stride * near_factor),
                     product.eq(near_product)]
        m.d.sync += [after.eq(before) for before, after in pairwise([index, *stages])]
        with m.If(start):
            m.d.sync += [index.eq(0), *(stage.eq(15) for stage in stages), walks[0].base.eq(i.a), walks[1].base.eq(i.b)]
        with m.Elif(index != 15):
            m.d.sync += index.eq(index + 1)
        with m.Switch(index):
            for number, (length, times) in enumerate(wanted):
                for operand, letter in enumerate("ab"):
                    with m.Case(6 * operand + number):
                        m.d.sync += [stride.eq(i[f"{letter}_{length}"]), factor.eq(i[times])]
        with m.Switch(stages[-1]):
            for number, target in enumerate(targets):
                for operand in range(2):
                    field = walks[operand][target]
                    with m.Case(6 * operand + number), m.If(run):
                        m.d.sync += field.eq(field + product if target == "base" else product)
        return stages[-1] == Mux(i.operands, 11, 5)
