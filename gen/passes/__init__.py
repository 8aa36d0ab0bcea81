"""Rewrites of the float graph, one file a pass, run in the order of PASSES and each verified by execution."""

import zlib
from collections.abc import Callable

import numpy as np

from ..float_graph import FloatGraph, float_execute
from .dead_code import dead_code
from .drop_identities import drop_identities
from .fold_affine import fold_affine
from .fold_pad import fold_pad
from .fuse_activation import fuse_activation
from .lower_affine import lower_affine

Pass = Callable[[FloatGraph], FloatGraph]

PASSES: tuple[Pass, ...] = (
    dead_code,  # first: what nobody reads must not keep others from being fused
    drop_identities,
    fold_affine,
    lower_affine,  # what could not be folded; before activations, so that they find a convolution
    fuse_activation,
    fold_pad,  # after activations: it wants to know that a value is not negative
    dead_code,
)

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the output's largest value: weights are float32, sums are float64."""


class PassError(Exception):
    """A pass changed what the network computes: a mistake in the pass."""


def run_passes(graph: FloatGraph, verify: bool = True) -> FloatGraph:
    """`graph` after all passes; `verify` executes it before and after each on a random input and compares."""
    graph.check()
    random = np.random.default_rng(zlib.crc32(graph.name.encode()))
    inputs = {name: random.standard_normal(graph.shapes[name]) for name in graph.inputs}
    for name, entries in graph.entries().items():
        inputs[name] = random.integers(entries, size=graph.shapes[name]).astype(np.float64)
    before = float_execute(graph, inputs) if verify else {}
    for rewrite in PASSES:
        changed = rewrite(graph)
        if changed.nodes == graph.nodes:
            continue
        changed.check()
        if verify:
            after = float_execute(changed, inputs)
            for name, expected in before.items():
                error = np.abs(after[name] - expected).max(initial=0)
                if not error <= TOLERANCE * max(1.0, np.abs(expected).max(initial=0)):
                    raise PassError(f"{rewrite.__name__} changed {name} by {error:.3g} in {graph.name}")
            before = after
        graph = changed
    return graph
