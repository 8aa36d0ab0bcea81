"""The loops of a VECTOR instruction: a step a cycle, with its addresses."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS
from .isa import ACCUMULATORS, MEMORY
from .vector_setup import PLAN

SLOTS = 4
"""Instructions in the unit's pipeline at most; a slot's number goes with each step and finds its constants."""


class Step(data.Struct):
    """What the pipeline does with one group of elements."""

    memory: unsigned(1)
    """The source: MEMORY or else ACCUMULATORS."""
    inside: unsigned(1)
    """The elements take part; from MEMORY they come as the next word."""
    first: unsigned(1)
    """First step of a window (a window is all that goes into one output)."""
    last: unsigned(1)
    """Last step of a window: an output follows."""
    operand: unsigned(1)
    """Operand B."""
    swap: unsigned(1)
    """The next parameter set comes into force."""
    row_end: unsigned(1)
    """Last group of a row of accumulators."""
    block_end: unsigned(1)
    """Last row of a tile."""
    column: unsigned(7)
    """First column of the group (ACCUMULATORS)."""
    in_type: unsigned(2)
    maximum: unsigned(1)
    rounding: unsigned(2)
    slot: unsigned(2)


class Store(data.Struct):
    """Where an output goes: its first `count` bytes to `address`; `final` is the instruction's last."""

    address: unsigned(ADDRESS_BITS)
    count: unsigned(8)
    final: unsigned(1)


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
        running, load, move, advance = Signal(), Signal(), Signal(), Signal()
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
        m.d.comb += [
            advance.eq(running & move),
            # A cycle between instructions, so that nothing wide hangs on the end of one.
            self.i.ready.eq(~running & seen),
            load.eq(self.i.valid & self.i.ready),
            self.active.eq(running | self.step.valid | self.store.valid | self.fetch.valid),
        ]
        with m.If(load):
            m.d.sync += [plan.eq(self.i.payload), slot.eq(self.slot), running.eq(1)]
        with m.Elif(advance & final):
            m.d.sync += running.eq(0)
        with m.If(load):
            m.d.sync += operand.eq(0)
        with m.Elif(advance):
            m.d.sync += operand.eq(~inner)
        self._counters(m, p, loops, levels, load, advance)
        count = self._elements(m, plan, loops, levels, load, advance)
        inside = self._inside(m, p, levels, load, advance)
        reads = [self._operand(m, letter, plan, plan.walks[index], self.i.payload.walks[index], levels, load, advance)
                 for index, letter in enumerate("ab")]
        writes = self._output(m, plan, levels, load, advance)
        first, swap, column = self._marks(m, plan, levels, load, advance)
        last = inner & ends[0] & ends[1]
        memory = p.source == MEMORY
        self._send(m, running, move, {
            "memory": memory, "inside": inside | ~memory, "first": first, "last": last, "operand": operand,
            "swap": swap, "row_end": ends[2], "block_end": loops["x"].ends & loops["y"].ends, "column": column,
            "in_type": p.in_type, "maximum": p.reduce, "rounding": p.rounding, "slot": slot,
        }, {"address": writes, "count": count << p.out_type, "final": final}, last, Mux(operand, *reversed(reads)),
            memory & inside)
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

    def _inside(self, m: Module, p: data.View, levels: Signal, load: Value, advance: Value) -> Signal:
        """Position of the window's element in the input; 1 where it is inside."""
        new = self.i.payload.instruction
        shape = signed(26)  # -2**15 .. 2**15 + 2**24 + 2**16
        y, iy, x, ix = (Signal(shape, name=name, reset_less=True) for name in ("y", "iy", "x", "ix"))
        for outer, inner, axis, restart, loop, window in ((y, iy, "y", 5, 4, 1), (x, ix, "x", 4, 3, 0)):
            start = p[f"{axis}_start"]
            following = Signal(shape, name=f"following_{axis}")
            m.d.comb += following.eq(outer + p[f"{axis}_step"])
            with m.If(load):
                m.d.sync += [outer.eq(new[f"{axis}_start"]), inner.eq(new[f"{axis}_start"])]
            with m.Elif(advance):
                with m.If(levels[restart:].any()):
                    m.d.sync += [outer.eq(start), inner.eq(start)]
                with m.Elif(levels[loop]):
                    m.d.sync += [outer.eq(following), inner.eq(following)]
                with m.Elif(levels[window]):
                    m.d.sync += inner.eq(inner + p[f"w{axis}_step"])
                with m.Elif(levels[window + 1:].any()):
                    m.d.sync += inner.eq(outer)
        inside = Signal()
        m.d.comb += inside.eq((iy >= 0) & (iy < p.height) & (ix >= 0) & (ix < p.width))
        return inside

    def _addresses(self, m: Module, name: str, strides: list[Value], start: Value, levels: Value, load: Value,
                   advance: Value) -> Signal:
        """An address in nested loops, innermost first: each loop keeps where it is; one adder makes the next."""
        at = [Signal(ADDRESS_BITS, name=f"{name}_{k}", reset_less=True) for k in range(len(strides))]
        base, stride, following = (Signal(ADDRESS_BITS, name=f"{name}_{part}") for part in ("base", "stride", "next"))
        m.d.comb += following.eq(base + stride)
        for k, (place, length) in enumerate(zip(at, strides, strict=True)):
            with m.If(levels[k]):
                m.d.comb += [base.eq(place), stride.eq(length)]
            with m.If(load):
                m.d.sync += place.eq(start)
            with m.Elif(advance & levels[k:len(strides)].any()):
                m.d.sync += place.eq(following)
        return at[0]

    def _operand(self, m: Module, letter: str, plan: data.View, walk: data.View, new: data.View, levels: Signal,
                 load: Value, advance: Value) -> Signal:
        p = plan.instruction
        group = Signal(8, name=f"{letter}_group")
        m.d.comb += group.eq(1 << plan.group << p.in_type)
        return self._addresses(m, letter, [walk.wx, walk.wy, group, walk.x, walk.y, p[f"{letter}_tile"]], new.base,
                               levels, load, advance)

    def _output(self, m: Module, plan: data.View, levels: Signal, load: Value, advance: Value) -> Signal:
        p = plan.instruction
        group = Signal(8, name="c_group")
        m.d.comb += group.eq(1 << plan.group << p.out_type)
        return self._addresses(m, "c", [group, p.c_pixel, p.c_row, p.c_tile], self.i.payload.instruction.c, levels[2:],
                               load, advance)

    def _send(self, m: Module, running: Signal, move: Signal, step: dict[str, Value], store: dict[str, Value],
              last: Value, address: Value, fetched: Value) -> None:
        """Output registers: each part goes when it is taken, the next step comes when all have gone."""
        ports = ((self.step, step, 1), (self.store, store, last), (self.fetch, address, fetched))
        m.d.comb += move.eq(Cat(~port.valid | port.ready for port, _, _ in ports).all())
        for port, value, wanted in ports:
            with m.If(move):
                m.d.sync += port.valid.eq(running & wanted)
                if isinstance(value, dict):
                    m.d.sync += [port.payload[name].eq(part) for name, part in value.items()]
                else:
                    m.d.sync += port.payload.eq(value)
            with m.Elif(port.ready):
                m.d.sync += port.valid.eq(0)
