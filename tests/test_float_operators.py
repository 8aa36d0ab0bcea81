"""Float files of the operators that are neither convolution nor pool: against ONNX Runtime as float, as integers
operator by operator, and through a written QDQ file."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatGraph, float_execute
from systolith.gen.frontend import import_float
from systolith.gen.frontend.functions import FUNCTIONS
from systolith.gen.frontend.onnx_qdq import import_qdq
from systolith.gen.graph import Add, Concat, Graph, Node, Slice, Tensor, Transpose, output_shape
from systolith.gen.qdq_compare import compare_with_onnxruntime
from systolith.gen.qdq_writer import write_qdq
from systolith.gen.quantize import quantise
from systolith.rtl.isa import EVEN
from systolith.sim.golden.execute import dequantise, execute, from_core, to_core
from tests.onnx_models import Model
from tests.test_frontend import compare, kinds

Array = NDArray[Any]
IMAGE = (1, 4, 6, 7)


def conv(m: Model, x: str = "x", y: str = "c", channels: int = 4) -> str:
    """So that what is tested has a computed input."""
    return m.node("Conv", [x, m.weights(channels, 4, 1, 1), m.weights(channels)], y)


def depthwise(m: Model) -> str:
    return m.node("Conv", ["x", m.weights(8, 1, 3, 2), m.weights(8)], "y", group=4, strides=[2, 1], pads=[1, 0, 1, 1])


def depthwise_with_batch_norm(m: Model) -> str:
    m.node("Pad", ["x", m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)], "p")
    m.node("Conv", ["p", m.weights(4, 1, 3, 3)], "d", group=4)
    m.node("BatchNormalization", ["d", *(m.constant(m.random.uniform(0.5, 2, 4)) for _ in range(4))], "b")
    return m.node("Clip", ["b", m.constant(0.0), m.constant(6.0)], "y")


def norm_before_depthwise(m: Model) -> str:
    m.node("BatchNormalization", ["x", *(m.constant(m.random.uniform(0.5, 2, 4)) for _ in range(4))], "b")
    return m.node("Conv", ["b", m.weights(8, 1, 3, 3)], "y", group=4)


def function_of_scattered_rows(m: Model) -> str:
    """Rows of a matrix that lie scattered are moved before a constant is added, and the function must know."""
    m.node("Reshape", [conv(m), m.constant([1, 4, 42], np.int64)], "r")
    return m.node("Sigmoid", [m.node("Add", ["r", m.constant(0.5)], "a")], "y")


def small_join_with_softmax(m: Model) -> str:
    m.node("Clip", [conv(m), m.constant(0.0), m.constant(0.05)], "p")
    return m.node("Concat", [m.node("Softmax", ["c"], "s", axis=1), "p"], "y", axis=1)


def transposed(m: Model) -> str:
    m.node("ConvTranspose", ["x", m.weights(4, 5, 3, 2), m.weights(5)], "t", strides=[2, 3], pads=[1, 0, 0, 1],
           output_padding=[1, 0])
    m.node("BatchNormalization", ["t", *(m.constant(m.random.uniform(0.5, 2, 5)) for _ in range(4))], "b")
    return m.node("Relu", ["b"], "y")


def transposed_same(m: Model) -> str:
    return m.node("ConvTranspose", ["x", m.weights(4, 3, 3, 3)], "y", strides=[2, 2], auto_pad="SAME_UPPER")


def attention(m: Model) -> str:
    m.node("HardSigmoid", [m.node("GlobalAveragePool", [conv(m)], "g")], "h")
    return m.node("Mul", ["c", "h"], "y")


def difference(m: Model) -> str:
    return m.node("Relu", [m.node("Sub", [conv(m), "x"], "d")], "y")


def broadcast(m: Model) -> str:
    return m.node("Add", [m.node("ReduceMax", [conv(m)], "r", axes=[1]), "x"], "y")


def silu(m: Model) -> str:
    return m.node("Mul", [conv(m), m.node("Sigmoid", ["c"], "s")], "y")


def gelu(m: Model) -> str:
    m.node("Erf", [m.node("Div", [conv(m), m.constant(np.sqrt(2))], "d")], "e")
    m.node("Mul", ["c", m.node("Add", ["e", m.constant(1.0)], "a")], "b")
    return m.node("Mul", ["b", m.constant(0.5)], "y")


def hard_swish(m: Model) -> str:
    m.node("Clip", [m.node("Add", [conv(m), m.constant(3.0)], "a"), m.constant(0.0), m.constant(6.0)], "b")
    return m.node("Div", [m.node("Mul", ["b", "c"], "d"), m.constant(6.0)], "y")


def join(m: Model) -> str:
    m.node("MaxPool", ["x"], "p", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return m.node("Concat", [conv(m), "p", m.node("Tanh", ["x"], "t")], "y", axis=1)


def join_with_softmax(m: Model) -> str:
    m.node("Softmax", [conv(m)], "s", axis=1)
    return m.node("Concat", ["s", "c"], "y", axis=-1)


def parts(m: Model) -> str:
    m.node("Slice", [conv(m), m.constant([1, -3], np.int64), m.constant([99, 99], np.int64),
                     m.constant([1, 3], np.int64), m.constant([2, 1], np.int64)], "s")
    return m.node("Relu", ["s"], "y")


def old_slice(m: Model) -> str:
    return m.node("Slice", ["x"], "y", starts=[1], ends=[3], axes=[2])


def halves(m: Model) -> str:
    m.nodes.append(helper.make_node("Split", [conv(m)], ["a", "b"], name="split", axis=1))
    return m.node("Mul", ["a", m.node("Sigmoid", ["b"], "s")], "y")


def shuffle(m: Model) -> str:
    m.node("Reshape", [conv(m), m.constant([1, 2, 2, 6, 7], np.int64)], "r")
    m.node("Reshape", [m.node("Transpose", ["r"], "t", perm=[0, 2, 1, 3, 4]), m.constant(IMAGE, np.int64)], "s")
    return conv(m, "s", "y")


def pixel_shuffle(m: Model) -> str:
    return m.node("DepthToSpace", [conv(m)], "y", blocksize=2, mode="CRD")


def turned(m: Model) -> str:
    return m.node("Transpose", [conv(m)], "y", perm=[0, 3, 1, 2])


def channels_last(m: Model) -> str:
    m.node("Transpose", ["x"], "t", perm=[0, 2, 3, 1])
    m.node("Softmax", ["t"], "s", axis=-1)
    return m.node("Transpose", ["s"], "y", perm=[0, 3, 1, 2])


def larger(m: Model) -> str:
    m.node("Resize", [conv(m), "", m.constant([1, 1, 2, 3])], "r", mode="nearest", nearest_mode="floor",
           coordinate_transformation_mode="asymmetric")
    return m.node("Relu", ["r"], "y")


def smooth(m: Model) -> str:
    return m.node("Resize", [conv(m), "", "", m.constant([1, 4, 9, 10], np.int64)], "y", mode="linear",
                  coordinate_transformation_mode="align_corners")


def upsample(m: Model) -> str:
    return m.node("Upsample", ["x", m.constant([1, 1, 2, 2])], "y", mode="linear")


def rows_softmax(m: Model) -> str:
    m.node("Reshape", [conv(m), m.constant([4, 42], np.int64)], "r")
    return m.node("Softmax", ["r"], "y")


def mean_of_columns(m: Model) -> str:
    return m.node("ReduceMean", [conv(m)], "y", axes=[3], keepdims=0)


def segments(m: Model) -> str:
    return m.node("ArgMax", [conv(m)], "y", axis=1, keepdims=0)


def function(kind: str, **given: Any) -> Callable[[Model], str]:
    def build(m: Model) -> str:
        before = m.node("Relu", [conv(m)], "p") if kind == "Sqrt" else conv(m)
        return m.node(kind, [before], "y", **given)
    return build


CASES: dict[str, tuple[Callable[[Model], str], list[str]]] = {
    "depthwise": (depthwise, ["DepthwiseConv2D"]),
    "depthwise with batch norm": (depthwise_with_batch_norm, ["DepthwiseConv2D"]),
    "norm before depthwise": (norm_before_depthwise, ["DepthwiseConv2D"]),
    "function of scattered rows": (function_of_scattered_rows, []),
    "small join with softmax": (small_join_with_softmax, []),
    "transposed": (transposed, ["TransposedConv2D"]),
    "transposed same": (transposed_same, ["TransposedConv2D"]),
    "attention": (attention, ["Conv2D", "Pool2D", "Lookup", "Mul"]),
    "difference": (difference, ["Conv2D", "Add"]),
    "broadcast": (broadcast, []),
    "silu": (silu, ["Conv2D", "Lookup"]),
    "gelu": (gelu, ["Conv2D", "Lookup"]),
    "hard swish": (hard_swish, ["Conv2D", "Lookup"]),
    "join": (join, ["Pool2D", "Conv2D", "Lookup", "Concat"]),
    "join with softmax": (join_with_softmax, ["Conv2D", "Softmax", "Rescale", "Concat"]),
    "parts": (parts, ["Conv2D", "Slice", "Rescale"]),
    "old slice": (old_slice, ["Slice"]),
    "halves": (halves, ["Conv2D", "Slice", "Slice", "Lookup", "Mul"]),
    "shuffle": (shuffle, ["Conv2D", "Reshape", "Transpose", "Reshape", "Conv2D"]),
    "turned": (turned, ["Conv2D", "Reshape", "Transpose", "Reshape"]),
    "pixel shuffle": (pixel_shuffle, []),
    "channels last": (channels_last, ["Softmax"]),
    "larger": (larger, ["Conv2D", "Resize", "Rescale"]),
    "smooth": (smooth, ["Conv2D", "Resize"]),
    "upsample": (upsample, ["Resize"]),
    "rows softmax": (rows_softmax, []),
    "mean of columns": (mean_of_columns, ["Conv2D", "Pool2D"]),
    "segments": (segments, ["Conv2D", "ArgMax", "Reshape"]),
    **{kind: (function(kind), []) for kind in FUNCTIONS if kind not in ("Log", "Reciprocal", "Swish", "Gelu")},
    "leaky relu": (function("LeakyRelu", alpha=0.2), ["Conv2D", "Lookup"]),
}
OPSETS = {"upsample": 9, "old slice": 9, "Mish": 18}


def imported(name: str) -> tuple[FloatGraph, Graph]:
    """The float graph, compared with ONNX Runtime, and its quantised one."""
    m = Model(3)
    model = m.proto({"x": IMAGE}, [CASES[name][0](m)], OPSETS.get(name, 17))
    graph = compare(model) if name != "segments" else import_float(model, name)
    random = np.random.default_rng(1)
    samples = [{"x": random.standard_normal(graph.shapes["x"]).astype(np.float32)} for _ in range(12)]
    return graph, quantise(graph, samples)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    graph, whole = imported(name)
    expected = CASES[name][1]
    found = [node.operator for node in whole.nodes]
    assert not expected or found == expected, (kinds(graph), found)
    random = np.random.default_rng(2)
    samples = [{"x": random.standard_normal(IMAGE).astype(np.float32)} for _ in range(6)]
    for record in compare_with_onnxruntime(whole, samples):
        # a Resize of its input's scale has many results between two integers
        assert record.largest <= 1 and (record.differing <= max(1, 0.001 * record.values)
                                        or record.operator in ("Resize", "Pool2D")), record
    if name != "segments":
        check_near(graph, whole, samples)
    again = import_qdq(write_qdq(whole), "again")
    assert again.output_layouts == whole.output_layouts
    for sample in samples:
        made, expected = (from_core(execute(graph, dict(sample))["y"], whole.output_layouts["y"])
                          for graph in (again, whole))  # a matrix lies along the height here and along the width there
        assert np.array_equal(made, expected)


def check_near(graph: FloatGraph, whole: Graph, samples: list[dict[str, Array]]) -> None:
    """The integers are the float network's values to a few steps of 1/255 of their range."""
    for sample in samples:
        core = to_core(sample["x"], graph.input_layouts["x"], graph.shapes["x"])
        real = float_execute(graph, {"x": core})["y"]
        made = dequantise(execute(whole, dict(sample))["y"], whole.tensors["y"])
        assert np.abs(made - real).mean() < 0.015 * max(np.ptp(real), 255 * whole.tensors["y"].scale)


