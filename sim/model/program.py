"""Instructions of a program as the model reads them: fields only, decoded fast."""

from functools import cache
from types import SimpleNamespace
from typing import Any

from systolith.rtl import assembly, isa
from systolith.sim.machine.machine import MachineError

Fields = Any
"""The fields of an instruction, as attributes."""


@cache
def _places(opcode: int) -> tuple[tuple[str, int, int, int, int], ...]:
    """Of each field of an instruction: name, word, offset, mask, and the value of its sign bit (0: unsigned)."""
    out = []
    for index, word in enumerate(isa.BY_OPCODE[opcode].words):
        offset = 0
        for field in word:
            if field.name:
                out.append((field.name, index, offset, (1 << field.width) - 1,
                            1 << field.width - 1 if field.signed else 0))
            offset += field.width
    return tuple(out)


def decode(words: list[int], at: int, expander: assembly.Expander) -> tuple[isa.InstructionType, Fields, int]:
    """The instruction that starts at `words[at]`, with the values that `expander` would give it; the index after it."""
    try:
        whole, end = expander.expand(words, at)
    except assembly.IllegalInstruction:
        raise MachineError(f"ILLEGAL_INSTRUCTION at {4 * at:#x}") from None
    kind = isa.BY_OPCODE[whole[0] & 0xFF]
    values = {}
    for name, word, offset, mask, sign in _places(kind.opcode):
        value = whole[word] >> offset & mask
        values[name] = value - 2 * sign if value & sign else value
    return kind, SimpleNamespace(**values), end


def uses(words: list[int], at: int, slots: int, *kinds: isa.InstructionType) -> bool:
    """Whether a program has an instruction of one of these kinds."""
    expander, opcode = assembly.Expander(slots), 0
    wanted = {kind.opcode for kind in kinds}
    while opcode not in wanted | {isa.END.opcode}:
        try:
            whole, at = expander.expand(words, at)
        except assembly.IllegalInstruction:
            return False
        opcode = whole[0] & 0xFF
    return opcode in wanted
