"""What tensors need in pages: tile by tile, measured on samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Graph, Tensor
from systolith.rtl.codec.tables import MAPS
from systolith.rtl.isa import TILE_STEPS, TILE_VALUES
from systolith.sim.codec import codings
from systolith.sim.codec.encode import ENTRY_BYTES, tile_bytes
from systolith.sim.golden.execute import execute
from systolith.sim.golden.pages import PIECE, tile_steps

MOST_ROWS = 8
"""Rows of a tile at most: rows around a tile lie in memory as they are."""
_LOOKED_AT = 1 << 16
"""Values of a sample that the choice of a centre and of tables looks at."""


@dataclass(frozen=True)
class Tiling:
    """How a tensor is cut, and the bytes of each band of tiles for each sample: [samples, bands]."""

    rows: int
    columns: int
    centre: int
    table_set: int
    bytes: NDArray[np.int64]


@dataclass
class Packing:
    """Measures the tensors of a graph on samples of its inputs, each when it is asked for.

    samples: integer inputs by name, [height, width, channels]; at least one.
    """

    graph: Graph
    samples: Sequence[dict[str, NDArray[Any]]]
    outside: bool = False
    """All pages are in external memory."""
    raw: bool = False
    """Tiles are stored as they are: nothing is measured."""
    apart: int = 0
    """Only what is read last so many operators after it is made rests in pages."""
    _values: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    _known: dict[tuple[str, int], Tiling] = field(default_factory=dict)
    _codings: dict[str, tuple[int, int]] = field(default_factory=dict)

    def tiling(self, name: str, rows: int) -> Tiling:
        """The tensor in bands of so many rows."""
        if (name, rows) not in self._known:
            tensor, columns = self.graph.tensors[name], tile_columns(self.graph.tensors[name], rows)
            values = np.zeros((1, 1, 1, 1), np.uint8) if self.raw else self._of(name)
            coding = (128, MAPS) if self.raw else self._coding(name)
            bands = [self._raw(tensor, rows, y) if self.raw else self._bytes(values[:, y:y + rows], columns, coding)
                     for y in range(0, tensor.shape[0], rows)]
            self._known[name, rows] = Tiling(rows, columns, *coding, np.stack(bands, 1))
        return self._known[name, rows]

    def best(self, name: str) -> Tiling:
        """Rows that need the least memory, with those of a tile that lie in memory twice: to be packed, unpacked. For
        `whole_stripes`, as many as a tile can have."""
        tensor = self.graph.tensors[name]
        row = tensor.shape[1] * tensor.channel_bytes
        most = min(MOST_ROWS, tensor.shape[0])
        heights = [rows for rows in range(1, most + 1) if tile_columns(tensor, rows) and rows & (rows - 1) == 0]
        if self.whole_stripes(name):
            return self.tiling(name, heights[-1])
        return min((self.tiling(name, rows) for rows in heights),
                   key=lambda t: int(t.bytes.sum(1).max()) + 2 * t.rows * row)

    def whole_stripes(self, name: str) -> bool:
        """Whether one instruction moves what a stripe makes: of a sequence outside, whose rows are small."""
        return self.outside and self.graph.tensors[name].shape[1] == 1

    def _of(self, name: str) -> NDArray[np.uint8]:
        if not self._values:
            self._values = [execute(self.graph, sample) for sample in self.samples]
        return np.stack([values[name] for values in self._values]).view(np.uint8) ^ np.uint8(0x80)

    def _coding(self, name: str) -> tuple[int, int]:
        """The centre, unsigned, and the set of tables that code shortest."""
        if name not in self._codings:
            tensor, values = self.graph.tensors[name], self._of(name)
            rows = max(1, min(len(values[0]), _LOOKED_AT // (len(values) * tensor.shape[1] * tensor.channel_bytes)))
            high = next(high for high in (4, 2, 1) if high <= rows and tile_columns(tensor, high))
            some, columns = values[:, :rows], tile_columns(tensor, high)
            self._codings[name] = min(codings(some, tensor.zero_point + 128 & 0xFF), key=lambda coding: sum(
                int(self._bytes(some[:, y:y + high], columns, coding).sum()) for y in range(0, rows, high)))
        return self._codings[name]

    @staticmethod
    def _raw(tensor: Tensor, rows: int, first: int) -> NDArray[np.int64]:
        """Bytes of a band of `rows` rows at most as they are."""
        height, width, _ = tensor.shape
        across = -(-width // tile_columns(tensor, rows))
        tiles = min(rows, height - first) * width * tensor.channel_bytes + across * ENTRY_BYTES
        return np.array([tiles + across * PIECE])

    @staticmethod
    def _bytes(band: NDArray[np.uint8], columns: int, coding: tuple[int, int]) -> NDArray[np.int64]:
        """Bytes of a band [samples, rows, positions, channels], a sample."""
        total = np.zeros(len(band), np.int64)
        for x in range(0, band.shape[2], columns):
            lengths, _ = tile_bytes(np.ascontiguousarray(band[:, :, x:x + columns]), *coding)
            total += -(-lengths // PIECE) * PIECE
        return total


def tile_columns(tensor: Tensor, rows: int) -> int:
    """Positions of a tile of so many rows, as equal as they can be; 0 where there is no such tile. An int16 counts as
    two channels of bytes."""
    width, channels = tensor.shape[1], tensor.channel_bytes
    most = min(TILE_VALUES // (rows * channels), TILE_STEPS // tile_steps(rows, 1, channels))
    return -(-width // -(-width // most)) if most else 0
