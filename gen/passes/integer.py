"""Rewrites of the integer graph, in order, each verified: outputs stay the same, bit for bit."""

from collections.abc import Callable

import numpy as np

from systolith.gen.graph import Graph
from systolith.sim.golden.execute import execute, random_inputs

from . import PassError
from .constant_channels import constant_channels
from .merge_heads import merge_heads
from .split_channels import split_channels

INTEGER_PASSES: tuple[Callable[[Graph], Graph], ...] = (merge_heads, constant_channels, split_channels)


def run_integer_passes(graph: Graph) -> Graph:
    """`graph` after all passes. What changes is executed before and after on a random input and compared."""
    for rewrite in INTEGER_PASSES:
        changed = rewrite(graph)
        if changed is graph:
            continue
        changed.check()
        inputs = random_inputs(graph)
        before, after = execute(graph, inputs), execute(changed, inputs)
        for name in graph.outputs:
            if not np.array_equal(before[name], after[name]):
                raise PassError(f"{rewrite.__name__} changed {name} in {graph.name}")
        graph = changed
    return graph
