"""The encoder's choice of a mode for each channel of a tile."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import CONST, COSTS, MODES, TABLE_MODES, TAG_CHANNELS, ZERO

from .symbols import RANK_BUCKET, Z_SYMBOL, Values, fold, predictions

_COSTS = np.array(COSTS)

FEW_PIXELS, MOST_PIXELS = 8, 256
"""In tiles of more than FEW_PIXELS every other pixel of a channel is looked at, among the first MOST_PIXELS."""

_NAMING, _CONSTANT = 6, 8
"""What naming a channel's mode, and a constant channel, are taken to cost, in 1 / COST_BITS bit; less than they do,
since mostly half of the values are looked at."""


@dataclass(frozen=True)
class Choice:
    """`modes` [tiles, channels]; `tags` [tiles]: the mode of all channels, or `TAG_CHANNELS`."""

    modes: NDArray[np.intp]
    tags: NDArray[np.intp]


def looked_at(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Values [rows, columns, channels] of a tile from which modes are chosen: odd pixels of odd channels, even ones of
    even channels, or all where there are few."""
    height, width, channels = shape
    pixel = np.arange(height * width).reshape(height, width, 1)
    if height * width <= FEW_PIXELS:
        return np.ones(shape, bool)
    return (pixel % 2 == np.arange(channels) % 2) & (pixel < MOST_PIXELS)


def estimated_costs(values: Values, left: Values, upper: Values, centre: int, table_set: int) -> NDArray[np.int64]:
    """What each table mode is taken to cost each channel, of the values that are looked at: [tiles, channels, modes],
    in 1 / COST_BITS bit."""
    seen = looked_at(values.shape[1:])
    costs = np.zeros((*values.shape[::3], TABLE_MODES), np.int64)
    for predictor in {predictor for predictor, _ in MODES[table_set]}:
        prediction, context = predictions(predictor, left, upper, centre)
        rank = fold(values, prediction) - (predictor == "Z")
        bucket = RANK_BUCKET[np.where(values == centre, Z_SYMBOL, np.minimum(rank, Z_SYMBOL - 1))]
        for mode, (used, _) in enumerate(MODES[table_set]):
            if used == predictor:
                costs[:, :, mode] = (_COSTS[table_set, mode][context, bucket] * seen).sum((1, 2))
    return costs


def choose_modes(values: Values, left: Values, upper: Values, centre: int, table_set: int) -> Choice:
    """ZERO and CONST where they can be; else the mode of least cost, the first of equals. One table for all channels
    where that is taken to be cheaper than to name one for each."""
    costs = estimated_costs(values, left, upper, centre, table_set)
    zero = (values == centre).all((1, 2))
    const = (values == values[:, :1, :1]).all((1, 2))
    own = np.where(zero, 0, np.where(const, _CONSTANT, costs.min(2)))
    common = costs.sum(1)
    together = common.min(1) < (own + _NAMING).sum(1)
    together &= ~zero.all(1)
    shared = common.argmin(1)
    modes = np.where(zero, ZERO, np.where(const, CONST, costs.argmin(2)))
    return Choice(np.where(together[:, None], shared[:, None], modes), np.where(together, shared, TAG_CHANNELS))
