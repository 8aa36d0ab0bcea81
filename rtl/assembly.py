"""Programs as words: instructions in whole and in compact form, and back. The forms are described in `rtl.isa`."""

from collections.abc import Iterable, Sequence
from operator import ne

from .isa import BY_OPCODE, COMPACT, LOOP, NEXT, Instruction


class IllegalInstruction(ValueError):
    """Words that are no instruction."""


class Expander:
    """Reads the instructions of a program one after the other, in the order in which they are executed.

    slots: how many instructions of each unit are kept.
    """

    def __init__(self, slots: int = 1) -> None:
        self._slots = slots
        self._kept: dict[tuple[int, int], list[int]] = {}  # by opcode and slot

    def expand(self, words: Sequence[int], at: int) -> tuple[list[int], int]:
        """The whole form of the instruction that starts at `words[at]`, and the index after it; `IllegalInstruction`
        where there is none."""
        header = words[at] if at < len(words) else 0
        opcode, second = header & 0xFF, (header & ~COMPACT) >> 8 & 0xFF
        kind, base = BY_OPCODE.get(opcode), self._kept.get((opcode, second))
        illegal = IllegalInstruction(f"word {header:#010x} at {4 * at:#x} starts no instruction")
        if kind is None or (base is None or at + 1 >= len(words) if header & COMPACT else second != kind.length):
            raise illegal
        if header & COMPACT and base:
            given = [k for k in range(1, kind.length) if words[at + 1] >> k & 1]
            end = at + 2 + len(given)
            whole = [header & 0xFFFF0000 | kind.length << 8 | opcode, *base[1:]]
            for k, word in zip(given, words[at + 2:end], strict=False):
                whole[k] = word
        else:
            whole, end = list(words[at:at + kind.length]), at + kind.length
        if end > len(words):
            raise illegal
        if opcode >> 4:
            self._kept[opcode, (header >> 16) % self._slots] = whole
        return whole, end

    def decode(self, words: Sequence[int], at: int) -> tuple[Instruction, int]:
        """The same as an instruction."""
        whole, end = self.expand(words, at)
        kind = BY_OPCODE[whole[0] & 0xFF]
        values = {}
        for word, bits in zip(kind.words, whole, strict=True):
            offset = 0
            for field in word:
                value = bits >> offset & (1 << field.width) - 1
                if field.signed and value >> field.width - 1:
                    value -= 1 << field.width
                if field.name:
                    values[field.name] = value
                offset += field.width
        return Instruction(kind, values), end


def decode(words: Sequence[int], at: int = 0) -> Instruction:
    """The instruction in whole form that starts at `words[at]`; `IllegalInstruction` where there is none."""
    return Expander().decode(words, at)[0]


class Assembler:
    """Makes the words of a program, with instructions in compact form where that is shorter.

    What comes first in a loop or after one is whole, as what is kept then is not the same in each turn.

    slots: see `Expander`.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._kept: dict[tuple[int, int], list[int]] = {}

    def copy(self) -> "Assembler":
        """Another one that goes on from here."""
        new = Assembler(self._slots)
        new._kept = dict(self._kept)
        return new

    def words(self, instructions: Iterable[Instruction]) -> list[int]:
        """The words of the next instructions."""
        out: list[int] = []
        for instruction in instructions:
            kind, whole = instruction.kind, instruction.encode()
            best, behind = None, whole[1:]
            for slot in range(self._slots):
                if base := self._kept.get((kind.opcode, slot)):
                    count = sum(map(ne, behind, base[1:]))
                    if best is None or count < best[1]:
                        best = slot, count
            if best and 2 + best[1] < kind.length:
                slot, base = best[0], self._kept[kind.opcode, best[0]]
                changed = [k for k in range(1, kind.length) if whole[k] != base[k]]
                out += [whole[0] & 0xFFFF0000 | slot << 8 | COMPACT | kind.opcode, sum(1 << k for k in changed),
                        *(whole[k] for k in changed)]
            else:
                out += whole
            if kind in (LOOP, NEXT):
                self._kept.clear()
            elif kind.opcode >> 4:
                self._kept[kind.opcode, instruction.tag % self._slots] = whole
        return out


def assemble(instructions: Iterable[Instruction], slots: int) -> list[int]:
    """The words of a program from its start; see `Assembler`."""
    return Assembler(slots).words(instructions)


def disassemble(words: Sequence[int], slots: int = 1) -> list[str]:
    """A program as text, an instruction a line, up to the last word; slots: see `Expander`."""
    lines, at, expander = [], 0, Expander(slots)
    while at < len(words):
        instruction, end = expander.decode(words, at)
        lines.append(f"{4 * at:06x}  {instruction}")
        at = end
    return lines
