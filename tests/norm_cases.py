"""Random NORM instructions with the memory that they work on."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import INT8, INT16, NORM, Instruction
from systolith.sim.golden.norm import NormParameters, execute_norm

ROWS = ("random", "constant", "one hot", "narrow", "two levels", "extremes", "zeros")
PARAMETERS = ("usual", "random", "wide", "zeros")


def make_parameters(kind: str, elems: int, numbers: np.random.Generator) -> NormParameters:
    """Parameters of `elems` channels; "usual": such that outputs fill their range."""
    gain = numbers.integers(-(1 << 17), 1 << 17, elems)
    offset = numbers.integers(-(1 << 31), 1 << 31, elems)
    if kind == "zeros":
        return NormParameters(*(np.zeros(elems, np.int64) for _ in range(3)))
    if kind == "wide":  # beyond the clamp, or nearly so, on either side
        return NormParameters(numbers.choice([-(1 << 17), (1 << 17) - 1, 1], elems), numbers.integers(0, 20, elems),
                              numbers.choice([-(1 << 31), (1 << 31) - 1, 0], elems))
    if kind == "usual":
        return NormParameters(gain, numbers.integers(12, 24, elems), offset >> 14)
    return NormParameters(gain, numbers.integers(0, 64, elems), offset >> numbers.integers(0, 32, elems))


def make_row(kind: str, elems: int, bits: int, numbers: np.random.Generator) -> NDArray[np.int64]:
    """A row of `elems` integers of `bits` bits."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    value, other = numbers.integers(low, high + 1, 2).tolist()
    row = numbers.integers(low, high + 1, elems)
    if kind == "constant":
        row[:] = value
    elif kind == "one hot":
        row[:] = value
        row[numbers.integers(elems)] = other
    elif kind == "narrow":
        row = np.clip(value + numbers.integers(-2, 3, elems), low, high)
    elif kind == "two levels":
        row = numbers.choice([value, other], elems)
    elif kind == "extremes":
        row = numbers.choice([low, high], elems)
    elif kind == "zeros":
        row[:] = 0
    return row


@dataclass
class Program:
    """Instructions and the memory before them."""

    instructions: list[Instruction]
    memory: NDArray[np.uint8]

    def payloads(self) -> list[Any]:
        """The instructions as payloads of the instruction stream."""
        return [NORM.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))
                for i in self.instructions]

    def expected(self, word_bytes: int) -> NDArray[np.uint8]:
        """The memory after them."""
        memory = self.memory.copy()
        for instruction in self.instructions:
            execute_norm(instruction, memory, word_bytes)
        return memory

    def semaphores(self, verb: str) -> list[dict[str, int]]:
        """What the instructions take (`verb` "wait") or give ("signal"), in order."""
        pairs = [(getattr(i, f"{verb}{k}"), getattr(i, f"{verb}{k}_count")) for i in self.instructions for k in (0, 1)]
        return [{"semaphore": number, "count": count} for number, count in pairs if number and count]


class Cases:
    """Makes instructions whose outputs lie apart from each other and from all inputs but, at times, their own.

    seed: of the random numbers. word_bytes: of the machine.
    """

    def __init__(self, seed: int, word_bytes: int) -> None:
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.word_bytes = word_bytes
        self.memory = self.numbers.integers(0, 256, 1 << 18, np.uint8)
        self.free = 0

    def program(self, *shapes: tuple[int, int], **fixed: Any) -> Program:
        """An instruction for each (rows, elems); `fixed`: fields that all of them have, or kinds of `row`,
        `parameters`."""
        return Program([self.instruction(rows, elems, **fixed) for rows, elems in shapes], self.memory)

    def random_shapes(self, count: int, longest: int = 200) -> list[tuple[int, int]]:
        """(rows, elems): many short rows or few long ones."""
        elems = [self.rng.choice((1, self.rng.randint(1, 20), self.rng.randint(1, longest))) for _ in range(count)]
        return [(self.rng.randint(1, max(1, min(8, 300 // n))), n) for n in elems]

    def instruction(self, rows: int, elems: int, **fixed: Any) -> Instruction:
        """An instruction with its inputs in memory: unaligned, gaps between the rows."""
        rng = self.rng
        f: dict[str, Any] = {"rows": rows, "elems": elems, "tag": rng.randrange(1 << 16), "rms": rng.randrange(2),
                             "in_type": rng.choice((INT8, INT16)), "out_type": rng.choice((INT8, INT16)),
                             "zero_point": rng.choice((0, rng.randrange(-200, 200)))}
        f |= {name: value for name, value in fixed.items() if name in NORM.fields}
        limit = 1 << (15 if f["out_type"] else 7)
        f["low"], f["high"] = rng.choice(((-limit, limit - 1), tuple(sorted(rng.choices(range(-limit, limit), k=2)))))
        epsilon = rng.choice((0, 1, rng.getrandbits(64) >> rng.randrange(64), (1 << 64) - 1))
        f["epsilon"], f["epsilon_high"] = epsilon & 0xFFFFFFFF, epsilon >> 32
        for letter, kind in (("a", f["in_type"]), ("c", f["out_type"])):
            f[f"{letter}_row"] = (elems << kind) + rng.choice((0, 0, rng.randrange(20)))
            f[letter] = self._take(rows * f[f"{letter}_row"] + 32) + rng.randrange(16)
        f["b"] = self._take(8 * elems + self.word_bytes) // self.word_bytes * self.word_bytes + self.word_bytes
        self._take(self.word_bytes)
        f |= {name: value for name, value in fixed.items() if name in NORM.fields}
        if rng.random() < 0.2 and "a" not in fixed and f["out_type"] <= f["in_type"]:
            f["c"], f["c_row"] = f["a"], f["a_row"]
        for name in ("wait0", "wait1", "signal0", "signal1"):
            if rng.random() < 0.3 and name not in fixed:
                f |= {name: rng.randrange(16), f"{name}_count": rng.randrange(4)}
        parameters = make_parameters(fixed.get("parameters") or rng.choice(("usual", *PARAMETERS)), elems, self.numbers)
        self.memory[f["b"]:f["b"] + 8 * elems] = parameters.encode()
        for row in range(rows):
            at = (f["a"] + row * f["a_row"]) % (1 << 24)
            values = make_row(fixed.get("row") or rng.choice(ROWS), elems, 16 if f["in_type"] else 8, self.numbers)
            self.memory[at:at + (elems << f["in_type"])] = values.astype("<i2" if f["in_type"] else "<i1").view("u1")
        return NORM(**f)

    def _take(self, count: int) -> int:
        at = self.free
        self.free += count
        assert self.free <= self.memory.size, "the cases do not fit into the memory"
        return at
