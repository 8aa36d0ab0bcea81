"""QDQ files of one operator against ONNX Runtime: random cases of every family, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.frontend.onnx_qdq import import_qdq
from systolith.gen.frontend.order import axes_of, transpositions
from systolith.gen.graph import Graph, Resize, Softmax, Tensor
from systolith.gen.qdq_compare import runtime
from systolith.sim.golden.execute import apply, dequantise_output, execute, from_core
from tests.onnx_models import Model
from tests.qdq_cases import FAMILIES, Case

Array = NDArray[Any]
CASES, SAMPLES = 15, 4
ALLOWED = 0.0001
"""Share of a family's values that may be one step apart."""


def between(graph: Graph, values: dict[str, Array]) -> Array:
    """Where the last operator, a Resize, has a result within 0.001 of the middle between two integers: there float32
    falls to either side."""
    node = graph.nodes[-1]
    if not isinstance(node, Resize) or node.bits == 0:
        return np.zeros(graph.tensors[node.output].shape, bool)
    finer = replace(node, shift=node.shift - 16, low=-2 ** 31, high=2 ** 31 - 1)
    tensors = [graph.tensors[name] for name in node.inputs]
    result = apply(finer, [values[name] for name in node.inputs], tensors, Tensor("finer", (0, 0, 0), "int32"))
    return np.abs(result.astype(np.int64) % 65536 - 32768) < 66


def apart(case: Case, outputs: list[str], graph: Graph) -> tuple[int, int, int]:
    """Values compared, how many differ, and by how much at most."""
    session = runtime(case.file(*outputs))
    total = differing = largest = 0
    for _ in range(SAMPLES):
        sample = case.sample()
        values = execute(graph, dict(sample))
        for name, answer in zip(outputs, session.run(list(outputs), sample), strict=True):
            tensor, layout = graph.tensors[name], graph.output_layouts[name]
            got = from_core(values[name].astype(np.int64), layout)
            assert got.shape == answer.shape
            difference = np.abs(got - np.rint(answer / np.float32(tensor.scale)) - tensor.zero_point).astype(int)
            if len(outputs) == 1:
                unclear = from_core(between(graph, values), layout) if tensor.dtype == "int8" else False
                difference[unclear & (difference == 1)] = 0
            total, differing = total + difference.size, differing + int((difference > 0).sum())
            largest = max(largest, int(difference.max()))
    return total, differing, largest


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str) -> None:
    """All integers of all cases are ONNX Runtime's but for one in 10,000, and none is more than one apart."""
    total = differing = 0
    for number in range(CASES):
        seed = 1000 * list(FAMILIES).index(family) + number
        case = Case(seed)
        try:
            outputs = FAMILIES[family](case)
            graph = import_qdq(case.file(*outputs), family)
            seen, wrong, largest = apart(case, outputs, graph)
        except Exception as error:
            raise AssertionError(f"{family}, seed {seed}: {error}") from error
        assert largest <= 1, f"{family}, seed {seed}: {largest} steps apart"
        assert wrong <= max(2, 0.002 * seen), f"{family}, seed {seed}: {wrong} of {seen} values differ"
        total, differing = total + seen, differing + wrong
    assert differing <= max(1, ALLOWED * total), f"{family}: {differing} of {total} values differ"


def imported(case: Case, *outputs: str) -> Graph:
    return import_qdq(case.file(*outputs), "case")


def kinds(graph: Graph) -> list[str]:
    return [node.operator for node in graph.nodes]


def test_silu_is_one_table() -> None:
    """Its Sigmoid is only there where something else reads it."""
    case = Case(1)
    inner = case.rounded(case.op("Sigmoid", [case.x]))
    y = case.rounded(case.op("Mul", [case.x, inner]))
    assert kinds(imported(case, y)) == ["Lookup"]
    assert kinds(imported(case, y, inner)) == ["Lookup", "Lookup"]


def test_a_product_of_an_activation_of_something_else_is_none() -> None:
    case = Case(2)
    inner = case.rounded(case.op("Sigmoid", [case.other()]))
    assert kinds(imported(case, case.rounded(case.op("Mul", [case.x, inner])))) == ["Pool2D", "Lookup", "Mul"]


