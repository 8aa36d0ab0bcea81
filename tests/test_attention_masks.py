"""Masks of attention in float ONNX files: causal, of valid tokens, and what is neither."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatConstant,
    FloatSoftmax,
)
from systolith.gen.frontend import import_float, load_model
from systolith.gen.frontend.masks import classify
from tests.onnx_models import Model
from tests.test_frontend import compare
from tests.transformer_models import (
    INT,
    MASK,
    D,
    H,
    T,
    X,
    causal,
    counts,
    only,
    padding_mask,
    projected,
    still,
    together,
)

Array = NDArray[Any]


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


def test_a_file_with_an_infinite_mask_is_read(tmp_path: Path) -> None:
    for low, rest in ((-np.inf, 0), (np.inf, 0), (-np.inf, 1)):
        m = Model()
        masked(m, m.constant(np.where(LOWER, rest, low)))
        onnx.save(m.proto(X, ["y"]), str(tmp_path / "net.onnx"))
        if (low, rest) == (-np.inf, 0):
            assert only(import_float(load_model(tmp_path / "net.onnx"), "net"), FloatSoftmax).causal
        else:
            with pytest.raises(UserError, match="not finite"):
                load_model(tmp_path / "net.onnx")


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


def test_rows_behind_the_valid_ones_may_have_any_mask() -> None:
    """Where rows and columns are the same tokens."""
    square = [(length, np.arange(4) >= np.minimum(length, np.arange(4)[:, None] + 99)) for length in (1, 2, 4)]
    assert classify(square, (1, 4, 4)) == (False, True)
    for length, array in square:
        array[length:] = True
    assert classify(square, (1, 4, 4)) == (False, True)
    wide = [(length, np.tile(np.arange(4) >= length, (3, 1))) for length in (1, 2, 4)]
    assert classify(wide, (1, 3, 4)) == (False, True)
    wide[0][1][2] = True
    assert classify(wide, (1, 3, 4)) is None and classify(wide, (1, 3, 5)) is None


def test_what_is_not_a_number_is_replaced_by_zero_only() -> None:
    for replacement, other in ((1.0, "p"), (0.0, "x")):
        m = Model()
        m.node("Softmax", ["x"], "p")
        m.node("Where", [m.node("IsNaN", ["p"], "nan"), m.constant(replacement), other], "y")
        with pytest.raises(UserError, match="IsNaN"):
            import_float(m.proto(X, ["y"]), "test")


def test_masks_along_other_axes_and_rows_are_refused() -> None:
    m = Model()
    m.node("Softmax", [m.node("Add", ["x", m.constant(causal(T)[0])], "a")], "y", axis=1)
    with pytest.raises(UserError, match="along another axis than the last"):
        import_float(m.proto({"x": (1, T, T)}, ["y"]), "test")
    m = Model()
    m.node("Conv", ["x", m.weights(3, 3, 1, 1)], "c")
    m.node("Softmax", [m.node("Add", ["c", m.constant(causal(T))], "a")], "y", axis=-1)
    with pytest.raises(UserError, match="rows that are not the queries"):
        import_float(m.proto({"x": (1, 3, T, T)}, ["y"]), "test")


def test_what_nobody_reads_is_named_if_it_is_not_supported() -> None:
    m = Model()
    m.node("LRN", ["x"], "dead", size=3)
    m.node("Relu", ["x"], "y")
    with pytest.raises(UserError, match="LRN"):
        import_float(m.proto({"x": (1, 3, T, T)}, ["y"]), "test")
