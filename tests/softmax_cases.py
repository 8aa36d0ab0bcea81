"""Random SOFTMAX instructions with the memory that they work on."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import SOFTMAX, Instruction
from systolith.sim.golden.softmax import execute_softmax

ROWS = ("random", "constant", "one hot", "narrow", "two levels", "extremes")
TABLES = ("exponential", "random", "full", "small", "sparse", "zeros")


def exponential(scale: float) -> NDArray[np.int32]:
    """The table of a softmax of int8 values that mean `scale` each."""
    return np.rint(2.0**24 * np.exp(-scale * np.arange(256))).astype(np.int32)


def make_table(kind: str, numbers: np.random.Generator) -> NDArray[np.int32]:
    """A table of 256 entries."""
    random_ = numbers.integers(0, (1 << 24) + 1, 256)
    return np.asarray({
        "exponential": exponential(10 ** numbers.uniform(-3, 0)),
        "random": random_,
        "full": np.full(256, 1 << 24),
        "small": numbers.integers(0, 3, 256),
        "sparse": np.where(numbers.random(256) < 0.02, random_ >> numbers.integers(0, 24, 256), 0),
        "zeros": np.zeros(256),
    }[kind], np.int32)


def make_row(kind: str, elems: int, numbers: np.random.Generator) -> NDArray[np.int8]:
    """A row of `elems` values."""
    value, other = numbers.integers(-128, 128, 2)
    row = numbers.integers(-128, 128, elems)
    if kind == "constant":
        row[:] = value
    elif kind == "one hot":
        row[:] = min(value, other)
        row[numbers.integers(elems)] = max(value, other)
    elif kind == "narrow":
        row = np.clip(value + row // 16, -128, 127)
    elif kind == "two levels":
        row = numbers.choice([value, other], elems)
    elif kind == "extremes":
        row = numbers.choice([-128, 127], elems)
    return row.astype(np.int8)


@dataclass
class Program:
    """Instructions and the memory before them."""

    instructions: list[Instruction]
    memory: NDArray[np.uint8]

    def payloads(self) -> list[Any]:
        """The instructions as payloads of the instruction stream."""
        return [SOFTMAX.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))
                for i in self.instructions]

    def expected(self, word_bytes: int) -> NDArray[np.uint8]:
        """The memory after them."""
        memory = self.memory.copy()
        for instruction in self.instructions:
            execute_softmax(instruction, memory, word_bytes)
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
        """An instruction for each (rows, elems); `fixed`: fields that all of them have, or kinds of `row`, `table`."""
        return Program([self.instruction(rows, elems, **fixed) for rows, elems in shapes], self.memory)

    def random_shapes(self, count: int, longest: int = 300) -> list[tuple[int, int]]:
        """(rows, elems): many short rows or few long ones."""
        elems = [self.rng.choice((1, self.rng.randint(1, 20), self.rng.randint(1, longest))) for _ in range(count)]
        return [(self.rng.randint(1, max(1, min(8, 400 // n))), n) for n in elems]

    def instruction(self, rows: int, elems: int, **fixed: Any) -> Instruction:
        """An instruction with its inputs in memory: unaligned, gaps between the rows."""
        rng = self.rng
        f: dict[str, Any] = {"rows": rows, "elems": elems, "tag": rng.randrange(1 << 16)}
        for letter in "ac":
            f[f"{letter}_row"] = elems + rng.choice((0, 0, rng.randrange(20)))
            f[letter] = self._take(rows * f[f"{letter}_row"] + 32) + rng.randrange(16)
        f["b"] = self._take(1024 + self.word_bytes) // self.word_bytes * self.word_bytes + self.word_bytes
        f |= {name: value for name, value in fixed.items() if name in SOFTMAX.fields}
        if rng.random() < 0.2 and "a" not in fixed:
            f["c"], f["c_row"] = f["a"], f["a_row"]
        f |= {name: value for name, value in self._mask(elems).items() if name not in fixed}
        for name in ("wait0", "wait1", "signal0", "signal1"):
            if rng.random() < 0.3 and name not in fixed:
                f |= {name: rng.randrange(16), f"{name}_count": rng.randrange(4)}
        table = make_table(fixed.get("table") or rng.choice(("exponential", *TABLES)), self.numbers)
        self.memory[f["b"]:f["b"] + 1024] = table.astype("<i4").view(np.uint8)
        for row in range(rows):
            at = (f["a"] + row * f["a_row"]) % (1 << 24)
            self.memory[at:at + elems] = make_row(fixed.get("row") or rng.choice(ROWS), elems, self.numbers).view("u1")
        return SOFTMAX(**f)

    def _mask(self, elems: int) -> dict[str, int]:
        """Fields that say what takes part: often all of it."""
        rng = self.rng
        limit = rng.choice((0, 0, 1, rng.randint(1, elems), rng.randrange(1 << 16)))
        if rng.random() < 0.3:
            return {"valid_limit": limit}
        return {"valid": rng.choice((0, 1, rng.randint(1, elems), rng.randrange(1 << 16))), "group": rng.randrange(4),
                "valid_step": rng.choice((0, 1, rng.randint(0, elems), rng.randrange(1 << 16))), "valid_limit": limit}

    def _take(self, count: int) -> int:
        at = self.free
        self.free += count
        assert self.free <= self.memory.size, "the cases do not fit into the memory"
        return at
