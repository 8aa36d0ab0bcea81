"""Whole tensors: cut into tiles, coded, measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import LANES, MAPS, TABLE_SETS, TAG_RAW, TILE_VALUES

from .decode import DamagedTile, decode_tile
from .encode import ENTRY_BYTES, encode_tiles, tile_bytes

CHANNELS = 32
"""Least channels of a default tile, where there are so many: a value's left neighbour is then four steps old."""

Shape = tuple[int, int, int]


def _parts(length: int, most: int) -> int:
    """Length of the parts when `length` is cut as evenly as may be into as few as `most` allows."""
    return -(-length // -(-length // most))


def default_tile(shape: Shape) -> Shape:
    """Tile for a tensor [rows, columns, channels]: at most TILE_VALUES values, about CHANNELS channels (more where the
    map is small), and near to a square of pixels with few ragged edges."""
    height, width, channels = shape
    pixels = height * width
    room = TILE_VALUES // pixels // LANES * LANES
    count = -(-channels // room) if room > CHANNELS else max(1, channels // CHANNELS)
    deep = min(channels, -(-channels // count // LANES) * LANES)
    if pixels * deep <= TILE_VALUES:
        return height, width, deep
    area = TILE_VALUES // deep
    shapes = [(_parts(height, max(1, area // wide)), wide) for wide in
              sorted({_parts(width, most) for most in range(min(4, width), min(width, area) + 1)})]
    # a tile costs its framing, and what its first row and column lose
    high, wide = min(shapes, key=lambda s: -(-height // s[0]) * -(-width // s[1]) * (40 + 0.6 * deep * sum(s) / 16))
    return high, wide, deep


def batches(shape: Shape, tile: Shape) -> Iterator[tuple[slice, ...]]:
    """The parts of a tensor that hold tiles of one shape: whole tiles, and the ragged ones at the edges."""
    def axis(length: int, step: int) -> list[slice]:
        whole = length // step * step
        return [part for part in (slice(0, whole), slice(whole, length)) if part.start < part.stop]
    for rows in axis(shape[0], tile[0]):
        for columns in axis(shape[1], tile[1]):
            for channels in axis(shape[2], tile[2]):
                yield rows, columns, channels


def stack(part: NDArray[np.uint8], tile: Shape) -> NDArray[np.uint8]:
    """A part with tiles of one shape as [tiles, rows, columns, channels]."""
    h, w, c = (min(a, b) for a, b in zip(part.shape, tile, strict=True))
    cut = part.reshape(part.shape[0] // h, h, part.shape[1] // w, w, part.shape[2] // c, c)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, h, w, c)


@dataclass(frozen=True)
class CodedTensor:
    """A tensor's tiles in the order of `batches`, each with its index entry."""

    shape: Shape
    tile: Shape
    centre: int
    table_set: int
    tiles: list[bytes]

    @property
    def bits_per_value(self) -> float:
        """Everything counted: index entries, headers, padding."""
        return 8 * sum(map(len, self.tiles)) / int(np.prod(self.shape))


def encode_tensor(values: NDArray[np.uint8], centre: int, table_set: int = MAPS,
                  tile: Shape | None = None) -> CodedTensor:
    """Cuts a tensor [rows, columns, channels] into tiles and codes them."""
    shape = _shape(values)
    tile = tile or default_tile(shape)
    tiles = [coded for part in batches(shape, tile)
             for coded in encode_tiles(stack(values[part], tile), centre, table_set)]
    return CodedTensor(shape, tile, centre, table_set, tiles)


def decode_tensor(coded: CodedTensor) -> NDArray[np.uint8]:
    """The tensor again. DamagedTile where a tile is damaged."""
    values = np.empty(coded.shape, np.uint8)
    tiles = iter(coded.tiles)
    for part in batches(coded.shape, coded.tile):
        target = values[part]
        h, w, c = (min(a, b) for a, b in zip(target.shape, coded.tile, strict=True))
        for y in range(0, target.shape[0], h):
            for x in range(0, target.shape[1], w):
                for z in range(0, target.shape[2], c):
                    target[y:y + h, x:x + w, z:z + c] = decode_tile(
                        next(tiles, b""), (h, w, c), coded.centre, coded.table_set)
    if next(tiles, None) is not None:
        raise DamagedTile("more tiles than the tensor has")
    return values


@dataclass(frozen=True)
class Measured:
    """`bytes` of a tensor as it is coded, index entries with it; `modes`: values coded in each mode, by mode; raw ones
    under `TAG_RAW`."""

    values: int
    bytes: int
    modes: NDArray[np.int64]


def measure_tensor(values: NDArray[np.uint8], centre: int, table_set: int = MAPS,
                   tile: Shape | None = None) -> Measured:
    """What `encode_tensor` needs, without packing."""
    shape = _shape(values)
    tile = tile or default_tile(shape)
    size, modes = 0, np.zeros(TAG_RAW + 1, np.int64)
    for part in batches(shape, tile):
        tiles = stack(values[part], tile)
        lengths, codes = tile_bytes(tiles, centre, table_set)
        size += int(lengths.sum())
        each = tiles[0].size // tiles.shape[3]
        chosen = codes.modes.copy()
        chosen[lengths == tiles[0].size + ENTRY_BYTES] = TAG_RAW
        modes += each * np.bincount(chosen.ravel(), minlength=TAG_RAW + 1)
    return Measured(values.size, size, modes)


def codings(values: NDArray[np.uint8], zero_point: int) -> list[tuple[int, int]]:
    """Centres and sets of tables that a compiler tries for a tensor. Centres: its zero point, the median, the most
    frequent value."""
    centres = zero_point, int(np.median(values)), int(np.bincount(values.ravel()).argmax())
    return list(product(dict.fromkeys(centres), range(TABLE_SETS)))


def choose_coding(values: NDArray[np.uint8], zero_point: int) -> tuple[int, int]:
    """The centre and the set of tables with which a tensor is shortest; the first of equals."""
    return min(codings(values, zero_point), key=lambda coding: measure_tensor(values, *coding).bytes)


def _shape(values: NDArray[np.uint8]) -> Shape:
    if values.ndim != 3 or not values.size or values.dtype != np.uint8:
        raise ValueError(f"a tensor must be uint8 [rows, columns, channels], not {values.dtype} {values.shape}")
    return values.shape  # type: ignore[return-value]
