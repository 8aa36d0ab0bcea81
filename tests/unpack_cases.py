"""Random UNPACK instructions, with the streams that they read and the pages that these lie in."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import TABLE_SETS
from systolith.rtl.isa import TILE_STEPS, TILE_VALUES, UNPACK, Instruction
from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.sim.golden.pager import Answer, PagerModel
from tests.codec_reference import Cases as TileCases
from tests.codec_reference import Coded, coded, raw

Tile = NDArray[Any]
ADDRESSES = 1 << 24


@dataclass(frozen=True)
class Sizes:
    """Of a machine."""

    word_bytes: int = 16
    external_bytes: int = 8
    lanes: int = 8
    page_bytes: int = 256
    pages: int = 6
    outside: int = 40
    streams: int = 5
    readers: int = 3
    slots: int = 0

    def arguments(self) -> tuple[int, ...]:
        """Of the unit."""
        return (self.word_bytes, self.external_bytes, self.lanes, self.page_bytes, self.pages, self.streams,
                self.readers, self.slots)


def padded(tile: Coded) -> bytes:
    """A tile as it stands in a stream."""
    return tile.coded + bytes(-len(tile.coded) % 8)


class Pages:
    """Memories with pages, and the pager: PACK's part and the answers to UNPACK. A page that is free holds noise.

    drops: how often a reader has left its stream.
    """

    def __init__(self, sizes: Sizes, memory: bytearray, external: bytearray, base: int, outside: int,
                 limit: int | None = None) -> None:
        self.sizes, self.memory, self.external, self.base, self.outside = sizes, memory, external, base, outside
        self.model = PagerModel(sizes.pages, sizes.outside, sizes.streams, sizes.readers, limit)
        self.at: dict[int, tuple[int, int]] = {}  # of each stream's writer: its page and the place in it
        self.drops = 0
        self.noise = np.random.default_rng(1)
        for page in range(sizes.pages + sizes.outside):
            self._spoil(page)

    def _bytes(self, page: int) -> tuple[bytearray, int]:
        """Where a page is."""
        on_chip = page < self.sizes.pages
        return (self.memory, self.base + page * self.sizes.page_bytes) if on_chip else (
            self.external, self.outside + (page - self.sizes.pages) * self.sizes.page_bytes)

    def _spoil(self, page: int) -> None:
        where, at = self._bytes(page)
        where[at:at + self.sizes.page_bytes] = self.noise.bytes(self.sizes.page_bytes)

    def request(self, kind: int, stream: int, reader: int = 0, count: int = 0) -> Answer:
        """The pager's answer; pages that get free are lost."""
        free = {*self.model.chip.free, *self.model.beyond.free}
        answer = self.model.request(kind, stream, reader, count)
        self.drops += kind == Kind.DROP
        for page in {*self.model.chip.free, *self.model.beyond.free} - free:
            self._spoil(page)
        return answer

    def open(self, stream: int, readers: int) -> None:
        """PACK begins a stream."""
        assert self.request(Kind.OPEN, stream, count=readers).ok
        self.at[stream] = (0, self.sizes.page_bytes)

    def append(self, stream: int, data: bytes) -> None:
        """PACK writes to it."""
        for start in range(0, len(data), 8):
            page, place = self.at[stream]
            if place == self.sizes.page_bytes:
                answer = self.request(Kind.EXTEND, stream)
                assert answer.ok, "the test has too few pages"
                page, place = answer.page, 0
            where, at = self._bytes(page)
            where[at + place:at + place + 8] = data[start:start + 8]
            self.at[stream] = (page, place + 8)


def places(i: Instruction, columns: int, band: int, t: int) -> NDArray[np.int64]:
    """Address of each value of a tile."""
    y, x, c = np.indices((i.rows, columns, i.channels))
    first = i.c + (band * i.rows + y) * i.c_row + (t * i.columns + x) * i.c_pixel + c // 8 * 8
    passed = (first % ADDRESSES >= i.c_end) & (i.c_ring != 0)
    return (first + c % 8 - np.where(passed, i.c_ring, 0)) % ADDRESSES


