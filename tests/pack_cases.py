"""Random PACK instructions with the memory that they read, and what they must do: writes and requests, in order."""

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import TABLE_SETS
from systolith.rtl.isa import PACK, TILE_STEPS, Instruction
from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.sim.codec import encode_tile
from systolith.sim.golden.pager import Answer, PagerModel
from tests.codec_tiles import rectified, smooth

PIECE = 8
KINDS = ("smooth", "rectified", "random", "constant", "centre", "sparse")
MEMORY, EXTERNAL = 1 << 17, 1 << 15
"""Bytes of the memories in the tests; addresses wrap there."""
PAGES_AT, OUTSIDE_AT = 0x400, 0x1000
"""First page on the chip and outside: the first is no multiple of a page, and less than 2**14 bytes lie behind it."""


@dataclass(frozen=True)
class Sizes:
    """Parameters of a `PackUnit`, and of the pager behind it."""

    word_bytes: int = 16
    external_bytes: int = 8
    codec_lanes: int = 8
    page_bytes: int = 64
    pages: int = 24
    streams: int = 8
    beyond: int = 200
    limit: int = 9

    def unit(self) -> dict[str, int]:
        """What the unit is made of."""
        return {name: getattr(self, name) for name in ("word_bytes", "external_bytes", "codec_lanes", "page_bytes",
                                                       "pages", "streams")}


class Pages:
    """The pager, and what readers do meanwhile: those of a stream that is opened again have dropped before, and those
    of the streams `lost` drop after its second page.

    sizes: of the machine. lost: streams.
    """

    def __init__(self, sizes: Sizes, lost: frozenset[int] = frozenset()) -> None:
        self.model = PagerModel(sizes.pages, sizes.beyond if sizes.external_bytes else 0, sizes.streams, 4, sizes.limit)
        self.lost, self.counts = lost, dict.fromkeys(range(sizes.streams), 0)

    def request(self, kind: int, stream: int, count: int) -> Answer:
        """The pager's answer."""
        if kind == Kind.OPEN and stream in self.model.open:
            self._drop(stream)
        answer = self.model.request(kind, stream, 0, count)
        self.counts[stream] = 0 if kind == Kind.OPEN else self.counts[stream] + (kind == Kind.EXTEND)
        if stream in self.lost and kind == Kind.EXTEND and self.counts[stream] == 2:
            self._drop(stream)
        return answer

    def _drop(self, stream: int) -> None:
        for reader in list(self.model.open[stream].at):
            self.model.request(Kind.DROP, stream, reader)


class Write(NamedTuple):
    """Bytes that go to memory on the chip, or outside."""

    instruction: int
    outside: bool
    address: int
    data: bytes


class Ask(NamedTuple):
    """A request to the pager."""

    instruction: int
    kind: int
    stream: int
    count: int


