"""Passes keep what a network computes; the check after each pass notices one that does not."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from systolith.gen import passes
from systolith.gen.float_graph import (
    FloatAdd,
    FloatAffine,
    FloatClamp,
    FloatConv,
    FloatGraph,
    FloatNode,
    FloatPad,
    FloatPool,
    FloatReshape,
    float_execute,
    float_shape,
)
from systolith.gen.passes import PassError, run_passes
from systolith.gen.passes.dead_code import dead_code
from systolith.gen.passes.drop_identities import drop_identities
from systolith.gen.passes.fold_affine import fold_affine
from systolith.gen.passes.fold_pad import fold_pad
from systolith.gen.passes.fuse_activation import fuse_activation
from systolith.gen.passes.lower_affine import lower_affine
from systolith.gen.passes.rewrite import fuse

RANDOM = np.random.default_rng(11)
SHAPE = (6, 5, 4)


def graph(*nodes: FloatNode, outputs: tuple[str, ...] = ()) -> FloatGraph:
    """A graph on the input "x"; the last node's output is the output where none are named."""
    shapes = {"x": SHAPE}
    for node in nodes:
        shapes[node.output] = float_shape(node, shapes[node.inputs[0]])
    made = FloatGraph("test", ("x",), outputs or (nodes[-1].output,), shapes, nodes)
    made.check()
    return made


def conv(x: str, y: str, channels: int = 4, **fields: Any) -> FloatConv:
    weights = RANDOM.standard_normal((channels, 3, 3, 4)).astype(np.float32)
    return FloatConv(f"make_{y}", (x,), y, weights, RANDOM.standard_normal(channels).astype(np.float32), **fields)


def affine(x: str, y: str) -> FloatAffine:
    return FloatAffine(f"make_{y}", (x,), y, RANDOM.uniform(-2, 2, 4), RANDOM.standard_normal(4))


def clamp(x: str, y: str, low: float = 0.0, high: float = math.inf) -> FloatClamp:
    return FloatClamp(f"make_{y}", (x,), y, low, high)


def pool(x: str, y: str, mode: str, **fields: Any) -> FloatPool:
    return FloatPool(f"make_{y}", (x,), y, mode, (2, 2), **fields)


def pad(x: str, y: str, value: float = 0.0) -> FloatPad:
    return FloatPad(f"make_{y}", (x,), y, (1, 0, 0, 1), value)


def outputs(g: FloatGraph) -> list[NDArray[np.float64]]:
    x = np.random.default_rng(0).standard_normal(SHAPE)
    return list(float_execute(g, {"x": x}).values())


