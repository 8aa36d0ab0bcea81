"""Transformers in float ONNX files: what exporters write becomes products, norms and softmaxes without moving data, and
computes what ONNX Runtime computes."""


import numpy as np
import pytest

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatConcat,
    FloatConstant,
    FloatMatMul,
    FloatNorm,
    FloatRotary,
    FloatSlice,
    FloatSoftmax,
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
    angles,
    attention,
    bert_layer,
    causal,
    counts,
    feed_forward,
    heads,
    layer_norm,
    linear,
    only,
    projected,
    repeated,
    rms_norm,
    rotated,
    still,
    together,
)


@pytest.mark.parametrize("variant", range(4))
def test_bert_layer(variant: int) -> None:
    m = Model(variant)
    bert_layer(m, "x", "y", T, D, H, variant=variant)
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Add": 2, "Conv": 6, "Function": 1, "MatMul": 2, "Norm": 2, "Softmax": 1}
    assert only(graph, FloatSoftmax).causal is False and graph.shapes["x"] == (T, 1, D)
    assert [node.scale for node in graph.nodes if isinstance(node, FloatMatMul)] == [0.5, 1.0]
    scores, mixed = (node for node in graph.nodes if isinstance(node, FloatMatMul))
    assert scores.transposed and not mixed.transposed
    assert graph.shapes[scores.output] == (T, H, T) and graph.shapes[mixed.output] == (T, H, D // H)


def test_one_token_of_one_head() -> None:
    """Its keys, a single column, are a row as they lie."""
    m = Model(3)
    bert_layer(m, "x", "y", 1, D, 1)
    graph = still(compare(m.proto({"x": (1, 1, D)}, ["y"])))
    scores = next(node for node in graph.nodes if isinstance(node, FloatMatMul))
    assert scores.transposed and [graph.shapes[name] for name in scores.inputs] == [(1, 1, D)] * 2


def test_vit_block() -> None:
    """A patch embedding, a class token, positions, one block with joint projections, and the class token's row."""
    m = Model(1)
    m.node("Conv", ["x", m.weights(D, 3, 4, 4), m.weights(D)], "patches", strides=[4, 4])
    m.node("Reshape", ["patches", m.constant([1, D, 9], INT)], "flat")
    m.node("Transpose", ["flat"], "tokens", perm=[0, 2, 1])
    m.node("Concat", [m.weights(1, 1, D), "tokens"], "all", axis=1)
    m.node("Add", ["all", m.weights(1, 10, D)], "e")
    layer_norm(m, "e", "n", D)
    m.node("Reshape", [linear(m, "n", "qkv", D, 3 * D), m.constant([1, 10, 3, H, D // H], INT)], "five")
    m.node("Transpose", ["five"], "turned", perm=[2, 0, 3, 1, 4])
    for place, name in enumerate("qkv"):
        m.node("Gather", ["turned", m.constant(place, INT)], name, axis=0)
    together(m, attention(m, "q", "k", "v", "mixed"), "joined", 10, D)
    m.node("Add", ["e", linear(m, "joined", "projected", D, D)], "f")
    m.node("Add", ["f", feed_forward(m, layer_norm(m, "f", "o", D), "g", D, 16)], "h")
    m.node("Gather", ["h", m.constant(0, INT)], "class", axis=1)
    linear(m, "class", "y", D, 5)
    graph = still(compare(m.proto({"x": (1, 3, 12, 12)}, ["y"])))
    assert counts(graph) == {"Add": 3, "Concat": 1, "Constant": 2, "Conv": 6, "Function": 1, "MatMul": 2, "Norm": 2,
                             "Slice": 4, "Softmax": 1}
    assert only(graph, FloatConcat).axis == 0
    assert [graph.shapes[node.output] for node in graph.nodes if isinstance(node, FloatConstant)] == [
        (1, 1, D), (10, 1, D)]
    assert [node.size for node in graph.nodes if isinstance(node, FloatSlice)] == [(10, 1, D)] * 3 + [(1, 1, D)]


def llama_block(m: Model, split: bool, mask: str) -> str:
    """Grouped heads with rotary positions, a causal mask, and a gated feed forward."""
    count, groups, size = 4, 2, 6
    cos, sin = (m.constant(each) for each in angles(T, size))
    rms_norm(m, "x", "n", D)
    q, k, v = (heads(m, m.node("MatMul", ["n", m.weights(D, number * size)], name), f"{name}h", T, number, size)
               for name, number in (("q", count), ("k", groups), ("v", groups)))
    q, k = rotated(m, q, "qr", cos, sin, size, split), rotated(m, k, "kr", cos, sin, size, split)
    k, v = (repeated(m, each, f"{each}w", T, groups, count // groups, size) for each in (k, v))
    together(m, attention(m, q, k, v, "mixed", mask), "joined", T, count * size)
    m.node("Add", ["x", m.node("MatMul", ["joined", m.weights(count * size, D)], "o")], "f")
    rms_norm(m, "f", "g", D)
    m.node("MatMul", ["g", m.weights(D, 12)], "gate")
    m.node("Mul", ["gate", m.node("Sigmoid", ["gate"], "sigmoid")], "silu")
    m.node("Mul", ["silu", m.node("MatMul", ["g", m.weights(D, 12)], "up")], "both")
    return m.node("Add", ["f", m.node("MatMul", ["both", m.weights(12, D)], "down")], "y")


@pytest.mark.parametrize("split", [False, True])
def test_llama_block(split: bool) -> None:
    m = Model(2)
    llama_block(m, split, m.constant(causal(T)))
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Add": 2, "Constant": 4, "Conv": 7, "Function": 1, "MatMul": 2, "Mul": 1, "Norm": 2,
                             "Rotary": 2, "Softmax": 1}
    assert only(graph, FloatSoftmax).causal
    scores, mixed = (node for node in graph.nodes if isinstance(node, FloatMatMul))
    assert graph.shapes[scores.inputs[1]] == graph.shapes[mixed.inputs[1]] == (T, 2, 6)
    assert [graph.shapes[name] for name in next(node for node in graph.nodes if isinstance(node, FloatRotary)).inputs
            ] == [(T, 4, 6), (T, 1, 6), (T, 1, 6)]
    assert all(node.rms for node in graph.nodes if isinstance(node, FloatNorm))


def test_products_take_their_operands_as_they_lie() -> None:
    """Keys before or after their transposition, scores transposed, no heads at all, heads as the batch of rank 3."""
    m = Model()
    q, k, v = projected(m)
    m.node("Transpose", [k], "t", perm=[0, 1, 3, 2])
    m.node("MatMul", [q, "t"], "y")
    m.node("Reshape", [m.node("Transpose", [v], "w", perm=[0, 2, 1, 3]), m.constant([T, H, D // H], INT)], "w3")
    m.node("Transpose", ["w3"], "v3", perm=[1, 0, 2])
    m.node("MatMul", [m.node("Squeeze", ["y", m.constant([0], INT)], "s"), "v3"], "z")
    m.node("Transpose", ["z"], "zt", perm=[1, 0, 2])
    m.node("MatMul", [m.node("Reshape", ["zt", m.constant([T, D], INT)], "zr"), m.weights(D, 3)], "o")
    graph = still(compare(m.proto(X, ["o"])))
    assert [node.transposed for node in graph.nodes if isinstance(node, FloatMatMul)] == [True, False]
    for turned in (False, True):
        m = Model()
        m.node("MatMul", ["x", m.weights(D, T)], "q")
        m.node("MatMul", ["x", m.weights(D, T)], "k")
        m.node("MatMul", ["q", m.node("Transpose", ["k"], "t", perm=[1, 0]) if turned else "k"], "y")
        graph = still(compare(m.proto({"x": (T, D)}, ["y"])))
        product = only(graph, FloatMatMul)
        assert product.transposed == turned and graph.shapes[product.output] == (T, 1, T)


def test_a_product_that_lies_in_neither_way_moves_one_operand() -> None:
    m = Model()
    q, k, _ = projected(m)
    m.node("Transpose", [k], "t", perm=[0, 3, 1, 2])  # [1, d, h, T]
    m.node("Reshape", ["t", m.constant([1, H, D // H, T], INT)], "r")  # other heads than the tensor's
    m.node("MatMul", [q, "r"], "y")
    graph = compare(m.proto(X, ["y"]))
    assert kinds(graph).count("FloatMatMul") == 1 and not only(graph, FloatMatMul).transposed


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_of_two_computed_operands(transposed: int) -> None:
    m = Model()
    m.node("Relu", ["x"], "r")
    m.node("Gemm", ["x", "r", *([m.constant(np.zeros(1))] if transposed else [])], "y", transB=transposed, alpha=0.25)
    graph = still(compare(m.proto({"x": (D, D)}, ["y"])))
    product = only(graph, FloatMatMul)
    assert product.transposed == bool(transposed) and product.scale == 0.25


@pytest.mark.parametrize("way", ["expand", "tile", "concat", "broadcast", "five", "other"])
def test_shared_heads(way: str) -> None:
    m = Model()
    q = heads(m, m.node("MatMul", ["x", m.weights(D, 24)], "q"), "qh", T, 4, 6)
    count = 1 if way == "broadcast" else 2
    k = heads(m, m.node("MatMul", ["x", m.weights(D, count * 6)], "k"), "kh", T, count, 6)
    if way == "expand":
        k = repeated(m, k, "w", T, 2, 2, 6)
    elif way == "five":  # heads as two axes
        m.node("Unsqueeze", [k, m.constant([2], INT)], "k5")
        k = m.node("Expand", ["k5", m.constant([1, 2, 2, T, 6], INT)], "kw")
        q = m.node("Reshape", [q, m.constant([1, 2, 2, T, 6], INT)], "q5")
    elif way in ("tile", "concat"):
        m.node("Unsqueeze", [k, m.constant([2], INT)], "k5")
        m.node("Tile", ["k5", m.constant([1, 1, 2, 1, 1], INT)], "wide") if way == "tile" else m.node(
            "Concat", ["k5", "k5"], "wide", axis=2)
        k = m.node("Reshape", ["wide", m.constant([1, 4, T, 6], INT)], "kw")
    elif way == "other":  # head h reads h % 2, which no grouping says
        k = m.node("Tile", [k, m.constant([1, 2, 1, 1], INT)], "kw")
    turn = [0, 1, 2, 4, 3] if way == "five" else [0, 1, 3, 2]
    m.node("MatMul", [q, m.node("Transpose", [k], "t", perm=turn)], "y")
    if way in ("five", "other"):
        m.node("Reshape", [m.node("Identity", ["y"], "i"), m.constant([1, 4, T, T], INT)], "z")
    if way == "other":
        with pytest.raises(UserError, match="repeats the elements"):
            import_float(m.proto(X, ["z"]), "test")
        return
    graph = compare(m.proto(X, ["z" if way == "five" else "y"]))
    product = only(graph, FloatMatMul)
    assert graph.shapes[product.inputs[1]] == (T, count, 6) and graph.shapes[product.output] == (T, 4, T)
    assert kinds(graph).count("FloatTranspose") == 1  # of the output, which the file has as [1, h, T, T]


def test_products_with_constants() -> None:
    m = Model()
    q, k, v = projected(m)
    m.node("MatMul", [q, m.constant(m.random.standard_normal((1, H, D // H, 5)))], "a")  # a matrix a head
    together(m, "a", "b", T, 5 * H)
    m.node("MatMul", [m.weights(3, T), "b"], "c")
    m.node("MatMul", ["c", m.constant(m.random.standard_normal((1, 5 * H, 4)))], "y")
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Constant": 2, "Conv": 2, "MatMul": 2}


def test_factors_join_products_and_convolutions() -> None:
    """Before the product on both sides, after it, and behind what no factor passes."""
    m = Model()
    q, k, v = projected(m)
    q = m.node("Mul", [q, m.constant(0.5)], "q2")
    k = m.node("Div", [m.node("Transpose", [k], "t", perm=[0, 1, 3, 2]), m.constant([4.0])], "k2")
    m.node("MatMul", [m.node("Softmax", [m.node("MatMul", [q, k], "s")], "p"), v], "mixed")
    together(m, m.node("Mul", [m.constant(3.0), "mixed"], "m2"), "y", T, D)
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Conv": 3, "MatMul": 2, "Softmax": 1}
    assert [node.scale for node in graph.nodes if isinstance(node, FloatMatMul)] == [1.0, 3.0]
    m = Model()
    rms_norm(m, "x", "n", D)
    m.node("Mul", [m.node("Relu", ["n"], "r"), m.constant(0.25)], "a")
    m.node("Mul", [m.node("Relu", [m.node("Neg", ["n"], "minus")], "t"), m.constant(2.0)], "c")
    m.node("MatMul", ["a", m.node("Transpose", ["c"], "b", perm=[0, 2, 1])], "s")
    m.node("Add", ["s", m.constant(1.0)], "y")  # not a factor
    graph = still(compare(m.proto(X, ["y"])))
    assert only(graph, FloatMatMul).scale == 0.25 and "FloatDepthwise" in kinds(graph)
    m = Model()
    m.node("Mul", [layer_norm(m, "x", "n", D), m.weights(D)], "a")
    m.node("MatMul", ["a", m.node("Transpose", ["a"], "t", perm=[0, 2, 1])], "s")
    m.node("Mul", ["s", m.weights(T)], "y")  # a factor a channel
    graph = compare(m.proto(X, ["y"]))
    assert counts(graph) == {"Depthwise": 1, "MatMul": 1, "Norm": 1} and only(graph, FloatMatMul).scale == 1


@pytest.mark.parametrize("opset", [11, 17])
def test_softmax_of_scores_moves_nothing(opset: int) -> None:
    m = Model()
    q, k, v = projected(m)
    m.node("MatMul", [q, m.node("Transpose", [k], "t", perm=[0, 1, 3, 2])], "s")
    together(m, m.node("MatMul", [m.node("Softmax", ["s"], "p", axis=3), v], "mixed"), "y", T, D)
    graph = still(compare(m.proto(X, ["y"], opset)))
    node = only(graph, FloatSoftmax)
    assert graph.shapes[node.output] == (T, H, T)


def test_a_factor_stays_where_others_read_what_it_makes() -> None:
    for shared in ("factor", "shape"):
        m = Model()
        rms_norm(m, "x", "n", D)
        m.node("Mul", [m.node("Relu", ["n"], "r"), m.constant(0.25)], "a")
        q = heads(m, "a", "qh", T, H, D // H)
        m.node("MatMul", [q, m.node("Transpose", [heads(m, "n", "kh", T, H, D // H)], "t", perm=[0, 1, 3, 2])], "s")
        together(m, m.node("MatMul", ["s", m.node("Tanh", ["qh"], "v")], "mixed"), "y", T, D)
        if shared == "factor":
            m.node("Add", ["a", "x"], "z")
        else:
            together(m, m.node("MatMul", ["qh", m.weights(1, H, D // H, 3)], "w"), "z", T, 3 * H)
        graph = still(compare(m.proto(X, ["y", "z"])))
        assert all(node.scale == 1 for node in graph.nodes if isinstance(node, FloatMatMul))