@dataclass
class Program:
    """Instructions, and the memory before them. `lost`: see `Pages`."""

    sizes: Sizes
    instructions: list[Instruction]
    memory: NDArray[np.uint8]
    lost: frozenset[int] = frozenset()

    def payloads(self) -> list[Any]:
        """The instructions as payloads of the instruction stream."""
        return [PACK.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))
                for i in self.instructions]

    def semaphores(self, verb: str) -> list[dict[str, int]]:
        """What the instructions take (`verb` "wait") or give ("signal"), in order."""
        pairs = [(getattr(i, f"{verb}{k}"), getattr(i, f"{verb}{k}_count")) for i in self.instructions for k in (0, 1)]
        return [{"semaphore": number, "count": count} for number, count in pairs if number and count]

    def givers(self) -> list[int]:
        """For each give the index of its instruction."""
        return [index for index, i in enumerate(self.instructions) for k in (0, 1)
                if getattr(i, f"signal{k}") and getattr(i, f"signal{k}_count")]

    def pages(self) -> Pages:
        """The pager at the program's start."""
        return Pages(self.sizes, self.lost)

    def reads(self) -> list[int]:
        """The addresses that are read, in order."""
        found: list[int] = []
        for i in self.instructions:
            counts = [min(8, i.channels - k) for k in range(0, i.channels, 8)]
            for addresses in step_addresses(i):
                for first in addresses[:, :, ::8].ravel().tolist():
                    found.append(first)
                    if self.sizes.word_bytes < 8:  # a step of up to 4 bytes has them in the first word
                        found.append((first + 4) % (1 << 24) if counts[0] > 4 else first)
                    counts = counts[1:] + counts[:1]
        return found

    def effects(self) -> list[Write | Ask]:
        """Writes and requests in order; they end with the request that found no page."""
        pages, places = self.pages(), dict[int, tuple[int, int]]()
        found: list[Write | Ask] = []

        def ask(index: int, kind: int, i: Instruction) -> Answer:
            found.append(Ask(index, kind, i.stream, i.readers if kind == Kind.OPEN else 0))
            return pages.request(kind, i.stream, i.readers)

        for index, i in enumerate(self.instructions):
            if i.values["open"]:
                assert ask(index, Kind.OPEN, i).ok
                places[i.stream] = 0, self.sizes.page_bytes
            for coded in coded_tiles(i, self.memory):
                page, place = places[i.stream]
                for k in range(0, len(coded), PIECE):
                    if place == self.sizes.page_bytes:
                        answer = ask(index, Kind.EXTEND, i)
                        if not answer.ok:
                            return found
                        page, place = answer.page, 0
                    outside = page >= self.sizes.pages
                    base = i.values["outside"] + (page - self.sizes.pages) * self.sizes.page_bytes if outside \
                        else i.b + page * self.sizes.page_bytes
                    found.append(Write(index, outside, base + place, coded[k:k + PIECE]))
                    place += PIECE
                places[i.stream] = page, place
            if i.close:
                assert ask(index, Kind.FINISH, i).ok
        return found