def after(rewrite: Callable[[FloatGraph], FloatGraph], g: FloatGraph) -> list[str]:
    """Kinds of the nodes after the pass, which must compute the same."""
    changed = dead_code(rewrite(g))
    changed.check()
    for got, expected in zip(outputs(changed), outputs(g), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    return [type(node).__name__.removeprefix("Float") for node in changed.nodes]


def test_affine_maps_fold_backwards_and_forwards() -> None:
    assert after(fold_affine, graph(conv("x", "a"), affine("a", "b"), affine("b", "c"))) == ["Conv"]
    assert after(fold_affine, graph(affine("x", "a"), affine("a", "b"), conv("b", "c"))) == ["Conv"]
    assert after(fold_affine, graph(conv("x", "a"), affine("a", "b"), conv("b", "c"))) == ["Conv", "Conv"]


def test_affine_maps_stay_where_folding_is_wrong() -> None:
    padded = graph(affine("x", "a"), conv("a", "b", padding=(1, 0, 0, 0)))
    assert after(fold_affine, padded) == ["Affine", "Conv"]  # the padding is 0 after the map
    limited = graph(conv("x", "a", low=0.0), affine("a", "b"))
    assert after(fold_affine, limited) == ["Conv", "Affine"]
    shared = graph(conv("x", "a"), affine("a", "b"), clamp("a", "c"), outputs=("b", "c"))
    assert after(fold_affine, shared) == ["Conv", "Affine", "Clamp"]
    output = graph(conv("x", "a"), affine("a", "b"), outputs=("a", "b"))
    assert after(fold_affine, output) == ["Conv", "Affine"]
    assert after(lower_affine, padded) == ["Depthwise", "Conv"]


@pytest.mark.parametrize("limits", [((0.0, 6.0), (-1.0, 3.0)), ((-1.0, 0.5), (0.7, 0.9)), ((2.0, 3.0), (-1.0, 1.0))])
def test_activations_fuse(limits: tuple[tuple[float, float], tuple[float, float]]) -> None:
    for node in (conv("x", "a"), FloatAdd("a", ("x", "x"), "a"), pool("x", "a", "max"), pool("x", "a", "average")):
        g = graph(node, clamp("a", "b", *limits[0]), clamp("b", "c", *limits[1]))
        assert len(after(fuse_activation, g)) == 1
        (fused,) = fuse_activation(g).nodes
        assert isinstance(fused, FloatConv | FloatAdd | FloatPool) and fused.low <= fused.high
    shared = graph(conv("x", "a"), clamp("a", "b"), clamp("a", "c", -1.0), outputs=("b", "c"))
    assert after(fuse_activation, shared) == ["Conv", "Clamp", "Clamp"]


def test_pads_fold_where_that_is_exact() -> None:
    assert after(fold_pad, graph(pad("x", "a"), conv("a", "b", padding=(0, 1, 1, 1)))) == ["Conv"]
    assert after(fold_pad, graph(pad("x", "a", 1.0), conv("a", "b"))) == ["Pad", "Conv"]
    for exclude in (False, True):
        assert after(fold_pad, graph(pad("x", "a"), pool("a", "b", "average", exclude_padding=exclude))) == ["Pool"]
    own = {"padding": (0, 1, 1, 0)}
    assert after(fold_pad, graph(pad("x", "a"), pool("a", "b", "average", **own))) == ["Pool"]
    excluding = pool("a", "b", "average", exclude_padding=True, **own)
    assert after(fold_pad, graph(pad("x", "a"), excluding)) == ["Pad", "Pool"]
    assert after(fold_pad, graph(pad("x", "a"), pool("a", "b", "max"))) == ["Pad", "Pool"]
    assert after(fold_pad, graph(pad("x", "a", -math.inf), pool("a", "b", "max"))) == ["Pool"]
    positive = clamp("x", "p")
    assert after(fold_pad, graph(positive, pad("p", "a"), pool("a", "b", "max"))) == ["Clamp", "Pool"]
    wide = FloatPad("wide", ("p",), "a", (2, 0, 0, 0))  # a window of padding only must stay 0
    assert after(fold_pad, graph(positive, wide, pool("a", "b", "max"))) == ["Clamp", "Pad", "Pool"]
    both = graph(pad("x", "a"), conv("a", "b"), pool("a", "c", "average"), outputs=("b", "c"))
    assert after(fold_pad, both) == ["Conv", "Pool"]


def test_identities_go_and_outputs_keep_their_names() -> None:
    same = [FloatReshape("same", ("a",), "b"), clamp("b", "c", -math.inf),
            FloatAffine("one", ("c",), "d", np.ones(4), np.zeros(4)), FloatPad("none", ("d",), "e", (0, 0, 0, 0))]
    g = graph(conv("x", "a"), *same, clamp("a", "f"), outputs=("e", "f"))
    assert after(drop_identities, g) == ["Conv", "Clamp"]
    changed = drop_identities(g)
    assert changed.outputs == ("e", "f") and changed.nodes[0].output == "e" and changed.nodes[1].inputs == ("e",)
    two = graph(conv("x", "a"), FloatReshape("r", ("a",), "b"), FloatReshape("s", ("a",), "c"), outputs=("b", "c"))
    assert after(drop_identities, two) == ["Conv", "Reshape"]
    assert after(drop_identities, graph(FloatReshape("r", ("x",), "b"))) == ["Reshape"]


def test_dead_code_goes() -> None:
    g = graph(conv("x", "a"), conv("a", "b"), clamp("a", "c"), outputs=("c",))
    assert [node.output for node in dead_code(g).nodes] == ["a", "c"]
    assert set(dead_code(g).shapes) == {"x", "a", "c"}


def test_a_wrong_pass_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets_the_offset(g: FloatGraph) -> FloatGraph:
        def rule(g: FloatGraph, first: FloatNode, second: FloatNode) -> FloatNode | None:
            if isinstance(first, FloatConv) and isinstance(second, FloatAffine):
                weights = first.weights * second.scale[:, None, None, None]
                return replace(first, output=second.output, weights=weights)
            return None
        return fuse(g, rule)

    monkeypatch.setattr(passes, "PASSES", (forgets_the_offset,))
    g = graph(conv("x", "a"), affine("a", "b"))
    with pytest.raises(PassError, match="forgets_the_offset changed b"):
        run_passes(g)
    assert len(run_passes(g, verify=False).nodes) == 1


def test_a_pass_that_breaks_the_graph_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PASSES", (lambda g: replace(g, nodes=g.nodes[1:]),))
    with pytest.raises(ValueError, match="which nothing before it makes"):
        run_passes(graph(conv("x", "a"), affine("a", "b")))


def any_node(kind: int, x: str, y: str, pick: int, same: list[str]) -> FloatNode:
    """A node of one of nine kinds on tensor `x`; `same`: tensors of x's shape, to which it may be added."""
    if kind < 2:
        return conv(x, y, padding=(1, 1, 1, 1)) if kind else affine(x, y)
    if kind < 4:
        return clamp(x, y) if kind == 2 else clamp(x, y, -1.0, 0.5)
    if kind < 6:
        return pad(x, y) if kind == 4 else FloatReshape(y, (x,), y)
    if kind == 6:
        return FloatAdd(y, (x, same[pick % len(same)]), y)
    if kind == 7:
        return pool(x, y, "max", padding=(1, 0, 0, 1))
    return pool(x, y, "average", padding=(1, 0, 0, 1), exclude_padding=pick % 2 == 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 100)), min_size=1, max_size=12), st.integers(0, 3))
def test_any_network_computes_the_same_after_all_passes(kinds: list[tuple[int, int]], extra: int) -> None:
    """Random chains with random branches: `run_passes` verifies each pass, and the whole is compared once more."""
    nodes: list[FloatNode] = []
    shapes = {"x": SHAPE}
    for i, (kind, pick) in enumerate(kinds):
        names = list(shapes)
        x, y = names[-1 - pick % min(3, len(names))], f"t{i}"
        node = any_node(kind, x, y, pick, [name for name in names if shapes[name] == shapes[x]])
        nodes.append(node)
        shapes[y] = float_shape(node, shapes[x])
    names = [node.output for node in nodes]
    g = FloatGraph("random", ("x",), tuple(dict.fromkeys([names[-1], *names[:extra]])), shapes, tuple(nodes))
    changed = run_passes(g)
    assert not any(isinstance(node, FloatAffine) for node in changed.nodes)
    for got, expected in zip(outputs(changed), outputs(g), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
