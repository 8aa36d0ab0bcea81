"""The loops of a VECTOR instruction: a turn a cycle."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .config import ADDRESS_BITS
from .isa import ACCUMULATORS, MEMORY
from .vector_address import SLOTS, Step, Store, Turn, VectorAddresses
from .vector_setup import PLAN


class _Loop:
    """What is `left` of a loop after this turn; `ends` says that it is nothing, from a register."""

    def __init__(self, name: str, width: int) -> None:
        self.left = Signal(width, name=f"{name}_left", reset_less=True)
        self.ends = Signal(name=f"{name}_ends", reset_less=True)

    def set(self, left: Value, ends: Value) -> list[Any]:
        return [self.left.eq(left), self.ends.eq(ends)]


class VectorWalk(wiring.Component):
    """Runs through tiles, rows, columns, groups of elements, window rows, window columns and operands, innermost last.

    A step a cycle as long as `step`, `store` and `fetch` take them, a cycle without one between instructions; adders
    only.

    Members
    -------
    i: stream of `PLAN`. slot: number that the instruction gets when it is taken.
    step: stream of `Step`. store: stream of `Store`, for each step that is the last of its window.
    fetch: stream of addresses, for each step that needs a word. active: steps are still to come.
    """

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(PLAN)),
            "slot": In(range(SLOTS)),
            "step": Out(stream.Signature(Step)),
            "store": Out(stream.Signature(Store)),
            "fetch": Out(stream.Signature(unsigned(ADDRESS_BITS))),
            "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan = Signal(PLAN, reset_less=True)
        p = plan.instruction
        slot = Signal.like(self.slot)
        running, load, advance = Signal(), Signal(), Signal()
        seen = Signal()  # the instruction has been there for a cycle: what is made of it before it is taken is ready
        m.d.sync += seen.eq(self.i.valid & ~load)
        operand = Signal()
        loops = {name: _Loop(name, width) for name, width in
                 (("wx", 8), ("wy", 8), ("group", 16), ("x", 16), ("y", 16), ("tile", 16))}
        ends = [loop.ends for loop in loops.values()]
        inner = operand == p.operands
        # levels[k]: loop k (wx is 0) goes on and all within it start again; levels[6]: the instruction is over
        levels = Signal(7)
        for k in range(7):
            m.d.comb += levels[k].eq(Cat(inner, *ends[:k]).all() & (~ends[k] if k < 6 else 1))
        final = levels[6]
        m.submodules.addresses = addresses = VectorAddresses()
        for name in ("step", "store", "fetch"):
            connect(m, getattr(addresses, name), flipped(getattr(self, name)))
        turn = Signal(Turn, reset_less=True)  # between the loops and the addresses
        planned = Signal()  # it is there
        free = Signal()  # `turn` can be written
        m.d.comb += [
            addresses.i.valid.eq(planned), addresses.i.payload.eq(turn), addresses.plan.eq(plan),
            free.eq(~planned | addresses.i.ready),
            advance.eq(running & free),
            # A cycle between instructions, so that nothing wide hangs on the end of one; and the plan stays for `turn`.
            self.i.ready.eq(~running & seen & free),
            load.eq(self.i.valid & self.i.ready),
            self.active.eq(running | planned | addresses.active),
        ]
        with m.If(load):
            m.d.sync += [plan.eq(self.i.payload), slot.eq(self.slot), running.eq(1), operand.eq(0)]
        with m.Elif(advance):
            m.d.sync += [running.eq(~final), operand.eq(~inner)]
        self._counters(m, p, loops, levels, load, advance)
        count = self._elements(m, plan, loops, levels, load, advance)
        first, swap, column = self._marks(m, plan, levels, load, advance)
        begins, gone = Signal(), Signal(6)  # how the loops came to this turn
        with m.If(load | advance):
            m.d.sync += [begins.eq(load), gone.eq(levels[:6])]
        with m.If(free):
            m.d.sync += planned.eq(running)
        with m.If(advance):
            m.d.sync += [
                turn.begins.eq(begins), turn.gone.eq(Mux(begins, 0, gone)), turn.final.eq(final),
                turn.count.eq(count << p.out_type),
                *(turn.step[name].eq(value) for name, value in {
                    "memory": p.source == MEMORY, "first": first, "last": inner & ends[0] & ends[1],
                    "operand": operand, "swap": swap, "row_end": ends[2], "column": column, "slot": slot,
                    "block_end": loops["x"].ends & loops["y"].ends, "in_type": p.in_type, "reduce": p.reduce,
                    "rounding": p.rounding}.items()),
            ]
        return m

    def _counters(self, m: Module, p: data.View, loops: dict[str, _Loop], levels: Signal, load: Value,
                  advance: Value) -> None:
        new = self.i.payload.instruction
        for k, name, field in ((0, "wx", "wx"), (1, "wy", "wy"), (3, "x", "nx"), (4, "y", "ny"), (5, "tile", "tiles")):
            loop = loops[name]
            with m.If(load):
                m.d.sync += loop.set(new[field] - 1, new[field] == 1)
            with m.Elif(advance & levels[k]):
                m.d.sync += loop.set(loop.left - 1, loop.left == 1)
            with m.Elif(advance & levels[k + 1:].any()):
                m.d.sync += loop.set(p[field] - 1, p[field] == 1)

    def _elements(self, m: Module, plan: data.View, loops: dict[str, _Loop], levels: Signal, load: Value,
                  advance: Value) -> Signal:
        """Counts a row's elements down; the number of elements of this step."""
        p, new = plan.instruction, self.i.payload.instruction
        loop = loops["group"]
        left = loop.left  # elements left of the row, less 1
        within, within_new = Signal(7), Signal(7)  # elements of a full step, less 1
        count = Signal(8)
        m.d.comb += [
            within.eq((1 << plan.group) - 1), within_new.eq((1 << self.i.payload.group) - 1),
            count.eq(Mux(loop.ends, left & within, within) + 1),
        ]
        row, single = Signal(16, reset_less=True), Signal(reset_less=True)  # of this tile: elements less 1; one step
        next_row, first_row = Signal(16), Signal(16)
        m.d.comb += next_row.eq(Mux(loops["tile"].left == 1, p.elems_last, p.elems) - 1)
        m.d.sync += first_row.eq(Mux(new.tiles == 1, new.elems_last, new.elems) - 1)
        for condition, elements, full in ((load, first_row, within_new), (advance & levels[5], next_row, within)):
            with m.If(condition):
                fits = elements <= full
                m.d.sync += [*loop.set(elements, fits), row.eq(elements), single.eq(fits)]
        with m.If(advance & levels[3:5].any()):
            m.d.sync += loop.set(row, single)
        with m.If(advance & levels[2]):
            m.d.sync += loop.set(left - (1 << plan.group), left <= (within << 1 | 1))
        return count

    def _marks(self, m: Module, plan: data.View, levels: Signal, load: Value, advance: Value,
               ) -> tuple[Signal, Signal, Signal]:
        """Whether the step is the first of its window, whether new parameters begin with it, and its first column."""
        first, swap, column = Signal(), Signal(), Signal(7, reset_less=True)
        with m.If(load):
            m.d.sync += [first.eq(1), swap.eq(1)]
        with m.Elif(advance):
            m.d.sync += [first.eq(levels[2:].any()), swap.eq(levels[5] & (plan.instruction.source == ACCUMULATORS))]
        with m.If(load | (advance & levels[3:].any())):
            m.d.sync += column.eq(0)
        with m.Elif(advance & levels[2]):
            m.d.sync += column.eq(column + (1 << plan.group))
        return first, swap, column