def small_graph(node: Node, *inputs: Tensor) -> Graph:
    shape = output_shape(node, list(inputs))
    assert shape is not None
    tensors = {tensor.name: tensor for tensor in (*inputs, Tensor("y", shape, scale=0.05, zero_point=4))}
    return Graph("small", node.inputs, ("y",), tensors, (node,))


@pytest.mark.parametrize("node", [
    Add("n", ("a", "b"), "y", (-(3 << 28), 2 << 28), 30, EVEN),
    Add("n", ("a", "b"), "y", (3 << 28, -(2 << 28)), 30, EVEN),
    Transpose("n", ("c",), "y", (1, 2, 0)), Transpose("n", ("c",), "y", (2, 0, 1)),
    Slice("n", ("a",), "y", (1, 0, 2), (2, 1, 3)), Concat("n", ("c", "c"), "y", 1),
], ids=["b - a", "a - b", "1 2 0", "2 0 1", "slice", "concat"])
def test_written_operators(node: Node) -> None:
    """What no ONNX file leads to, or only in other shapes."""
    random = np.random.default_rng(0)
    kept = {"scale": 0.05, "zero_point": 4}
    known = {"a": Tensor("a", (5, 4, 7), **({"scale": 0.0375, "zero_point": 9} if isinstance(node, Add) else kept)),
             "b": Tensor("b", (5, 4, 7), scale=0.025, zero_point=-3), "c": Tensor("c", (5, 4, 7), **kept)}
    inputs = [known[name] for name in dict.fromkeys(node.inputs)]
    graph = small_graph(node, *inputs) if not isinstance(node, Slice) else Graph(
        "small", ("a",), ("y",), {"a": known["a"], "y": Tensor("y", (2, 4, 2), **kept)}, (node,))
    if isinstance(node, Concat):
        graph = Graph("small", ("c",), ("y",), {"c": known["c"], "y": Tensor("y", (5, 8, 7), **kept)}, (node,))
    sample = {tensor.name: random.integers(-128, 128, tensor.shape).astype(np.int8) for tensor in inputs}
    (record,) = compare_with_onnxruntime(graph, sample)
    assert record.largest <= 1 and record.differing <= 0.2 * record.values
    if not isinstance(node, Add):
        assert record.differing == 0


