"""Tiles to bytes."""

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import MAPS, MODE_BITS, TAG_CHANNELS, TAG_RAW, TILE_VALUES, UNIT_BITS

from .streams import MODES_A_UNIT, Codes, code_tiles, header_units, lane_steps, unit_order

ENTRY_BYTES = 2
UNIT_BYTES = UNIT_BITS // 8
TAG_SHIFT = 12
"""An index entry: number of units, and above this bit the tag."""


def encode_tile(values: NDArray[np.uint8], centre: int, table_set: int = MAPS) -> bytes:
    """Index entry and payload of one tile [rows, columns, channels], with the tables of one of TABLE_SETS sets.

    ValueError where the tile is empty or larger than TILE_VALUES.
    """
    check_shape(values.shape)
    return encode_tiles(values[None], centre, table_set)[0]


def check_shape(shape: tuple[int, ...]) -> None:
    """ValueError where a tile cannot have this shape."""
    if len(shape) != 3 or not 1 <= int(np.prod(shape)) <= TILE_VALUES:
        raise ValueError(f"a tile must have three axes and 1 to {TILE_VALUES} values, not shape {tuple(shape)}")


def encode_tiles(values: NDArray[np.uint8], centre: int, table_set: int = MAPS) -> list[bytes]:
    """Index entry and payload of each of a batch of tiles [tiles, rows, columns, channels]."""
    codes = code_tiles(values, centre, table_set)
    lengths, bits = lane_steps(codes.lengths), lane_steps(codes.bits)
    order = unit_order(lengths, values.shape[3])
    headers = header_units(codes.tags, codes.modes)
    units = order.units + headers
    streams = _streams(lengths, bits, order.taken, order.number, order.before)
    coded = []
    for tile in range(len(values)):
        if fits(units[tile], values[tile].size):
            payload = np.concatenate([_header(codes, tile, headers[tile]), streams[tile, :order.units[tile]]])
            coded.append(_entry(int(codes.tags[tile]), len(payload)) + payload.astype("<u2").tobytes())
        else:
            coded.append(raw_tile(values[tile]))
    return coded


def raw_tile(values: NDArray[np.uint8]) -> bytes:
    """A tile as it is, behind its index entry."""
    return _entry(TAG_RAW, 0) + values.tobytes()


def tile_length(entry: int, values: int) -> int:
    """Bytes of a tile of so many values with this index entry, which is counted."""
    tag, units = entry >> TAG_SHIFT, entry & (1 << TAG_SHIFT) - 1
    return ENTRY_BYTES + (values if tag == TAG_RAW and not units else UNIT_BYTES * units)


def fits(units: NDArray[np.int64] | int, values: int) -> NDArray[np.bool_] | bool:
    """Whether a tile of so many units is shorter than as it is."""
    return UNIT_BYTES * units < values


def tile_bytes(values: NDArray[np.uint8], centre: int, table_set: int = MAPS) -> tuple[NDArray[np.int64], Codes]:
    """Length of what `encode_tiles` makes of each tile, and the codes, without the work of packing them."""
    codes = code_tiles(values, centre, table_set)
    units = unit_order(lane_steps(codes.lengths), values.shape[3]).units + header_units(codes.tags, codes.modes)
    size = values[0].size
    return np.where(fits(units, size), UNIT_BYTES * units, size) + ENTRY_BYTES, codes


def _entry(tag: int, units: int) -> bytes:
    return (tag << TAG_SHIFT | units).to_bytes(ENTRY_BYTES, "little")


def _header(codes: Codes, tile: int, units: int) -> NDArray[np.int64]:
    if not units or codes.tags[tile] != TAG_CHANNELS:
        return np.zeros(0, np.int64)
    modes = np.zeros(units * MODES_A_UNIT, np.int64)
    modes[:codes.modes.shape[1]] = codes.modes[tile]
    return (modes.reshape(-1, MODES_A_UNIT) << MODE_BITS * np.arange(MODES_A_UNIT)).sum(1)


def _streams(lengths: NDArray[np.int64], bits: NDArray[np.int64], taken: NDArray[np.bool_],
             number: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """The units of each tile, those behind the last code with them: [tiles, units]."""
    tiles, _, lanes = lengths.shape
    place = np.zeros((tiles, lanes, int(taken.sum(1).max()) + 1), np.int64)  # of a lane's units in the tile
    tile, around, lane = np.nonzero(taken)
    place[tile, lane, taken.cumsum(1)[tile, around, lane] - 1] = number[tile, around, lane]
    units = np.zeros((tiles, int(number.max()) + 2), np.int64)
    tile, step, lane = np.nonzero(lengths)
    position = before[tile, step, lane]
    shifted = bits[tile, step, lane] << position % UNIT_BITS
    for part in range(2):  # a code may reach into the next unit
        piece = shifted >> part * UNIT_BITS & (1 << UNIT_BITS) - 1
        some = piece != 0
        np.bitwise_or.at(units, (tile[some], place[tile, lane, position // UNIT_BITS + part][some]), piece[some])
    return units
