"""Instructions of a program as the model reads them: fields only, decoded fast."""

from functools import cache
from types import SimpleNamespace
from typing import Any

from systolith.rtl import isa
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


def decode(words: list[int], at: int) -> tuple[isa.InstructionType, Fields]:
    """The instruction that starts at `words[at]`, with the values that `isa.decode` gives it."""
    header = words[at] if at < len(words) else 0
    kind = isa.BY_OPCODE.get(header & 0xFF)
    if kind is None or header >> 8 & 0xFF != kind.length or at + kind.length > len(words):
        raise MachineError(f"ILLEGAL_INSTRUCTION at {4 * at:#x}")
    values = {}
    for name, word, offset, mask, sign in _places(kind.opcode):
        value = words[at + word] >> offset & mask
        values[name] = value - 2 * sign if value & sign else value
    return kind, SimpleNamespace(**values)


def moves_out(words: list[int], at: int) -> bool:
    """Whether a program has an instruction for the mover out."""
    while at < len(words) and (kind := isa.BY_OPCODE.get(words[at] & 0xFF)) is not None and kind is not isa.END:
        if kind is isa.MOVE_OUT:
            return True
        at += kind.length
    return False
