"""The addresses of a VECTOR instruction: a turn of its loops becomes a step, where to read and where to write."""

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .affine import Ring
from .config import ADDRESS_BITS
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
    reduce: unsigned(2)
    rounding: unsigned(2)
    slot: unsigned(2)


class Store(data.Struct):
    """Where an output goes: its first `count` bytes to `address`; `final` is the instruction's last."""

    address: unsigned(ADDRESS_BITS)
    count: unsigned(8)
    final: unsigned(1)


class Turn(data.Struct):
    """A turn of the loops, before its addresses are known."""

    step: Step
    """But for `inside`."""
    begins: unsigned(1)
    """The instruction's first."""
    gone: unsigned(6)
    """Bit k: loop k (wx is 0) has gone on, and all within it have started again."""
    count: unsigned(8)
    final: unsigned(1)


class VectorAddresses(wiring.Component):
    """Addresses of the turns of a walk, their places in the rings, and whether the elements lie inside the input.

    A turn a cycle as long as `step`, `store` and `fetch` take what becomes of it; adders only. The addresses are made
    in the cycle in which a turn is taken, and put into their rings in the next.

    Members
    -------
    i: stream of `Turn`. plan: that of the turn on `i`; it may change when that is taken.
    step: stream of `Step`. store: stream of `Store`, for each step that is the last of its window.
    fetch: stream of addresses, for each step that needs a word. active: something is on its way to them.
    """

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(Turn)),
            "plan": In(PLAN),
            "step": Out(stream.Signature(Step)),
            "store": Out(stream.Signature(Store)),
            "fetch": Out(stream.Signature(unsigned(ADDRESS_BITS))),
            "active": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan, turn, p = self.plan, self.i.payload, self.plan.instruction
        move, go, leave = Signal(), Signal(), Signal()
        placed, settled = Signal(), Signal()  # the addresses are there; they are in their rings
        m.d.comb += [
            move.eq(~placed | leave), self.i.ready.eq(move), go.eq(self.i.valid & move),
            self.active.eq(placed | settled | self.step.valid | self.store.valid | self.fetch.valid),
        ]
        inside = self._inside(m, p, turn, go)
        reads = [self._operand(m, letter, plan, plan.walks[index], turn, go) for index, letter in enumerate("ab")]
        end, size = ([p[f"{letter}_{part}"] for letter in "ab"] for part in ("end", "ring"))
        b = turn.step.operand
        fetched = self._ring(m, "fetch", Mux(b, *reversed(reads)), Mux(b, *reversed(end)), Mux(b, *reversed(size)),
                             move, leave)
        written = self._ring(m, "store", self._output(m, plan, turn, go), p.c_end, p.c_ring, move, leave)
        sent, ready = Signal(Turn, reset_less=True), Signal(Turn, reset_less=True)
        takes_part = Signal(reset_less=True)
        with m.If(move):
            m.d.sync += [placed.eq(self.i.valid), sent.eq(turn)]
        with m.If(leave):
            m.d.sync += [settled.eq(placed), ready.eq(sent), takes_part.eq(inside | ~sent.step.memory)]
        step = {name: ready.step[name] for name in Step.as_shape().members if name != "inside"}
        self._send(m, settled, leave, {**step, "inside": takes_part},
                   {"address": written, "count": ready.count, "final": ready.final}, ready.step.last, fetched,
                   ready.step.memory & takes_part)
        return m

    def _ring(self, m: Module, name: str, address: Value, end: Value, size: Value, move: Signal, leave: Signal,
              ) -> Signal:
        """The address's place in its ring, two stages later."""
        m.submodules[f"{name}_ring"] = ring = Ring()
        kept = [Signal(ADDRESS_BITS, name=f"{name}_{part}", reset_less=True) for part in ("address", "end", "size")]
        with m.If(move):
            m.d.sync += [register.eq(value) for register, value in zip(kept, (address, end, size), strict=True)]
        m.d.comb += [ring.step.eq(leave), ring.address.eq(kept[0]), ring.first.eq(kept[0]), ring.end.eq(kept[1]),
                     ring.size.eq(kept[2])]
        return ring.value

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

    def _send(self, m: Module, settled: Signal, leave: Signal, step: dict[str, Value], store: dict[str, Value],
              last: Value, address: Value, fetched: Value) -> None:
        """Output registers: each part goes when it is taken, the next step comes when all have gone."""
        ports = ((self.step, step, 1), (self.store, store, last), (self.fetch, address, fetched))
        m.d.comb += leave.eq(Cat(~port.valid | port.ready for port, _, _ in ports).all())
        for port, value, wanted in ports:
            with m.If(leave):
                m.d.sync += port.valid.eq(settled & wanted)
                if isinstance(value, dict):
                    m.d.sync += [port.payload[name].eq(part) for name, part in value.items()]
                else:
                    m.d.sync += port.payload.eq(value)
            with m.Elif(port.ready):
                m.d.sync += port.valid.eq(0)
