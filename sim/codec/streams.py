"""Code lengths and bits of whole tiles, and the order of their units."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import (
    CODE_OF,
    CONST,
    HELD_BITS,
    LANES,
    MAPS,
    MODES,
    TABLE_MODES,
    TAG_CHANNELS,
    UNIT_BITS,
    ZERO,
)

from .choose import choose_modes
from .symbols import CODE_BITS, CODE_LENGTHS, RUN_SYMBOL, Z_SYMBOL, neighbours, predictions, runs, symbols

_CODE_OF = np.array(CODE_OF)
MODES_A_UNIT = 4


@dataclass(frozen=True)
class Codes:
    """A batch of tiles of one shape, coded: what each value adds to its stream.

    `lengths` and `bits` are [tiles, rows, columns, channels], `modes` [tiles, channels], `tags` [tiles].
    """

    lengths: NDArray[np.int64]
    bits: NDArray[np.int64]
    modes: NDArray[np.intp]
    tags: NDArray[np.intp]


def code_tiles(values: NDArray[np.uint8], centre: int, table_set: int = MAPS) -> Codes:
    """Chooses the modes and codes every value of a batch of tiles [tiles, rows, columns, channels]."""
    signed = values.astype(np.int16)
    left, upper = neighbours(signed, centre, table_set)
    choice = choose_modes(signed, left, upper, centre, table_set)
    modes = choice.modes[:, None, None]
    lengths, bits = np.zeros(values.shape, np.int64), np.zeros(values.shape, np.int64)
    for predictor, length in set(MODES[table_set]):
        number = [m for m in range(TABLE_MODES) if MODES[table_set][m] == (predictor, length)]
        chosen = np.broadcast_to(np.isin(modes, number), values.shape)
        if not chosen.any():
            continue
        prediction, context = predictions(predictor, left, upper, centre)
        symbol = symbols(signed, prediction, centre)
        covered = np.zeros_like(chosen)
        if length:
            starts, covered = runs(symbol == Z_SYMBOL, context == 0, length)
            symbol[starts] = RUN_SYMBOL
        coded = chosen & ~covered
        code = _CODE_OF[table_set, np.broadcast_to(modes, values.shape)[coded], context[coded]]
        lengths[coded], bits[coded] = CODE_LENGTHS[code, symbol[coded]], CODE_BITS[code, symbol[coded]]
    first = choice.modes == CONST
    lengths[:, 0, 0][first], bits[:, 0, 0][first] = 8, values[:, 0, 0][first]
    return Codes(lengths, bits, choice.modes, choice.tags)


def lane_steps(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """[tiles, rows, columns, channels] as [tiles, steps, lanes], with zeros for lanes without a channel."""
    tiles, _, _, channels = array.shape
    padded = np.pad(array, ((0, 0), (0, 0), (0, 0), (0, -channels % LANES)))
    return padded.reshape(tiles, -1, LANES)


@dataclass(frozen=True)
class Order:
    """Which units the lanes take when: `taken` [tiles, rounds, lanes] says in which round, 0 being the one before the
    first step; `number` that unit's place in the tile; `before` [tiles, steps, lanes] bits of earlier codes;
    `units` [tiles] how many hold a bit."""

    taken: NDArray[np.bool_]
    number: NDArray[np.int64]
    before: NDArray[np.int64]
    units: NDArray[np.int64]


def unit_order(lengths: NDArray[np.int64], channels: int) -> Order:
    """The units that a decoder takes. A lane holds HELD_BITS or more after it could take one, so that at step t it has
    taken ceil((HELD_BITS + bits of its codes before t) / UNIT_BITS)."""
    tiles, steps, lanes = lengths.shape
    groups = -(-channels // LANES)
    after = lengths.cumsum(1)
    before = after - lengths
    here = (np.arange(groups * LANES) < channels).reshape(groups, lanes)
    here = np.tile(here, (steps // groups, 1))
    total = np.where(here, -(-(HELD_BITS + before) // UNIT_BITS), 0)
    total = np.maximum.accumulate(total, 1)
    first = np.broadcast_to(here[:1], (tiles, 1, lanes)).astype(np.int64)
    taken = np.diff(np.concatenate([np.zeros_like(first), first, total], 1), axis=1) > 0
    number = taken.reshape(tiles, -1).cumsum(1).reshape(taken.shape) - 1
    rank = taken.cumsum(1)
    filled = taken & (rank <= -(-after[:, -1:] // UNIT_BITS))
    return Order(taken, number, before, np.where(filled, number + 1, 0).max((1, 2)))


def header_units(tags: NDArray[np.intp], modes: NDArray[np.intp]) -> NDArray[np.int64]:
    """Units of each tile's header: none where one mode serves all channels, or all channels are ZERO."""
    some = (tags == TAG_CHANNELS) & (modes != ZERO).any(1)
    return np.where(some, -(-modes.shape[1] // MODES_A_UNIT), 0)
