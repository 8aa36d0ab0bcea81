"""QDQ files in and out, against ONNX Runtime operator by operator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from systolith.gen.errors import UserError
from systolith.gen.frontend.onnx_qdq import import_qdq
from systolith.gen.graph import Conv2D, Graph, Pool2D, Reshape, Tensor
from systolith.gen.qdq_compare import compare_with_onnxruntime, runtime
from systolith.gen.qdq_writer import write_qdq
from systolith.rtl.isa import SINGLE
from systolith.sim.golden.execute import apply, dequantise_output, execute, to_core
from tests.qdq_graphs import QdqFile, ScaledGraph, odd

pytest.importorskip("onnxruntime")
ALLOWED = 0.001
"""Share of an operator's values that may be one step apart."""


def check_apart(differing: int, largest: int, values: int) -> None:
    """At most 0.1 % one step apart; of few values, one."""
    assert values > 0
    assert largest <= 1
    assert differing <= max(1, ALLOWED * values)


def samples_of(graph: Graph, count: int, seed: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [{name: random.integers(-128, 128, graph.tensors[name].shape).astype(np.int8) for name in graph.inputs}
            for _ in range(count)]


# Writing


@pytest.mark.parametrize("seed", range(12))
def test_written_operators(seed: int) -> None:
    """Each written operator makes the golden model's integers from the golden model's integers."""
    graph = ScaledGraph(seed).graph(8)
    graph.check()
    records = compare_with_onnxruntime(graph, samples_of(graph, 8, seed))
    assert [record.name for record in records] == [node.name for node in graph.nodes]
    for record in records:
        check_apart(record.differing, record.largest, record.values)


@pytest.mark.parametrize("seed", range(12))
def test_operators_are_live(seed: int) -> None:
    """The random networks do not pass by saturating: their tensors take many values."""
    graph = ScaledGraph(seed).graph(8)
    values = execute(graph, samples_of(graph, 1, seed)[0])
    assert np.mean([len(np.unique(tensor)) / min(tensor.size, 64) for tensor in values.values()]) > 0.4


@pytest.mark.parametrize("seed", range(12))
def test_round_trip(seed: int) -> None:
    """Written and read again, the network computes the same integers in every tensor that it still has (what depends on
    one integer is one table then)."""
    graph = ScaledGraph(seed).graph(8)
    again = import_qdq(write_qdq(graph), "again")
    assert (again.inputs, again.outputs, again.output_layouts) == (graph.inputs, graph.outputs, graph.output_layouts)
    sample = samples_of(graph, 1, seed)[0]
    first, second = execute(graph, sample), execute(again, sample)
    assert set(again.outputs) <= second.keys() <= first.keys()
    for name in second:
        assert np.array_equal(first[name], second[name]), name


def test_written_file_runs_optimised() -> None:
    """ONNX Runtime with its usual optimisations takes the file and answers nearly the same."""
    import onnxruntime

    graph = ScaledGraph(1).graph(6)
    model = write_qdq(graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(0, 1, session.get_inputs()[0].shape).astype(np.float32)
    name = graph.outputs[1]
    golden = dequantise_output(graph, name, execute(graph, {"x": x})[name])
    answer = session.run([name], {"x": x})[0]
    assert answer.shape == golden.shape == (1, 5)
    assert np.abs(answer - golden).max() <= 6 * graph.tensors[name].scale


def test_compare_finds_a_wrong_operator() -> None:
    """An operator that is one step off what its scales say is found, and only that one."""
    graph = ScaledGraph(2).graph(5)
    wrong = next(node for node in graph.nodes if isinstance(node, Conv2D))
    nodes = tuple(replace(node, multiplier=node.multiplier * 255 // 256) if node is wrong else node
                  for node in graph.nodes)
    records = compare_with_onnxruntime(replace(graph, nodes=nodes), samples_of(graph, 2, 2))
    assert [(record.name, record.largest) for record in records if record.differing > 1] == [(wrong.name, 1)]


def test_only_int8_is_written() -> None:
    graph = Graph("wide", ("x",), ("x",), {"x": Tensor("x", (1, 1, 4), "int16", 0.1)}, ())
    with pytest.raises(UserError, match="tensor 'x' is int16"):
        write_qdq(graph)


# Reading


def check_file(model: onnx.ModelProto, graph: Graph, samples: list[dict[str, Any]]) -> None:
    """Each core node, fed with the integers that ONNX Runtime has in the file, makes ONNX Runtime's integers."""
    quantisers = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    final = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = {node.input[0]: name for name, node in quantisers.items()}
    found |= {name: final[name] for name in graph.outputs if name in final}
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in quantisers)
    session = runtime(exposed)
    seen = dict.fromkeys((node.name for node in graph.nodes), 0)
    differing, largest = dict(seen), dict(seen)
    for sample in samples:
        results = dict(zip(quantisers, session.run(list(quantisers), sample), strict=True))
        values: dict[str, Any] = {}
        for tensor, name in found.items():
            if tensor in graph.tensors:
                integers = results[name].astype(np.int32) - (128 if results[name].dtype == np.uint8 else 0)
                values[tensor] = to_core(integers, integers.shape, graph.tensors[tensor].shape)
        for node in graph.nodes:
            inputs = [values[name] for name in node.inputs]
            answer = apply(node, inputs, [graph.tensors[name] for name in node.inputs], graph.tensors[node.output])
            if isinstance(node, Reshape):
                # The core keeps [H, W, C] order, the file's flattened tensor has [C, H, W].
                values[node.output] = answer
            expected = values.setdefault(node.output, answer)
            apart = np.abs(answer.astype(np.int32) - expected)
            seen[node.name] += apart.size
            if isinstance(node, Pool2D):
                apart[half_way(node, inputs, [graph.tensors[name] for name in node.inputs]) & (apart == 1)] = 0
            differing[node.name] += int((apart > 0).sum())
            largest[node.name] = max(largest[node.name], int(apart.max()))
    for name in seen:
        check_apart(differing[name], largest[name], seen[name])


def half_way(node: Pool2D, inputs: list[Any], tensors: list[Tensor]) -> Any:
    """Where a pool's result before rounding lies half-way between two integers.

    The quantiser gives an average pool its input's scale, so many of its results do, and float32 falls to either side.
    """
    border = tuple((count, multiplier, shift - 8) for count, multiplier, shift in node.border)
    finer = replace(node, shift=node.shift - 8, border=border, low=-2 ** 31, high=2 ** 31 - 1)
    return apply(finer, inputs, tensors, Tensor("finer", (0, 0, 0), "int32")) % 256 == 128


def check_end(model: onnx.ModelProto, *, steps: int = 2, count: int = 4, file: QdqFile) -> Graph:
    """The read network's outputs against the file's, in real numbers; few values may differ at all."""
    graph = import_qdq(model, "file")
    session, apart = runtime(model), []
    for _ in range(count):
        sample = file.sample()
        golden = execute(graph, dict(sample))
        for name, answer in zip(graph.outputs, session.run(list(graph.outputs), sample), strict=True):
            real = dequantise_output(graph, name, golden[name])
            assert real.shape == answer.shape
            apart.append(np.rint(np.abs(real - answer) / graph.tensors[name].scale).reshape(-1))
    assert np.concatenate(apart).max() <= steps
    assert (np.concatenate(apart) > 0).mean() < 0.01
    return graph


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_conv_clip_and_strides(dtype: type) -> None:
    file = QdqFile(dtype=dtype)
    steps = [0.01, 0.02, 0.005, 0.01, 0.03, 0.02]
    bias = file.bias(6, odd(0.03) * np.array(steps, np.float32))
    y = file.op("Conv", [file.x, file.weights(6, 4, 3, 3, scale=steps), bias], strides=[2, 1], auto_pad="SAME_UPPER")
    y = file.quantised(file.op("Relu", [y]), 0.05, -100)
    y = file.op("Conv", [y, file.weights(4, 3, 1, 3, scale=0.02)], group=2, pads=[0, 2, 0, 1], dilations=[1, 2])
    y = file.quantised(file.op("Clip", [y, file.constant(np.float32(-1.5)), file.constant(np.float32(2.5))]), 0.04, 3)
    model = file.model(y)
    graph = check_end(model, file=file, steps=3)
    check_file(model, graph, [file.sample() for _ in range(8)])
    assert [node.operator for node in graph.nodes] == ["Conv2D", "Conv2D"]
    assert graph.nodes[0].rounding == SINGLE
    assert graph.nodes[1].low == round(-1.5 / odd(0.04)) + 3 and graph.nodes[1].high == round(2.5 / odd(0.04)) + 3


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_pools_add_and_requantise(dtype: type) -> None:
    file = QdqFile(dtype=dtype)
    a = file.quantised(file.op("MaxPool", [file.x], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 0.03, 5)
    b = file.quantised(file.op("AveragePool", [file.x], kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 0.021, -7)
    c = file.op("AveragePool", [file.x], kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1)
    c = file.quantised(c, 0.017, 0)
    y = file.quantised(file.op("Relu", [file.op("Add", [a, b])]), 0.04, -110)
    z = file.quantised(file.op("Relu", [file.op("Add", [c, y])]), 0.05, -90)
    z = file.quantised(z, 0.07, 11)
    z = file.quantised(file.op("Pad", [z, file.constant(np.array([0, 0, 1, 0, 0, 0, 0, 2], np.int64))]), 0.06, 4)
    z = file.quantised(file.op("MaxPool", [z], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), 0.05, 2)
    z = file.quantised(file.op("GlobalAveragePool", [z]), 0.01, -20)
    model = file.model(z, y)
    graph = check_end(model, file=file, steps=3)
    check_file(model, graph, [file.sample() for _ in range(12)])


@pytest.mark.parametrize("form", ["flatten", "reshape", "transposed", "quantised", "unrounded"])
def test_flatten_before_gemm(form: str) -> None:
    """However an image becomes a vector, the weights meet the right elements and no data is moved."""
    file = QdqFile()
    inner = file.quantised(file.op("Relu", [file.x]), 0.03, -20)
    if form == "unrounded":
        inner = file.quantised(file.op("Flatten", [file.op("MaxPool", [inner], kernel_shape=[1, 1])]), 0.03, -20)
    elif form == "flatten":
        inner = file.op("Flatten", [inner])
    elif form == "reshape":
        inner = file.op("Reshape", [inner, file.constant(np.array([0, -1], np.int64))])
    elif form == "transposed":
        inner = file.op("Flatten", [file.op("Transpose", [inner], perm=[0, 2, 3, 1])])
    else:
        inner = file.quantised(file.op("Flatten", [inner]), 0.03, -20)
    bias = file.constant(np.linspace(-1, 1, 10, dtype=np.float32))
    y = file.op("Gemm", [inner, file.weights(144, 10, scale=0.01, axis=1), bias], alpha=0.5, beta=2.0)
    graph = check_end(file.model(file.quantised(y, 0.08, 3)), file=file, count=10)
    assert {node.operator for node in graph.nodes} <= {"Rescale", "Reshape", "Pool2D", "Conv2D"}


def test_matmul_on_a_matrix_and_constants() -> None:
    """Rows of a matrix; weights with a transpose; constants added before and after rounding."""
    file = QdqFile(shape=(1, 7, 12))
    y = file.op("MatMul", [file.x, file.op("Transpose", [file.weights(9, 12, scale=np.full(9, 0.01))], perm=[1, 0])])
    y = file.quantised(file.op("Add", [y, file.constant(np.linspace(-1, 1, 9, dtype=np.float32))]), 0.06, 0)
    y = file.quantised(file.op("Add", [y, file.weights(9, scale=0.013)]), 0.07, 4)
    graph = check_end(file.model(y), file=file, count=10)
    assert graph.output_layouts == {y: (1, 7, 9)} and graph.tensors[y].shape == (1, 7, 9)


def test_mean_and_squeeze() -> None:
    file = QdqFile()
    y = file.quantised(file.op("ReduceMean", [file.x], axes=[2, 3], keepdims=0), 0.01, 4)
    y = file.quantised(file.op("Unsqueeze", [y, file.constant(np.array([2, 3], np.int64))]), 0.01, 4)
    graph = check_end(file.model(y, batch="N"), file=file)
    assert graph.output_layouts[y] == (1, 4, 1, 1)


def test_bias_far_larger_than_its_weights() -> None:
    """A channel that only its bias makes, in steps too small for 32 bits."""
    file = QdqFile()
    bias = file.constant(np.array([4, -3, 1e-7, 0], np.float32))
    y = file.op("Conv", [file.x, file.weights(4, 4, 1, 1, scale=[1e-9, 1e-10, 1e-9, 0.01]), bias])
    graph = check_end(file.model(file.quantised(y, 0.05, 0)), file=file)
    assert np.abs(graph.nodes[0].bias.astype(np.int64)).max() <= 2 ** 30


def test_left_out_zero_points() -> None:
    """A zero point that is not there is 0, of the type of the integers; without any, uint8."""
    file = QdqFile()
    scale = file.constant(odd(0.02))
    plain = file.op("DequantizeLinear", [file.op("QuantizeLinear", [file.op("Relu", [file.x]), scale]), scale])
    pooled = file.op("MaxPool", [plain], kernel_shape=[2, 2])
    mixed = file.op("QuantizeLinear", [pooled, scale, file.constant(np.int8(0))])
    graph = check_end(file.model(plain, file.op("DequantizeLinear", [mixed, scale])), file=file, steps=0)
    assert [graph.tensors[name].zero_point for name in graph.outputs] == [-128, 0]


def test_integer_input() -> None:
    """An input that is uint8 in the file is the core's int8, 128 less."""
    file = QdqFile()
    real = file.op("DequantizeLinear", ["q", file.constant(np.float32(0.1)), file.constant(np.uint8(130))])
    model = file.model(file.quantised(file.op("Relu", [real]), 0.05))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("q", TensorProto.UINT8, (1, 4, 6, 6)))
    del model.graph.node[:2]
    graph = import_qdq(model, "integers")
    assert graph.inputs == ("q",) and graph.tensors["q"].zero_point == 2


def test_uint8_weights_around_128() -> None:
    file = QdqFile(dtype=np.uint8)
    y = file.op("Conv", [file.x, file.weights(3, 4, 1, 1, dtype=np.uint8, zero_point=128)])
    check_end(file.model(file.quantised(y, 0.05, 0)), file=file)


def test_ties_of_an_add() -> None:
    """Where all scales are powers of two, half the sums are ties; ONNX Runtime rounds them to even."""
    file = QdqFile()
    a, b = (file.quantised(file.op("MaxPool", [file.x], kernel_shape=[1, 1]), 0.25, z, exact=True) for z in (0, 3))
    model = file.model(file.quantised(file.op("Add", [a, b]), 1.0, -5, exact=True))
    check_file(model, import_qdq(model, "ties"), [file.sample() for _ in range(4)])


@pytest.mark.parametrize("options", [
    {"activation_type": "QUInt8", "weight_type": "QInt8"},
    {"activation_type": "QInt8", "weight_type": "QInt8", "per_channel": True},
    {"activation_type": "QInt8", "weight_type": "QInt8", "extra_options": {"ActivationSymmetric": True}},
    {"activation_type": "QUInt8", "weight_type": "QUInt8", "extra_options": {"WeightSymmetric": True}},
], ids=["uint8", "channels", "symmetric", "uint8 weights"])
def test_static_quantiser(tmp_path: Path, options: dict[str, Any]) -> None:
    """Files of ONNX Runtime's own quantiser."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    random = np.random.default_rng(5)

    def weights(*shape: int) -> str:
        values = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(values, f"w{len(constants)}"))
        return constants[-1].name

    constants: list[onnx.TensorProto] = []
    nodes = [helper.make_node(kind, inputs, [output], output, **attributes) for kind, inputs, output, attributes in [
        ("Conv", ["x", weights(8, 3, 3, 3), weights(8)], "a", {"pads": [1, 1, 1, 1]}), ("Relu", ["a"], "b", {}),
        ("Conv", ["b", weights(8, 8, 3, 3), weights(8)], "c", {"pads": [1, 1, 1, 1]}), ("Add", ["b", "c"], "d", {}),
        ("Relu", ["d"], "e", {}), ("MaxPool", ["e"], "f", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", ["f"], "g", {"kernel_shape": [2, 2]}), ("Flatten", ["g"], "h", {}),
        ("Gemm", ["h", weights(10, 72), weights(10)], "y", {"transB": 1})]]
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "float.onnx")
    samples = [{"x": random.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)} for _ in range(12)]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    chosen = {key: getattr(QuantType, value) if key.endswith("_type") else value for key, value in options.items()}
    quantize_static(tmp_path / "float.onnx", tmp_path / "qdq.onnx", Reader(), quant_format=QuantFormat.QDQ, **chosen)
    model = onnx.load(tmp_path / "qdq.onnx")
    read = import_qdq(model, "qdq")
    read.check()
    check_file(model, read, samples)


# Refusals


def refusal(model: onnx.ModelProto) -> list[str]:
    with pytest.raises(UserError) as caught:
        import_qdq(model, "bad")
    return str(caught.value).splitlines()


def test_all_problems_at_once() -> None:
    """Each problem is listed once, with its node and advice; what stands behind one is still looked at."""
    file = QdqFile()
    y = file.quantised(file.op("Conv", [file.x, file.weights(4, 4, 1, 1, dtype=np.uint8, zero_point=131)]), 0.05)
    y = file.quantised(file.op("LRN", [y], size=3), 0.05)
    y = file.quantised(file.op("AveragePool", [y], kernel_shape=[4, 4], strides=[3, 3], ceil_mode=1), 0.05)
    z = file.quantised(file.op("Conv", [file.x, file.constant(np.zeros((2, 4, 1, 1), np.float32))]), 0.05)
    y = file.op("LogSoftmax", [file.op("Flatten", [y])])
    first, *lines = refusal(file.model(y, z))
    assert first == "bad has 5 things that cannot be imported:"
    for line, words in zip(lines, [
            ("Conv", "asymmetric weights (zero point 131)", "WeightSymmetric"), ("LRN", "not supported"),
            ("AveragePool", "ceil_mode=0"), ("Conv", "quantise them"), ("LogSoftmax", "use Softmax")],
            strict=True):
        assert all(word in line for word in words), (line, words)


@pytest.mark.parametrize(("change", "words"), [
    (lambda file: file.op("Conv", [file.op("Relu", [file.op("MaxPool", [file.x], kernel_shape=[1, 1])]),
                                   file.weights(2, 4, 1, 1)]), "before that is rounded; a QuantizeLinear"),
    (lambda file: file.quantised(file.x, 0.1, 0, np.int16), "quantise to int8 or uint8"),
    (lambda file: file.op("Conv", ["x", file.weights(4, 4, 1, 1)]), "a DequantizeLinear belongs before each input"),
    (lambda file: file.op("Add", [file.x, file.quantised(file.op("MaxPool", [file.x], kernel_shape=[2, 2]), 0.03)]),
     "check the file with onnx.checker"),
    (lambda file: file.op("BatchNormalization", [file.x, *[file.constant(np.ones(4, np.float32))] * 4]),
     "quant_pre_process"),
    (lambda file: file.op("Reshape", [file.op("Slice", [file.op("Reshape", [file.x, file.constant(
        np.array([2, 2, 1, 6, 6]))]), *(file.constant(np.array([n])) for n in (0, 1, 1))]), file.constant(
            np.array([1, 2, 6, 6]))]), "export the network with batch 1"),
    (lambda file: file.op("MatMul", [file.x, file.x]), "two activations"),
    (lambda file: file.op("Conv", [file.x, file.weights(4, 4, 1, 1, scale=np.full(4, 0.1), axis=1)]),
     "by output channel"),
    (lambda file: file.op("MaxPool", [file.x]), "cannot be read"),
    (lambda file: file.quantised("x", 0.5), "a second scale"),
], ids=["unrounded", "int16", "float input", "shapes", "batch norm", "batch", "activations", "axis", "malformed",
        "two scales"])
def test_refusals(change: Any, words: str) -> None:
    file = QdqFile()
    lines = refusal(file.model(file.quantised(y, 0.05) if not (y := change(file)).startswith("dequant") else y))
    assert len(lines) == 2 and words in lines[1], lines


def test_shapes_must_be_known() -> None:
    file = QdqFile()
    model = file.model(file.quantised(file.op("Relu", [file.x]), 0.05))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    assert any("dimension 2 (height) has no size" in line for line in refusal(model))
