"""Quantisation of transformers: which tensors are int16, copies of another type, scales, how near it is to float."""

from collections import Counter

import numpy as np
import pytest

from systolith.gen.float_graph import FloatGraph, FloatMatMul, FloatNorm, float_execute
from systolith.gen.frontend.onnx_float import import_float
from systolith.gen.graph import Add, Concat, Conv2D, Graph, Lookup, MatMul, Mul, Norm, Rescale, Rotary, Softmax
from systolith.gen.scales import SOFTMAX, sixteen_bits
from systolith.sim.golden.execute import dequantise, execute
from systolith.sim.golden.execute import quantise as integers
from tests.onnx_models import Model
from tests.transformer_networks import MODELS, float_model, model, samples


def wide(graph: Graph) -> set[str]:
    return {name for name, tensor in graph.tensors.items() if tensor.dtype == "int16"}


def maker(graph: Graph, name: str) -> str:
    return next((node.operator for node in graph.nodes if node.output == name), "input")


@pytest.mark.parametrize("name", MODELS)
def test_near_to_float(name: str) -> None:
    graph, core = float_model(name), model(name)
    for sample in samples(graph, 2, 11):
        expected = float_execute(graph, sample)
        made = execute(core, {key: value.astype(np.int32) if key in core.entries() else
                              integers(value, core.tensors[key]) for key, value in sample.items()})
        for output in core.outputs:
            x, y = dequantise(made[output], core.tensors[output]).ravel(), expected[output].ravel()
            assert x @ y / np.sqrt((x @ x) * (y @ y)) > 0.99


def test_after_norms_the_residual_path_is_wide() -> None:
    """BERT's norms stand behind its sums: inputs, sums, what is added, and the norms that sums read."""
    graph = float_model("bert")
    sums = {node.output for node in graph.nodes if type(node).__name__ == "FloatAdd"}
    norms = [node for node in graph.nodes if isinstance(node, FloatNorm)]
    found = sixteen_bits(graph)
    assert sums <= found and "x" in found and {node.inputs[0] for node in norms} <= found
    assert {node.output for node in norms} <= found  # sums read all of them; the last one is the output
    core = model("bert")
    made = Counter(maker(core, name) for name in wide(core))
    assert made == {"input": 1, "Conv2D": 4, "Add": 4, "Norm": 4}


def test_before_norms_the_residual_path_is_wide() -> None:
    """ViT's and Llama's sums go round their norms, which make int8."""
    for name, made in (("vit", {"Concat": 1, "Constant": 2, "Conv2D": 2, "Add": 2, "Reshape": 1, "Rescale": 1}),
                       ("llama", {"input": 1, "Conv2D": 1, "Add": 1, "Rescale": 1})):
        core = model(name)  # no norm reads the last sum
        assert Counter(maker(core, each) for each in wide(core)) == made
        assert all(core.tensors[node.output].dtype == "int8" for node in core.nodes if isinstance(node, Norm))
        for node in core.nodes:
            if isinstance(node, Norm):
                assert core.tensors[node.inputs[0]].dtype == "int16"


def cnn() -> FloatGraph:
    m = Model(3)
    m.node("Conv", ["x", m.weights(8, 3, 3, 3), m.weights(8)], "a", pads=[1, 1, 1, 1])
    m.node("Conv", [m.node("Relu", ["a"], "b"), m.weights(8, 8, 1, 1), m.weights(8)], "c")
    m.node("Add", ["b", "c"], "y")
    return import_float(m.proto({"x": (1, 3, 8, 8)}, ["y"]), "cnn")


def test_networks_without_norms_have_none() -> None:
    assert sixteen_bits(cnn()) == set()
    assert not any(isinstance(node, FloatNorm) for node in cnn().nodes)


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_reads_what_it_can(name: str) -> None:
    core = model(name)
    for node in core.nodes:
        kinds = [core.tensors[each].dtype for each in (*node.inputs, node.output)]
        if isinstance(node, Conv2D | MatMul | Mul | Lookup | Softmax | Rotary):
            assert set(kinds[:-1]) == {"int8"}, node.name
        if isinstance(node, Add | Concat):
            assert len(set(kinds[:-1])) == 1, node.name
        if isinstance(node, Rescale) and kinds[0] != kinds[1]:
            assert (node.low, node.high) == ((-128, 127) if kinds[1] == "int8" else (-32768, 32767))


@pytest.mark.parametrize("name", MODELS)
def test_copies_are_made_once(name: str) -> None:
    core = model(name)
    copies = [(node.inputs[0], core.tensors[node.output].dtype) for node in core.nodes
              if isinstance(node, Rescale) and core.tensors[node.inputs[0]].dtype != core.tensors[node.output].dtype]
    assert len(set(copies)) == len(copies)
    for x, dtype in copies:
        assert core.tensors[f"{x}:{dtype}"].shape == core.tensors[x].shape
    if name in ("bert", "masked bert"):  # for three projections one copy, for the feed forward another
        assert len(copies) == 4
        assert sum("x:int8" in node.inputs for node in core.nodes) == 3


@pytest.mark.parametrize("name", MODELS)
def test_scales_of_transformers(name: str) -> None:
    """int16 and second operands of products are symmetric, softmaxes have their own scale; ranges are covered."""
    graph, core = float_model(name), model(name)
    for node in core.nodes:
        if isinstance(node, MatMul):
            assert core.tensors[node.inputs[1]].zero_point == 0
        if isinstance(node, Softmax):
            tensor = core.tensors[node.output]
            assert (tensor.scale, tensor.zero_point) == SOFTMAX
    assert all(core.tensors[each].zero_point == 0 for each in wide(core))
    seconds = {node.inputs[1] for node in graph.nodes if isinstance(node, FloatMatMul)}
    largest: dict[str, float] = {}
    for sample in samples(graph):
        def observe(tensor: str, values: np.ndarray) -> None:  # type: ignore[type-arg]
            largest[tensor] = max(largest.get(tensor, 0.0), float(np.abs(values).max(initial=0)))
        float_execute(graph, sample, observe)
    for each in seconds & set(core.tensors):
        scale = pytest.approx(largest[each] / 127, rel=1e-4)
        # the ViT's keys and values are parts of a tensor that shares their scale
        own = core.tensors[each].scale
        assert own > 0.9999 * largest[each] / 127 if name == "vit" else own == scale
    for each in wide(core) & set(largest):
        assert core.tensors[each].scale >= largest[each] / 32767 * 0.9999
    firsts = {node.inputs[0] for node in core.nodes if isinstance(node, MatMul)} - seconds
    assert any(core.tensors[each].zero_point for each in firsts)
