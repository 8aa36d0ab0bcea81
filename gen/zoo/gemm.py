"""Matrix products as networks of one layer."""

import numpy as np

from systolith.gen.errors import UserError
from systolith.gen.graph import Conv2D, Graph, Tensor
from systolith.sim.golden.rescale import quantise_scale

MOST_WEIGHTS = 1 << 28
"""Weights of a matrix product: more than simulators finish."""


def gemm(text: str, seed: int = 1) -> Graph:
    """The product [M, K] x [K, N] named by "gemm:MxKxN", int8 in and out, seeded random weights."""
    try:
        m, k, n = (int(part) for part in text.removeprefix("gemm:").split("x"))
    except ValueError:
        raise UserError(f"{text!r} is no matrix product; write gemm:MxKxN, for example gemm:256x512x256") from None
    if min(m, k, n) < 1 or m > 32767:
        raise UserError(f"{text!r}: M must be from 1 to 32767, K and N at least 1")
    if k * n > MOST_WEIGHTS:
        raise UserError(f"{text!r} has {k * n} weights; at most {MOST_WEIGHTS}")
    random = np.random.default_rng(seed)
    weights = random.integers(-127, 128, (n, 1, 1, k), np.int8)
    multiplier, shift = quantise_scale(1 / (135 * np.sqrt(k)))
    node = Conv2D("gemm", ("a",), "c", weights, random.integers(-1000, 1000, n, np.int32),
                  np.full(n, multiplier, np.int64), np.full(n, shift, np.int64), source=text)
    tensors = {"a": Tensor("a", (1, m, k), scale=1 / 64, zero_point=3),
               "c": Tensor("c", (1, m, n), scale=1 / 16, zero_point=-5)}
    return Graph(text, ("a",), ("c",), tensors, (node,), {"a": (m, k)}, {"c": (m, n)})
