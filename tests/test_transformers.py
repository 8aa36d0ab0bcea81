"""Transformers in float ONNX files: what exporters write becomes products, norms and softmaxes without moving data, and
computes what ONNX Runtime computes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatAdd,
    FloatConcat,
    FloatConstant,
    FloatEmbedding,
    FloatGraph,
    FloatMatMul,
    FloatNode,
    FloatNorm,
    FloatPool,
    FloatRotary,
    FloatSlice,
    FloatSoftmax,
)
from systolith.gen.frontend import import_float
from tests.onnx_models import Model
from tests.test_frontend import compare, kinds
from tests.transformer_models import (
    INT,
    angles,
    attention,
    bert_layer,
    causal,
    feed_forward,
    heads,
    layer_norm,
    linear,
    padding_mask,
    repeated,
    rms_norm,
    rotated,
    self_attention,
    together,
)

Array = NDArray[Any]
T, D, H = 6, 8, 2
X = {"x": (1, T, D)}
MASK = {**X, "mask": (1, T)}


def only(graph: FloatGraph, kind: type[FloatNode]) -> Any:
    """The one node of that kind."""
    (node,) = (node for node in graph.nodes if isinstance(node, kind))
    return node


def still(graph: FloatGraph) -> FloatGraph:
    """A graph in which no element is moved."""
    assert "FloatTranspose" not in kinds(graph), kinds(graph)
    return graph


def counts(graph: FloatGraph) -> dict[str, int]:
    names = [name.removeprefix("Float") for name in kinds(graph) if name != "FloatReshape"]
    return {name: names.count(name) for name in sorted(set(names))}


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


def projected(m: Model, count: int = H, size: int = D // H) -> list[str]:
    """Queries, keys and values [1, h, T, d] of x."""
    return [heads(m, m.node("MatMul", ["x", m.weights(D, count * size)], name), f"{name}h", T, count, size)
            for name in "qkv"]


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
    assert kinds(graph).count("FloatMatMul") == 1


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


LOW = np.finfo(np.float32).min


def masked(m: Model, mask: str, way: str = "Add", scores: str = "s") -> str:
    """The output of attention whose scores `s` [1, h, T, T] are masked."""
    q, k, v = projected(m)
    m.node("MatMul", [q, m.node("Transpose", [k], "t", perm=[0, 1, 3, 2])], "s")
    if way == "Add":
        m.node("Add", ["s", mask], "sm")
    elif way == "Add before":
        m.node("Add", [mask, "s"], "sm")
    elif way == "Where":
        m.node("Where", [mask, "s", m.constant(LOW)], "sm")
    else:
        m.node("Where", [mask, m.constant(-np.inf), "s"], "sm")
    together(m, m.node("MatMul", [m.node("Softmax", ["sm"], "p", axis=-1), v], "mixed"), "y", T, D)
    return "y"


LOWER = np.tri(T, dtype=bool)


@pytest.mark.parametrize(("values", "way"), [
    (causal(T), "Add"), (causal(T, -1e4)[0, 0], "Add"), (causal(T, LOW)[0], "Add before"), (causal(T, -np.inf), "Add"),
    (np.broadcast_to(causal(T), (1, H, T, T)), "Add"), (LOWER, "Where"), (~LOWER[None, None], "Where other"),
])
def test_causal_masks(values: Array, way: str) -> None:
    m = Model()
    masked(m, m.constant(values, values.dtype), way)
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Conv": 3, "MatMul": 2, "Softmax": 1}
    node = only(graph, FloatSoftmax)
    assert node.causal and not node.masked and not graph.mask and graph.shapes[node.output] == (T, H, T)


def test_a_mask_that_masks_nothing_is_dropped() -> None:
    for values, way in ((np.zeros((1, 1, T, T)), "Add"), (np.ones((T, T), bool), "Where"),
                        (np.zeros((T, T), bool), "Where other")):
        m = Model()
        masked(m, m.constant(values, values.dtype if values.dtype == bool else np.float32), way)
        graph = still(compare(m.proto(X, ["y"])))
        assert counts(graph) == {"Conv": 3, "MatMul": 2, "Softmax": 1} and not only(graph, FloatSoftmax).causal


@pytest.mark.parametrize(("values", "words"), [
    (np.where(np.tri(T, k=1, dtype=bool), 0, LOW), "neither causal"), (causal(T)[0, 0].T, "neither causal"),
    (np.where(np.arange(T) < 4, 0, LOW)[None], "neither causal"),
    (np.where(LOWER & ~np.tri(T, k=-3, dtype=bool), 0, -1e9), "neither causal"),
    (np.stack([causal(T)[0, 0], np.zeros((T, T))])[None], "neither causal"),
    (np.where(LOWER, 0.5, -1e9), "neither 0 nor hugely negative"),
])
def test_other_constant_masks_are_refused(values: Array, words: str) -> None:
    m = Model()
    masked(m, m.constant(values))
    with pytest.raises(UserError, match=words) as caught:
        import_float(m.proto(X, ["y"]), "test")
    assert "one thing stands" in str(caught.value)


def test_a_causal_mask_without_a_softmax_is_refused() -> None:
    m = Model()
    q, k, _ = projected(m)
    m.node("MatMul", [q, m.node("Transpose", [k], "t", perm=[0, 1, 3, 2])], "s")
    m.node("Sigmoid", [m.node("Add", ["s", m.constant(causal(T))], "a")], "y")
    with pytest.raises(UserError, match="no softmax reads"):
        import_float(m.proto(X, ["y"]), "test")


def test_a_bias_of_scores_is_a_tensor() -> None:
    """Relative positions: learned, one a head and pair."""
    m = Model()
    masked(m, m.weights(1, H, T, T))
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Add": 1, "Constant": 1, "Conv": 3, "MatMul": 2, "Softmax": 1}
    assert only(graph, FloatConstant).values.shape == (T, H, T)


def from_where(m: Model, y: str) -> str:
    """HuggingFace's: expanded to [1, 1, T, T], inverted, filled."""
    m.node("Unsqueeze", [m.node("Unsqueeze", ["mask", m.constant([1], INT)], "u1"), m.constant([2], INT)], "u2")
    m.node("Concat", [m.constant([1], INT), m.constant([1], INT), m.node(
        "Slice", [m.node("Shape", ["x"], "shape"), m.constant([1], INT), m.constant([2], INT)], "tokens"), "tokens"],
        "wide", axis=0)
    m.node("Cast", [m.node("Expand", ["u2", "wide"], "e")], "f", to=1)
    m.node("Sub", [m.constant(1.0), "f"], "inverse")
    m.node("Where", [m.node("Cast", ["inverse"], "b", to=9), m.constant(LOW), "inverse"], y)
    return y


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.BOOL])
@pytest.mark.parametrize("way", ["bert", "filled", "equal", "causal", "causal and"])
def test_masks_of_valid_tokens(kind: int, way: str) -> None:
    m = Model()
    name, how = "m", "Add"
    if way == "bert":
        padding_mask(m, "mask", "m")
    elif way == "filled":
        from_where(m, "m")
    elif way == "equal":
        m.node("Equal", [m.node("Cast", ["mask"], "i", to=6), m.constant(0, np.int32)], "z")
        m.node("Reshape", ["z", m.constant([1, 1, 1, T], INT)], "m")
        how = "Where other"
    elif way == "causal":
        name = m.node("Add", [padding_mask(m, "mask", "pad"), m.constant(causal(T, LOW))], "m")
    else:
        m.node("Cast", ["mask"], "b", to=9)
        m.node("And", [m.constant(LOWER[None, None], bool), m.node("Reshape", ["b", m.constant([1, 1, 1, T], INT)],
                                                                 "r")], "m")
        how = "Where"
    masked(m, name, how)
    model = m.proto(MASK, ["y"], kinds={"mask": kind})
    graph = still(compare(model))
    node = only(graph, FloatSoftmax)
    assert graph.mask == "mask" and graph.inputs == ("x",) and list(graph.input_layouts) == ["x"]
    assert node.masked and node.causal == way.startswith("causal")


