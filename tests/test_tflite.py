"""TensorFlow Lite files: whole networks against LiteRT's reference kernels, the network's edges, names, the loader."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from systolith.gen.emit.artefact import Artefact, load, save
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model, operators_table
from systolith.gen.frontend.tflite_file import is_tflite
from systolith.gen.graph import Add, Convention, DepthwiseConv2D, Graph, Rescale, Resize
from systolith.gen.presets import preset
from systolith.sim.golden.execute import dequantise_output, execute, execute_batch, quantise_input
from tests.tflite_reference import difference, imported, needs_litert, random_samples

needs_litert()
from tests import tflite_cases, tflite_layer_cases, tflite_view_cases  # noqa: E402  they need the package tflite
from tests.tflite_build import Net  # noqa: E402
from tests.tflite_networks import inverted_residuals, keyword_network, unet  # noqa: E402

FOLDER = os.environ.get("SYSTOLITH_MLPERF_TINY", "")
MLPERF = ("ad01_autoencoder_int8", "ic01_resnet8_int8", "kws01_dscnn_int8", "vww01_mobilenet_int8")


@pytest.mark.parametrize("name", MLPERF)
def test_mlperf_tiny_networks_equal_the_reference_kernels(name: str) -> None:
    """Every tensor, 102 inputs."""
    path = Path(FOLDER) / f"{name}.tflite"
    if not FOLDER or not path.is_file():
        pytest.skip(f"needs {name}.tflite of MLPerf Tiny (mlcommons/tiny): give its folder as SYSTOLITH_MLPERF_TINY")
    raw = path.read_bytes()
    assert not difference(raw, random_samples(raw, 102, 1))


@pytest.mark.parametrize("make", [inverted_residuals, keyword_network, unet])
@pytest.mark.parametrize("seed", range(4))
def test_networks_equal_the_reference_kernels(make: object, seed: int) -> None:
    raw = make(np.random.default_rng(seed)).write()  # type: ignore[operator]
    assert not difference(raw, random_samples(raw, 6, seed))


def small(kind: str = "INT8") -> Net:
    """A depthwise convolution between the types of a file."""
    net = Net()
    x = net.input(1, 4, 5, 3, kind=kind, scale=0.5 if kind != "FLOAT32" else None, zero=120 if kind == "UINT8" else -8,
                  name="image")
    if kind != "INT8":
        y = net.tensor(1, 4, 5, 3, scale=0.5, zero=-8)
        net.operator("QUANTIZE", [x], y)
        x = y
    weights = net.constant(np.full((1, 1, 1, 3), 100), "INT8", scale=[0.01, 0.02, 0.03], axis=3)
    z = net.tensor(1, 4, 5, 3, scale=0.5, zero=-8, name="sum")
    net.operator("DEPTHWISE_CONV_2D", [x, weights, net.constant([0, 0, 0])], z, "DepthwiseConv2DOptions", Padding=1,
                 StrideH=1, StrideW=1, DepthMultiplier=1)
    if kind == "INT8":
        net.outputs.append(z)
    elif kind == "FLOAT32":
        net.operator("DEQUANTIZE", [z], net.output(1, 4, 5, 3, kind="FLOAT32", name="answer"))
    else:
        net.operator("QUANTIZE", [z], net.output(1, 4, 5, 3, kind="UINT8", scale=0.5, zero=120, name="answer"))
    return net


def test_inputs_and_outputs_are_laid_out_as_in_the_file() -> None:
    """NHWC, with and without a batch; [height, width, channels] too."""
    graph = imported(small().write())[2]
    assert graph.input_layouts == {"image": (1, 4, 5, 3)} and graph.convention == Convention("NHWC", "away")
    image = np.arange(60, dtype=np.int8).reshape(1, 4, 5, 3)
    assert np.array_equal(quantise_input(graph, "image", image), image[0])
    assert np.array_equal(quantise_input(graph, "image", image[0]), image[0])
    out = execute(graph, {"image": image})["sum"]
    real = dequantise_output(graph, "sum", out)
    assert real.shape == (1, 4, 5, 3) and np.array_equal(real[0], (out.astype(int) + 8) * 0.5)
    batch = execute_batch(graph, {"image": np.stack((image[0], image[0] + 60))})["sum"]
    assert batch.shape == (2, 4, 5, 3) and np.array_equal(batch[0], out)
    assert dequantise_output(graph, "sum", batch).shape == (2, 4, 5, 3)
    with pytest.raises(UserError, match=r"shape \[1, 4, 5, 3\], not \[1, 3, 4, 5\]"):
        quantise_input(graph, "image", image.reshape(1, 3, 4, 5))


def test_real_inputs_are_rounded_as_the_file_rounds_them() -> None:
    """Ties away from zero."""
    graph = imported(small("FLOAT32").write())[2]
    assert graph.inputs == ("image",) and graph.outputs == ("answer",)
    image = np.zeros((1, 4, 5, 3), np.float32)
    image[0, 0, 0] = [0.25, -0.25, 0.75]
    image[0, 0, 1] = [1000, -1000, 0.2499]
    assert quantise_input(graph, "image", image)[0, :2].tolist() == [[-7, -9, -6], [127, -128, -8]]


def test_uint8_inputs_and_outputs() -> None:
    graph = imported(small("UINT8").write())[2]
    assert graph.convention.unsigned == ("image", "answer") and graph.tensors["image"].zero_point == -8
    image = np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3)
    assert quantise_input(graph, "image", image)[0, 0].tolist() == [-128, -127, -126]
    moved = (image ^ 128).view(np.int8)
    assert np.array_equal(quantise_input(graph, "image", moved), quantise_input(graph, "image", image))
    with pytest.raises(UserError, match="floats, or uint8"):
        quantise_input(graph, "image", image.astype(np.int32))
    answer = execute(graph, {"image": image})["answer"]
    assert dequantise_output(graph, "answer", answer)[0, 3, 4, 0] == (int(answer[3, 4, 0]) + 8) * 0.5


def test_outputs_keep_the_files_names() -> None:
    """An output that is read, one twice, one that only renames, an input."""
    net = Net()
    x = net.input(1, 6, scale=0.1, name="x")
    y = net.output(1, 6, scale=0.1, name="y")
    z = net.output(1, 2, 3, scale=0.1, name="z")
    w = net.output(1, 6, scale=0.1, name="y")
    net.operator("RELU", [x], y)
    net.operator("RESHAPE", [y, net.constant([1, 2, 3])], z, "ReshapeOptions")
    net.operator("RESHAPE", [z, net.constant([1, 6])], w, "ReshapeOptions")
    net.outputs += [y, x]
    raw = net.write()
    graph = imported(raw)[2]
    assert graph.inputs == ("x",) and graph.outputs[:2] == ("y", "z") and len(set(graph.outputs)) == 5
    assert graph.output_layouts["z"] == (1, 2, 3) and graph.tensors["z"].shape == (1, 2, 3)
    assert not difference(raw, random_samples(raw, 3, 1))


def test_nodes_say_where_they_come_from() -> None:
    graph = imported(small().write())[2]
    assert [(node.name, node.source) for node in graph.nodes] == [("depthwise_conv_2d_0", "sum")]
    assert isinstance(graph.nodes[0], DepthwiseConv2D) and graph.nodes[0].weight_scales is not None


def test_a_sum_is_one_node_where_that_is_exact_and_few_where_it_is_not() -> None:
    for scales, kinds in (((0.0213, 0.0311, 0.0407), ["Add"]), ((0.45, 0.01, 0.3), ["Rescale"] * 3 + ["Add"])):
        net = Net()
        a, b = (net.input(1, 256, 256, 1, scale=scale) for scale in scales[:2])
        net.operator("ADD", [a, b], net.output(1, 256, 256, 1, scale=scales[2]), "AddOptions")
        graph = imported(net.write())[2]
        assert [node.operator for node in graph.nodes] == kinds
        assert all(graph.tensors[node.output].dtype == "int32" for node in graph.nodes if isinstance(node, Rescale))
        assert isinstance(graph.nodes[-1], Add)


def same(a: object, b: object) -> bool:
    """Equal fields; arrays by value and type."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("part", [tflite_layer_cases, tflite_cases, tflite_view_cases])