@dataclass
class Job:
    """An instruction and what must happen before it: `opens`: readers of the stream that begins; `data`: what is
    appended to it; `ends`: it is complete then."""

    instruction: Instruction
    tiles: list[Tile]
    opens: int = 0
    data: list[bytes] = field(default_factory=list)
    ends: bool = False

    def places(self) -> list[NDArray[np.int64]]:
        """Address of each value of each tile."""
        i = self.instruction
        return [places(i, tile.shape[1], *divmod(number, i.across)) for number, tile in enumerate(self.tiles)]


@dataclass
class Program:
    """Jobs, and the memories before them."""

    sizes: Sizes
    jobs: list[Job]
    memory: NDArray[np.uint8]
    base: int
    outside: int
    external_bytes: int = 1 << 16
    limit: int | None = None

    @property
    def instructions(self) -> list[Instruction]:
        return [job.instruction for job in self.jobs]

    def pages(self, memory: bytearray) -> Pages:
        """The pages, in `memory`."""
        return Pages(self.sizes, memory, bytearray(self.external_bytes), self.base, self.outside, self.limit)

    def payloads(self) -> list[Any]:
        """The instructions as payloads of the instruction stream."""
        return [UNPACK.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))
                for i in self.instructions]

    def expected(self, memory: NDArray[np.uint8], count: int | None = None) -> None:
        """What the instructions write, or the first `count` of them."""
        for job in self.jobs[:count]:
            for at, tile in zip(job.places(), job.tiles, strict=True):
                memory[at] = tile.astype(np.uint8) ^ 0x80

    def semaphores(self, verb: str) -> list[dict[str, int]]:
        """What the instructions take (`verb` "wait") or give ("signal"), in order."""
        pairs = [(getattr(i, f"{verb}{k}"), getattr(i, f"{verb}{k}_count")) for i in self.instructions for k in (0, 1)]
        return [{"semaphore": number, "count": count} for number, count in pairs if number and count]


def prepare(job: Job, pages: Pages) -> bool:
    """Does what comes before a job; False where its stream's number is still in use."""
    stream = job.instruction.stream
    if job.opens:
        if stream in pages.model.open:
            return False
        pages.open(stream, job.opens)
    for tile in job.data:
        pages.append(stream, tile)
    if job.ends:
        pages.request(Kind.FINISH, stream)
    job.opens, job.data, job.ends = 0, [], False
    return True


