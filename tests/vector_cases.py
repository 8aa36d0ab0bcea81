"""Random VECTOR instructions with the memory and the accumulator blocks that they work on; vectors for one lane."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import (
    ACCUMULATORS,
    DOUBLE,
    EVEN,
    INT8,
    MAX,
    MEMORY,
    PRODUCT,
    SINGLE,
    SUM,
    VECTOR,
    Instruction,
)
from systolith.rtl.vector_lane import Reduce
from systolith.sim.golden.rescale import round_shift
from systolith.sim.golden.vector import TABLE_BYTES, TYPES, pack_parameters, set_bytes

INT32 = np.iinfo(np.int32)


@dataclass
class Program:
    """Instructions, the memory before them, and the blocks that the array sends."""

    instructions: list[Instruction]
    memory: NDArray[np.uint8]
    blocks: list[NDArray[np.int32]]

    def words(self) -> list[Any]:
        """The instructions as payloads of the instruction stream."""
        return [VECTOR.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))
                for i in self.instructions]

    def rows(self) -> list[dict[str, Any]]:
        """The blocks as payloads of the accumulator stream."""
        return [{"data": row.tolist(), "last": int(number == len(block) - 1)}
                for block in self.blocks for number, row in enumerate(block)]

    def semaphores(self, verb: str) -> list[dict[str, int]]:
        """What the instructions take (`verb` "wait") or give ("signal"), in order."""
        pairs = [(getattr(i, f"{verb}{k}"), getattr(i, f"{verb}{k}_count")) for i in self.instructions for k in (0, 1)]
        return [{"semaphore": number, "count": count} for number, count in pairs if number and count]


def semaphores(program: Program, seed: int) -> Program:
    """Gives the instructions random waits and signals."""
    rng = random.Random(seed)
    for instruction in program.instructions:
        for name in ("wait0", "wait1", "signal0", "signal1"):
            if rng.random() < 0.4:
                instruction.values |= {name: rng.randrange(16), f"{name}_count": rng.randrange(4)}
    return program


class Cases:
    """Makes instructions whose outputs lie apart from each other and from all inputs.

    seed: of the random numbers. cols, word_bytes: of the machine. size: of the memory, bytes.
    """

    INPUTS = 6144
    """Bytes of random inputs at the start of the memory; parameter sets follow, then outputs."""

    def __init__(self, seed: int, cols: int, word_bytes: int, size: int = 1 << 17) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.cols, self.word_bytes = cols, word_bytes
        self.memory = self.numbers.integers(0, 256, size, np.uint8)
        self.free = self.INPUTS
        self.blocks: list[NDArray[np.int32]] = []

    def program(self, count: int, **fixed: int) -> Program:
        """`count` instructions of all kinds; `fixed`: fields that all of them have."""
        instructions = [self.instruction(**fixed) for _ in range(count)]
        return Program(instructions, self.memory, self.blocks)

    def _take(self, count: int, align: int = 1) -> int:
        at = -(-self.free // align) * align
        self.free = at + count
        assert self.free <= self.memory.size, "the cases do not fit into the memory"
        return at

    def _int32(self, count: int, reach: int = 31) -> NDArray[np.int64]:
        """Numbers of all magnitudes, extremes among them."""
        bits = self.numbers.integers(0, reach + 1, count)
        values = self.numbers.integers(0, 1 << 31, count) >> (31 - bits)
        values = np.where(self.numbers.random(count) < 0.5, values, -values - 1)
        extreme = self.numbers.random(count)
        return np.where(extreme < 0.04, INT32.min, np.where(extreme > 0.96, INT32.max, values))

    def parameters(self, sets: int, magnitude: int) -> int:
        """Random parameter sets for sums of about `magnitude` bits; their address."""
        at = self._take(sets * set_bytes(self.cols, self.word_bytes), self.word_bytes)
        cols = self.cols
        for index in range(sets):
            bits = self.numbers.integers(1, 32, cols)
            multiplier = self.numbers.integers(0, 1 << 31, cols) >> (31 - bits)
            pick = self.numbers.random(cols)
            multiplier = np.where(pick < 0.6, multiplier, -multiplier)
            multiplier = np.select([pick < 0.1, pick < 0.15, pick < 0.2, pick > 0.95],
                                   [INT32.max, 0, 1, INT32.min], multiplier)
            good = np.clip(magnitude + bits - self.numbers.integers(3, 18, cols), 0, 62)
            shift = np.where(self.numbers.random(cols) < 0.2, self.numbers.integers(0, 63, cols), good)
            bias = np.where(self.numbers.random(cols) < 0.15, self._int32(cols), self.numbers.integers(-300, 300, cols))
            raw = pack_parameters(bias, multiplier, shift, cols, self.word_bytes)
            self.memory[at + index * raw.size:at + (index + 1) * raw.size] = raw
        return at

    def instruction(self, **fixed: int) -> Instruction:
        """One random instruction; `fixed` fields are as given."""
        rng = self.rng
        f = {"source": rng.choice((MEMORY, ACCUMULATORS)), "reduce": rng.choice((SUM, MAX)),
             "rounding": rng.choice((SINGLE, DOUBLE, EVEN)), "in_type": rng.randrange(3), "out_type": rng.randrange(3),
             "tiles": rng.choice((1, 1, 2, 3)), "ny": rng.randint(1, 3), "nx": rng.randint(1, 4), "wy": 1, "wx": 1,
             "tag": rng.randrange(1 << 16), "zero_point": rng.choice((0, rng.randint(-128, 127), -32768, 32767)),
             "operands": rng.randrange(2)}
        f |= {name: rng.randrange(1 << 24) for name in ("table", "a_end", "b_end", "c_end")}  # without effect
        f.update(fixed)
        if f["source"] == MEMORY and rng.random() < 0.25 and not {"reduce", "operands", "wy", "wx"} & set(fixed):
            f |= {"reduce": PRODUCT, "operands": 1}
        bits = 8 << f["out_type"]
        f["low"], f["high"] = rng.choice((
            (-(1 << bits - 1), (1 << bits - 1) - 1), (INT32.min, INT32.max), (-5, 100), (0, (1 << bits - 1) - 1)))
        if f["out_type"] == INT8 and fixed.get("lookup", rng.random() < 0.5):
            f |= {"lookup": 1, "low": max(f["low"], -128), "high": min(f["high"], 127)}
        f.update(fixed)
        if f.get("lookup"):
            f["table"] = self._take(TABLE_BYTES, self.word_bytes)
        if f["source"] == ACCUMULATORS:
            f["operands"] = 0
            f["elems"], f["elems_last"] = (rng.choice((self.cols, rng.randint(1, self.cols))) for _ in range(2))
        else:
            f["elems"], f["elems_last"] = (rng.choice((1, 5, rng.randint(1, 3 * self.cols))) for _ in range(2))
        f.update(fixed)
        if f["source"] == ACCUMULATORS:
            f["params"] = self.parameters(f["tiles"], rng.choice((12, 20, 31)))
            self.blocks += [self._int32(f["ny"] * f["nx"] * self.cols, rng.choice((12, 31))).astype(np.int32)
                            .reshape(-1, self.cols) for _ in range(f["tiles"])]
        else:
            f["params"] = self.parameters(2, (16 if f["reduce"] == PRODUCT else 8) << f["in_type"])
            self._operands(f, fixed)
        self._output(f)
        f.update(fixed)
        return VECTOR(**f)

    def _operands(self, f: dict[str, int], fixed: dict[str, int]) -> None:
        """Window and addresses of the operands; all within the inputs."""
        rng = self.rng
        f["height"], f["width"] = rng.randint(1, 4), rng.randint(1, 4)
        for name in ("y_step", "x_step", "wy_step", "wx_step"):
            f[name] = rng.choice((1, 1, 2, 0))
        if rng.random() < 0.6 and f["reduce"] != PRODUCT:
            f["wy"], f["wx"] = rng.randint(1, 3), rng.randint(1, 3)
            f["y_start"], f["x_start"] = rng.randint(-2, 1), rng.randint(-2, 1)
        f.update(fixed)
        size = TYPES[f["in_type"]].itemsize
        for letter in ("a", "b")[:1 + f["operands"]]:
            elems = max(f["elems"], f["elems_last"]) * size
            pixel = elems + rng.randint(0, 9)
            row = f["width"] * pixel + rng.randint(0, 9)
            tile = rng.choice((0, elems, f["height"] * row))
            f |= {f"{letter}_pixel": pixel, f"{letter}_row": row, f"{letter}_tile": tile}
            need = (f["tiles"] - 1) * tile + f["height"] * row
            assert need <= self.INPUTS, "the operand does not fit into the inputs"
            f[letter] = rng.randint(0, self.INPUTS - need)
            if rng.random() < 0.4:
                f |= self._ring(letter, f[letter], need, (pixel, row), 0)

    def _ring(self, letter: str, address: int, size: int, steps: tuple[int, int], lowest: int) -> dict[str, int]:
        """A ring that ends somewhere in `size` bytes from an address, often where something starts."""
        step = self.rng.choice((1, *steps))
        end = address + self.rng.randint(0, size // step) * step
        return {f"{letter}_end": end, f"{letter}_ring": self.rng.randint(1, max(1, end - lowest))}

    def _output(self, f: dict[str, int]) -> None:
        """Output addresses: tile after tile, or the tiles of a pixel side by side."""
        rng = self.rng
        size = max(f["elems"], f["elems_last"]) * TYPES[f["out_type"]].itemsize
        if rng.random() < 0.5:
            f["c_tile"], f["c_pixel"] = size, f["tiles"] * size + rng.randint(0, 5)
            f["c_row"] = f["nx"] * f["c_pixel"] + rng.randint(0, 5)
            need = f["ny"] * f["c_row"]
        else:
            f["c_pixel"] = size + rng.randint(0, 5)
            f["c_row"] = f["nx"] * f["c_pixel"]
            f["c_tile"] = f["ny"] * f["c_row"] + rng.randint(0, 5)
            need = f["tiles"] * f["c_tile"]
        below = rng.choice((0, 0, need))
        start = self._take(below + need + rng.randint(0, 9))
        f["c"] = start + below + rng.randint(0, 3)
        if below:
            f |= self._ring("c", f["c"], need, (f["c_pixel"], f["c_row"]), start)
        self._take(16 + self.word_bytes)  # room for the offset, and a strip that nobody may touch


def _numbers(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """int32 of all magnitudes; one in six an extreme, zero or one."""
    values = rng.integers(INT32.min, INT32.max + 1, count) >> rng.integers(0, 32, count)
    return np.where(rng.random(count) < 1 / 6, rng.choice([INT32.min, INT32.max, 0, 1, -1], count), values)


def lane_vectors(rounding: int, count: int) -> tuple[dict[str, list[int]], list[int]]:
    """Inputs of one lane, element after element (`reduce` as bits), and its outputs."""
    rng = np.random.default_rng(rounding)
    x, bias = _numbers(rng, count), np.where(rng.random(count) < 0.5, 0, _numbers(rng, count))
    multiplier = _numbers(rng, count)
    multiplier = np.where(rng.random(count) < 0.3, 1 << rng.integers(0, 31, count), multiplier)  # ties
    keep, by_kept = rng.random(count) < 0.3, rng.random(count) < 0.2
    kind = rng.choice(["load", "clear", "add", "maximum", "hold"], count, p=[0.5, 0.02, 0.2, 0.2, 0.08]).tolist()
    kind[0], keep[0], by_kept[0] = "load", True, False
    biased = (x + bias).astype(np.int32).astype(np.int64)
    latest = np.maximum.accumulate(np.where(keep, np.arange(count), 0))  # the element that is kept, from this one on
    products = biased * np.where(by_kept, biased[np.roll(latest, 1)], multiplier)
    sums, s = [], np.int64(0)
    for p, k in zip(products, kind, strict=True):
        with np.errstate(over="ignore"):
            s = {"load": p, "clear": np.int64(0), "add": s + p, "maximum": max(s, p), "hold": s}[k]
        sums.append(s)
    magnitude = np.array([int(abs(int(s))).bit_length() for s in sums])
    shift = np.where(rng.random(count) < 0.8, magnitude - rng.integers(-2, 33, count), rng.integers(0, 63, count))
    shift = shift.clip(0, 62)
    zero_point = rng.choice([0, -32768, 32767, 5], count)
    low, high = rng.choice([INT32.min, -128, -5], count), rng.choice([INT32.max, 127, 0], count)
    y = round_shift(np.array(sums), shift, rounding).clip(-(1 << 40), 1 << 40)
    expected = np.clip(y + zero_point, low, high)
    assert ((expected > low) & (expected < high)).sum() > count / 3, "too many outputs saturate to show anything"
    reduce = [1 << list(Reduce.as_shape().members).index(k) if k != "hold" else 0 for k in kind]
    inputs = {"x": x, "bias": bias, "multiplier": multiplier, "shift": shift, "keep": keep.astype(int),
              "by_kept": by_kept.astype(int), "zero_point": zero_point, "low": low, "high": high}
    return {name: values.tolist() for name, values in inputs.items()} | {"reduce": reduce}, expected.tolist()