def test_every_node_survives_the_compiled_file(part: object, tmp_path: Path) -> None:
    for make in part.CASES:  # type: ignore[attr-defined]
        graph = imported(make(np.random.default_rng(3)).write())[2]
        save(Artefact(preset("edge"), graph, [], b"", b"", {}, {}, [], {}, []), tmp_path / "net.slp")
        again: Graph = load(tmp_path / "net.slp").graph
        for name in ("tensors", "inputs", "outputs", "convention", "input_layouts", "output_layouts"):
            assert getattr(again, name) == getattr(graph, name)
        for a, b in zip(graph.nodes, again.nodes, strict=True):
            assert type(a) is type(b) and all(same(value, vars(b)[name]) for name, value in vars(a).items())


@pytest.mark.parametrize("seed", range(8))
def test_a_resize_weighs_neighbours(seed: int) -> None:
    """Two rows next to one another and a fraction below 1, or one row and none."""
    graph = imported(tflite_cases.resize("RESIZE_BILINEAR", np.random.default_rng(seed)).write())[2]
    node, size = graph.nodes[0], graph.tensors[graph.inputs[0]].shape
    assert isinstance(node, Resize) and node.bits == 10 and node.raw
    for table, limit in ((node.rows, size[0]), (node.columns, size[1])):
        for low, high, fraction in table:
            assert 0 <= low <= high < limit
            assert 0 < fraction < 1024 if high == low + 1 else (high, fraction) == (low, 0)


