"""Random ARRAY instructions, and programs of them with the memory around them, for pysim and cocotb alike."""

import itertools
import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import ARRAY, Instruction
from systolith.sim.golden.array import execute_array, input_tiles, weight_addresses

REGION = 1024
"""Bytes of an instruction's input; the first and last 128 are left free for lanes outside the image."""


def random_fields(rng: random.Random, rows: int, accumulator_rows: int, kind: str | None = None,
                  products: bool = False) -> dict[str, int]:
    """Fields of an instruction whose input lies in `REGION` bytes, relative to a = 0; `products`: centred now and
    then."""
    fields = _random_shape(rng, rows, accumulator_rows, kind)
    if products and rng.random() < 0.5:
        fields |= dict(centred=1, pad=rng.choice((-128, 127, rng.randint(-128, 127))))
    return fields


def random_strides(rng: random.Random, word_bytes: int, square: bool) -> dict[str, int]:
    """Now and then what makes an instruction strided: no kernel, and weights a few words apart, transposed perhaps
    where tiles are `square`."""
    if rng.random() < 0.5:
        return {}
    steps = {name: word_bytes * rng.choice((0, 1, 2, 3, rng.randint(0, 9))) for name in ("b_row", "b_kc", "b_tile")}
    turned = int(square and rng.random() < 0.5)
    return dict(strided=1, ky=1, kx=1, transposed=turned) | {
        ARRAY.second_names[name]: step for name, step in steps.items()}


def weight_bytes(instruction: Instruction, rows: int, word_bytes: int) -> int:
    """Bytes from the first of its weights to the last one's end."""
    return int(weight_addresses(instruction, rows, word_bytes).max()) - instruction.b + word_bytes


