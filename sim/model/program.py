"""Instructions of a program as the model reads them: fields only, decoded fast."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

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


def bring(words: list[int], i: Fields, external: bytes) -> None:
    """Puts what a MOVE_IN brings into the memory as far as that is known, which the next part of a program is.

    At once is early enough: the program has left what it overwrites, and reads it again only after a wait for it.
    """
    for number in range(i.blocks if i.a < 4 * len(words) and not i.ring_bytes else 0):
        first, begin = (i.a + number * i.step) // 4, i.external + number * i.external_step
        found = np.frombuffer(external[begin:begin + i.block_bytes], "<u4").tolist()[:max(len(words) - first, 0)]
        words[first:first + len(found)] = found


def uses(words: list[int], at: int, slots: int, external: bytes, *kinds: isa.InstructionType) -> bool:
    """Whether a program has an instruction of one of these kinds."""
    words, expander = list(words), assembly.Expander(slots)
    kind: isa.InstructionType | None = None
    while kind is not isa.END and kind not in kinds:
        try:
            kind, i, at = decode(words, at, expander)
        except MachineError:
            return False
        if kind is isa.MOVE_IN:
            bring(words, i, external)
        if kind is isa.JUMP:
            at = i.address // 4
    return kind in kinds
