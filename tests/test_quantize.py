"""Quantisation: ranges, integer parameters, and how far the integer network is from the float one."""

import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.float_graph import (
    FloatAdd,
    FloatClamp,
    FloatConv,
    FloatGraph,
    FloatNode,
    FloatPad,
    FloatPool,
    FloatReshape,
    float_execute,
    float_shape,
)
from systolith.gen.frontend import import_float, import_model
from systolith.gen.graph import Add, Conv2D, Graph, Pool2D, Rescale
from systolith.gen.passes import run_passes
from systolith.gen.quantize import activation_scale, quantise, quantise_weights, shared_shift
from systolith.rtl.isa import EVEN, SINGLE
from systolith.sim.golden.execute import dequantise, dequantise_output, execute, execute_batch
from systolith.sim.golden.rescale import quantise_scale
from tests.onnx_models import Model, run_reference

Array = NDArray[Any]
SHAPE = (8, 7, 3)


def network(seed: int = 0) -> FloatGraph:
    """All kinds of float nodes, after the passes."""
    random = np.random.default_rng(seed)

    def conv(x: str, y: str, inputs: int, outputs: int, size: int = 3, **fields: Any) -> FloatConv:
        weights = random.standard_normal((outputs, size, size, inputs)) / np.sqrt(size * size * inputs)
        weights *= np.geomspace(0.05, 2, outputs)[:, None, None, None]  # channels of very different size
        return FloatConv(y, (x,), y, weights.astype(np.float32), random.standard_normal(outputs).astype(np.float32) / 4,
                         **fields)

    nodes: list[FloatNode] = [
        conv("x", "a", 3, 8, padding=(1, 1, 1, 1), low=0.0),
        FloatPool("b", ("a",), "b", "max", (2, 2), (2, 2)),
        conv("b", "c", 8, 8, padding=(1, 1, 1, 1)),
        FloatAdd("d", ("c", "b"), "d", low=0.0, high=1.5),
        FloatPad("e", ("d",), "e", (1, 0, 1, 2)),
        FloatPool("f", ("e",), "f", "average", (3, 3), (2, 2), padding=(1, 1, 1, 1), exclude_padding=True),
        FloatClamp("g", ("f",), "g", -math.inf, 0.75),
        FloatPool("h", ("g",), "h", "average", (3, 3)),
        FloatReshape("i", ("h",), "i"),
        conv("i", "y", 8, 5, 1),
    ]
    shapes = {"x": SHAPE}
    for node in nodes:
        shapes[node.output] = float_shape(node, shapes[node.inputs[0]])
    graph = FloatGraph("net", ("x",), ("y",), shapes, tuple(nodes), {"x": (1, 3, 8, 7)}, {"y": (1, 5, 1, 1)})
    graph.check()
    return graph


def images(count: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE)).astype(np.float32)


def quantised(graph: FloatGraph, **options: Any) -> Graph:
    return quantise(graph, ({"x": image} for image in images(50)), **options)


def test_every_tensor_is_near_its_float_value() -> None:
    floats, graph = network(), quantised(network())
    error: dict[str, float] = {}
    size: dict[str, float] = {}
    for image in images(30, seed=2):
        real: dict[str, Array] = {}
        float_execute(floats, {"x": image}, real.__setitem__)
        for name, array in execute(graph, {"x": np.moveaxis(image, -1, 0)[None]}).items():
            error[name] = error.get(name, 0) + float(((dequantise(array, graph.tensors[name]) - real[name]) ** 2).sum())
            size[name] = size.get(name, 0) + float(((real[name] - real[name].mean()) ** 2).sum())
    assert set(error) == set(graph.tensors)
    noise = {name: error[name] / size[name] for name in error}
    assert max(noise.values()) < 1e-3, noise


def test_parameters_follow_the_scales() -> None:
    floats, graph = network(), quantised(network())
    for node in graph.nodes:
        x, y = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        assert y.dtype == "int8" and y.scale == float(np.float32(y.scale)) and -128 <= y.zero_point <= 127
        if isinstance(node, Conv2D):
            assert node.weights.dtype == np.int8 and node.bias.dtype == np.int32 and node.weight_scales is not None
            assert (np.abs(node.weights.astype(int)).max(axis=(1, 2, 3)) == 127).all()
            original = next(n for n in floats.nodes if n.name == node.name)
            assert isinstance(original, FloatConv)
            scales = node.weight_scales.astype(np.float64)
            shown = node.weights * scales[:, None, None, None]
            assert np.abs(shown - original.weights).max() <= scales.max() / 2 + 1e-9
            assert (np.abs(node.bias * scales * x.scale - original.bias) <= scales * x.scale / 2 + 1e-9).all()
            expected = [quantise_scale(x.scale * float(s) / y.scale) for s in node.weight_scales]
            assert list(zip(node.multiplier.tolist(), node.shift.tolist(), strict=True)) == expected
            assert node.rounding == SINGLE