def step_addresses(i: Instruction) -> list[NDArray[np.int64]]:
    """For each tile the address of each value [row, column, channel], as the instruction set says."""
    found = []
    for band in range(i.bands):
        for t in range(i.across):
            width = i.columns_last if t == i.across - 1 else i.columns
            y, x, c = np.indices((i.rows, width, i.channels), np.int64)
            first = (i.a + (band * i.rows + y) * i.a_row + (t * i.columns + x) * i.a_pixel + c // 8 * 8) % (1 << 24)
            if i.a_ring:
                first = np.where(first >= i.a_end, first - i.a_ring, first) % (1 << 24)
            found.append(first + c % 8)
    return found


def coded_tiles(i: Instruction, memory: NDArray[np.uint8]) -> list[bytes]:
    """Entry, payload and padding of each tile."""
    found = []
    for addresses in step_addresses(i):
        values = memory[addresses % memory.size] ^ 0x80
        coded = (b"\x00\xf0" + values.tobytes() if i.raw else
                 encode_tile(values, i.centre & 0xFF ^ 0x80, i.table_set))
        found.append(coded + bytes(-len(coded) % PIECE))
    return found


class Cases:
    """Makes instructions whose inputs lie apart from each other and from the pages.

    seed: of the random numbers. sizes: of the machine.
    """

    def __init__(self, seed: int, sizes: Sizes) -> None:
        self.rng, self.numbers, self.sizes = random.Random(seed), np.random.default_rng(seed), sizes
        self.memory = self.numbers.integers(0, 256, MEMORY, np.uint8)
        self.free = 1 << 15
        self.open: set[int] = set()

    def program(self, count: int, lost: tuple[int, ...] = (), **fixed: Any) -> Program:
        """Random instructions; streams take turns, begin again after their end, and some stay open at last."""
        return Program(self.sizes, [self.next(**fixed) for _ in range(count)], self.memory, frozenset(lost))

    def next(self, **fixed: Any) -> Instruction:
        """The next instruction of one of the streams."""
        rng = self.rng
        number = fixed.get("stream", rng.randrange(self.sizes.streams))
        opens, closes = number not in self.open, fixed.get("close", rng.random() < 0.4)
        self.open |= {number}
        if closes:
            self.open -= {number}
        given = {"stream": number, "open": int(opens), "close": int(closes),
                 "readers": rng.randint(1, 4) if opens else rng.randrange(8)}
        return self.instruction(**given | self.shape() | fixed)

    def shape(self, most: int = 60) -> dict[str, int]:
        """Sides of few tiles of up to `most` steps."""
        rng = self.rng
        channels = rng.choice((1, 4, 8, 16, 24, rng.randint(1, 40)))
        pixels = max(1, most // -(-channels // 8))
        rows = rng.choice((1, 2, rng.randint(1, min(pixels, 6))))
        rows = min(rows, pixels)
        columns = rng.randint(1, max(1, min(12, pixels // rows)))
        across, bands = rng.choice(((1, 1), (1, 1), (2, 1), (1, 2), (3, 2), (2, 3)))
        return {"rows": rows, "columns": columns, "columns_last": rng.choice((columns, rng.randint(1, columns))),
                "across": across, "bands": bands, "channels": channels}

    def instruction(self, **fixed: Any) -> Instruction:
        """An instruction with its input in memory; `kind`: of the values, one of KINDS."""
        rng = self.rng
        f: dict[str, Any] = {"tag": rng.randrange(1 << 16), "b": PAGES_AT, "outside": OUTSIDE_AT,
                             "limit": self.sizes.limit, "raw": int(rng.random() < 0.15), "rows": 1, "columns": 1,
                             "across": 1, "bands": 1, "channels": 8}
        f |= fixed
        f.setdefault("columns_last", f["columns"])
        assert f["rows"] * f["columns"] * -(-f["channels"] // 8) <= TILE_STEPS
        kind = f.pop("kind", rng.choice(KINDS))
        height, width = f["rows"] * f["bands"], (f["across"] - 1) * f["columns"] + f["columns_last"]
        f.setdefault("a_pixel", f["channels"] + rng.choice((0, 0, rng.randrange(12))))
        f.setdefault("a_row", width * f["a_pixel"] + rng.choice((0, rng.randrange(30))))
        at = self._take(2 * height * f["a_row"] + 64) + rng.randrange(32)
        high = rng.choice((0, 0, 0x20000, 0xFE0000))  # the memory is there several times
        f.setdefault("a", at + high)
        if rng.random() < 0.4 and "a_ring" not in fixed:
            rows = height + rng.randrange(3)
            f |= {"a_ring": rows * f["a_row"], "a_end": f["a"] + rows * f["a_row"],
                  "a": f["a"] + rng.randrange(rows) * f["a_row"]}
        for name in ("wait0", "wait1", "signal0", "signal1"):
            if rng.random() < 0.4 and name not in fixed:
                f |= {name: rng.randrange(32), f"{name}_count": rng.randrange(4)}
        f.setdefault("centre", rng.choice((-128, 0, rng.randint(-128, 127))))
        f.setdefault("table_set", rng.randrange(TABLE_SETS))
        i = PACK(**f)
        self._fill(i, kind)
        return i

    def _fill(self, i: Instruction, kind: str) -> None:
        seed, centre = self.rng.randrange(1 << 30), i.centre & 0xFF ^ 0x80
        for addresses in step_addresses(i):
            shape = addresses.shape
            values = {
                "smooth": lambda shape=shape: smooth(shape, seed, 2.0, max(40, min(centre, 200))),
                "rectified": lambda shape=shape: rectified(shape, seed),
                "random": lambda shape=shape: self.numbers.integers(0, 256, shape),
                "constant": lambda shape=shape: np.full(shape, seed % 256),
                "centre": lambda shape=shape: np.full(shape, centre),
                "sparse": lambda shape=shape: np.where(self.numbers.random(shape) < 0.1, seed % 256, centre),
            }[kind]()
            self.memory[addresses % MEMORY] = values.astype(np.uint8) ^ 0x80

    def _take(self, count: int) -> int:
        at = self.free
        self.free += count
        assert self.free <= MEMORY, "the cases do not fit into the memory"
        return at