def test_softmax_with_another_scale_is_rescaled() -> None:
    """As ONNX Runtime's quantiser has it: 1/255. Rounded twice, values are at most one apart."""
    case = Case(3)
    outputs = [case.rounded(case.op("Softmax", [case.x], axis=1), 1 / 255, -128)]
    graph = imported(case, *outputs)
    assert kinds(graph) == ["Softmax", "Rescale"]
    assert apart(case, outputs, graph)[2] <= 1


def test_old_softmax_runs_over_all_further_axes() -> None:
    case = Case(4)
    case.opset = 12
    outputs = [case.rounded(case.op("Softmax", [case.x], axis=2), 1 / 256, -128)]
    graph = imported(case, *outputs)
    assert apart(case, outputs, graph)[1:] == (0, 0)
    node = next(node for node in graph.nodes if isinstance(node, Softmax))
    assert graph.tensors[node.output].shape[2] == case.shape[2] * case.shape[3]


def test_one_transposition_serves_all_readers() -> None:
    case = Case(5)
    turned = case.op("Transpose", [case.x], perm=[0, 2, 3, 1])
    outputs = [case.rounded(case.op("MaxPool", [turned], kernel_shape=[1, 1])) for _ in range(2)]
    graph = imported(case, *outputs)
    assert kinds(graph).count("Transpose") == 1
    assert apart(case, outputs, graph)[1] == 0


def test_nothing_is_moved_where_it_need_not_be() -> None:
    """Transposes there and back, and a matrix product that can take the order as it is."""
    case = Case(6)
    there = case.rounded(case.op("Transpose", [case.x], perm=[0, 2, 3, 1]), float(case.scale), case.zero_point)
    back = case.op("Transpose", [there], perm=[0, 3, 1, 2])
    y = case.rounded(case.op("MaxPool", [back], kernel_shape=[1, 1]))
    z = case.op("Reshape", [there, case.ints(-1, case.shape[1])])
    z = case.rounded(case.op("MatMul", [z, case.weights(case.shape[1], 3)]))
    assert set(kinds(imported(case, y, z))) == {"Pool2D", "Reshape", "Conv2D"}


def test_activations_after_joins_and_softmax_clamp() -> None:
    case = Case(7)
    y = case.op("Clip", [case.op("Concat", [case.x, case.other()], axis=1), case.constant(np.float32(-0.2)),
                         case.constant(np.float32(0.3))])
    z = case.op("Clip", [case.op("Softmax", [case.x], axis=1), case.constant(np.float32(0.1))])
    outputs = [case.rounded(y), case.rounded(z, 1 / 256, -128)]
    assert apart(case, outputs, imported(case, *outputs))[1:] == (0, 0)


def test_an_activation_of_a_table_joins_it() -> None:
    case = Case(8)
    inner = case.rounded(case.op("Tanh", [case.x]))
    outputs = [case.rounded(case.op("Relu", [inner]))]
    graph = imported(case, *outputs)
    assert kinds(graph) == ["Lookup"] and apart(case, outputs, graph)[1:] == (0, 0)


def test_the_same_tensor_in_another_order_is_no_function_of_one_value() -> None:
    case = Case(13)
    case.start((1, 3, 5, 5))
    outputs = [case.rounded(case.op("Mul", [case.x, case.op("Transpose", [case.x], perm=[0, 1, 3, 2])]))]
    graph = imported(case, *outputs)
    assert "Mul" in kinds(graph) and apart(case, outputs, graph)[1] == 0


def test_ties_of_a_table_go_to_even() -> None:
    case = Case(14)
    case.start((1, 4, 9, 9), 2.0 ** -5)
    outputs = [case.rounded(case.op("Neg", [case.x]), 2.0 ** -4, 3)]
    assert apart(case, outputs, imported(case, *outputs))[1:] == (0, 0)


def test_an_image_is_reduced_as_it_lies() -> None:
    for axes in ([2], [3], [2, 3]):
        case = Case(15)
        case.start((1, 3, 4, 5))
        assert kinds(imported(case, case.rounded(case.op("ReduceMean", [case.x], axes=axes)))) == ["Pool2D"]