def test_activations_become_limits() -> None:
    graph = quantised(network())
    nodes = {node.name: node for node in graph.nodes}
    relu, tensor = nodes["a"], graph.tensors["a"]
    assert isinstance(relu, Conv2D) and relu.low == tensor.zero_point == -128 and relu.high == 127
    assert isinstance(nodes["c"], Conv2D) and (nodes["c"].low, nodes["c"].high) == (-128, 127)
    clip, tensor = nodes["d"], graph.tensors["d"]
    assert isinstance(clip, Add) and clip.low == tensor.zero_point
    assert clip.high == round(1.5 / tensor.scale) + tensor.zero_point == 127
    alone, tensor = nodes["g"], graph.tensors["g"]
    assert isinstance(alone, Rescale) and alone.high == round(0.75 / tensor.scale) + tensor.zero_point


def test_pools_and_pads_keep_the_scale_and_averages_have_their_own() -> None:
    graph = quantised(network())
    scales = {name: (tensor.scale, tensor.zero_point) for name, tensor in graph.tensors.items()}
    assert scales["a"] == scales["b"] and scales["d"] == scales["e"] and scales["h"] == scales["i"]
    nodes = {node.name: node for node in graph.nodes}
    pool = nodes["f"]
    assert isinstance(pool, Pool2D) and pool.rounding == EVEN and pool.exclude_padding
    ratio = graph.tensors["e"].scale / graph.tensors["f"].scale
    assert {count for count, _, _ in pool.border} >= {4, 6, 9}
    assert all((m, s) == quantise_scale(ratio / count) for count, m, s in pool.border)


def test_a_maximum_of_negative_values_keeps_the_scale() -> None:
    node = FloatPool("p", ("x",), "y", "max", (2, 2), (2, 2))
    graph = quantised(FloatGraph("max", ("x",), ("y",), {"x": SHAPE, "y": (4, 3, 3)}, (node,)))
    x, y = graph.tensors["x"], graph.tensors["y"]
    assert (x.scale, x.zero_point) == (y.scale, y.zero_point) and x.zero_point > -100


def test_zero_is_exact_and_the_range_is_covered() -> None:
    for low, high in ((-1.0, 3.0), (0.2, 5.0), (-7.0, -1.0), (0.0, 1e-6), (-1e20, 3.0)):
        scale, zero_point = activation_scale(low, high)
        assert -128 <= zero_point <= 127 and scale == float(np.float32(scale))
        assert scale * (127 - zero_point) >= high - scale / 2 * 1.001
        assert scale * (-128 - zero_point) <= low + scale / 2 * 1.001
    assert activation_scale(0.0, 0.0) == (1.0, 0)


def test_add_shares_one_shift() -> None:
    for a, b in ((0.3, 0.7), (3.0, 0.001), (1.0, 1.0), (1e-6, 2.0)):
        for x, y in ((a, b), (b, a)):
            (first, second), shift = shared_shift(x, y)
            assert max(first, second) >= 2 ** 30 and max(first, second) < 2 ** 31
            assert abs(first / 2 ** shift - x) <= 2.0 ** -shift and abs(second / 2 ** shift - y) <= 2.0 ** -shift


def test_a_channel_that_is_all_bias_keeps_it() -> None:
    weights = np.zeros((3, 1, 1, 4), np.float32)
    weights[1] = 1e-12
    weights[2] = 0.5
    bias = np.array([3.0, -2.0, 1.0], np.float32)
    q, b, scales = quantise_weights(weights, bias, 0.1)
    assert (np.abs(b.astype(np.int64)) <= 2 ** 30).all()
    np.testing.assert_allclose(b * scales.astype(np.float64) * 0.1, bias, rtol=1e-3)
    assert q[2].max() == 127
    _, zero, one = quantise_weights(weights[:1], np.zeros(1, np.float32), 0.1)
    assert zero[0] == 0 and one[0] == 1.0