def test_scales_of_what_moves_values() -> None:
    for name in ("join", "parts", "larger", "smooth", "shuffle"):
        _, whole = imported(name)
        for node in whole.nodes:
            if node.operator in ("Concat", "Slice", "Resize", "Transpose", "Reshape"):
                for read in node.inputs:
                    x, y = whole.tensors[read], whole.tensors[node.output]
                    assert (x.scale, x.zero_point) == (y.scale, y.zero_point), (name, node.name)
    for name in ("rows softmax", "join with softmax"):
        _, whole = imported(name)
        made = [whole.tensors[node.output] for node in whole.nodes if node.operator == "Softmax"]
        assert [(tensor.scale, tensor.zero_point) for tensor in made] == [(1 / 256, -128)]


def test_a_joined_range_covers_every_input() -> None:
    _, whole = imported("join")
    shared = [tensor for tensor in whole.tensors.values() if tensor.name in ("x", "p", "c", "t", "y")]
    assert len(shared) == 5 and len({(tensor.scale, tensor.zero_point) for tensor in shared}) == 1
    assert shared[0].scale * 255 > 6  # of normal numbers, not of tanh


def test_indices_are_for_outputs() -> None:
    m = Model()
    m.node("Relu", [m.node("Cast", [m.node("ArgMax", ["x"], "a", axis=1)], "b", to=1)], "y")
    with pytest.raises(UserError, match="reads indices"):
        import_float(m.proto({"x": IMAGE}, ["y"]), "test")


