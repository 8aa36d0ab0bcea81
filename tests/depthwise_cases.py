"""Random DEPTHWISE instructions with the memory that they work on."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import DEPTHWISE, DEPTHWISE_TAPS, DEPTHWISE_WINDOW, DOUBLE, EVEN, SINGLE, Instruction
from systolith.sim.golden.depthwise import execute_depthwise
from systolith.sim.golden.vector import pack_parameters

INT32 = np.iinfo(np.int32)
MODULUS = 1 << 24
LEGAL = {"rows_y": 1, "rows_x": 1, "ky": 8, "kx": 8, "tiles": 1, "elems": 3, "elems_last": 1, "y_dilation": 1,
         "x_dilation": 1, "low": -5, "high": -5, "rounding": EVEN, "b": 24, "b_tile": 8}
ILLEGAL = [
    *({name: 0} for name in ("rows_y", "rows_x", "ky", "kx", "tiles", "elems", "elems_last")), {"elems": 7},
    {"elems_last": 7}, {"ky": 14, "kx": 1}, {"kx": 14, "ky": 1}, {"ky": 14, "kx": 1, "y_dilation": 0},
    {"y_dilation": 2}, {"x_dilation": 2}, {"ky": 2, "y_dilation": 13}, {"kx": 2, "x_dilation": 13},
    {"ky": 0, "kx": 1, "y_dilation": 0}, {"kx": 0, "ky": 1, "x_dilation": 0}, {"ky": 5, "kx": 13},
    {"b": 4}, {"b_tile": 12}, {"rounding": 3}, {"low": -4}, {"low": 127, "high": -128},
]
"""Fields that make LEGAL illegal where cols is 6 and word_bytes 8."""
UNUSUAL = [
    {"ky": 13, "kx": 4}, {"ky": 1, "kx": 13}, {"ky": 1, "y_dilation": 255}, {"ky": 2, "kx": 2, "y_dilation": 12},
    {"y_step": 0, "x_step": 0, "y_dilation": 0}, {"height": 0, "width": 0}, {"elems": 6, "elems_last": 6},
]
"""Fields with which LEGAL is still legal."""


@dataclass
class DepthwiseProgram:
    """Instructions and the memory before them."""

    instructions: list[Instruction]
    memory: NDArray[np.uint8]

    def words(self) -> list[Any]:
        """The instructions as payloads of the instruction stream."""
        return [DEPTHWISE.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))
                for i in self.instructions]

    def semaphores(self, verb: str) -> list[dict[str, int]]:
        """What the instructions take (`verb` "wait") or give ("signal"), in order."""
        pairs = [(getattr(i, f"{verb}{k}"), getattr(i, f"{verb}{k}_count")) for i in self.instructions for k in (0, 1)]
        return [{"semaphore": number, "count": count} for number, count in pairs if number and count]

    def result(self, cols: int, word_bytes: int) -> NDArray[np.uint8]:
        """The memory after them."""
        memory = self.memory.copy()
        for instruction in self.instructions:
            execute_depthwise(instruction, memory, cols, word_bytes)
        return memory


class DepthwiseCases:
    """Makes instructions whose outputs lie apart from each other and from all inputs.

    seed: of the random numbers. cols, word_bytes: of the machine. size: of the memory, bytes.
    """

    INPUTS = 1 << 14
    """Bytes of random inputs at the start of the memory; constants follow, then outputs."""

    def __init__(self, seed: int, cols: int, word_bytes: int, size: int = 1 << 18) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.cols, self.word_bytes = cols, word_bytes
        self.memory = self.numbers.integers(0, 256, size, np.uint8)
        self.free = self.INPUTS

    def program(self, count: int, *, semaphores: bool = False, **fixed: int) -> DepthwiseProgram:
        """`count` instructions; `fixed`: fields that all of them have; `semaphores`: with random waits and signals."""
        instructions = [self.instruction(**fixed) for _ in range(count)]
        if semaphores:
            for instruction in instructions:
                for name in ("wait0", "wait1", "signal0", "signal1"):
                    if self.rng.random() < 0.4:
                        instruction.values |= {name: self.rng.randrange(16), f"{name}_count": self.rng.randrange(4)}
        return DepthwiseProgram(instructions, self.memory)

    def _take(self, count: int, align: int = 1) -> int:
        at = -(-self.free // align) * align
        self.free = at + count
        assert self.free <= self.memory.size, "the cases do not fit into the memory"
        return at

    def _constants(self, taps: int) -> NDArray[np.uint8]:
        """Weights and a parameter set for sums of their size; now and then extreme ones."""
        cols, numbers = self.cols, self.numbers
        weights = np.zeros((taps, self.word_bytes), np.int8)
        weights[:] = numbers.integers(-128, 128, weights.shape) if self.rng.random() < 0.8 else -128
        bits = numbers.integers(1, 32, cols)
        multiplier = numbers.integers(0, 1 << 31, cols) >> (31 - bits)
        multiplier = np.where(numbers.random(cols) < 0.1, INT32.max, multiplier)
        magnitude = 14 + taps.bit_length() // 2 + bits
        shift = np.clip(magnitude - numbers.integers(3, 12, cols), 0, 62)
        shift = np.where(numbers.random(cols) < 0.1, numbers.integers(0, 63, cols), shift)
        bias = numbers.integers(-3000, 3000, cols)
        bias = np.where(numbers.random(cols) < 0.1, numbers.choice([INT32.min, INT32.max], cols), bias)
        raw = pack_parameters(bias, multiplier, shift, cols, self.word_bytes)
        return np.concatenate([weights.reshape(-1).view(np.uint8), raw])

    def _window(self) -> dict[str, int]:
        """Kernel, dilation, steps: often the usual ones, now and then anything that is legal."""
        rng, most = self.rng, DEPTHWISE_WINDOW
        kind = rng.random()
        if kind < 0.3:
            ky = kx = rng.choice((1, 3, 3, 5))
        elif kind < 0.4:
            ky, kx = rng.choice(((most, 1), (1, most), (8, 8), (most, 4), (4, most)))
        else:
            ky = rng.randint(1, 7)
            kx = rng.randint(1, min(most, DEPTHWISE_TAPS // ky))
        f = {"ky": ky, "kx": kx}
        for axis, taps in (("y", ky), ("x", kx)):
            reach = (most - 1) // (taps - 1) if taps > 1 else 255
            f[f"{axis}_dilation"] = rng.choice((min(1, reach), rng.randint(0, reach)))
            f[f"{axis}_step"] = rng.choice((1, 1, 2, rng.randint(0, 5), rng.randint(0, 16)))
        return f

    def instruction(self, **fixed: int) -> Instruction:
        """One random instruction; `fixed` fields are as given."""
        rng, cols = self.rng, self.cols
        f = {"tiles": rng.choice((1, 1, 2, 3)), "tag": rng.randrange(1 << 16), "pad": rng.randint(-128, 127),
             "rounding": rng.choice((SINGLE, DOUBLE, EVEN)), "rows_y": rng.choice((1, 2, 3, 4, 5, rng.randint(1, 9))),
             "rows_x": rng.choice((1, 2, 3, 5, rng.randint(1, 9))), "height": rng.randint(1, 12),
             "width": rng.randint(1, 12), "zero_point": rng.choice((0, rng.randint(-128, 127), -32768, 32767))}
        f["elems"], f["elems_last"] = (rng.choice((cols, rng.randint(1, cols))) for _ in range(2))
        f["low"], f["high"] = rng.choice(((-128, 127), (-128, 127), (-20, 100), (0, 127)))
        f |= self._window()
        f.update(fixed)
        window = [(f[f"k{axis}"] - 1) * f[f"{axis}_dilation"] + 1 for axis in "yx"]
        for axis, size in zip("yx", window, strict=True):
            f[f"{axis}_start"] = rng.choice((0, -(size // 2), rng.randint(-size - 2, 2)))
        f.update(fixed)
        self._input(f, fixed)
        constants = [self._constants(f["ky"] * f["kx"]) for _ in range(f["tiles"])]
        gap = rng.choice((0, self.word_bytes))
        f["b_tile"] = constants[0].size + gap
        f["b"] = self._take(f["tiles"] * f["b_tile"], self.word_bytes)
        for t, raw in enumerate(constants):
            self.memory[f["b"] + t * f["b_tile"]:][:raw.size] = raw
        self._output(f)
        f.update(fixed)
        return DEPTHWISE(**f)

    def _input(self, f: dict[str, int], fixed: dict[str, int]) -> None:
        """Addresses of the input: groups within a pixel or one after the other; part of it may lie lower, in a ring."""
        rng = self.rng
        elems = max(f["elems"], f["elems_last"])
        if rng.random() < 0.6:
            f["a_tile"], f["a_pixel"] = elems, f["tiles"] * elems + rng.choice((0, 3))
            f["a_row"] = f["width"] * f["a_pixel"] + rng.choice((0, 7))
            need = f["height"] * f["a_row"]
        else:
            f["a_pixel"] = elems + rng.choice((0, 3))
            f["a_row"] = f["width"] * f["a_pixel"]
            f["a_tile"] = rng.choice((0, f["height"] * f["a_row"]))
            need = (f["tiles"] - 1) * f["a_tile"] + f["height"] * f["a_row"]
        f.update(fixed)
        assert need + self.word_bytes <= self.INPUTS, "the input does not fit"
        at = rng.randint(0, self.INPUTS - need - self.word_bytes)
        if rng.random() < 0.4 and at:
            f["a_ring"], f["a_end"] = rng.randint(1, at), at + rng.randrange(need + 1)
        if rng.random() < 0.2:  # rows and columns before the first used one need not exist
            at -= max(0, f["y_start"]) * f["a_row"] + max(0, f["x_start"]) * f["a_pixel"]
        f["a"] = at % MODULUS

    def _output(self, f: dict[str, int]) -> None:
        """Output addresses: the groups of a pixel side by side, or one after the other; in a ring now and then."""
        rng = self.rng
        elems = max(f["elems"], f["elems_last"])
        if rng.random() < 0.6:
            f["c_tile"], f["c_pixel"] = elems, f["tiles"] * elems + rng.choice((0, 5))
            f["c_row"] = f["rows_x"] * f["c_pixel"] + rng.choice((0, 5))
            need = f["rows_y"] * f["c_row"]
        else:
            f["c_pixel"] = elems + rng.choice((0, 5))
            f["c_row"] = f["rows_x"] * f["c_pixel"]
            f["c_tile"] = f["rows_y"] * f["c_row"] + rng.choice((0, 5))
            need = f["tiles"] * f["c_tile"]
        need += 2 * elems
        at = self._take(need + rng.randint(0, 9))
        self._take(2 * self.cols)  # a pixel may lie across the ring's end; and a strip that nobody may touch
        f["c"] = at
        if rng.random() < 0.4:
            f["c"], f["c_end"], f["c_ring"] = at + rng.randrange(need), at + need, need


@dataclass
class Strip:
    """What `DepthwiseStrips` is to make of an instruction: output rows of one group, side by side."""

    instruction: Instruction
    lanes: int
    t: int
    y: int
    rows: int

    @property
    def last(self) -> bool:
        """The group's last."""
        return self.y + self.rows == self.instruction.rows_y

    @property
    def window(self) -> tuple[int, int]:
        """Input rows and columns of a window."""
        i = self.instruction
        return (i.ky - 1) * i.y_dilation + 1, (i.kx - 1) * i.x_dilation + 1

    @property
    def log_rows(self) -> int:
        """log2 of `rows`, rounded up."""
        return (self.rows - 1).bit_length()

    @property
    def iy(self) -> int:
        """Input row of the first output row at ky = 0."""
        return self.instruction.y_start + self.y * self.instruction.y_step

    @property
    def inside(self) -> range:
        """Numbers of the rows of the strip's window that are in the image."""
        seen = (self.rows - 1) * self.instruction.y_step + self.window[0]
        return range(min(max(-self.iy, 0), 15), min(seen, max(0, min(self.instruction.height - self.iy, 15))))

    @property
    def step(self) -> int:
        """Columns that an output column needs beyond those of the one before."""
        return min(self.instruction.x_step, self.window[1])

    @property
    def wide(self) -> bool:
        """Whether lanes take part in further columns."""
        i, window = self.instruction, self.window[1]
        return self.lanes > 1 and i.x_step <= window and (self.lanes - 1) * i.x_step + window <= 24

    def columns(self) -> list[int]:
        """Input columns that some output column needs, in order; those outside too."""
        i, window = self.instruction, self.window[1]
        return sorted({i.x_start + x * i.x_step + k for x in range(i.rows_x) for k in range(window)})


def strips(instruction: Instruction, lanes: int) -> list[Strip]:
    """The strips of an instruction, in order."""
    i = instruction
    window = (i.ky - 1) * i.y_dilation + 1
    most = max(n for n in (1, 2, 4, 8) if n <= lanes and (n == 1 or (n - 1) * i.y_step + window <= 15))
    return [Strip(i, lanes, t, y, min(most, i.rows_y - y)) for t in range(i.tiles) for y in range(0, i.rows_y, most)]