def test_a_causal_mask_and_one_of_valid_tokens_after_each_other() -> None:
    m = Model()
    q, k, v = projected(m)
    m.node("MatMul", [q, m.node("Transpose", [k], "t", perm=[0, 1, 3, 2])], "s")
    m.node("Where", [m.constant(LOWER, bool), "s", m.constant(-1e9)], "s1")
    m.node("Add", ["s1", padding_mask(m, "mask", "pad")], "s2")
    together(m, m.node("MatMul", [m.node("Softmax", ["s2"], "p"), v], "mixed"), "y", T, D)
    graph = still(compare(m.proto(MASK, ["y"], kinds={"mask": TensorProto.INT64})))
    assert only(graph, FloatSoftmax).masked and only(graph, FloatSoftmax).causal


def test_masks_that_are_none_are_refused() -> None:
    def refuse(m: Model, words: str, inputs: dict[str, tuple[int, ...]], kind: int = TensorProto.INT64) -> None:
        with pytest.raises(UserError, match=words):
            import_float(m.proto(inputs, ["y"], kinds={name: kind for name in inputs if name != "x"}), "test")

    m = Model()  # ones for what is not valid
    m.node("Reshape", [m.node("Cast", ["mask"], "f", to=9), m.constant([1, 1, 1, T], INT)], "m")
    masked(m, "m", "Where other")
    refuse(m, "neither causal nor one of valid tokens", MASK)
    m = Model()  # the rows in place of the columns
    m.node("Reshape", [padding_mask(m, "mask", "pad"), m.constant([1, 1, T, 1], INT)], "m")
    masked(m, "m")
    refuse(m, "neither causal nor one of valid tokens", MASK)
    m = Model()  # small numbers
    m.node("Mul", [m.node("Cast", [m.node("Reshape", ["mask", m.constant([1, 1, 1, T], INT)], "r")], "f", to=1),
                   m.constant(3.0)], "m")
    masked(m, "m")
    refuse(m, "neither 0 nor hugely negative", MASK)
    m = Model()  # in a product
    m.node("Mul", ["x", m.node("Unsqueeze", [m.node("Cast", ["mask"], "f", to=1), m.constant([2], INT)], "u")], "y")
    refuse(m, "made of the input 'mask' and is neither", MASK)
    m = Model()  # two
    masked(m, m.node("Add", ["p1", "p2"], "both"))
    nodes, m.nodes = m.nodes, []
    padding_mask(m, "mask", "p1")
    padding_mask(m, "other", "p2")
    m.nodes += nodes
    refuse(m, "made of the input", {**MASK, "other": (1, T)})
    m = Model()
    masked(m, padding_mask(m, "mask", "p1"))
    m.nodes[-1].output[0] = "z"
    nodes, m.nodes = m.nodes, []
    padding_mask(m, "other", "p2")
    m.nodes += nodes
    m.node("Softmax", [m.node("Add", ["s", "p2"], "s2")], "p9")
    m.node("Add", ["p9", m.node("ReduceMean", ["z"], "zz", axes=[1, 2])], "y")
    refuse(m, "two masks, 'mask' and 'other'", {**MASK, "other": (1, T)})
    m = Model()
    m.node("Relu", ["mask"], "y")
    refuse(m, "INT64, not float", {"mask": (1, T)})


