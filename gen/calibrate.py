"""Ranges of activations, gathered sample by sample in memory that does not grow."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096


class Observer:
    """Smallest and largest value seen and, where asked for, a histogram over [-reach, reach].

    reach is a power of two; it doubles when a value lies outside and neighbouring bins are merged, so that the
    counts stay exact.
    """

    def __init__(self, histogram: bool = False) -> None:
        self.low = math.inf
        self.high = -math.inf
        self.reach = 0.0
        self.counts = np.zeros(BINS, np.int64) if histogram else None

    def see(self, values: NDArray[Any]) -> None:
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if self.counts is None or largest == 0:
            return
        if self.reach == 0:
            self.reach = 2.0 ** math.ceil(math.log2(largest))
        while largest > self.reach:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.reach *= 2
        places = ((values.ravel() + self.reach) * (BINS / 2 / self.reach)).astype(np.int64)
        self.counts += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    @property
    def centres(self) -> NDArray[np.floating]:
        """The middle of each bin."""
        return (np.arange(BINS) + 0.5) * (2 * self.reach / BINS) - self.reach

    def percentile(self, percent: float) -> tuple[float, float]:
        """The range without the (100 - percent) / 2 per cent of the values at either end."""
        if self.counts is None or not self.counts.any():
            return self.low, self.high
        cumulated = np.cumsum(self.counts) / self.counts.sum()
        tail = (100 - percent) / 200
        edges = np.linspace(-self.reach, self.reach, BINS + 1)
        low = edges[int(np.searchsorted(cumulated, tail, side="right"))]
        high = edges[min(int(np.searchsorted(cumulated, 1 - tail, side="left")) + 1, BINS)]
        return max(self.low, float(low)), min(self.high, float(high))

    def least_error(self) -> tuple[float, float]:
        """The range, a fraction of what was seen, whose 255 steps show the histogram with the least square error."""
        if self.counts is None or not self.counts.any():
            return self.low, self.high
        used = self.counts > 0
        values, weight = self.centres[used], self.counts[used]
        best = (math.inf, self.low, self.high)
        for part in np.linspace(1.0, 0.2, 41).tolist():
            low, high = min(self.low, 0.0) * part, max(self.high, 0.0) * part
            step = (high - low) / 255
            if step <= 0:
                break
            shown = np.clip(np.rint((values - low) / step), 0, 255) * step + low
            error = float((weight * (values - shown) ** 2).sum())
            if error < best[0]:
                best = (error, low, high)
        return best[1:]