def test_an_index_is_the_largest_channel() -> None:
    _, whole = imported("segments")
    x = np.random.default_rng(5).standard_normal(IMAGE).astype(np.float32)
    values = execute(whole, {"x": x})
    assert whole.output_layouts == {"y": (1, 6, 7)} and values["y"].dtype == np.int32
    assert np.array_equal(values["y"].reshape(6, 7), values["c"].argmax(axis=-1))


REFUSALS: list[tuple[Callable[[Model], str], str]] = [
    (lambda m: m.node("ConvTranspose", ["x", m.weights(4, 1, 2, 2)], "y", group=4), "4 groups"),
    (lambda m: m.node("Slice", ["x", m.constant([-1], np.int64), m.constant([-9], np.int64), m.constant([2], np.int64),
                                m.constant([-1], np.int64)], "y"), "backwards"),
    (lambda m: m.node("Resize", ["x", "", m.constant([1, 1, 2, 2])], "y", mode="cubic"), "mode cubic"),
    (lambda m: m.node("Concat", ["x", "x"], "y", axis=0), "the batch"),
    (lambda m: m.node("Max", ["x", m.node("GlobalMaxPool", ["x"], "g")], "y"), "both operands are computed"),
    (lambda m: m.node("PRelu", ["x", m.weights(4, 1, 1)], "y"), "use one number"),
]


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refusals(number: int) -> None:
    build, words = REFUSALS[number]
    m = Model()
    with pytest.raises(UserError, match=re.escape(words)):
        import_float(m.proto({"x": IMAGE}, [build(m)], infer=False), "test")
