"""Streams of pages without their bytes: which parts of a tile are outside, and which pages are in use."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .program import Fields

PIECE = 8
"""Tiles begin at multiples of so many bytes."""


@dataclass
class _Stream:
    """readers: of each, the bytes that it has read; None: it has read all that it wants. outside: of each page."""

    readers: list[int | None]
    written: int = 0
    outside: list[bool] = field(default_factory=list)
    left: int = 0
    """Pages that are free again."""


@dataclass(frozen=True)
class Run:
    """Bytes of a tile that lie in one page. new: the page begins with them, and is to be asked for."""

    size: int
    outside: bool
    new: bool


class Pages:
    """The pages of a program's streams. A page is given on the chip while fewer than the program's limit are in use.

    Parameters
    ----------
    page: bytes. tile_bytes: of a tile, by the tag of its instructions; half of the values where nothing is known.
    """

    def __init__(self, page: int, tile_bytes: Mapping[int, int]) -> None:
        self._page, self._tile_bytes = page, tile_bytes
        self._streams: dict[int, _Stream] = {}
        self._used = 0  # on the chip

    def size(self, i: Fields) -> int:
        """Bytes of a tile of an instruction in its stream, as far as they are known."""
        size = self._tile_bytes.get(i.tag) or 2 + i.rows * i.columns * i.channels // 2
        return -(-size // PIECE) * PIECE

    def write(self, i: Fields, size: int) -> list[Run]:
        """Where the next bytes of a PACK go."""
        if i.open and not self._streams.get(i.stream, _Stream([])).written == 0:
            self._release(self._streams.pop(i.stream), all_pages=True)
        stream = self._streams.setdefault(i.stream, _Stream([0] * i.readers))
        while stream.written + size > len(stream.outside) * self._page:
            stream.outside.append(self._used >= i.limit)
            self._used += not stream.outside[-1]
        stream.written += size
        return self._runs(stream, stream.written - size, size)

    def read(self, i: Fields, size: int) -> list[Run]:
        """Where the next bytes of an UNPACK come from."""
        stream = self._streams[i.stream]
        at = stream.readers[i.reader] or 0
        stream.readers[i.reader] = at + size
        runs = self._runs(stream, at, min(size, max(PIECE, stream.written - at)))
        self._release(stream)
        return runs

    def close(self, i: Fields) -> None:
        """The reader of an UNPACK reads no more."""
        stream = self._streams[i.stream]
        stream.readers[i.reader] = None
        self._release(stream, all_pages=all(reader is None for reader in stream.readers))

    def _runs(self, stream: _Stream, at: int, size: int) -> list[Run]:
        runs, end = [], at + size
        while at < end:
            page = min(at // self._page, len(stream.outside) - 1)
            some = min(end - at, self._page - at % self._page)
            runs.append(Run(some, stream.outside[page], at % self._page == 0))
            at += some
        return runs

    def _release(self, stream: _Stream, *, all_pages: bool = False) -> None:
        """Pages behind the slowest reader are free again."""
        at = min((reader for reader in stream.readers if reader is not None), default=stream.written)
        free = len(stream.outside) if all_pages else min(max(0, at - 1) // self._page, len(stream.outside))
        self._used -= sum(not outside for outside in stream.outside[stream.left:free])
        stream.left = max(stream.left, free)