def test_multipliers_are_those_of_the_reference() -> None:
    """Each channel's scale as a fraction of 31 bits, of float64 quotients."""
    net = small()
    graph = imported(net.write())[2]
    node = graph.nodes[0]
    assert isinstance(node, DepthwiseConv2D)
    for scale, multiplier, shift in zip([0.01, 0.02, 0.03], node.multiplier, node.shift, strict=True):
        exact = Fraction(0.5 * float(np.float32(scale)) / 0.5)
        assert 1 << 30 <= multiplier < 1 << 31 and abs(exact * 2 ** int(shift) - int(multiplier)) <= Fraction(1, 2)


def test_inputs_stay_in_the_files_order() -> None:
    """Of a float one that a QUANTIZE makes int8 later, and an int8 one."""
    net = Net()
    first, second = net.input(1, 4, kind="FLOAT32", name="real"), net.input(1, 4, scale=0.1, name="whole")
    x = net.tensor(1, 4, scale=0.1)
    net.operator("QUANTIZE", [first], x)
    net.operator("ADD", [second, x], net.output(1, 4, scale=0.2), "AddOptions")
    assert imported(net.write())[2].inputs == ("real", "whole")
    assert not difference(net.write(), random_samples(net.write(), 3, 1))


def test_the_importer_is_chosen_by_content(tmp_path: Path) -> None:
    raw = small().write()
    for name in ("net.tflite", "net.bin", "net.onnx"):
        (tmp_path / name).write_bytes(raw)
        assert is_tflite(tmp_path / name) and import_model(tmp_path / name).outputs == ("sum",)
    with pytest.raises(UserError, match="quantised already"):
        import_model(tmp_path / "net.tflite", {"image": np.zeros((1, 4, 5, 3))})
    (tmp_path / "other.onnx").write_bytes(b"ONNX, or not")
    assert not is_tflite(tmp_path / "other.onnx") and not is_tflite(tmp_path / "missing.onnx")


def test_the_operators_are_listed() -> None:
    rows = {row[0]: row for row in operators_table()}
    assert rows["CONV_2D"][1:3] == ("TFLite", "array") and rows["Conv"][1] == "float, QDQ"
