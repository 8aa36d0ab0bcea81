"""Constants of float ONNX files that are tensors: sums, joins, embeddings; and Gather."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatConcat,
    FloatConstant,
    FloatEmbedding,
    FloatNode,
    FloatSlice,
)
from systolith.gen.frontend import import_float
from tests.onnx_models import Model
from tests.test_frontend import compare, kinds
from tests.transformer_models import (
    INT,
    D,
    H,
    T,
    X,
    bert_layer,
    heads,
    layer_norm,
    linear,
    only,
    padding_mask,
    projected,
    self_attention,
    still,
    together,
)


def test_constants_that_differ_from_row_to_row_are_tensors() -> None:
    for kind in ("Add", "Sub", "Mul", "Div"):
        for swapped in ((False, True) if kind != "Div" else (False,)):
            m = Model()
            constant = m.constant(m.random.uniform(0.5, 2, (1, T, D)))
            linear(m, "x", "p", D, D)
            m.node(kind, [constant, "p"] if swapped else ["p", constant], "y")
            graph = compare(m.proto(X, ["y"]))
            assert only(graph, FloatConstant).values.shape == (T, 1, D), (kind, swapped)
            assert kinds(graph)[-1] == ("FloatAdd" if kind in ("Add", "Sub") else "FloatMul")
    for shape, laid in (((T, 1), (T, 1, 1)), ((1, 1, D), None), ((1, T, 1), (T, 1, 1)), ((1,), None)):
        m = Model()
        linear(m, "x", "p", D, D)
        m.node("Add", ["p", m.constant(m.random.uniform(0.5, 2, shape))], "y")
        graph = compare(m.proto(X, ["y"]))
        assert laid == (only(graph, FloatConstant).values.shape if laid else None)
        assert laid or kinds(graph) == ["FloatConv"]
    m = Model()  # of an image, and one that is larger than what it is added to
    m.node("Add", ["x", m.weights(1, 1, 5, 6)], "a")
    m.node("Mul", [m.node("GlobalMaxPool", ["a"], "g"), m.weights(1, 3, 4, 2)], "y")
    graph = compare(m.proto({"x": (1, 3, 5, 6)}, ["y"]))
    assert [node.values.shape for node in graph.nodes if isinstance(node, FloatConstant)] == [(5, 6, 1), (4, 2, 3)]


def test_joins_with_constants_and_of_what_lies_otherwise() -> None:
    m = Model()
    m.node("Concat", ["x", m.weights(1, 2, D), "x"], "y", axis=1)
    graph = compare(m.proto(X, ["y"]))
    assert only(graph, FloatConstant).values.shape == (2, 1, D) and graph.shapes["y"] == (2 * T + 2, 1, D)
    m = Model()  # a constant beside the keys of each head, and beside all tokens of each
    q, k, v = projected(m)
    m.node("Concat", [q, m.weights(1, H, T, 2), k], "a", axis=3)
    m.node("Concat", [m.weights(1, H, 3, 10), "a"], "b", axis=2)
    together(m, "b", "y", T + 3, 20)
    graph = still(compare(m.proto(X, ["y"])))
    assert [node.axis for node in graph.nodes if isinstance(node, FloatConcat)] == [2, 0]
    m = Model()
    m.node("Concat", ["x", m.weights(1, 3, 5, 2)], "y", axis=-1)
    assert only(compare(m.proto({"x": (1, 3, 5, 6)}, ["y"])), FloatConcat).axis == 1


def test_embeddings() -> None:
    """Words, positions that are constants, and token types, as BERT adds them up."""
    m = Model()
    m.node("Gather", [m.weights(20, D), "ids"], "words")
    m.node("Gather", [m.weights(2, D), m.node("Cast", ["types"], "t", to=6)], "kinds")
    m.node("Add", [m.node("Add", ["words", "kinds"], "a"), m.node(
        "Gather", [m.weights(9, D), m.node("Range", [m.constant(0, INT), m.node("Gather", [
            m.node("Shape", ["ids"], "shape"), m.constant(1, INT)], "count"), m.constant(1, INT)], "r")], "p")], "e")
    bert_layer(m, layer_norm(m, "e", "n", D), "y", T, D, H, padding_mask(m, "mask", "pad"))
    inputs = {"ids": (1, T), "mask": (1, T), "types": (1, T)}
    graph = still(compare(m.proto(inputs, ["y"], kinds=dict.fromkeys(inputs, TensorProto.INT64))))
    assert graph.inputs == ("ids", "types") and graph.mask == "mask" and graph.entries() == {"ids": 20, "types": 2}
    assert graph.shapes["ids"] == (T, 1, 1) and graph.shapes["words"] == (T, 1, D)
    assert [node.table.shape for node in graph.nodes if isinstance(node, FloatEmbedding)] == [(20, D), (2, D)]


def test_what_integers_may_not_be() -> None:
    def refuse(m: Model, words: str, shape: tuple[int, ...] = (1, T), kind: int = TensorProto.INT64) -> None:
        with pytest.raises(UserError, match=words):
            import_float(m.proto({"ids": shape}, ["y"], kinds={"ids": kind}), "test")

    m = Model()
    m.node("Add", [m.node("Gather", [m.weights(9, T), "ids"], "e"), m.node("Cast", ["ids"], "f", to=1)], "y")
    refuse(m, "casts to FLOAT|reads indices")
    m = Model()
    m.node("Gather", [m.weights(9, D), "ids"], "y", axis=1)
    refuse(m, "along axis 1")
    m = Model()
    m.node("Gather", [m.weights(9, 2, D), "ids"], "y")
    refuse(m, r"constant \[9, 2, 8\]")
    m = Model()
    m.node("Gather", [m.weights(9, D), "ids"], "y")
    refuse(m, "batch of 2", (2, T))
    refuse(m, "not float", (1, T), TensorProto.UINT8)


@pytest.mark.parametrize(("places", "axis", "made"), [
    (0, 1, ["FloatSlice"]), ([0], 1, ["FloatSlice"]), (-1, 1, ["FloatSlice"]), ([1, 2, 3], 1, ["FloatSlice"]),
    ([0, 2, 4], 1, ["FloatSlice"]), ([3, 4, 0], 1, ["FloatSlice", "FloatSlice", "FloatConcat"]),
    ([-1, 0], 1, ["FloatSlice", "FloatSlice", "FloatConcat"]),
    ([2, 3], 2, ["FloatSlice"]), ([[1], [2]], 1, ["FloatSlice"]),
])
def test_gathers_of_constant_places(places: Any, axis: int, made: list[str]) -> None:
    m = Model()
    m.node("Gather", ["x", m.constant(places, INT)], "g", axis=axis)
    m.node("Relu", [m.node("Reshape", ["g", m.constant([1, -1, D if axis == 1 else 2], INT)], "r")], "y")
    got = [kind for kind in kinds(compare(m.proto(X, ["y"]))) if kind not in ("FloatReshape", "FloatClamp")]
    assert got == made


def test_gathers_that_are_refused() -> None:
    m = Model()
    m.node("Gather", ["x", m.constant(np.arange(40)[::-1], INT)], "y", axis=1)
    with pytest.raises(UserError, match="which a few slices do not give"):
        import_float(m.proto({"x": (1, 40, D)}, ["y"]), "test")
    m = Model()
    m.node("Gather", ["x", m.node("ArgMax", ["x"], "a", axis=1)], "y", axis=1)
    with pytest.raises(UserError, match="indices .'a'. is computed"):
        import_float(m.proto(X, ["y"]), "test")


def test_the_first_row_of_a_network_is_a_slice() -> None:
    m = Model()
    m.node("Gather", [self_attention(m, "x", "a", T, D, H), m.constant(0, INT)], "first", axis=1)
    m.node("Tanh", [linear(m, "first", "pool", D, D)], "y")
    graph = still(compare(m.proto(X, ["y"])))
    node = only(graph, FloatSlice)
    assert node.size == (1, 1, D) and node.start == (0, 0, 0)
    assert isinstance(next(node for node in graph.nodes if node.output == "y"), FloatNode)


def test_a_joined_part_of_one_channel_takes_the_order_of_the_others() -> None:
    m = Model()
    one = heads(m, linear(m, "x", "p", D, H), "ph", T, H, 1)
    m.node("Concat", [one, heads(m, linear(m, "x", "q", D, D), "qh", T, H, D // H)], "a", axis=3)
    together(m, "a", "y", T, H + D)
    assert only(still(compare(m.proto(X, ["y"]))), FloatConcat).axis == 2


def test_numbers_of_rows_of_two_tables() -> None:
    for first, second in ((5, 9), (9, 5)):
        m = Model()
        m.node("Gather", [m.weights(first, D), "ids"], "a")
        m.node("Add", ["a", m.node("Gather", [m.weights(second, D), "ids"], "b")], "y")
        assert compare(m.proto({"ids": (1, T)}, ["y"], kinds={"ids": TensorProto.INT64})).entries() == {"ids": 5}
