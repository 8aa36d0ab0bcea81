"""Random blocks of work for the systolic array, with the sums they must give."""

from typing import Any

import numpy as np


def array_blocks(seed: int, rows: int, cols: int, depth: int, sizes: list[tuple[int, int]] | None = None,
                 count: int = 10, bits: int = 8) -> tuple[list[dict[str, Any]], list[list[int]], list[dict[str, Any]]]:
    """Input rows, weight rows and expected accumulator rows, as plain payloads.

    sizes: (accumulator rows, K tiles) of each block; left out, `count` random ones up to (`depth`, 3).
    The first block has the extreme values only. bits: of the inputs; 9 are -255 to 255.
    """
    least, most = (-128, 127) if bits == 8 else (-255, 255)
    rng = np.random.default_rng(seed)
    if sizes is None:
        sizes = [(int(rng.integers(1, depth + 1)), int(rng.integers(1, 4))) for _ in range(count)]
    inputs: list[dict[str, Any]] = []
    weights: list[list[int]] = []
    expected: list[dict[str, Any]] = []
    for block, (length, tiles) in enumerate(sizes):
        x = rng.integers(least, most + 1, (tiles, length, rows))
        w = rng.integers(-128, 128, (tiles, rows, cols))
        if block == 0:
            x, w = np.full_like(x, least), np.where(np.arange(cols) % 2, 127, -128) + 0 * w
        for tile in range(tiles):
            weights += w[tile].tolist()
            for index in range(length):
                inputs.append({
                    "data": x[tile, index].tolist(), "swap": int(index == 0), "begin": int(index == 0 and tile == 0),
                    "first": int(tile == 0), "last": int(tile == tiles - 1 and index == length - 1), "index": index})
        sums = np.einsum("kir,krc->ic", x, w)
        expected += [{"data": row.tolist(), "last": int(index == length - 1)} for index, row in enumerate(sums)]
    return inputs, weights, expected
