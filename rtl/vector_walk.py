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


class Turn(data.Struct):
    """A turn of the loops on its way to the addresses."""

    step: Step
    """But for `inside`."""
    begins: unsigned(1)
    """The instruction's first."""
    gone: unsigned(6)
    """Bit k: loop k (wx is 0) has gone on, and all within it have started again."""
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
        turn = Signal(Turn, reset_less=True)  # between the loops and the addresses, with what it is in `planned`
        planned = Signal()
        free = Signal()  # `turn` can be written
        self._placed = Signal()
        m.d.comb += [
            free.eq(~planned | move),
            advance.eq(running & free),
            # A cycle between instructions, so that nothing wide hangs on the end of one; and the plan stays for `turn`.
            self.i.ready.eq(~running & seen & free),
            load.eq(self.i.valid & self.i.ready),
            self.active.eq(running | planned | self._placed | self.step.valid | self.store.valid | self.fetch.valid),
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
                    "block_end": loops["x"].ends & loops["y"].ends, "in_type": p.in_type, "maximum": p.reduce,
                    "rounding": p.rounding}.items()),
            ]
        self._second_stage(m, plan, turn, planned, move)
        return m

    def _second_stage(self, m: Module, plan: data.View, turn: data.View, planned: Signal, move: Signal) -> None:
        """Addresses and position of the turn; the third stage compares the position, and sends it out."""
        go, leave = Signal(), Signal()
        placed = self._placed  # the turn of the third stage is there
        m.d.comb += [move.eq(~placed | leave), go.eq(planned & move)]
        inside = self._inside(m, plan.instruction, turn, go)
        reads = [self._operand(m, letter, plan, plan.walks[index], turn, go) for index, letter in enumerate("ab")]
        writes = self._output(m, plan, turn, go)
        sent = Signal(Turn, reset_less=True)
        fetched, written = (Signal(ADDRESS_BITS, name=name, reset_less=True) for name in ("fetched", "written"))
        with m.If(move):
            m.d.sync += [placed.eq(planned), sent.eq(turn), written.eq(writes),
                         fetched.eq(Mux(turn.step.operand, *reversed(reads)))]
        step = {name: sent.step[name] for name in Step.as_shape().members if name != "inside"}
        memory = sent.step.memory
        self._send(m, placed, leave, {**step, "inside": inside | ~memory},
                   {"address": written, "count": sent.count, "final": sent.final}, sent.step.last, fetched,
                   memory & inside)

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

    def _inside(self, m: Module, p: data.View, turn: data.View, go: Signal) -> Signal:
        """Position of the turn's element in the input; a stage later, 1 where it is inside."""
        shape = signed(26)  # -2**15 .. 2**15 + 2**24 + 2**16
        inside = Signal(2)
        axes = ("y", "height", 5, 4, 1), ("x", "width", 4, 3, 0)
        for index, (axis, size, restart, loop, window) in enumerate(axes):
            outer, inner = Signal(shape, name=axis, reset_less=True), Signal(shape, name=f"i{axis}", reset_less=True)
            new_outer, new_inner = Signal(shape, name=f"new_{axis}"), Signal(shape, name=f"new_i{axis}")
            m.d.comb += [new_outer.eq(outer), new_inner.eq(inner)]
            with m.If(turn.begins | turn.gone[restart:].any()):
                m.d.comb += [new_outer.eq(p[f"{axis}_start"]), new_inner.eq(p[f"{axis}_start"])]
            with m.Elif(turn.gone[loop]):
                m.d.comb += [new_outer.eq(outer + p[f"{axis}_step"]), new_inner.eq(outer + p[f"{axis}_step"])]
            with m.Elif(turn.gone[window]):
                m.d.comb += new_inner.eq(inner + p[f"w{axis}_step"])
            with m.Elif(turn.gone[window + 1:].any()):
                m.d.comb += new_inner.eq(outer)
            limit = Signal(16, name=f"{axis}_limit", reset_less=True)  # the next instruction may be in the plan by then
            with m.If(go):
                m.d.sync += [outer.eq(new_outer), inner.eq(new_inner), limit.eq(p[size])]
            m.d.comb += inside[index].eq((inner >= 0) & (inner < limit))
        return inside.all()

    def _addresses(self, m: Module, name: str, strides: list[Value], start: Value, gone: Value, begins: Value,
                   go: Signal) -> Signal:
        """An address in nested loops, innermost first: each loop keeps where it is; one adder makes the turn's."""
        at = [Signal(ADDRESS_BITS, name=f"{name}_{k}", reset_less=True) for k in range(len(strides))]
        base, stride, here = (Signal(ADDRESS_BITS, name=f"{name}_{part}") for part in ("base", "stride", "here"))
        m.d.comb += [base.eq(at[0]), here.eq(base + stride)]
        for k, (place, length) in enumerate(zip(at, strides, strict=True)):
            with m.If(gone[k]):
                m.d.comb += [base.eq(place), stride.eq(length)]
            with m.If(go & (begins | gone[k:len(strides)].any())):
                m.d.sync += place.eq(here)
        with m.If(begins):
            m.d.comb += base.eq(start)
        return here

    def _operand(self, m: Module, letter: str, plan: data.View, walk: data.View, turn: data.View, go: Signal) -> Signal:
        p = plan.instruction
        group = Signal(8, name=f"{letter}_group")
        m.d.comb += group.eq(1 << plan.group << p.in_type)
        return self._addresses(m, letter, [walk.wx, walk.wy, group, walk.x, walk.y, p[f"{letter}_tile"]], walk.base,
                               turn.gone, turn.begins, go)

    def _output(self, m: Module, plan: data.View, turn: data.View, go: Signal) -> Signal:
        p = plan.instruction
        group = Signal(8, name="c_group")
        m.d.comb += group.eq(1 << plan.group << p.out_type)
        return self._addresses(m, "c", [group, p.c_pixel, p.c_row, p.c_tile], p.c, turn.gone[2:], turn.begins, go)

    def _send(self, m: Module, placed: Signal, leave: Signal, step: dict[str, Value], store: dict[str, Value],
              last: Value, address: Value, fetched: Value) -> None:
        """Output registers: each part goes when it is taken, the next step comes when all have gone."""
        ports = ((self.step, step, 1), (self.store, store, last), (self.fetch, address, fetched))
        m.d.comb += leave.eq(Cat(~port.valid | port.ready for port, _, _ in ports).all())
        for port, value, wanted in ports:
            with m.If(leave):
                m.d.sync += port.valid.eq(placed & wanted)
                if isinstance(value, dict):
                    m.d.sync += [port.payload[name].eq(part) for name, part in value.items()]
                else:
                    m.d.sync += port.payload.eq(value)
            with m.Elif(port.ready):
                m.d.sync += port.valid.eq(0)