def _random_shape(rng: random.Random, rows: int, accumulator_rows: int, kind: str | None) -> dict[str, int]:
    kind = kind or rng.choice(("convolution", "convolution", "matrix", "rows", "anything"))
    if kind == "matrix":
        n, k = rng.randint(1, min(accumulator_rows, 16)), rng.randint(1, 3 * rows)
        return dict(rows_y=1, rows_x=n, ky=1, kx=1, kc=-(-k // rows), tiles=rng.randint(1, 3), height=1,
                    row_bytes=n * k, row_pitch=n * k, x_step=k, kx_step=k, kc_step=rows, y_step=1, y_dilation=1)
    if kind == "anything":  # no sense in it, but its meaning is defined
        while True:
            fields = dict(rows_y=rng.randint(1, 5), rows_x=rng.randint(1, 5), ky=rng.randint(1, 3),
                          kx=rng.randint(1, 3), kc=rng.randint(1, 3), tiles=rng.randint(1, 3),
                          pad=rng.randint(-128, 127), y_start=rng.randint(-5, 5),
                          height=rng.randint(0, 8), y_step=rng.randint(0, 3),
                          y_dilation=rng.randint(0, 3), x_start=rng.randint(-3 * rows, 30),
                          row_bytes=rng.choice((0, 1, rows - 1, rng.randint(1, 60))), row_pitch=rng.randint(0, 90),
                          x_step=rng.randint(0, 20), kx_step=rng.randint(0, 20), kc_step=rng.randint(0, 20))
            if fields["rows_y"] * fields["rows_x"] <= accumulator_rows:
                return fields
    while True:
        height, width, channels = rng.randint(1, 7), rng.randint(1, 7), rng.randint(1, 2 * rows)
        kernel, stride, dilation = rng.choice((1, 2, 3)), rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2))
        before, after = rng.randint(0, 2), rng.randint(0, 2)
        ny = (height + before + after - dilation * (kernel - 1) - 1) // stride + 1
        nx = (width + before + after - dilation * (kernel - 1) - 1) // stride + 1
        pitch = width * channels + rng.choice((0, 0, 3))
        if ny < 1 or nx < 1 or ny * nx > accumulator_rows or height * pitch > REGION - 256:
            continue
        fields = dict(rows_y=ny, rows_x=nx, tiles=rng.randint(1, 3), pad=rng.randint(-128, 127), y_start=-before,
                      height=height, y_step=stride, y_dilation=dilation, x_start=-before * channels,
                      row_bytes=width * channels, row_pitch=pitch, x_step=stride * channels,
                      kx_step=dilation * channels, kc_step=rows, ky=kernel)
        if kind == "rows" and dilation == 1:  # a kernel row is one run of bytes
            return fields | dict(kx=1, kc=-(-kernel * channels // rows))
        return fields | dict(kx=kernel, kc=-(-channels // rows))


def random_ring(rng: random.Random, a: int, lowest: int) -> dict[str, int]:
    """Now and then a ring that ends among the addresses from a on and reaches down to `lowest` at most."""
    if rng.random() < 0.5:
        return {}
    end = a + rng.choice((0, 1, rng.randint(0, 60), rng.randint(0, 300)))
    return dict(a_end=end, a_ring=rng.randint(1, end - lowest))


def weight_tiles(instruction: Instruction) -> int:
    """Weight tiles that it reads."""
    i = instruction
    return i.tiles * i.ky * i.kx * i.kc


@dataclass
class Program:
    """Instructions, a memory that is right only between the takes and the gives, and what must come out.

    An instruction's input is noise until its wait is granted and again once it has signalled, as are its weights where
    they do not come through the ring; a tile of streamed weights is there from the take of `ready` to the give of
    `free` only. products: instructions are strided (then not streamed) and centred now and then.
    """

    seed: int
    rows: int
    cols: int
    word_bytes: int
    accumulator_rows: int
    count: int = 4
    products: bool = False
    instructions: list[Instruction] = field(default_factory=list)
    blocks: list[NDArray[np.int32]] = field(default_factory=list)
    takes: list[dict[str, int]] = field(default_factory=list)
    """Every take, in order."""
    gives: list[dict[str, int]] = field(default_factory=list)
    """Every give, in some order."""
    memory: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        tile_bytes = self.rows * self.word_bytes
        inputs = [random_fields(self.rng, self.rows, self.accumulator_rows, products=self.products)
                  for _ in range(self.count)]
        if self.products:
            square = self.rows == self.cols == self.word_bytes
            inputs = [fields | random_strides(self.rng, self.word_bytes, square) for fields in inputs]
        needed = [weight_tiles(ARRAY(**fields)) for fields in inputs]
        resident = [self.rng.random() < 0.5 or "strided" in fields for fields in inputs]
        sizes = [weight_bytes(ARRAY(**fields), self.rows, self.word_bytes) for fields in inputs]
        self._ring_at, self._ring_tiles = self.count * REGION, 3
        after_ring = self._ring_at + self._ring_tiles * tile_bytes
        fixed = after_ring + sum(size for size, stays in zip(sizes, resident, strict=True) if stays)
        streamed = sum(n for n, stays in zip(needed, resident, strict=True) if not stays)
        truth = np.frombuffer(self.rng.randbytes(fixed + streamed * tile_bytes), np.uint8)
        self._truth = truth.tobytes()
        self.memory = bytearray(self.rng.randbytes(self._ring_at)) + bytearray(self._truth[self._ring_at:fixed])
        self._on_take: list[tuple[int, int, int]] = []  # memory address, truth address, bytes
        self._freed: list[tuple[int, int]] = []
        self._signalled: dict[int, list[tuple[int, int]]] = {}
        at, stream_at, slot = after_ring, fixed, 0
        for number, (fields, n, size, stays) in enumerate(zip(inputs, needed, sizes, resident, strict=True)):
            fields |= dict(a=number * REGION + 128, tag=100 + number, signal0=5, signal0_count=number + 1)
            fields |= random_ring(self.rng, fields["a"], number * REGION + 64)
            if self.rng.random() < 0.6:
                fields |= dict(wait0=1, wait0_count=number + 1)
                if self.rng.random() < 0.5:
                    fields |= dict(wait1=2, wait1_count=3, signal1=6, signal1_count=number + 1)
            if stays:
                linear, b, at = at, dict(b=at), at + size
            else:
                linear, stream_at = stream_at, stream_at + n * tile_bytes
                b = dict(b=self._ring_at + slot * tile_bytes, ring=self._ring_at, ready=3, free=4,
                         ring_bytes=self._ring_tiles * tile_bytes)
            instruction = ARRAY(**fields, **b)
            self.instructions.append(instruction)
            self.blocks += execute_array(ARRAY(**fields, b=linear), truth, self.rows, self.cols, self.word_bytes)
            self._expect(instruction, number, n, linear, slot)
            slot = slot if stays else (slot + n) % self._ring_tiles

    def _expect(self, i: Instruction, number: int, tiles: int, linear: int, slot: int) -> None:
        region = (number * REGION, number * REGION, REGION)
        waits = [dict(semaphore=s, count=c) for s, c in ((i.wait0, i.wait0_count), (i.wait1, i.wait1_count)) if s]
        self.takes += waits
        self._on_take += [region] * len(waits)
        if not waits:
            self._copy(*region)
        self._signalled[number + 1] = [(number * REGION, REGION)]
        if not i.ready:
            self._signalled[number + 1].append((i.b, weight_bytes(i, self.rows, self.word_bytes)))
        signals = ((i.signal0, i.signal0_count), (i.signal1, i.signal1_count))
        self.gives += [dict(semaphore=s, count=c) for s, c in signals if s]
        tile_bytes = self.rows * self.word_bytes
        for tile in range(tiles if i.ready else 0):
            address = self._ring_at + (slot + tile) % self._ring_tiles * tile_bytes
            self.takes.append(dict(semaphore=3, count=1))
            self.gives.append(dict(semaphore=4, count=1))
            self._on_take.append((address, linear + tile * tile_bytes, tile_bytes))
            self._freed.append((address, tile_bytes))

    def _copy(self, address: int, source: int, size: int) -> None:
        self.memory[address:address + size] = self._truth[source:source + size]

    def may_take(self, number: int, given: list[dict[str, int]]) -> bool:
        """Whether take `number` can be granted after the gives `given`: a ring has so many places."""
        tiles = sum(take["semaphore"] == 3 for take in self.takes[:number])
        freed = sum(give["semaphore"] == 4 for give in given)
        return self.takes[number]["semaphore"] != 3 or tiles - freed < self._ring_tiles

    def taken(self, number: int) -> None:
        """Take `number` has been granted: what it waited for is in memory."""
        self._copy(*self._on_take[number])

    def given(self, give: dict[str, int]) -> None:
        """After a give what it releases is overwritten."""
        released = [self._freed.pop(0)] if give["semaphore"] == 4 else self._signalled[give["count"]]
        for address, size in released:
            self.memory[address:address + size] = self.rng.randbytes(size)


def fed_rows(instruction: Instruction, memory: NDArray[np.uint8], rows: int) -> list[dict[str, object]]:
    """What the feeder hands to the array for the whole instruction."""
    i = instruction
    x = input_tiles(i, memory, rows).astype(int).tolist()
    out: list[dict[str, object]] = []
    for _ in range(i.tiles):
        for k, tile in enumerate(x):
            for index, lanes in enumerate(tile):
                out.append(dict(data=lanes, swap=int(index == 0), begin=int(index == 0 and k == 0), first=int(k == 0),
                                last=int(index == len(tile) - 1 and k == len(x) - 1), index=index))
    return out


def requests(instruction: Instruction, rows: int) -> list[int]:
    """Addresses that the feeder asks for: one for each row with a byte inside the image."""
    i = instruction
    out = []
    for ky, kx, kc, y, x in itertools.product(*map(range, (i.ky, i.kx, i.kc, i.rows_y, i.rows_x))):
        iy = i.y_start + y * i.y_step + ky * i.y_dilation
        bx = i.x_start + x * i.x_step + kx * i.kx_step + kc * i.kc_step
        if 0 <= iy < i.height and any(0 <= bx + lane < i.row_bytes for lane in range(rows)):
            past = i.a_ring and (i.a + iy * i.row_pitch + max(bx, 0) & 0xFFFFFF) >= i.a_end
            out.append(i.a + iy * i.row_pitch + bx - (i.a_ring if past else 0) & 0xFFFFFF)
    return out * i.tiles


def feed_payload(instruction: Instruction) -> dict[str, object]:
    """An instruction as the feeder takes it."""
    i, mask = instruction, 0xFFFFFF
    return dict(instruction=i.values, row_start=i.a + i.y_start * i.row_pitch & mask,
                row_step=i.y_step * i.row_pitch & mask, row_dilation=i.y_dilation * i.row_pitch & mask)
