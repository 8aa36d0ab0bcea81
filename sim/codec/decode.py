"""Bytes to tiles, value by value as the format is written down; nothing here is shared with the encoder but tables."""

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import (
    CODE_OF,
    CODES,
    CONST,
    ESCAPE_ZEROS,
    HELD_BITS,
    LANES,
    LONGEST_CODE,
    MAPS,
    MODE_BITS,
    MODES,
    RUN,
    TABLE_MODES,
    TAG_CHANNELS,
    TAG_RAW,
    UNIT_BITS,
    Z_THRESHOLDS,
    ZERO,
)

from .encode import ENTRY_BYTES, MODES_A_UNIT, TAG_SHIFT, UNIT_BYTES, check_shape

_BASES = [[sum(1 << kind for kind in classes[:zeros] if kind >= 0) for zeros in range(len(classes))]
          for classes in CODES]


class DamagedTile(ValueError):
    """These bytes are no tile of this shape."""


class _Lane:
    """A stream as the decoder sees it: the units that it has taken, and how many of them lay behind the tile's end."""

    def __init__(self) -> None:
        self.buffer = self.held = self.virtual = 0

    def take(self, unit: int | None) -> None:
        self.buffer |= (unit or 0) << self.held
        self.held += UNIT_BITS
        self.virtual += unit is None

    def consume(self, bits: int) -> int:
        value = self.buffer & (1 << bits) - 1
        self.buffer >>= bits
        self.held -= bits
        if self.held < UNIT_BITS * self.virtual:
            raise DamagedTile("a code goes on behind the tile's end")
        return value


def decode_tile(coded: bytes, shape: tuple[int, int, int], centre: int, table_set: int = MAPS) -> NDArray[np.uint8]:
    """The tile [rows, columns, channels] from its index entry and payload, with the tables of this set.

    DamagedTile where `encode_tile` cannot have made the bytes, as far as the hardware tells: never another error.
    """
    check_shape(shape)
    if len(coded) < ENTRY_BYTES:
        raise DamagedTile("no index entry")
    entry = int.from_bytes(coded[:ENTRY_BYTES], "little")
    tag, count = entry >> TAG_SHIFT, entry & (1 << TAG_SHIFT) - 1
    payload = coded[ENTRY_BYTES:]
    size = int(np.prod(shape))
    if tag == TAG_RAW:
        if count or len(payload) != size:
            raise DamagedTile(f"{size} values as they are in {len(payload)} bytes, {count} units")
        return np.frombuffer(payload, np.uint8).reshape(shape).copy()
    if UNIT_BYTES * count >= size or len(payload) != UNIT_BYTES * count:
        raise DamagedTile(f"{count} units for {size} values in {len(payload)} bytes")
    units = np.frombuffer(payload, "<u2").tolist()
    modes, header = _modes(tag, units, shape[2])
    if modes is None:
        return np.full(shape, centre, np.uint8)
    return np.array(_values(units[header:], modes, shape, centre, table_set), np.uint8).reshape(shape)


def _modes(tag: int, units: list[int], channels: int) -> tuple[list[int] | None, int]:
    """Mode of each channel, None where all values are the centre; units of the header."""
    if tag < TABLE_MODES:
        if not units:
            raise DamagedTile("no units")
        return [tag] * channels, 0
    if tag != TAG_CHANNELS:
        raise DamagedTile(f"tag {tag} does not exist")
    if not units:
        return None, 0
    header = -(-channels // MODES_A_UNIT)
    if len(units) < header:
        raise DamagedTile("the header is cut off")
    modes = [unit >> MODE_BITS * i & (1 << MODE_BITS) - 1 for unit in units[:header] for i in range(MODES_A_UNIT)]
    if any(mode > ZERO for mode in modes) or any(modes[channels:]):
        raise DamagedTile("a mode that does not exist, or behind the last channel")
    return modes[:channels], header


def _values(units: list[int], modes: list[int], shape: tuple[int, int, int], centre: int,
            table_set: int) -> list[int]:
    height, width, channels = shape
    lanes = [_Lane() for _ in range(LANES)]
    supply = iter(units)
    out: list[int] = []
    averages, skips = [centre] * channels, [0] * channels
    for lane in lanes[:channels]:
        lane.take(next(supply, None))
    for y in range(height):
        for x in range(width):
            for first in range(0, channels, LANES):
                last = min(first + LANES, channels)
                for lane in lanes[:last - first]:
                    if lane.held < HELD_BITS:
                        lane.take(next(supply, None))
                for c in range(first, last):
                    here = len(out)
                    left = out[here - channels] if x else centre
                    upper = (averages[c] if table_set != MAPS else out[here - width * channels] if y else left) \
                        if x or y else centre
                    if not x and y:
                        left = upper
                    value = _value(lanes[c - first], modes[c], left, upper, centre, x, skips, c, width, table_set)
                    if modes[c] == CONST:
                        value = lanes[c - first].consume(8) if not (x or y) else left
                    out.append(value)
                    averages[c] += (value - averages[c] + 2) >> 2 if x or y else value - averages[c]
    if next(supply, None) is not None:
        raise DamagedTile("units that no stream takes")
    if any(lane.buffer for lane in lanes):
        raise DamagedTile("bits behind the last code")
    return out


def _value(lane: _Lane, mode: int, left: int, upper: int, centre: int, x: int, skips: list[int], c: int,
           width: int, table_set: int) -> int:
    """The next value of a channel; counts down its run."""
    if mode >= TABLE_MODES:
        return centre
    if x and skips[c]:
        skips[c] -= 1
        return centre
    predictor, run = MODES[table_set][mode]
    left_far, upper_far = abs(left - centre), abs(upper - centre)
    if predictor == "Z":
        context, prediction = sum(left_far + upper_far >= threshold for threshold in Z_THRESHOLDS), centre
    else:
        apart, far = abs(left - upper), max(left_far, upper_far)
        context = 1 + 2 * min(apart.bit_length(), 6) + (far > 2 * apart + 2) if far else 0
        prediction = upper if predictor == "U" else (left + upper + 1) >> 1
    symbol = _symbol(lane, CODE_OF[table_set][mode][context])
    if symbol == RUN:
        skips[c] = min(run, width - x) - 1
    return centre if symbol < 0 else _unfold(symbol, prediction, centre)


def _symbol(lane: _Lane, code: int) -> int:
    """A rank, `Z` or `RUN`."""
    window = lane.buffer & (1 << LONGEST_CODE) - 1
    zeros = (window & -window).bit_length() - 1 if window else ESCAPE_ZEROS
    if zeros >= ESCAPE_ZEROS:
        rank = lane.consume(LONGEST_CODE) >> ESCAPE_ZEROS
    else:
        kind = CODES[code][zeros]
        lane.consume(zeros + 1)
        if kind < 0:
            return kind
        rank = _BASES[code][zeros] + lane.consume(kind)
    if rank > 254:
        raise DamagedTile("a rank that does not exist")
    return rank


def _unfold(rank: int, prediction: int, centre: int) -> int:
    """The value of a rank: the inverse of `symbols.symbols`."""
    room = min(prediction, 255 - prediction)
    error = abs(centre - prediction)
    taken = 2 * error - (centre > prediction) if error <= room else error + room  # the centre's place
    rank += rank >= taken
    if rank > 2 * room:
        return prediction + (rank - room) * (1 if prediction < 128 else -1)
    return prediction + (rank + 1) // 2 if rank % 2 else prediction - rank // 2