def test_sums_that_leave_int32_are_refused() -> None:
    weights = np.ones((1, 1, 1, 70000), np.float32)
    node = FloatConv("wide", ("x",), "y", weights, np.zeros(1, np.float32), source="fc (Gemm)")
    shapes = {"x": (1, 1, 70000), "y": (1, 1, 1)}
    graph = FloatGraph("wide", ("x",), ("y",), shapes, (node,))
    with pytest.raises(UserError, match=r"fc \(Gemm\): sums can reach 226695\d\d\d\d"):
        quantise(graph, [{"x": np.ones((1, 1, 70000))}])


def test_samples_are_not_kept() -> None:
    seen: list[weakref.ref[Array]] = []

    def stream() -> Iterator[dict[str, Array]]:
        for i in range(10):
            image = np.full(SHAPE, i, np.float32)
            seen.append(weakref.ref(image))
            yield {"x": image}
            del image
            assert sum(reference() is not None for reference in seen) <= 1

    quantise(network(), stream(), percentile=99.9)
    assert len(seen) == 10


def test_options_are_checked_and_work() -> None:
    for options in ({"percentile": 99.9}, {"least_error": True}):
        graph = quantised(network(), **options)
        assert graph.tensors["x"].scale <= quantised(network()).tensors["x"].scale
    with pytest.raises(UserError, match="percentile must be above 50"):
        quantised(network(), percentile=0.999)


def test_padding_with_another_value_is_refused() -> None:
    node = FloatPad("p", ("x",), "y", (1, 1, 1, 1), 2.0, source="pad (Pad)")
    graph = FloatGraph("padded", ("x",), ("y",), {"x": SHAPE, "y": (10, 9, 3)}, (node,))
    with pytest.raises(UserError, match=r"pad \(Pad\) pads with 2"):
        quantised(graph)


def test_a_residual_network_agrees_with_onnx_runtime(tmp_path: Path) -> None:
    """A network from file to integers, as a user compiles it, against the float file."""
    m = Model(4)
    m.node("Conv", ["x", m.weights(16, 3, 3, 3), m.weights(16)], "a", pads=[1, 1, 1, 1])
    m.node("Relu", ["a"], "b")
    m.node("MaxPool", ["b"], "c", kernel_shape=[2, 2], strides=[2, 2])
    m.node("Conv", ["c", m.weights(16, 16, 3, 3), m.weights(16)], "d", pads=[1, 1, 1, 1])
    m.node("Add", ["d", "c"], "e")
    m.node("Relu", ["e"], "f")
    m.node("GlobalAveragePool", ["f"], "g")
    m.node("Flatten", ["g"], "h")
    m.node("Gemm", ["h", m.weights(10, 16), m.weights(10)], "y", transB=1)
    model = m.proto({"x": (1, 3, 8, 8)}, ["y"])
    onnx.save(model, str(tmp_path / "residual.onnx"))
    random = np.random.default_rng(0)
    x = random.standard_normal((120, 3, 8, 8)).astype(np.float32)
    graph = import_model(tmp_path / "residual.onnx", {"x": x[:40]})
    got = dequantise_output(graph, "y", execute_batch(graph, {"x": x[40:]})["y"])
    expected = np.concatenate([run_reference(model, {"x": image[None]})[0] for image in x[40:]])
    assert got.shape == expected.shape
    assert np.sqrt(((got - expected) ** 2).mean()) < 0.02 * expected.std() + 0.005
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.97


def test_digits_lose_less_than_half_a_point() -> None:
    pytest.importorskip("sklearn")
    from examples.digits import data

    digits = data.load()
    file = Path(data.__file__).with_name("digits.onnx")
    floats = run_passes(import_float(onnx.load(str(file)), "digits"))
    graph = import_model(file, data.calibration())
    (name,), (output,) = graph.inputs, graph.outputs
    real = float_execute(floats, {name: np.moveaxis(digits.test_images, 1, -1)})[output]
    whole = execute_batch(graph, {name: digits.test_images})[output]
    float_accuracy, int8_accuracy = ((values.reshape(len(real), -1).argmax(1) == digits.test_labels).mean()
                                     for values in (real, whole))
    assert float_accuracy > 0.95 and int8_accuracy >= float_accuracy - 0.005