def test_zeros_in_place_of_what_is_not_a_number() -> None:
    m = Model()
    masked(m, m.constant(LOWER, bool), "Where")
    at = next(place for place, node in enumerate(m.nodes) if node.op_type == "Softmax") + 1
    later, m.nodes = m.nodes[at:], m.nodes[:at]
    m.node("Where", [m.node("IsNaN", ["p"], "nan"), m.constant(0.0), "p"], "clean")
    later[0].input[0] = "clean"
    m.nodes += later
    assert only(still(compare(m.proto(X, ["y"]))), FloatSoftmax).causal


@pytest.mark.parametrize("variant", range(4))
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("opset", [11, 17, 18])
def test_layer_norms(variant: int, affine: bool, opset: int) -> None:
    if variant == 0 and opset < 17:
        return
    m = Model(variant)
    linear(m, layer_norm(m, "x", "n", D, variant, affine, opset), "y", D, 5)
    graph = compare(m.proto(X, ["y"], opset))
    assert kinds(graph) == ["FloatNorm", "FloatConv"]
    node = only(graph, FloatNorm)
    assert not node.rms and node.epsilon == pytest.approx(1e-3) and node.gamma.shape == node.beta.shape == (D,)


@pytest.mark.parametrize("variant", range(5))
def test_rms_norms(variant: int) -> None:
    m = Model(variant)
    linear(m, rms_norm(m, "x", "n", D, variant), "y", D, 5)
    graph = compare(m.proto(X, ["y"]))
    assert kinds(graph) == ["FloatNorm", "FloatConv"] and only(graph, FloatNorm).rms
    assert only(graph, FloatNorm).epsilon == pytest.approx(1e-3)


