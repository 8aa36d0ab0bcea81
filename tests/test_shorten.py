"""Passes that move heads and change lengths: merge_heads keeps outputs, shorten makes the network of fewer tokens."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.gen.errors import UserError
from systolith.gen.float_graph import float_execute
from systolith.gen.graph import Constant, Graph, MatMul, Reshape, Tensor
from systolith.gen.passes.merge_heads import merge_heads
from systolith.gen.passes.shorten import float_shortened, shortened, tokens_of
from systolith.sim.golden.execute import execute, random_inputs
from tests.transformer_networks import MODELS, bert, float_model, model, samples, words

MASKED = ["masked bert", "words", "first", "mean"]


@pytest.mark.parametrize("name", MODELS)
def test_merge_heads_keeps_outputs(name: str) -> None:
    graph = model(name)
    merged = merge_heads(graph)
    merged.check()
    before, after = (execute(each, random_inputs(graph, 5)) for each in (graph, merged))
    for output in graph.outputs:
        assert np.array_equal(before[output], after[output])
    reshapes = [node for node in graph.nodes if isinstance(node, Reshape)]
    left = [node for node in merged.nodes if isinstance(node, Reshape)]
    assert len(left) < len(reshapes) and set(merged.tensors) <= set(graph.tensors)
    around = {name for node in merged.nodes if isinstance(node, MatMul) for name in (*node.inputs, node.output)}
    assert not any(set((*node.inputs, node.output)) <= around for node in left)
    assert merge_heads(merged) is merged


def product(*, output: bool = False, twice: bool = False) -> Graph:
    """A product whose result is reshaped, and perhaps an output or read by others."""
    tensors = {name: Tensor(name, shape) for name, shape in {
        "x": (4, 1, 32), "h": (4, 2, 16), "s": (4, 2, 4), "m": (4, 2, 16), "y": (4, 1, 32), "z": (4, 1, 32),
        "t": (2, 4, 16)}.items()}
    nodes = [Reshape("h", ("x",), "h"), MatMul("s", ("h", "h"), "s", 1 << 30, 36, 16, True),
             MatMul("m", ("s", "h"), "m", 1 << 30, 36, 4), Reshape("y", ("m",), "y")]
    if twice:
        nodes.append(Reshape("z", ("m",), "z"))
    return Graph("g", ("x",), ("y", *(["m"] if output else []), *(["z"] if twice else [])), tensors, tuple(nodes))


@pytest.mark.parametrize(("output", "twice", "left"), [
    (False, False, []), (True, False, ["y"]), (False, True, ["y", "z"])])
def test_what_others_read_keeps_its_shape(output: bool, twice: bool, left: list[str]) -> None:
    graph = product(output=output, twice=twice)
    merged = merge_heads(graph)
    merged.check()
    assert [node.name for node in merged.nodes if isinstance(node, Reshape)] == left
    before, after = (execute(each, random_inputs(graph)) for each in (graph, merged))
    assert all(np.array_equal(before[name], after[name]) for name in graph.outputs)


def test_a_reshape_that_moves_rows_stays() -> None:
    graph = product()
    nodes = (Reshape("t", ("x",), "t"), MatMul("s", ("t", "t"), "s", 1 << 30, 36, 16, True))
    tensors = {**graph.tensors, "s": Tensor("s", (2, 4, 2))}
    moved = Graph("g", ("x",), ("s",), tensors, nodes)
    assert merge_heads(moved) is moved


@pytest.mark.parametrize("length", [1, 5, 16, 23])
@pytest.mark.parametrize("name", MASKED)
def test_shortened_is_the_network_of_fewer_tokens(name: str, length: int) -> None:
    """The same weights and scales on fewer tokens, against the float network that is built for so many."""
    graph, core = float_model(name), model(name)
    make = {"masked bert": lambda: bert(length, masked=True), "words": lambda: words(length)}.get(
        name, lambda: words(length, name))
    sample = samples(graph, 1, 8)[0]
    less = {key: value[:length] for key, value in sample.items()}
    short = float_shortened(graph, length)
    short.check()
    built, made = float_execute(make(), less), float_execute(short, less)
    for one, other in zip(made.values(), built.values(), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-4)
    quantised = shortened(core, length)
    quantised.check()
    assert tokens_of(quantised) == length and {each: t.shape for each, t in quantised.tensors.items()} == {
        each: (short.shapes.get(each) or t.shape) for each, t in quantised.tensors.items()}
    for one, other in zip(core.nodes, quantised.nodes, strict=True):
        if isinstance(one, Constant) and isinstance(other, Constant):
            assert np.array_equal(one.values[:length], other.values)


@pytest.mark.parametrize("name", MASKED)
def test_the_whole_length_changes_nothing(name: str) -> None:
    core = model(name)
    inputs = random_inputs(core)
    before, after = execute(core, inputs), execute(shortened(core, 24), inputs)
    assert all(np.array_equal(before[each], after[each]) for each in before)


@pytest.mark.parametrize("length", [1, 7, 23])
def test_passes_may_come_before_or_after(length: int) -> None:
    core = model("masked bert")
    inputs = {name: value[:length] for name, value in random_inputs(core).items()}
    one, other = execute(shortened(merge_heads(core), length), inputs), execute(shortened(core, length), inputs)
    assert all(np.array_equal(one[name], other[name]) for name in core.outputs)


@pytest.mark.parametrize("length", [0, -1, 25])
def test_lengths_that_there_are_not(length: int) -> None:
    for short, graph in ((shortened, model("words")), (float_shortened, float_model("words"))):
        with pytest.raises(UserError, match=f"a sequence of {length} tokens; words-tokens was compiled for 1 to 24"):
            short(graph, length)  # type: ignore[operator]


def test_without_a_mask_there_is_one_length() -> None:
    for short, graph in ((shortened, model("bert")), (float_shortened, float_model("bert"))):
        with pytest.raises(UserError, match="bert takes no mask"):
            short(graph, 5)  # type: ignore[operator]


def test_tokens_that_are_mixed() -> None:
    core = model("masked bert")
    out = core.outputs[0]
    mixed = Tensor("mixed", (12, 1, 128), core.tensors[out].dtype)
    graph = replace(core, outputs=("mixed",), tensors={**core.tensors, "mixed": mixed},
                    nodes=(*core.nodes, Reshape("mixed", (out,), "mixed")))
    with pytest.raises(UserError, match="mixed mixes tokens, so that bert has one length only"):
        shortened(graph, 7)
