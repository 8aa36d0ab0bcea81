"""What is coded for each value: neighbours, predictions, contexts, ranks.

All arrays are [tiles, rows, columns, channels].
"""

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import BUCKETS, CODES, ESCAPE_ZEROS, LONGEST_CODE, MAPS, RUN, Z_THRESHOLDS, Z

Values = NDArray[np.int16]

RANKS = 255
"""Ranks are 0..254: of 256 values one, the centre, has a symbol of its own."""

Z_SYMBOL, RUN_SYMBOL, SYMBOLS = RANKS, RANKS + 1, RANKS + 2

CENTRE_BUCKET = len(BUCKETS) + 1

RANK_BUCKET = np.append(np.digitize(np.arange(RANKS), BUCKETS), CENTRE_BUCKET).astype(np.intp)
"""Bucket of a rank, or of `Z_SYMBOL`."""


def neighbours(values: Values, centre: int, table_set: int) -> tuple[Values, Values]:
    """Left and upper neighbour of each value; but for maps the upper one is a running average of the channel."""
    _, height, width, _ = values.shape
    left, upper = np.full_like(values, centre), np.full_like(values, centre)
    left[:, :, 1:] = values[:, :, :-1]
    upper[:, 1:] = values[:, :-1]
    upper[:, 0, 1:] = left[:, 0, 1:]
    if table_set != MAPS:
        average = values[:, 0, 0]
        for place in range(1, height * width):
            upper[:, place // width, place % width] = average
            average = average + ((values[:, place // width, place % width] - average + 2) >> 2)
    left[:, 1:, 0] = upper[:, 1:, 0]
    return left, upper


def map_contexts(left: Values, upper: Values, centre: int) -> NDArray[np.intp]:
    """Context of the predictors A and U."""
    apart = np.abs(left - upper)
    far = np.maximum(np.abs(left - centre), np.abs(upper - centre))
    length = np.digitize(apart, (1, 2, 4, 8, 16, 32))
    return np.where(far == 0, 0, 1 + 2 * length + (far > 2 * apart + 2))


def centre_contexts(left: Values, upper: Values, centre: int) -> NDArray[np.intp]:
    """Context of the predictor Z."""
    return np.digitize(np.abs(left - centre) + np.abs(upper - centre), Z_THRESHOLDS)


def predictions(predictor: str, left: Values, upper: Values, centre: int) -> tuple[Values, NDArray[np.intp]]:
    """Prediction and context of each value."""
    if predictor == "Z":
        return np.full_like(left, centre), centre_contexts(left, upper, centre)
    return upper if predictor == "U" else (left + upper + 1) >> 1, map_contexts(left, upper, centre)


def fold(values: Values, prediction: Values) -> Values:
    """Distance from the prediction with its sign as the lowest bit, as long as there are values on both sides."""
    error = values - prediction
    distance, room = np.abs(error), np.minimum(prediction, 255 - prediction)
    return np.where(distance <= room, 2 * distance - (error > 0), distance + room)


def symbols(values: Values, prediction: Values, centre: int) -> NDArray[np.intp]:
    """Rank of each value among those that are not the centre, or `Z_SYMBOL`."""
    rank = fold(values, prediction)
    rank -= rank > fold(np.full_like(values, centre), prediction)
    return np.where(values == centre, Z_SYMBOL, rank).astype(np.intp)


def runs(centres: NDArray[np.bool_], allowed: NDArray[np.bool_], length: int) -> tuple[
        NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a run of `length` centres (fewer at a row's end) begins, and which values it covers after the first."""
    starts, covered = np.zeros_like(centres), np.zeros_like(centres)
    left = np.zeros(centres[:, :, 0].shape, np.int8)
    for x in range(centres.shape[2]):
        covered[:, :, x] = left > 0
        whole = centres[:, :, x:x + length].all(2)
        starts[:, :, x] = allowed[:, :, x] & ~covered[:, :, x] & whole
        left = np.where(starts[:, :, x], length - 1, np.maximum(left - 1, 0))
    return starts, covered


def _code(classes: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Length and bits (the first is the lowest) of each symbol."""
    lengths, bits = np.full(SYMBOLS, LONGEST_CODE), np.arange(SYMBOLS) << ESCAPE_ZEROS
    base = 0
    for zeros, kind in enumerate(classes):
        if kind in (Z, RUN):
            symbol = Z_SYMBOL if kind == Z else RUN_SYMBOL
            lengths[symbol], bits[symbol] = zeros + 1, 1 << zeros
            continue
        ranks = np.arange(base, min(base + (1 << kind), RANKS))
        lengths[ranks] = zeros + 1 + kind
        bits[ranks] = (1 << zeros) | (ranks - base) << (zeros + 1)
        base += 1 << kind
    return lengths, bits


CODE_LENGTHS, CODE_BITS = (np.stack(table) for table in zip(*map(_code, CODES), strict=True))
"""[code, symbol]."""