def test_rms_normalization_has_its_operator() -> None:
    m = Model()
    m.node("RMSNormalization", ["x", m.constant(m.random.uniform(0.5, 2, D))], "y", epsilon=1e-2)
    graph = import_float(m.proto(X, ["y"], 23, infer=False), "test")
    node = only(graph, FloatNorm)
    assert node.rms and node.epsilon == pytest.approx(1e-2)
    for axis, outputs, words in ((1, 1, "from axis 1"), (-1, 2, "mean and deviation")):
        m = Model()
        m.node("LayerNormalization", ["x", m.weights(D)], "y", axis=axis)
        m.nodes[-1].output.extend(["mean"][:outputs - 1])
        with pytest.raises(UserError, match=words):
            import_float(m.proto(X, ["y"], infer=False), "test")


def test_norms_of_heads_and_of_images_move_nothing() -> None:
    m = Model()
    q, k, v = projected(m)
    q, k = layer_norm(m, q, "qn", D // H), rms_norm(m, k, "kn", D // H)
    together(m, attention(m, q, k, v, "mixed"), "y", T, D)
    graph = still(compare(m.proto(X, ["y"])))
    assert [graph.shapes[node.output] for node in graph.nodes if isinstance(node, FloatNorm)] == [(T, H, D // H)] * 2
    m = Model()
    m.node("Conv", ["x", m.weights(D, 3, 2, 2)], "c")
    layer_norm(m, m.node("Transpose", ["c"], "t", perm=[0, 2, 3, 1]), "n", D, 1)
    m.node("Transpose", [linear(m, "n", "l", D, 4)], "u", perm=[0, 3, 1, 2])
    m.node("Conv", ["u", m.weights(2, 4, 1, 1)], "y")
    graph = still(compare(m.proto({"x": (1, 3, 5, 6)}, ["y"])))
    assert counts(graph) == {"Conv": 3, "Norm": 1}


def test_what_only_looks_like_a_norm() -> None:
    def build(change: str) -> Model:
        m = Model()
        m.node("ReduceMean", ["x"], "mean", axes=[1] if change == "axis" else [-1])
        m.node("Sub", ["x", "mean"], "c")
        square = ["c", m.constant(3.0 if change == "power" else 2.0)]
        m.node("ReduceMean", [m.node("Pow", square, "p")], "v", axes=[1] if change == "other axis" else [-1])
        m.node("Sqrt", [m.node("Add", ["v", m.constant(1e-3)], "a")], "r")
        m.node("Div", [m.node("Relu", ["c"], "relu") if change == "other" else "c", "r"], "y")
        return m

    assert only(compare(build("axis").proto(X, ["y"])), FloatNorm).rms  # of what is not centred along that axis
    for change in ("power", "other axis", "other"):
        m = build(change)
        with pytest.raises(UserError, match="both operands are computed"):
            import_float(m.proto(X, ["y"]), "test")
    assert kinds(compare(build("").proto(X, ["y"]))) == ["FloatNorm"]
    m = build("")  # what lies between is read by others too
    m.node("Add", ["v", "y"], "z")
    assert {"Norm": 1, "Pool": 2}.items() <= counts(compare(m.proto(X, ["z"]))).items()


def test_rotary_positions() -> None:
    cos, sin = angles(T, 4)
    for way in ("heads", "before", "odd axes", "computed", "swapped"):
        m = Model()
        names = [m.constant(cos), m.constant(sin)]
        inputs: dict[str, tuple[int, ...]] = dict(X)
        perm = (0, 2, 1, 3) if way != "before" else (0, 1, 2, 3)
        q = heads(m, m.node("MatMul", ["x", m.weights(D, D)], "q"), "qh", T, H, 4, perm)
        if way == "before":  # [1, T, h, d]
            names = [m.constant(each.reshape(1, T, 1, 4)) for each in (cos, sin)]
        elif way == "odd axes":
            names = [m.constant(each.reshape(T, 4)) for each in (cos, sin)]
        elif way == "computed":
            inputs["angle"] = (1, T, 4)
            names = [m.node("Unsqueeze", [m.node(kind, ["angle"], kind), m.constant([1], INT)], f"{kind}u")
                     for kind in ("Sigmoid", "Tanh")]
        rotated(m, q, "r", *names, 4)
        if way == "swapped":
            m.nodes[-1].input[:] = list(m.nodes[-1].input)[::-1]
            m.nodes[-2].input[:] = list(m.nodes[-2].input)[::-1]
        if way != "before":
            m.node("Transpose", ["r"], "t", perm=[0, 2, 1, 3])
        m.node("Reshape", ["r" if way == "before" else "t", m.constant([1, T, D], INT)], "y")
        graph = still(compare(m.proto(inputs, ["y"])))
        assert counts(graph) == {"Conv": 1, "Rotary": 1,
                                 **({"Function": 2} if way == "computed" else {"Constant": 2})}
        assert [graph.shapes[name] for name in only(graph, FloatRotary).inputs] == [(T, H, 4), (T, 1, 4), (T, 1, 4)]


@pytest.mark.parametrize("change", ["halves", "sign", "input", "heads"])
def test_what_only_looks_like_rotary_positions(change: str) -> None:
    """It is computed as it is written."""
    m = Model()
    cos, sin = angles(T, 4)
    q, k, v = projected(m)
    if change == "heads":  # other angles for each head
        cos = np.concatenate([cos, 2 * cos], axis=1)
    rotated(m, q, "r", m.constant(cos), m.constant(sin), 4)
    for node in m.nodes:
        if change == "halves" and node.name == "r_minus_node":
            node.input[0] = "r_low"
        if change == "sign" and node.name == "r_minus_node":
            node.op_type = "Abs"
        if change == "input" and node.name == "r_straight_node":
            node.input[0] = k
    together(m, "r", "y", T, D)
    assert "FloatRotary" not in kinds(compare(m.proto(X, ["y"])))


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
    refuse(m, "not float", (1, T), TensorProto.FLOAT16 if False else TensorProto.UINT8)


@pytest.mark.parametrize(("places", "axis", "made"), [
    (0, 1, ["FloatSlice"]), ([0], 1, ["FloatSlice"]), (-1, 1, ["FloatSlice"]), ([1, 2, 3], 1, ["FloatSlice"]),
    ([0, 2, 4], 1, ["FloatSlice"]), ([3, 4, 0], 1, ["FloatSlice", "FloatSlice", "FloatConcat"]),
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


def mean_pool(m: Model, x: str, y: str, keep: int = 0, clip: str = "Clip") -> str:
    """sentence-transformers' mean of the valid tokens."""
    m.node("Unsqueeze", ["mask", m.constant([-1], INT)], "w1")
    m.node("Cast", [m.node("Expand", ["w1", m.constant([1, T, D], INT)], "w2")], "w3", to=1)
    m.node("ReduceSum", [m.node("Mul", [x, "w3"], "w4"), m.constant([1], INT)], "w5", keepdims=keep)
    m.node("ReduceSum", ["w3", m.constant([1], INT)], "w6", keepdims=keep)
    m.node(clip, ["w6", m.constant(1e-9)], "w7")
    return m.node("Div", ["w5", "w7"], y)


@pytest.mark.parametrize(("keep", "clip", "variant"), [(0, "Clip", 0), (1, "Max", 1), (0, "Max", 2)])
def test_a_sentence_embedding(keep: int, clip: str, variant: int) -> None:
    m = Model()
    layer_norm(m, "x", "n", D)
    mean_pool(m, "n", "p", keep, clip)
    if variant == 0:
        m.node("Clip", [m.node("ReduceL2", ["p"], "l", axes=[1], keepdims=1), m.constant(1e-12)], "c")
        m.node("Div", ["p", m.node("Expand", ["c", m.node("Shape", ["p"], "shape")], "e")], "y")
    elif variant == 1:
        m.node("Sqrt", [m.node("ReduceSum", [m.node("Pow", ["p", m.constant(2.0)], "s"), m.constant([-1], INT)],
                               "l")], "c")
        m.node("Div", ["p", "c"], "y")
    else:
        m.node("LpNormalization", ["p"], "y", axis=-1, p=2)
    graph = compare(m.proto(MASK, ["y"], kinds={"mask": TensorProto.INT64}))
    assert counts(graph) == {"Norm": 2, "Pool": 1} and graph.mask == "mask"
    pool = only(graph, FloatPool)
    assert pool.masked and pool.kernel == (T, 1)
    m = Model()
    m.node("ReduceMean", ["x"], "y", axes=[1], keepdims=0)
    pool = only(compare(m.proto(X, ["y"])), FloatPool)
    assert pool.kernel == (T, 1) and not pool.masked


def test_the_first_row_of_a_network_is_a_slice() -> None:
    m = Model()
    m.node("Gather", [self_attention(m, "x", "a", T, D, H), m.constant(0, INT)], "first", axis=1)
    m.node("Tanh", [linear(m, "first", "pool", D, D)], "y")
    graph = still(compare(m.proto(X, ["y"])))
    node = only(graph, FloatSlice)
    assert node.size == (1, 1, D) and node.start == (0, 0, 0)
    assert isinstance(next(node for node in graph.nodes if node.output == "y"), FloatNode)
