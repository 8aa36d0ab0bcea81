"""Tiles and tensors for the codec's tests."""

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.codec.tables import TABLE_SETS

Tile = NDArray[np.uint8]


def smooth(shape: tuple[int, int, int], seed: int, noise: float = 6.0, centre: int = 100) -> Tile:
    """A map whose values change slowly over the pixels, differently in each channel."""
    numbers = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    a, b, c = numbers.normal(0, 1, (3, shape[2]))
    wave = 40 * np.sin(y[..., None] * a / 5 + x[..., None] * b / 5 + 6 * c)
    return (centre + wave + numbers.normal(0, noise, shape)).clip(0, 255).astype(np.uint8)


def rectified(shape: tuple[int, int, int], seed: int, noise: float = 6.0) -> Tile:
    """The same behind a ReLU: about half of the values are 0, some channels all of them."""
    return (smooth(shape, seed, noise).astype(int) - 100 - 30 * (np.arange(shape[2]) % 5 - 2)).clip(0, 255).astype(
        np.uint8)


def tiles(seed: int) -> dict[str, tuple[Tile, int, int]]:
    """Tiles with their centres and sets of tables, of every kind that treats an encoder badly."""
    numbers = np.random.default_rng(seed)
    shapes = [(int(h), int(w), int(c)) for h, w, c in zip(numbers.integers(1, 9, 8), numbers.integers(1, 17, 8),
                                                          numbers.integers(1, 29, 8), strict=True)]
    a, b, c, d, e, f, g, h = shapes
    mixed = rectified((8, 8, 24), seed)
    mixed[:, :, 1], mixed[:, :, 7], mixed[:, :, 9] = 0, 17, numbers.integers(0, 256, (8, 8))
    kinds = {
        "constant": (np.full(a, 77, np.uint8), 3),
        "centre": (np.full(b, 200, np.uint8), 200),
        "alternating": ((np.indices(c).sum(0) % 2 * 255).astype(np.uint8), 0),
        "saturated": (np.where(numbers.random(d) < 0.9, 255, 0).astype(np.uint8), 128),
        "random": (numbers.integers(0, 256, e, np.uint8), int(numbers.integers(256))),
        "sparse": (np.where(numbers.random(f) < 0.05, numbers.integers(0, 256, f), 0).astype(np.uint8), 0),
        "sparse tokens": (np.where(numbers.random((1, 16, 40)) < 0.1, 9, 0).astype(np.uint8), 0),
        "tokens": (numbers.normal(128, 20, (1, 16, 64)).clip(0, 255).astype(np.uint8), 128),
        "skewed tokens": ((20 + numbers.exponential(12, (1, 12, 24))).clip(0, 255).astype(np.uint8), 24),
        "smooth": (smooth(g, seed), 100),
        "rectified": (rectified(h, seed), 0),
        "mixed": (mixed, 0),
        "ragged": (rectified((5, 7, 19), seed, 2), 0),
        "deep": (rectified((1, 1, 300), seed), 0),
        "largest": (rectified((8, 16, 32), seed), 0),
    }
    sets = np.random.default_rng(seed).integers(TABLE_SETS, size=len(kinds)).tolist()
    return {name: (*case, table_set) for (name, case), table_set in zip(kinds.items(), sets, strict=True)}
