"""Float ONNX files: what is accepted computes what ONNX Runtime computes, what is not is named with its reason."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatConv, FloatGraph, FloatPad, float_execute
from systolith.gen.frontend import import_float, import_model, is_qdq, load_model, operators_table
from systolith.gen.passes import run_passes
from systolith.sim.golden.execute import from_core, to_core
from tests.onnx_models import Model, run_reference

Array = NDArray[Any]


def compare(model: onnx.ModelProto, seed: int = 0) -> FloatGraph:
    """Imports the model, runs its passes, compares every output with ONNX Runtime's; returns the graph."""
    onnx.checker.check_model(model)
    graph = run_passes(import_float(model, "test"))
    random = np.random.default_rng(seed)
    inputs = {name: random.standard_normal(layout).astype(np.float32) for name, layout in graph.input_layouts.items()}
    for entry in model.graph.input:
        kind = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        if entry.name in graph.entries():
            layout = graph.input_layouts[entry.name]
            inputs[entry.name] = random.integers(graph.entries()[entry.name], size=layout).astype(kind)
        elif entry.name == graph.mask:
            inputs[entry.name] = np.ones([size.dim_value for size in entry.type.tensor_type.shape.dim], kind)
    got = float_execute(graph, {name: to_core(array, graph.input_layouts[name], graph.shapes[name]).astype(np.float64)
                                for name, array in inputs.items() if name in graph.inputs})
    for name, expected in zip(graph.outputs, run_reference(model, inputs), strict=True):
        real = from_core(got[name], graph.output_layouts[name])
        assert real.size == expected.size
        np.testing.assert_allclose(real.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    return graph


IMAGE = {"x": (1, 4, 9, 7)}


def kinds(graph: FloatGraph) -> list[str]:
    return [type(node).__name__ for node in graph.nodes]


WINDOWS: list[dict[str, Any]] = [
    {"pads": [1, 1, 1, 1]}, {"strides": [2, 3]}, {"dilations": [2, 1], "pads": [0, 1, 2, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"auto_pad": "SAME_LOWER", "strides": [2, 3]}, {"auto_pad": "VALID"},
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv(window: dict[str, Any], groups: int) -> None:
    m = Model(groups)
    m.node("Conv", ["x", m.weights(8, 4 // groups, 3, 2), m.weights(8)], "y", group=groups, **window)
    graph = compare(m.proto(IMAGE, ["y"]))
    assert bool(graph.warnings) == (groups == 2) == ("dense" in graph.nodes[0].source)
    assert kinds(graph) == ["FloatDepthwise" if groups == 4 else "FloatConv"]


@pytest.mark.parametrize("window", WINDOWS + [{"ceil_mode": 1, "strides": [2, 2]},
                                              {"ceil_mode": 1, "strides": [4, 5], "pads": [1, 1, 0, 1]}])
def test_pools(window: dict[str, Any]) -> None:
    for kind, extra in (("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})):
        m = Model()
        m.node(kind, ["x"], "y", kernel_shape=[3, 2], **window, **extra)
        model = m.proto(IMAGE, ["y"], opset=19)
        if window.get("ceil_mode") and extra:
            with pytest.raises(UserError, match="ceil_mode"):
                import_float(model, "test")
        else:
            compare(model)


def test_global_pools_and_means() -> None:
    for keep in (0, 1):
        m = Model()
        m.node("GlobalAveragePool", ["x"], "a")
        m.node("GlobalMaxPool", ["x"], "b")
        m.node("ReduceMean", ["x"], "c", axes=[-1, -2], keepdims=keep)
        compare(m.proto(IMAGE, ["a", "b", "c"]))
    m = Model()
    m.node("ReduceMean", ["x", m.constant([2, 3], np.int64)], "c", keepdims=0)
    compare(m.proto(IMAGE, ["c"], opset=18))


@pytest.mark.parametrize("trans", [0, 1])
def test_flatten_permutes_the_weights_instead_of_the_data(trans: int) -> None:
    m = Model()
    m.node("Conv", ["x", m.weights(5, 4, 3, 3)], "c")
    m.node("Flatten", ["c"], "f")
    size = 5 * 7 * 5
    m.node("Gemm", ["f", m.weights(*((6, size) if trans else (size, 6))), m.weights(1, 6)], "g", transB=trans,
           alpha=0.5, beta=2.0)
    m.node("Relu", ["g"], "r")
    m.node("MatMul", ["r", m.weights(6, 3)], "y")
    graph = compare(m.proto(IMAGE, ["y"]))
    assert kinds(graph) == ["FloatConv", "FloatReshape", "FloatConv", "FloatConv"]


def test_shape_computations_of_exporters_are_folded() -> None:
    m = Model()
    m.node("Shape", ["x"], "s")
    m.node("Gather", ["s", m.constant(0, np.int64)], "n")
    m.node("Unsqueeze", ["n", m.constant([0], np.int64)], "u")
    m.node("Concat", ["u", m.constant([-1], np.int64)], "t", axis=0)
    m.node("Reshape", ["x", "t"], "f")
    m.node("Transpose", [m.weights(3, 4 * 9 * 7)], "w", perm=[1, 0])
    m.node("MatMul", ["f", "w"], "p")
    m.node("Add", ["p", m.weights(3)], "y")
    graph = compare(m.proto(IMAGE, ["y"]))
    assert kinds(graph) == ["FloatReshape", "FloatConv"]


def test_squeeze_unsqueeze_transpose_only_rename() -> None:
    m = Model()
    m.node("GlobalAveragePool", ["x"], "g")
    m.node("Squeeze", ["g", m.constant([2, 3], np.int64)], "s")
    m.node("Unsqueeze", ["s", m.constant([2, 3], np.int64)], "u")
    m.node("Conv", ["u", m.weights(8, 4, 1, 1)], "c")
    m.node("Reshape", ["c", m.constant([0, 2, 4], np.int64)], "r")
    m.node("MatMul", ["r", m.weights(4, 5)], "y")
    compare(m.proto(IMAGE, ["y"]))
    m = Model()
    m.node("Transpose", ["x"], "t", perm=[0, 2, 3, 1])
    m.node("Reshape", ["t", m.constant([63, 4], np.int64)], "r")
    m.node("MatMul", ["r", m.weights(4, 5)], "y")
    assert kinds(compare(m.proto(IMAGE, ["y"]))) == ["FloatReshape", "FloatConv"]


@pytest.mark.parametrize("shape", [(6, 10), (1, 10), (1, 6, 10), (10,)])
def test_matrices_are_rows_of_a_map(shape: tuple[int, ...]) -> None:
    m = Model()
    m.node("MatMul", ["x", m.weights(10, 8)], "p")
    m.node("Add", [m.weights(8), "p"], "q")
    m.node("Relu", ["q"], "r")
    m.node("MatMul", ["r", m.weights(8, 8)], "s")
    m.node("Add", ["r", "s"], "y")
    graph = compare(m.proto({"x": shape}, ["y"]))
    assert graph.shapes["x"] == (int(np.prod(shape[:-1])), 1, 10)
    assert kinds(graph) == ["FloatConv", "FloatConv", "FloatAdd"]


def batch_norm(m: Model, x: str, y: str, channels: int) -> None:
    positive = [m.constant(m.random.uniform(0.5, 2, channels)) for _ in range(2)]
    inputs = [x, positive[0], m.weights(channels), m.weights(channels), positive[1]]
    m.node("BatchNormalization", inputs, y, epsilon=0.01)


def test_batch_norm_and_constants_fold_or_become_a_convolution() -> None:
    m = Model()
    m.node("Sub", ["x", m.constant([[[0.1]], [[0.2]], [[0.3]], [[0.4]]])], "a")
    m.node("Div", ["a", m.constant(0.25)], "b")
    m.node("Conv", ["b", m.weights(6, 4, 3, 3)], "c")  # takes a and b: it has no padding
    batch_norm(m, "c", "d", 6)
    m.node("Mul", [m.constant(np.arange(6).reshape(1, 6, 1, 1)), "d"], "e")
    m.node("Relu", ["e"], "f")
    batch_norm(m, "f", "g", 6)  # after an activation: on its own
    m.node("Sub", [m.constant(1.5), "g"], "y")
    assert kinds(compare(m.proto(IMAGE, ["y"]))) == ["FloatConv", "FloatDepthwise"]


def test_batch_norm_of_a_flattened_map() -> None:
    m = Model()
    m.node("Flatten", ["x"], "f")
    batch_norm(m, "f", "b", 252)
    m.node("Gemm", ["b", m.weights(252, 5)], "y")
    assert kinds(compare(m.proto(IMAGE, ["y"]))) == ["FloatReshape", "FloatConv"]


@pytest.mark.parametrize("opset", [10, 17])
def test_activations(opset: int) -> None:
    m = Model()
    m.node("Conv", ["x", m.weights(4, 4, 1, 1)], "c")
    if opset < 11:
        m.node("Clip", ["c"], "y", min=-0.2, max=0.4)
        m.node("Clip", ["x"], "z", max=0.5)
    else:
        m.node("Clip", ["c", m.constant(-0.2), m.constant(0.4)], "y")
        m.node("Clip", ["x", "", m.constant(0.5)], "z")
    assert kinds(compare(m.proto(IMAGE, ["y", "z"], opset))) == ["FloatConv", "FloatClamp"]


def test_pads() -> None:
    m = Model()
    m.node("Pad", ["x", m.constant([0, 0, 1, 2, 0, 0, 0, 1], np.int64)], "p")
    m.node("Conv", ["p", m.weights(4, 4, 3, 3)], "c", pads=[1, 0, 0, 1])
    m.node("Relu", ["c"], "r")
    m.node("Pad", ["r", m.constant([1, 1, 1, 1], np.int64), "", m.constant([2, 3], np.int64)], "q")
    m.node("MaxPool", ["q"], "y", kernel_shape=[2, 2])
    m.node("AveragePool", ["q"], "z", kernel_shape=[3, 3])
    assert kinds(compare(m.proto(IMAGE, ["y", "z"], opset=18))) == ["FloatConv", "FloatPool", "FloatPool"]
    m = Model()
    m.node("Pad", ["x", m.constant([0, 0, 1, 2, 0, 0, 0, 1], np.int64)], "p")
    m.node("MaxPool", ["p"], "y", kernel_shape=[2, 2])  # zeros win over negative values: not to be folded
    graph = compare(m.proto(IMAGE, ["y"]))
    assert isinstance(graph.nodes[0], FloatPad)
    m = Model()
    m.node("Pad", ["x"], "p", pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="constant", value=0.0)
    m.node("AveragePool", ["p"], "y", kernel_shape=[2, 2], count_include_pad=1, pads=[1, 1, 1, 1])
    assert kinds(compare(m.proto(IMAGE, ["y"], opset=10))) == ["FloatPool"]


def test_outputs_keep_their_names() -> None:
    m = Model()
    m.node("Conv", ["x", m.weights(4, 4, 1, 1)], "c")
    m.node("Identity", ["c"], "y")
    m.node("Relu", ["c"], "r")
    m.node("Dropout", ["r"], "z")
    m.node("Identity", ["x"], "same")
    m.node("Flatten", ["r"], "flat")
    graph = compare(m.proto(IMAGE, ["y", "z", "same", "c", "flat"]))
    assert graph.outputs == ("y", "z", "same", "c", "flat")
    assert graph.output_layouts["flat"] == (1, 4, 9, 7) and any("flat" in text for text in graph.warnings)


def test_model_functions_are_inlined(tmp_path: Path) -> None:
    m = Model()
    m.node("Identity", ["x"], "y")
    model = m.proto(IMAGE, ["y"])
    model.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["y"], domain="own", name="twice"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]))
    onnx.save(model, str(tmp_path / "twice.onnx"))
    compare(load_model(tmp_path / "twice.onnx"))


def test_a_float_file_needs_calibration(tmp_path: Path) -> None:
    m = Model()
    m.node("Conv", ["x", m.weights(4, 4, 1, 1)], "y")
    onnx.save(m.proto(IMAGE, ["y"]), str(tmp_path / "net.onnx"))
    with pytest.raises(UserError, match="calibration data"):
        import_model(tmp_path / "net.onnx")
    images = np.random.default_rng(0).standard_normal((5, 4, 9, 7)).astype(np.float32)
    whole = import_model(tmp_path / "net.onnx", {"x": images})
    parts = import_model(tmp_path / "net.onnx", ({"x": image[None]} for image in images))
    assert whole.tensors == parts.tensors and whole.name == "net" and whole.input_layouts == {"x": (1, 4, 9, 7)}
    for calibration, message in (({"z": images}, "has no 'x'"), ({"x": images[:, :3]}, r"\[1, 4, 9, 7\], not"),
                                 ({"x": images[:0]}, "no sample"), ({"x": images * np.inf}, "infinite or not")):
        with pytest.raises(UserError, match=message):
            import_model(tmp_path / "net.onnx", calibration)


def test_is_qdq() -> None:
    m = Model()
    m.node("QuantizeLinear", ["x", m.constant(0.1), m.constant(0, np.int8)], "q")
    m.node("DequantizeLinear", ["q", m.constant(0.1), m.constant(0, np.int8)], "y")
    assert is_qdq(m.proto(IMAGE, ["y"]))
    m = Model()
    m.node("Relu", ["x"], "y")
    assert not is_qdq(m.proto(IMAGE, ["y"]))


def test_operators_table_names_what_is_imported() -> None:
    rows = operators_table()
    names = [row[0] for row in rows]
    assert names == sorted(names) and {"Conv", "Gemm", "MatMul", "Relu", "Clip", "MaxPool", "Add", "Pad"} <= set(names)
    assert all(len(row) == 4 and row[1] and row[2] for row in rows)


def test_dense_weights_of_a_grouped_convolution() -> None:
    m = Model()
    m.node("Conv", ["x", m.constant(np.arange(1, 9).reshape(4, 2, 1, 1))], "y", group=2)
    node = import_float(m.proto(IMAGE, ["y"]), "test").nodes[0]
    assert isinstance(node, FloatConv)
    assert node.weights[:, 0, 0, :].tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]
