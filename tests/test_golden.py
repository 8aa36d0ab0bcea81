"""The golden operators against ONNX Runtime, operator by operator, and against plain loops."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from systolith.gen.errors import UserError
from systolith.gen.graph import Conv2D, Graph, Node, Pool2D, Rescale, Reshape, Tensor, window_shape
from systolith.gen.quantize import average_scales, shared_shift
from systolith.rtl.isa import EVEN
from systolith.sim.golden import operators
from systolith.sim.golden.execute import dequantise_output, execute, execute_batch, from_core, quantise_input, to_core
from systolith.sim.golden.rescale import quantise_scale
from tests.onnx_models import Model, run_reference

Array = NDArray[Any]


def int8(random: np.random.Generator, *shape: int) -> Array:
    return random.integers(-128, 128, shape, np.int8)


def nchw(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(2, 0, 1))[None]


def reference(build: Any, inputs: list[tuple[Array, float, int]], scale: float, zero_point: int) -> Array:
    """[H, W, C] of a QDQ model: inputs dequantised, `build` adds the float operator, its output quantised."""
    m = Model()
    names = []
    for i, (_, s, z) in enumerate(inputs):
        names.append(m.node("DequantizeLinear", [f"x{i}", m.constant(s), m.constant(z, np.int8)], f"d{i}"))
    build(m, names)
    m.node("QuantizeLinear", ["f", m.constant(scale), m.constant(zero_point, np.int8)], "y")
    feeds = {f"x{i}": nchw(array) for i, (array, _, _) in enumerate(inputs)}
    model = m.proto({name: array.shape for name, array in feeds.items()}, ["y"], kind=TensorProto.INT8)
    return run_reference(model, feeds)[0][0].transpose(1, 2, 0)


def assert_close(got: Array, expected: Array) -> None:
    """At most 1 apart, in at most 0.1 % of the values (one value in small maps)."""
    assert got.shape == expected.shape
    apart = np.abs(got.astype(int) - expected.astype(int))
    assert apart.max(initial=0) <= 1
    assert np.count_nonzero(apart) <= max(1, apart.size // 1000)


CONVOLUTIONS = [
    # height, width, in, out, kernel, strides, dilations, padding
    (8, 8, 3, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (9, 7, 5, 6, (3, 3), (2, 2), (1, 1), (0, 1, 1, 0)),
    (12, 10, 4, 7, (5, 3), (1, 2), (2, 1), (3, 0, 1, 2)),
    (6, 6, 16, 16, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (7, 5, 2, 3, (1, 4), (3, 1), (1, 1), (0, 2, 0, 1)),
    (11, 13, 33, 9, (3, 3), (1, 1), (3, 2), (3, 2, 3, 2)),
    (1, 1, 100, 10, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (16, 16, 64, 24, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
]


@pytest.mark.parametrize("case", range(len(CONVOLUTIONS)))
def test_conv2d_equals_onnx_runtime(case: int) -> None:
    height, width, inputs, outputs, kernel, strides, dilations, padding = CONVOLUTIONS[case]
    random = np.random.default_rng(case)
    x, zero_in, scale_in = int8(random, height, width, inputs), int(random.integers(-128, 128)), 0.0237
    weights = int8(random, outputs, *kernel, inputs)
    scales = random.uniform(0.001, 0.01, outputs).astype(np.float32)
    bias = random.integers(-20000, 20000, outputs, np.int32)
    scale_out = float(np.float32(scale_in * 0.005 * 73 * 74 * np.sqrt(weights[0].size) / 60))
    zero_out = int(random.integers(-20, 20))

    def build(m: Model, names: list[str]) -> None:
        w = m.node("DequantizeLinear", [m.constant(weights.transpose(0, 3, 1, 2), np.int8), m.constant(scales),
                                        m.constant(np.zeros(outputs), np.int8)], "w", axis=0)
        b = m.constant(bias * (np.float64(np.float32(scale_in)) * scales))
        m.node("Conv", [names[0], w, b], "f", strides=strides, dilations=dilations, pads=padding)

    expected = reference(build, [(x, scale_in, zero_in)], scale_out, zero_out)
    pairs = [quantise_scale(float(np.float32(scale_in)) * float(s) / scale_out) for s in scales]
    got = operators.conv2d(
        x, weights, bias, np.array([m for m, _ in pairs]), np.array([s for _, s in pairs]), zero_in=zero_in,
        zero_out=zero_out, strides=strides, dilations=dilations, padding=padding)
    assert len(np.unique(got)) > 20 or got.size < 50  # the comparison is not one of saturated values
    assert_close(got, expected)


@pytest.mark.parametrize("seed", range(4))
def test_add_equals_onnx_runtime(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = int8(random, 15, 17, 6), int8(random, 15, 17, 6)
    scales = [1 / 32, 1 / 32, 1 / 16] if seed == 0 else random.uniform(0.01, 0.05, 3).tolist()  # 0: half are ties
    scales = [float(np.float32(s)) for s in scales]
    zeros = [int(z) for z in random.integers(-60, 60, 3)]
    expected = reference(lambda m, names: m.node("Add", names, "f"),
                         [(a, scales[0], zeros[0]), (b, scales[1], zeros[1])], scales[2], zeros[2])
    multiplier, shift = shared_shift(scales[0] / scales[2], scales[1] / scales[2])
    got = operators.add(a, b, multiplier, shift, zero_a=zeros[0], zero_b=zeros[1], zero_out=zeros[2], rounding=EVEN)
    assert_close(got, expected)


POOLS = [
    # height, width, kernel, strides, dilations, padding
    (8, 8, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0)),
    (9, 7, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    (10, 11, (3, 2), (1, 3), (2, 1), (1, 0, 1, 1)),
    (7, 7, (7, 7), (1, 1), (1, 1), (0, 0, 0, 0)),
    (12, 5, (4, 3), (2, 1), (1, 1), (2, 1, 3, 2)),
]


@pytest.mark.parametrize("case", range(len(POOLS)))
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_equals_onnx_runtime(case: int, include: int) -> None:
    height, width, kernel, strides, dilations, padding = POOLS[case]
    random = np.random.default_rng(case)
    x, zero_in, zero_out = int8(random, height, width, 5), int(random.integers(-50, 50)), int(random.integers(-50, 50))
    scale_in, scale_out = float(np.float32(0.031)), float(np.float32(0.017371))  # no ties

    def build(m: Model, names: list[str]) -> None:
        m.node("AveragePool", names, "f", kernel_shape=kernel, strides=strides, dilations=dilations, pads=padding,
               count_include_pad=include)

    expected = _pool_reference(build, x, scale_in, zero_in, scale_out, zero_out)
    shape = (*window_shape((height, width, 5), kernel, strides, dilations, padding), 5)
    multiplier, shift, border = average_scales(
        Tensor("x", (height, width, 5), scale=scale_in), Tensor("y", shape, scale=scale_out), kernel, strides,
        dilations, padding, not include)
    got = operators.pool2d(x, "average", kernel, multiplier, shift, zero_in=zero_in, zero_out=zero_out, strides=strides,
                           dilations=dilations, padding=padding, exclude_padding=not include, border=border,
                           rounding=EVEN)
    assert_close(got, expected)


@pytest.mark.parametrize("case", range(len(POOLS)))
def test_max_pool_equals_onnx_runtime(case: int) -> None:
    height, width, kernel, strides, dilations, padding = POOLS[case]
    x = int8(np.random.default_rng(case), height, width, 5) // 2 - 60  # mostly below the zero point
    x = x.astype(np.int8)

    def build(m: Model, names: list[str]) -> None:
        m.node("MaxPool", names, "f", kernel_shape=kernel, strides=strides, dilations=dilations, pads=padding)

    expected = _pool_reference(build, x, 0.5, 3, 0.5, 3)
    got = operators.pool2d(x, "max", kernel, *quantise_scale(1.0), zero_in=3, zero_out=3, strides=strides,
                           dilations=dilations, padding=padding)
    assert np.array_equal(got, expected)


def _pool_reference(build: Any, x: Array, scale_in: float, zero_in: int, scale_out: float, zero_out: int) -> Array:
    m = Model()
    name = m.node("DequantizeLinear", ["x", m.constant(scale_in), m.constant(zero_in, np.int8)], "d")
    build(m, [name])
    m.node("QuantizeLinear", ["f", m.constant(scale_out), m.constant(zero_out, np.int8)], "y")
    model = m.proto({"x": nchw(x).shape}, ["y"], opset=19, kind=TensorProto.INT8)
    return run_reference(model, {"x": nchw(x)})[0][0].transpose(1, 2, 0)


def test_sums_are_exact_in_every_arithmetic() -> None:
    """float32, float64 and int64 are chosen by size; each must give the sums of plain integers."""
    random = np.random.default_rng(5)
    for reach, largest, channels in ((255, 127, 4), (255, 127, 600), (32767, 127, 600), (2 ** 31 - 1, 2 ** 24, 3)):
        x = random.integers(-reach, reach + 1, (5, 4, channels), np.int64)
        weights = random.integers(-largest, largest + 1, (3, 2, 2, channels), np.int64)
        got = operators.exact_sums(x, weights, (1, 1), (2, 1))
        expected = np.zeros((3, 3, 3), np.int64)
        for y, z, o, ky, kx in np.ndindex(3, 3, 3, 2, 2):
            expected[y, z, o] += int((x[y + 2 * ky, z + kx] * weights[o, ky, kx]).sum())
        assert np.array_equal(got, expected)


def test_convolution_sums_wrap_as_int32() -> None:
    got = operators.conv2d(np.full((1, 1, 1), 100, np.int8), np.full((1, 1, 1, 1), 1, np.int8),
                           np.array([2 ** 31 - 50]), np.array([1 << 30]), np.array([54]))
    assert got.item() == round((2 ** 31 - 50 + 100 - 2 ** 32) / 2 ** 24)


def test_a_window_outside_the_map_gives_the_zero_point() -> None:
    x = np.full((2, 2, 1), 90, np.int8)
    for mode in ("max", "average"):
        scale = (2 ** 30 + 1, 30)
        got = operators.pool2d(x, mode, (1, 1), *scale, zero_in=-5, zero_out=7, padding=(1, 0, 0, 1),
                               exclude_padding=mode == "average", border=((1, *scale),))
        assert got[:, :, 0].tolist() == [[7, 7, 7], [102, 102, 7], [102, 102, 7]]


def test_rescale_pads_with_the_zero_point() -> None:
    got = operators.rescale_map(np.full((1, 1, 2), 10, np.int8), *quantise_scale(0.5), zero_in=-10, zero_out=3,
                                padding=(1, 0, 0, 2), high=12)
    assert got[..., 0].tolist() == [[3, 3, 3], [12, 3, 3]]


def small_graph() -> Graph:
    """Pad, convolution, pool, reshape, in chains with all kinds of zero points."""
    random = np.random.default_rng(3)
    tensors = {name: Tensor(name, shape, scale=scale, zero_point=zero) for name, shape, scale, zero in (
        ("x", (4, 5, 3), 0.02, 4), ("p", (5, 6, 3), 0.02, -9), ("c", (5, 6, 2), 0.05, 11), ("m", (2, 3, 2), 0.05, 11),
        ("y", (1, 1, 12), 0.05, 11))}
    multiplier, shift = quantise_scale(0.004)
    nodes: tuple[Node, ...] = (
        Rescale("pad", ("x",), "p", *quantise_scale(1.0), (1, 0, 0, 1)),
        Conv2D("conv", ("p",), "c", int8(random, 2, 3, 3, 3), np.array([100, -100], np.int32),
               np.full(2, multiplier), np.full(2, shift), padding=(1, 1, 1, 1)),
        Pool2D("max", ("c",), "m", "max", (2, 2), *quantise_scale(1.0), strides=(2, 2)),
        Reshape("flat", ("m",), "y"))
    graph = Graph("small", ("x",), ("y", "c"), tensors, nodes, {"x": (1, 3, 4, 5)}, {"y": (1, 12), "c": (1, 2, 5, 6)})
    graph.check()
    return graph


def test_execute_returns_every_tensor_and_a_batch_gives_the_same() -> None:
    graph = small_graph()
    images = np.random.default_rng(1).uniform(-3, 3, (10, 3, 4, 5)).astype(np.float32)
    batch = execute_batch(graph, {"x": images}, chunk=4)
    for i, image in enumerate(images):
        every = execute(graph, {"x": image[None]})
        assert set(every) == set(graph.tensors)
        assert all(array.shape == graph.tensors[name].shape and array.dtype == np.int8 for name, array in every.items())
        for name in graph.outputs:
            assert np.array_equal(every[name], batch[name][i])
            real = dequantise_output(graph, name, every[name])
            assert real.shape == graph.output_layouts[name]
            assert np.array_equal(real[0], dequantise_output(graph, name, batch[name])[i])


def test_inputs_are_rounded_to_even_and_saturated() -> None:
    graph = small_graph()
    image = np.zeros((1, 3, 4, 5), np.float32)
    step = np.float32(graph.tensors["x"].scale)
    image[0, 1, 2, 3], image[0, 2, 0, 0], image[0, 0, 3, 4] = 1000, 2.5 * step, 3.5 * step
    got = quantise_input(graph, "x", image)
    assert got[2, 3, 1] == 127 and got[0, 0, 2] == 4 + 2 and got[3, 4, 0] == 4 + 4
    assert np.array_equal(quantise_input(graph, "x", got), got)
    assert np.array_equal(quantise_input(graph, "x", nchw(got)), got)


def test_layouts_there_and_back() -> None:
    for layout, shape in (((1, 3, 4, 5), (4, 5, 3)), ((1, 6), (1, 1, 6)), ((7, 6), (1, 7, 6)), ((1, 7, 6), (1, 7, 6))):
        many = np.arange(4 * np.prod(layout)).reshape(4, *(layout[1:] if layout[0] == 1 else layout))
        core = to_core(many, layout, shape)
        assert core.shape == (4, *shape) and np.array_equal(from_core(core, layout), many)
        one = to_core(many[2].reshape(layout), layout, shape)
        assert np.array_equal(one, core[2]) and np.array_equal(from_core(one, layout), many[2].reshape(layout))
    assert core[0].ravel().tolist() == list(range(42))
    assert to_core(np.arange(60).reshape(1, 3, 4, 5), (1, 3, 4, 5), (4, 5, 3))[1, 2].tolist() == [7, 27, 47]


@pytest.mark.parametrize(("value", "message"), [
    (np.zeros((1, 4, 5, 3), np.float32), r"shape \[1, 3, 4, 5\], not \[1, 4, 5, 3\]"),
    (np.full((1, 3, 4, 5), np.nan, np.float32), "not finite"),
    (np.full((4, 5, 3), 20, np.uint8), "must be floats, or int8 with the network's own integers, not uint8"),
])
def test_bad_inputs_are_refused(value: Array, message: str) -> None:
    with pytest.raises(UserError, match=message):
        execute(small_graph(), {"x": value})
    with pytest.raises(UserError, match="no value for the input 'x'"):
        execute(small_graph(), {})


