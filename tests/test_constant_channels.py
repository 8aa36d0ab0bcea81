"""Channels that are dropped change no output."""

import numpy as np
import pytest

from systolith.gen.graph import Conv2D, DepthwiseConv2D, Graph
from systolith.gen.passes.constant_channels import constant_channels
from systolith.sim.golden.execute import execute, random_inputs
from tests.random_graphs import RandomGraph


def _with_zeros(graph: Graph, seed: int) -> Graph:
    """The graph with the weights of random output channels, and of random input channels, all zero."""
    from dataclasses import replace
    random = np.random.default_rng(seed)
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Conv2D | DepthwiseConv2D):
            weights = node.weights.copy()
            weights[random.random(len(weights)) < 0.5] = 0
            if isinstance(node, Conv2D):
                weights[..., random.random(weights.shape[3]) < 0.2] = 0
            node = replace(node, weights=weights)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed):
    graph = _with_zeros(RandomGraph(seed).graph(7), seed)
    small = constant_channels(graph)
    small.check()
    for sample in range(2):
        x = random_inputs(graph, sample)
        expected, found = execute(graph, x), execute(small, x)
        for name in graph.outputs:
            np.testing.assert_array_equal(found[name], expected[name])
