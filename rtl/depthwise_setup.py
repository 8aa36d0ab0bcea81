"""Before a DEPTHWISE instruction runs: is it legal, and what follows from its window."""

from functools import reduce
from operator import add

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import DEPTHWISE, DEPTHWISE_TAPS, DEPTHWISE_WINDOW, EVEN

ROWS = 15
"""Input rows of a strip at most: the window memory keeps 16 words of a column, and one place of these for `pad`."""
REACH = 24
"""Input columns that the output columns computed at once see at most, where there are several."""

PLAN = data.StructLayout({
    "instruction": DEPTHWISE.layout(),
    "window_y": 4, "window_x": 4,  # input rows and columns of a window, 1 to 13
    "taps": 7,
    "log_rows": 2,  # log2 of the output rows of a strip
    "wide": 1,  # lanes without a row take part in further columns
    "step": 4,  # input columns that an output column needs beyond those of the one before
    "skip": 8,  # input columns between the windows of two output columns, which nobody needs
})
"""A legal instruction and what was computed from it."""


def check_sizes(cols: int, word_bytes: int, lanes: int) -> None:
    """Raises ValueError where a depthwise unit cannot have these sizes."""
    if word_bytes < 4 or word_bytes & (word_bytes - 1) or word_bytes > 128:
        raise ValueError(f"word_bytes must be a power of two from 4 to 128, not {word_bytes}")
    if not 1 <= cols <= word_bytes:
        raise ValueError(f"cols must be from 1 to word_bytes ({word_bytes}), not {cols}")
    if lanes not in [cols << k for k in range(4)]:
        raise ValueError(f"lanes must be cols ({cols}) times 1, 2, 4 or 8, not {lanes}")


def times(value: Value, factor: int) -> Value:
    """`value * factor` as a sum of shifted copies: no multiplier."""
    return reduce(add, [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1], Const(0))


def small_product(a: Value, b: Value) -> Value:
    """`a * b`, unsigned, in logic: a DSP would be wasted on a few bits."""
    return reduce(add, [Mux(a[bit], b << bit, 0) for bit in range(len(a))])


class DepthwiseSetup(wiring.Component):
    """Checks an instruction and measures its window; the plan is there 5 cycles and max(ky, kx) after it came.

    The instruction stays on `i` meanwhile and is taken together with its plan. One that cannot be executed raises
    `error` until reset and is never taken.

    Parameters
    ----------
    cols: channels of a group. word_bytes: of the memory. strip: output rows that the unit computes at once, a power
    of two up to 8.

    Members
    -------
    i: instructions. o: their plans. busy: an instruction is here. error: see above.
    """

    def __init__(self, cols: int, word_bytes: int, strip: int) -> None:
        self._cols, self._word_bytes, self._strip = cols, word_bytes, strip
        super().__init__({
            "i": In(stream.Signature(DEPTHWISE.layout())),
            "o": Out(stream.Signature(PLAN)),
            "busy": Out(1),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i = self.i.payload
        plan = Signal(PLAN, reset_less=True)  # but for the instruction
        window_y, window_x = Signal(12, reset_less=True), Signal(12, reset_less=True)
        left_y, left_x = Signal(4, reset_less=True), Signal(4, reset_less=True)
        taps = Signal(8, reset_less=True)
        m.d.comb += [self.o.payload[name].eq(plan[name]) for name in PLAN.members if name != "instruction"]
        m.d.comb += self.o.payload.instruction.eq(i)
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.sync += [window_y.eq(1), window_x.eq(1), taps.eq(i.kx), left_y.eq(i.ky - 1), left_x.eq(i.kx - 1)]
                with m.If(self.i.valid):
                    m.next = "measure"
                    with m.If((i.ky > DEPTHWISE_WINDOW) | (i.kx > DEPTHWISE_WINDOW) | (i.ky == 0) | (i.kx == 0)):
                        m.next = "illegal"
            with m.State("measure"):
                with m.If(left_y != 0):
                    m.d.sync += [window_y.eq(window_y + i.y_dilation), taps.eq(taps + i.kx), left_y.eq(left_y - 1)]
                with m.If(left_x != 0):
                    m.d.sync += [window_x.eq(window_x + i.x_dilation), left_x.eq(left_x - 1)]
                with m.If((left_y == 0) & (left_x == 0)):
                    m.next = "check"
            with m.State("check"):
                m.d.sync += [plan.window_y.eq(window_y), plan.window_x.eq(window_x), plan.taps.eq(taps)]
                m.next = "illegal"
                fits = (window_y <= DEPTHWISE_WINDOW) & (window_x <= DEPTHWISE_WINDOW) & (taps <= DEPTHWISE_TAPS)
                with m.If(self._legal(i) & fits):
                    m.next = "sizes"
            with m.State("sizes"):
                self._sizes(m, i, plan)
                m.next = "ready"
            with m.State("ready"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "idle"
            with m.State("illegal"):
                m.d.comb += self.error.eq(1)
        m.d.comb += self.busy.eq(~fsm.ongoing("idle"))
        return m

    def _legal(self, i: data.View) -> Value:
        """All but the window."""
        return (Cat(i[name] != 0 for name in ("rows_y", "rows_x", "tiles", "elems", "elems_last")).all()
                & (i.elems <= self._cols) & (i.elems_last <= self._cols) & (i.rounding <= EVEN) & (i.low <= i.high)
                & ((i.b | i.b_tile) % self._word_bytes == 0))

    def _sizes(self, m: Module, i: data.View, plan: data.View) -> None:
        """How many rows go side by side, and how the columns of the input follow each other."""
        log_strip = self._strip.bit_length() - 1
        overlaps = i.x_step <= plan.window_x
        m.d.sync += [plan.log_rows.eq(0), plan.wide.eq(overlaps & (log_strip > 0)),
                     plan.step.eq(Mux(overlaps, i.x_step, plan.window_x)),
                     plan.skip.eq(Mux(overlaps, 0, i.x_step - plan.window_x))]
        for log in range(1, log_strip + 1):
            with m.If(times(i.y_step, (1 << log) - 1) + plan.window_y <= ROWS):
                m.d.sync += plan.log_rows.eq(log)
        if log_strip:
            with m.If(times(i.x_step, self._strip - 1) + plan.window_x > REACH):
                m.d.sync += plan.wide.eq(0)