def test_a_table_by_gather() -> None:
    """Tables of integers, as the writer shows a Lookup."""
    for dtype in (np.int8, np.uint8):
        case = Case(9)
        table = case.random.integers(-128, 128, 256).astype(np.int8)
        integers = next(node for node in case.nodes if node.op_type == "QuantizeLinear").output[0]
        if case.dtype is np.int8:
            table = np.roll(table, -128)
        given = (table.astype(np.int64) + (128 if dtype is np.uint8 else 0)).astype(dtype)
        made = case.op("Gather", [case.constant(given), case.op("Cast", [integers], to=onnx.TensorProto.INT32)])
        y = case.op("DequantizeLinear", [made, case.constant(np.float32(0.1)), case.constant(dtype(7))])
        graph = imported(case, y)
        assert kinds(graph) == ["Lookup"] and apart(case, [y], graph)[1:] == (0, 0)


def test_exchanges_of_axes() -> None:
    """`axes_of` finds what numpy did; `transpositions` puts axes in every order of up to five."""
    random = np.random.default_rng(0)
    for _ in range(100):
        sizes = random.integers(2, 5, random.integers(1, 6)).tolist()
        order = random.permutation(len(sizes)).tolist()
        where = np.arange(np.prod(sizes)).reshape(sizes).transpose(order).reshape(-1)
        found = axes_of(where)
        assert found is not None
        again = np.arange(len(where)).reshape(found[0]).transpose(found[1]).reshape(-1)
        assert np.array_equal(again, where)
        state = list(range(len(order)))
        for (first, second), exchange in transpositions(len(order), tuple(order)):
            groups = state[:first], state[first:second], state[second:]
            state = [axis for group in exchange for axis in groups[group]]
        assert state == order
    assert axes_of(np.array([0, 2, 1, 3, 5, 4])) is None
    assert axes_of(np.array([1, 0, 2, 3])) is None
    assert axes_of(np.array([0, 0, 1, 1])) is None


def test_long_axes_are_split() -> None:
    """A height or width of more than the machine has becomes two."""
    case = Case(10)
    case.start((1, 2, 200, 201))
    outputs = [case.rounded(case.op("Flatten", [case.x]), float(case.scale), case.zero_point)]
    graph = imported(case, *outputs)
    assert max(max(tensor.shape[:2]) for tensor in graph.tensors.values()) <= 32767
    assert apart(case, outputs, graph)[1:] == (0, 0)


REFUSALS: list[tuple[Any, str]] = [
    (lambda c: c.op("ConvTranspose", [c.x, c.weights(c.shape[1], 1, 2, 2)], group=c.shape[1]), "groups"),
    (lambda c: c.op("Div", [c.x, c.other()]), "takes two tensors"),
    (lambda c: c.op("Mul", [c.x, c.constant(np.arange(c.shape[3], dtype=np.float32))]), "between channels only"),
    (lambda c: c.op("Div", [c.x, c.constant(np.zeros((c.shape[1], 1, 1), np.float32))]), "divides by 0"),
    (lambda c: c.op("Div", [c.constant(np.ones((c.shape[1], 1, 1), np.float32)), c.x]), "only one number"),
    (lambda c: c.op("Sqrt", [c.x]), "not a number for some"),
    (lambda c: c.op("Mul", [c.op("Sigmoid", [c.x]), c.other()]), "before that is rounded"),
    (lambda c: c.op("Concat", [c.x, c.constant(np.zeros(c.shape, np.float32))], axis=1), "joins a constant"),
    (lambda c: c.op("Concat", [c.x, c.x], axis=0), "the batch"),
    (lambda c: c.op("Slice", [c.x, c.ints(-1), c.ints(-9), c.ints(2), c.ints(-1)]), "goes backwards"),
    (lambda c: c.op("Slice", [c.x, c.ints(1), c.ints(1), c.ints(2)]), "takes nothing"),
    (lambda c: c.op("Resize", [c.x, "", c.constant(np.array([1, 1, 2, 2], np.float32))], mode="cubic"), "mode cubic"),
    (lambda c: c.op("Resize", [c.x, "", c.constant(np.array([1, 2, 2, 2], np.float32))]), "batch or the channels"),
    (lambda c: c.op("Resize", [c.x, "", c.constant(np.array([1, 1, 2, 2], np.float32))],
                    coordinate_transformation_mode="tf_crop_and_resize"), "tf_crop_and_resize"),
    (lambda c: c.op("ReduceMean", [c.x], axes=[1, 2, 3]), "reduces the axes"),
    (lambda c: c.op("MaxPool", [c.x], kernel_shape=[99, 1]), "empty output"),
    (lambda c: c.op("Gather", [c.x, c.ints(0)], axis=1), "computed numbers"),
    (lambda c: c.op("PRelu", [c.x, c.constant(np.arange(c.shape[1], dtype=np.float32)[:, None, None])]),
     "only one number"),
    (lambda c: c.op("Cast", [c.op("ArgMax", [c.x], axis=1)], to=2), "casts to uint8"),
]


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refusals(number: int) -> None:
    build, words = REFUSALS[number]
    case = Case(11)
    case.start((1, 4, 5, 6), zero_point=3)
    y = case.quantised(build(case), 0.05)
    with pytest.raises(UserError) as caught:
        imported(case, y)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and words in lines[1], lines


