"""What float ONNX files have in many nodes: norms, rotary positions, means of valid tokens."""


import numpy as np
import pytest
from onnx import TensorProto

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatNorm,
    FloatPool,
    FloatRotary,
)
from systolith.gen.frontend import import_float
from tests.onnx_models import Model
from tests.test_frontend import compare, kinds
from tests.transformer_models import (
    INT,
    MASK,
    D,
    H,
    T,
    X,
    angles,
    attention,
    counts,
    heads,
    layer_norm,
    linear,
    only,
    projected,
    rms_norm,
    rotated,
    still,
    together,
)


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


@pytest.mark.parametrize("change", ["halves", "sign", "input", "sources", "heads"])
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
        if change == "sources" and node.name == "r_low_node":
            node.input[0] = k
        if change == "input" and node.name == "r_straight_node":
            node.input[0] = k
    together(m, "r", "y", T, D)
    assert "FloatRotary" not in kinds(compare(m.proto(X, ["y"])))


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
    assert graph.nodes[-1].epsilon == pytest.approx(1e-24 / D if variant == 0 else 0, rel=1e-5, abs=0)  # type: ignore[attr-defined]
    m = Model()
    m.node("ReduceMean", ["x"], "y", axes=[1], keepdims=0)
    pool = only(compare(m.proto(X, ["y"])), FloatPool)
    assert pool.kernel == (T, 1) and not pool.masked


def test_what_only_looks_like_a_mean_or_a_length() -> None:
    for change in ("count", "other mask"):
        m = Model()
        mean_pool(m, "x", "p")
        for node in m.nodes:
            if node.name == "w6_node" and change == "count":  # by another number: twice the tokens
                node.input[0] = "double"
            if node.name == "w4_node" and change == "other mask":  # of those that are not valid
                node.input[1] = "inverse"
        at = next(place for place, node in enumerate(m.nodes) if node.name == "w3_node") + 1
        later, m.nodes = m.nodes[at:], m.nodes[:at]
        m.node("Mul", ["w3", m.constant(2.0)], "double")
        m.node("Sub", [m.constant(1.0), "w3"], "inverse")
        m.nodes += later
        with pytest.raises(UserError, match="made of the input 'mask'"):
            import_float(m.proto(MASK, ["p"], kinds={"mask": TensorProto.INT64}), "test")
    for least, power in ((0.5, 2.0), (1e-12, 3.0)):
        m = Model()
        m.node("Pow", ["x", m.constant(power)], "s")
        m.node("Sqrt", [m.node("ReduceSum", ["s", m.constant([-1], INT)], "l")], "r")
        m.node("Div", ["x", m.node("Clip", ["r", m.constant(least)], "c")], "y")
        with pytest.raises(UserError, match="'l_node', ReduceSum"):
            import_float(m.proto(X, ["y"]), "test")


def test_a_norm_of_channels_in_another_order() -> None:
    m = Model()
    m.node("Reshape", ["x", m.constant([1, T, 2, D // 2], INT)], "r")
    m.node("Reshape", [m.node("Transpose", ["r"], "t", perm=[0, 1, 3, 2]), m.constant([1, T, D], INT)], "u")
    linear(m, layer_norm(m, "u", "n", D), "y", D, 5)
    graph = still(compare(m.proto(X, ["y"])))
    assert counts(graph) == {"Conv": 1, "Norm": 1}


def test_roots_as_powers_and_means_of_other_values() -> None:
    for power, other in ((0.5, False), (3.0, False), (0.5, True)):
        m = Model()
        m.node("Tanh", ["x"], "z")
        m.node("Sub", ["x", m.node("ReduceMean", ["z" if other else "x"], "mean", axes=[-1])], "c")
        m.node("ReduceMean", [m.node("Mul", ["c", "c"], "p")], "v", axes=[-1])
        m.node("Div", ["c", m.node("Pow", [m.node("Add", ["v", m.constant(1e-3)], "a"), m.constant(power)], "r")], "y")
        if power == 0.5:
            assert only(compare(m.proto(X, ["y"])), FloatNorm).rms == other  # of the difference
        else:
            with pytest.raises(UserError, match="both operands are computed"):
                import_float(m.proto(X, ["y"]), "test")
