"""The PACK and UNPACK instructions in numpy: tiles between windows of rows and streams of pages."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.config import ADDRESS_BITS, Config
from systolith.rtl.errors import ErrorCode, MachineStopped
from systolith.rtl.isa import PACK, READERS, STREAMS, TILE_STEPS, TILE_VALUES, Instruction
from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.sim.codec import DamagedTile, decode_tile, encode_tile
from systolith.sim.codec.encode import ENTRY_BYTES, raw_tile, tile_length

from .pager import PagerModel

PIECE = 8
"""Tiles begin at multiples of so many bytes."""
_SIGN = 0x80
_MODULUS = 1 << ADDRESS_BITS


def _stop(code: ErrorCode, tag: int, why: str) -> MachineStopped:
    return MachineStopped(f"the machine stopped with {code.name}: layer {tag}: {why}", code, tag)


def check_tiles(instruction: Instruction) -> None:
    """Raises ValueError where the unit would report an illegal operand."""
    i = instruction
    name = i.kind.name
    for field in ("rows", "bands", "columns", "columns_last", "across", "channels"):
        if getattr(i, field) == 0:
            raise ValueError(f"{name}: {field} must be at least 1, not 0")
    if i.columns_last > i.columns:
        raise ValueError(f"{name}: columns_last must be at most columns ({i.columns}), not {i.columns_last}")
    values, steps = i.rows * i.columns * i.channels, tile_steps(i.rows, i.columns, i.channels)
    if values > TILE_VALUES or steps > TILE_STEPS:
        raise ValueError(f"{name}: a tile must have at most {TILE_VALUES} values and {TILE_STEPS} steps, not {values} "
                         f"and {steps}")
    if i.kind is PACK and i.open and not i.readers:
        raise ValueError("PACK: a stream must have at least 1 reader, not 0")


def tile_steps(rows: int, columns: int, channels: int) -> int:
    """Steps of a tile: 8 channels of a position each."""
    return rows * columns * -(-channels // 8)


@dataclass
class _Place:
    """Where a writer or reader of a stream is: its page, none before the first, and the next byte in it."""

    page: int | None = None
    byte: int = 0


class Pages:
    """The streams of a machine: its pager, and where their writers and readers are.

    Parameters
    ----------
    memory, external: the machine's, which it reads and writes.
    """

    def __init__(self, config: Config, memory: NDArray[np.uint8], external: NDArray[np.uint8]) -> None:
        self._config, self._memory, self._external = config, memory, external
        self.pager = PagerModel(config.pages, config.outside_pages if config.external_bytes else 0, STREAMS, READERS)
        self._writers: dict[int, _Place] = {}
        self._readers: dict[tuple[int, int], _Place] = {}
        self._coded: dict[tuple[bytes, tuple[int, int, int], int, int], NDArray[np.uint8]] = {}  # to be decoded at once
        self.tiles = self.zero_tiles = 0
        self.outside_read = self.outside_written = 0
        """Bytes of pages outside."""

    def pack(self, instruction: Instruction) -> None:
        """Executes a PACK. ValueError for an illegal operand, IndexError outside of the memory, `MachineStopped`."""
        i = instruction
        check_tiles(i)
        if i.open:
            self.pager.set_limit(i.limit)
            self._ask(i, Kind.OPEN, count=i.readers)
            self._writers[i.stream] = _Place()
        for places in _tiles(i, i.a, i.a_row, i.a_pixel, i.a_end, i.a_ring):
            tile, centre = self._memory[places] ^ np.uint8(_SIGN), i.centre & 0xFF ^ _SIGN
            coded = raw_tile(tile) if i.raw else encode_tile(tile, centre, i.table_set)
            self._coded[coded, tile.shape, centre, i.table_set] = tile
            self._write(i, coded.ljust(-(-len(coded) // PIECE) * PIECE, b"\0"))
        if i.close:
            self._ask(i, Kind.FINISH)
            del self._writers[i.stream]

    def unpack(self, instruction: Instruction) -> None:
        """Executes an UNPACK. ValueError for an illegal operand, IndexError outside of the memory, `MachineStopped`."""
        i = instruction
        check_tiles(i)
        for places in _tiles(i, i.c, i.c_row, i.c_pixel, i.c_end, i.c_ring):
            centre = i.centre & 0xFF ^ _SIGN
            first = self._read(i, PIECE)
            length = tile_length(int.from_bytes(first[:ENTRY_BYTES], "little"), places.size)
            coded = (first + self._read(i, max(-(-length // PIECE) - 1, 0) * PIECE))[:length]
            tile = self._coded.get((coded, places.shape, centre, i.table_set))  # type: ignore[arg-type]
            if tile is None:
                try:
                    tile = decode_tile(coded, places.shape, centre, i.table_set)  # type: ignore[arg-type]
                except DamagedTile as error:
                    raise _stop(ErrorCode.DAMAGED_STREAM, i.tag, str(error)) from None
            self._memory[places] = tile ^ np.uint8(_SIGN)
            self.tiles += 1
            self.zero_tiles += length == ENTRY_BYTES
        if i.close:
            self._ask(i, Kind.DROP)
            self._readers.pop((i.stream, i.reader), None)

    def _ask(self, i: Instruction, kind: Kind, count: int = 0) -> int | None:
        """Asks the pager; the page, or None."""
        before = self.pager.code
        answer = self.pager.request(kind, i.stream, i.reader, count)
        if self.pager.code != before:
            raise MachineStopped(f"the machine stopped with MISUSED_STREAM: {i.kind.name} of layer {i.tag}, stream "
                                 f"{i.stream}: {self.pager.code.name}", ErrorCode.MISUSED_STREAM, self.pager.code)
        return answer.page if answer.ok else None

    def _place(self, i: Instruction, page: int, byte: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a page."""
        config = self._config
        outside = page - config.pages
        memory, at = ((self._memory, i.b + page * config.page_bytes) if outside < 0 else
                      (self._external, i.outside + outside * config.page_bytes))
        if at + byte + size > memory.size:
            raise IndexError(f"page {page} lies outside of the {'unified' if outside < 0 else 'external'} memory")
        return memory[at + byte:at + byte + size]

    def _write(self, i: Instruction, data: bytes) -> None:
        at = self._writers.get(i.stream)
        if at is None:
            at = self._writers[i.stream] = _Place()  # the pager says that it is not open
        for piece in range(0, len(data), PIECE):
            if at.page is None or at.byte == self._config.page_bytes:
                at.page, at.byte = self._ask(i, Kind.EXTEND), 0
                if at.page is None:
                    raise _stop(ErrorCode.OUT_OF_PAGES, i.tag, "there is no page left")
            self.outside_written += PIECE * (at.page >= self._config.pages)
            self._place(i, at.page, at.byte, PIECE)[:] = np.frombuffer(data[piece:piece + PIECE], np.uint8)
            at.byte += PIECE

    def _read(self, i: Instruction, size: int) -> bytes:
        at = self._readers.setdefault((i.stream, i.reader), _Place())
        out = b""
        while len(out) < size:
            if at.page is None or at.byte == self._config.page_bytes:
                at.page, at.byte = self._ask(i, Kind.FOLLOW), 0
                if at.page is None:
                    raise _stop(ErrorCode.DAMAGED_STREAM, i.tag, "the stream ends here")
            self.outside_read += PIECE * (at.page >= self._config.pages)
            out += self._place(i, at.page, at.byte, PIECE).tobytes()
            at.byte += PIECE
        return out


def _tiles(i: Instruction, base: int, row: int, pixel: int, end: int, ring: int) -> Iterator[NDArray[np.int64]]:
    """Addresses of each tile's values, [rows, columns, channels]."""
    for band in range(i.bands):
        for across in range(i.across):
            columns = i.columns_last if across == i.across - 1 else i.columns
            y, x, c = band * i.rows + np.arange(i.rows), across * i.columns + np.arange(columns), np.arange(i.channels)
            group = (base + y[:, None, None] * row + x[:, None] * pixel + c // 8 * 8) % _MODULUS
            if ring:
                group = np.where(group >= end, group - ring, group)
            yield group + c % 8