class Cases:
    """Makes programs: streams with their readers, whose instructions take turns.

    seed: of the random numbers. sizes: of the machine.
    """

    def __init__(self, seed: int, sizes: Sizes) -> None:
        self.rng, self.tiles, self.sizes = random.Random(seed), TileCases(seed), sizes
        self.memory = np.random.default_rng(seed).integers(0, 256, 1 << 17, np.uint8)
        self.base = sizes.page_bytes * 3 + sizes.word_bytes
        self.outside = sizes.page_bytes * 5 + max(1, sizes.external_bytes)
        self.free = self.base + sizes.pages * sizes.page_bytes

    def program(self, *streams: list[Job], limit: int | None = None) -> Program:
        """The jobs of streams, one of a random stream after the other."""
        queues = [deque(stream) for stream in streams]
        jobs = []
        while queues := [queue for queue in queues if queue]:
            jobs.append(self.rng.choice(queues).popleft())
        return Program(self.sizes, jobs, self.memory, self.base, self.outside, limit=limit)

    def shape(self, most: int = 400) -> dict[str, int]:
        """Fields of a random instruction whose tiles have up to `most` values."""
        rng = self.rng
        while True:
            f = {"rows": rng.choice((1, 1, 2, rng.randint(1, 6))), "columns": rng.choice((1, rng.randint(1, 20))),
                 "channels": rng.choice((1, 3, 8, 16, 24, rng.randint(1, 40), rng.randint(1, 100))),
                 "bands": rng.choice((1, 1, 2, 3)), "across": rng.choice((1, 1, 2, 4))}
            f["columns_last"] = rng.choice((f["columns"], rng.randint(1, f["columns"])))
            if f["rows"] * f["columns"] * f["channels"] <= min(most, TILE_VALUES) and (
                    f["rows"] * f["columns"] * -(-f["channels"] // 8) <= TILE_STEPS):
                return f

    def values(self, shape: tuple[int, int, int], centre: int, table_set: int, kind: str | None = None) -> Coded:
        """A coded tile; now and then one of centres."""
        kind = kind or self.rng.choice((*TileCases.KINDS, "centre"))
        if kind == "centre":
            return coded(np.full(shape, centre), centre, table_set)
        values = self.tiles.values(shape, centre, "noise" if kind == "raw" else kind)
        return raw(values, centre) if kind == "raw" else coded(values, centre, table_set)

    def stream(self, number: int, count: int, readers: int = 1, most: int = 400, kind: str | None = None,
               **fixed: Any) -> list[Job]:
        """A stream of `count` instructions, which `readers` readers execute at different times."""
        jobs: list[list[Job]] = [[] for _ in range(readers)]
        for index in range(count):
            f = self.shape(most) | {name: value for name, value in fixed.items() if name in UNPACK.fields}
            centre = fixed.get("centre", self.rng.choice((-128, 0, self.rng.randint(-128, 127))))
            table_set = fixed.get("table_set", self.rng.randrange(TABLE_SETS))
            tiles = [self.values((f["rows"], f["columns_last"] if t == f["across"] - 1 else f["columns"],
                                  f["channels"]), centre + 128, table_set, kind) for _ in range(f["bands"])
                     for t in range(f["across"])]
            values = [np.array(tile.values()).reshape(tile.shape) for tile in tiles]
            for reader in range(readers):
                i = self.place({**f, "centre": centre, "table_set": table_set, "stream": number, "reader": reader,
                                "close": int(index == count - 1)}, fixed)
                jobs[reader].append(Job(i, values))
            first = jobs[0][-1]
            first.data, first.ends, first.opens = [padded(tile) for tile in tiles], index == count - 1, (
                readers if index == 0 else 0)
        out = []  # reader 0 goes first, since the tiles come with it
        heads = [0] * readers
        while heads[-1] < count or min(heads) < count:
            reader = self.rng.choice([r for r in range(readers) if heads[r] < (count if r == 0 else heads[0])])
            out.append(jobs[reader][heads[reader]])
            heads[reader] += 1
        return out

    def place(self, f: dict[str, int], fixed: dict[str, Any]) -> Instruction:
        """An instruction with a place for its outputs: gaps, a ring, semaphores."""
        rng = self.rng
        width = (f["across"] - 1) * f["columns"] + f["columns_last"]
        f["c_pixel"] = f["channels"] + rng.choice((0, 0, rng.randint(1, 9)))
        f["c_row"] = f["c_pixel"] * width + rng.choice((0, 0, rng.randint(1, 20)))
        f |= {name: value for name, value in fixed.items() if name in ("c_pixel", "c_row")}
        rows = f["rows"] * f["bands"]
        span = f["c_row"] * rows
        ring = fixed.get("ring", rng.random() < 0.4)
        start = self.free + rng.randrange(20)
        f["c"] = start + (span if ring else 0)
        self.free = f["c"] + span + 8
        assert self.free < self.memory.size, "the cases do not fit into the memory"
        if ring:
            f["c_ring"] = span
            f["c_end"] = f["c"] + (rng.randrange(rows + 1) * f["c_row"] if rng.random() < 0.5 else
                                   rng.randrange(span + 1))
        f |= {"b": self.base, "outside": self.outside, "tag": rng.randrange(1 << 16), "limit": self.sizes.pages}
        for name in ("wait0", "wait1", "signal0", "signal1"):
            if rng.random() < 0.3 and not fixed.get("calm"):
                f |= {name: rng.randrange(16), f"{name}_count": rng.randrange(4)}
        return UNPACK(**f)


def check_burst(sizes: Sizes, outside: int, address: int, beats: int) -> None:
    """A burst must lie in one page."""
    size = beats * sizes.external_bytes
    assert address % sizes.external_bytes == 0 and 1 <= beats <= 256
    assert 0 <= address - outside and (address - outside) // sizes.page_bytes == (
        address + size - 1 - outside) // sizes.page_bytes < sizes.outside, f"burst of {size} bytes at {address}"