def test_a_channel_shuffle_rounded_at_each_step() -> None:
    case = Case(12)
    _, _, height, width = case.start((1, 6, 5, 7)) and case.shape
    same = float(case.scale), case.zero_point
    y = case.rounded(case.op("Reshape", [case.x, case.ints(1, 2, 3, height, width)]), *same)
    y = case.rounded(case.op("Transpose", [y], perm=[0, 2, 1, 3, 4]), *same)
    y = case.rounded(case.op("Reshape", [y, case.ints(1, 6, height, width)]), *same)
    graph = imported(case, y)
    assert kinds(graph).count("Transpose") == 1 and apart(case, [y], graph)[1:] == (0, 0)


def test_a_network_of_onnx_runtimes_quantiser(tmp_path: Path) -> None:
    """A detector in small: depthwise layers, SiLU, hard swish, attention by channel, two scales joined, softmax."""
    m = Model(3)
    m.node("Conv", ["x", m.weights(8, 3, 3, 3), m.weights(8)], "a", pads=[1, 1, 1, 1], strides=[2, 2])
    m.node("Sigmoid", ["a"], "b")
    m.node("Mul", ["a", "b"], "c")
    m.node("Conv", ["c", m.weights(8, 1, 3, 3), m.weights(8)], "d", pads=[1, 1, 1, 1], group=8)
    m.node("HardSwish", ["d"], "e")
    m.node("GlobalAveragePool", ["e"], "f")
    m.node("Conv", ["f", m.weights(8, 8, 1, 1), m.weights(8)], "g")
    m.node("HardSigmoid", ["g"], "h")
    m.node("Mul", ["e", "h"], "i")
    m.node("MaxPool", ["i"], "j", kernel_shape=[2, 2], strides=[2, 2])
    m.node("Resize", ["j", "", m.constant([1, 1, 2, 2])], "k", coordinate_transformation_mode="asymmetric",
           nearest_mode="floor")
    m.node("Concat", ["i", "k"], "l", axis=1)
    m.node("ConvTranspose", ["l", m.weights(16, 5, 2, 2), m.weights(5)], "n", strides=[2, 2])
    m.node("LeakyRelu", ["n"], "o", alpha=0.1)
    m.node("Softmax", ["o"], "y", axis=1)
    model = m.proto({"x": (1, 3, 12, 12)}, ["y"])
    onnx.save(model, tmp_path / "float.onnx")
    samples = [{"x": m.random.normal(0, 1, (1, 3, 12, 12)).astype(np.float32)} for _ in range(8)]
    for activations in ("QInt8", "QUInt8"):
        quantised(tmp_path, samples, activation_type=activations)
        read = import_qdq(onnx.load(tmp_path / "qdq.onnx"), "qdq")
        assert {"DepthwiseConv2D", "TransposedConv2D", "Mul", "Lookup", "Resize", "Concat", "Softmax"} <= set(
            kinds(read))
        for sample in samples:
            values = execute(read, dict(sample))
            real = dequantise_output(read, "y", values["y"])
            expected = runtime(onnx.load(tmp_path / "qdq.onnx")).run(["y"], sample)[0]
            assert real.shape == expected.shape and np.abs(real - expected).max() <= 4 / 256


def quantised(folder: Path, samples: list[dict[str, Array]], **options: str) -> None:
    """float.onnx as qdq.onnx, by ONNX Runtime's static quantiser."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, Array] | None:
            return next(self.left, None)

    chosen = {key: getattr(QuantType, value) for key, value in options.items()}
    quantize_static(folder / "float.onnx", folder / "qdq.onnx", Reader(), quant_format=QuantFormat.QDQ,
                    weight_type=QuantType.QInt8, per_channel=True, **chosen)
