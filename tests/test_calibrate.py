"""Ranges of activations: exact counts in fixed memory, and what the clipped ranges are good for."""

import numpy as np

from systolith.gen.calibrate import BINS, Observer
from systolith.gen.quantize import activation_scale


def test_histogram_counts_stay_exact_while_the_reach_grows() -> None:
    random = np.random.default_rng(0)
    parts = [random.standard_normal(1000) * size for size in (0.01, 0.5, 0.3, 20, 3)]
    observer = Observer(histogram=True)
    for part in parts:
        observer.see(part)
    every = np.concatenate(parts)
    assert observer.counts is not None and observer.counts.shape == (BINS,)
    expected, _ = np.histogram(every, bins=BINS, range=(-observer.reach, observer.reach))
    assert np.array_equal(observer.counts, expected)
    assert (observer.low, observer.high) == (every.min(), every.max())
    low, high = observer.percentile(90)
    assert abs(np.mean(every < low) - 0.05) < 0.01 and abs(np.mean(every > high) - 0.05) < 0.01


def test_outliers_are_clipped_where_asked_for() -> None:
    observer = Observer(histogram=True)
    random = np.random.default_rng(0)
    values = np.append(random.standard_normal(100000), 60.0)
    observer.see(values)

    def error(low: float, high: float) -> float:
        scale, zero = activation_scale(low, high)
        steps = np.clip(np.rint(values / scale) + zero, -128, 127)
        return float((((steps - zero) * scale - values)[:-1] ** 2).sum())

    plain, clipped = error(observer.low, observer.high), error(*observer.percentile(99.99))
    assert clipped < plain / 20
    low, high = observer.least_error()
    assert high < observer.high and low >= observer.low
