"""Instructions that are clipped to the length of a sequence: the rule, and the part before a unit that applies it."""

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import Config
from .isa import ARRAY, LENGTH_BITS, NORM, SOFTMAX, VECTOR, InstructionType


@dataclass(frozen=True)
class Rule:
    """What bit `bit` of an instruction's `clip` does to one of its fields.

    `rows`: at most those of the tokens from `first` up to the length, but at least 1; a token has as many rows as the
    field `group` says (0 counts as 1; "": 1). Otherwise: at most the length; `unlimited`: a 0 in the field is no limit.
    """

    field: str
    bit: int
    rows: bool
    group: str = ""
    unlimited: bool = False


RULES = {
    ARRAY: (Rule("rows_y", 0, True),),
    VECTOR: (Rule("ny", 0, True), Rule("height", 1, False)),
    SOFTMAX: (Rule("rows", 0, True, group="group"), Rule("valid_limit", 1, False, unlimited=True)),
    NORM: (Rule("rows", 0, True),),
}
"""What can be clipped."""


def check_length(config: Config, length: int) -> int:
    """`length`; raises ValueError where the register LENGTH of a machine cannot hold it."""
    if not 0 <= length < 1 << LENGTH_BITS:
        raise ValueError(f"a length must be from 0 to {(1 << LENGTH_BITS) - 1}, not {length}")
    if length and not config.clips:
        raise ValueError("a machine without norm and softmax unit has no length")
    return length


def is_clipped(kind: InstructionType, values: Mapping[str, int], length: int) -> bool:
    """Whether an instruction with these fields is marked, and there is a length (0: as compiled)."""
    return length != 0 and kind in RULES and values["clip"] != 0


def clipped(kind: InstructionType, values: Mapping[str, int], length: int) -> dict[str, int]:
    """The fields of an instruction, clipped to a length."""
    out = dict(values)
    if not is_clipped(kind, values, length):
        return out
    for rule in RULES[kind]:
        if not values["clip"] >> rule.bit & 1:
            continue
        if rule.rows:
            most = max(1, (length - values["first"]) * (values[rule.group] or 1 if rule.group else 1))
        else:
            most = length
        out[rule.field] = most if rule.unlimited and not out[rule.field] else min(out[rule.field], most)
    return out


def clip_cycles(kind: InstructionType) -> int:
    """Cycles that an instruction takes longer when it is clipped."""
    return 3 if any(rule.group for rule in RULES[kind]) else 2


class Clip(wiring.Component):
    """Applies the rules of one kind of instruction between its queue and its unit.

    An instruction that is not clipped passes in the cycle in which it comes; the others `clip_cycles(kind)` later. They
    stay on `i` meanwhile, so nothing but what changes is kept here.

    Parameters
    ----------
    kind: of the instructions, one of RULES.

    Members
    -------
    i, o: streams of `kind.layout()`. length: of the sequence, 0: as compiled; steady while there are instructions.
    """

    def __init__(self, kind: InstructionType) -> None:
        if kind not in RULES:
            raise ValueError(f"there is no rule by which {kind.name} could be clipped")
        self._kind = kind
        super().__init__({
            "i": In(stream.Signature(kind.layout())),
            "o": Out(stream.Signature(kind.layout())),
            "length": In(LENGTH_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given, shown, rules = self.i.payload, self.o.payload, RULES[self._kind]
        active = Signal()
        m.d.sync += active.eq(self.length != 0)
        left = Signal(LENGTH_BITS, reset_less=True)  # tokens from `first` on
        rows = left  # of them
        fields = [Signal.like(given[rule.field], name=rule.field, reset_less=True) for rule in rules]
        marked = active & (given.clip != 0)
        group = next((rule.group for rule in rules if rule.group), "")
        m.d.comb += shown.eq(given)
        with m.FSM():
            with m.State("plain"):
                m.d.comb += [self.o.valid.eq(self.i.valid & ~marked), self.i.ready.eq(self.o.ready & ~marked)]
                m.d.sync += left.eq(Mux(given.first < self.length, self.length - given.first, 0))
                with m.If(self.i.valid & marked):
                    m.next = "product" if group else "least"
            if group:
                rows = Signal(2 * LENGTH_BITS, reset_less=True)
                with m.State("product"):
                    m.d.sync += rows.eq(left * Mux(given[group] == 0, 1, given[group]))
                    m.next = "least"
            with m.State("least"):
                m.d.sync += [field.eq(self._least(rule, rows)) for field, rule in zip(fields, rules, strict=True)]
                m.next = "clipped"
            with m.State("clipped"):
                m.d.comb += [shown[rule.field].eq(field) for field, rule in zip(fields, rules, strict=True)]
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "plain"
        return m

    def _least(self, rule: Rule, rows: Signal) -> Value:
        """What becomes of a field."""
        given = self.i.payload
        field = given[rule.field]
        if rule.rows:
            least = Mux(field > rows, Mux(rows == 0, 1, rows), field)
        else:
            least = Mux((field > self.length) | ((field == 0) & rule.unlimited), self.length, field)
        return Mux(given.clip[rule.bit], least, field)
