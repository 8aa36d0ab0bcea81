"""What is refused of TensorFlow Lite files: in one sentence, or a line for each operator."""

import importlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systolith.gen.cli import main
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model
from systolith.gen.frontend.tflite_file import parse
from systolith.gen.frontend.tflite_import import import_tflite
from systolith.gen.frontend.tflite_operators import ADVICE, OPERATORS
from systolith.gen.graph import Conv2D

pytest.importorskip("tflite", reason="needs the package tflite: pip install tflite")
from tests import tflite_networks  # noqa: E402  the builder needs the package tflite
from tests.tflite_build import Net  # noqa: E402


def refuse(net: Net | bytes, match: str) -> str:
    """The message with which a network is refused."""
    with pytest.raises(UserError, match=match) as caught:
        import_tflite(parse(net.write() if isinstance(net, Net) else net, "net"))
    return str(caught.value)


def dense(kind: str = "INT8", weights: str = "INT8", out: str = "", batch: int = 1, **how: Any) -> Net:
    """A fully connected layer of these types."""
    net = Net()

    def scale(type_: str) -> dict[str, float]:
        return {} if type_ in ("FLOAT32", "FLOAT16") else {"scale": 0.1}

    x = net.input(batch, 4, kind=kind, **scale(kind), **how)
    w = net.constant(np.ones((3, 4)), weights, **scale(weights))
    net.operator("FULLY_CONNECTED", [x, w, -1], net.output(batch, 3, kind=out or kind, **scale(out or kind)),
                 "FullyConnectedOptions")
    return net


@pytest.mark.parametrize(("net", "match"), [
    (lambda: dense("FLOAT32", "FLOAT32"), "net is a float network; convert it with full integer quantisation"),
    (lambda: dense("FLOAT32", "INT8"), r"quantised weights and float activations \(dynamic range\)"),
    (lambda: dense("INT16", "INT8"), r"int16 activations \(16x8 quantisation\)"),
    (lambda: dense("UINT8", "UINT8"), "quantised to uint8, the older scheme"),
    (lambda: dense(signature=(-1, -1)), r"the size of axis 1 is open in the input 't0', \[1, 4\]"),
    (lambda: dense(batch=2, signature=(-1, 4)), r"the batch is open in the input 't0', \[2, 4\]"),
])
def test_networks_of_another_kind_are_refused(net: Callable[[], Net], match: str) -> None:
    message = refuse(net(), match)
    assert "\n" not in message and "convert" in message


def image_net(name: str, *shape: int, options: str = "", **values: Any) -> Net:
    """An operator on one image."""
    net = Net()
    net.operator(name, [net.input(*shape, scale=0.1)], net.output(*shape, scale=0.1), options, **values)
    return net


def test_a_batch_is_refused() -> None:
    refuse(image_net("RELU", 2, 4, 4, 3), r"a batch of 2, \[2, 4, 4, 3\]; convert the network with batch 1")
    assert import_tflite(parse(image_net("RELU", 1, 4, 4, 3).write(), "net")).inputs == ("t0",)
    open_batch = dense(signature=(-1, 4))
    assert import_tflite(parse(open_batch.write(), "net")).input_layouts == {"t0": (1, 4)}


def test_unsupported_operators_are_listed_at_once() -> None:
    """With index, name and what would help; what lies between is checked too, what lies behind is not named again."""
    net = Net()
    x = net.input(1, 4, 4, 2, scale=0.1)
    a, b, c = (net.tensor(1, 4, 4, 2, scale=0.1) for _ in range(3))
    d, e = net.tensor(1, 4, 4, 2, kind="FLOAT32"), net.tensor(1, 4, 4, 2, kind="FLOAT32")
    net.operator("ELU", [x], a)
    net.operator("RELU", [a], b)
    net.operator("Antialias", [b], c)
    net.operator("DEQUANTIZE", [c], d)
    net.operator("SOFTMAX", [d], e, "SoftmaxOptions", Beta=1.0)
    net.operator("QUANTIZE", [e], net.output(1, 4, 4, 2, scale=0.1))
    lines = refuse(net, "4 things that cannot be imported").splitlines()
    assert lines[1] == "  operator 0 (ELU): is not supported; train with RELU, LEAKY_RELU or HARD_SWISH"
    assert lines[2].startswith("  operator 2 (custom operator Antialias): is not supported; leave it to the host")
    assert lines[3].startswith("  operator 4 (SOFTMAX): reads 't4' as FLOAT32; quantise the whole network")
    assert lines[4].startswith("  operator 5 (QUANTIZE): reads 't5' as FLOAT32") and len(lines) == 5


def test_advice_is_for_what_is_not_supported() -> None:
    assert not set(ADVICE) & set(OPERATORS)


def two(name: str, first: tuple[int, ...], second: tuple[int, ...], out: tuple[int, ...], scale: float = 0.1,
        options: str = "", **values: Any) -> Net:
    net = Net()
    inputs = [net.input(*first, scale=0.1), net.input(*second, scale=scale)]
    net.operator(name, inputs, net.output(*out, scale=0.1), options, **values)
    return net


def conv(weights: Any = None, out: tuple[int, ...] = (1, 4, 4, 2), **values: Any) -> Net:
    net = Net()
    x = net.input(1, 4, 4, 3, scale=0.1)
    w = weights(net) if callable(weights) else net.constant(np.ones((2, 1, 1, 3)), "INT8", scale=0.1)
    net.operator("CONV_2D", [x, w, net.constant([0, 0])], net.output(*out, scale=0.1), "Conv2DOptions",
                 **{"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, **values})
    return net


def with_inputs(name: str, *constants: Any, shape: tuple[int, ...] = (1, 4, 4, 2), out: tuple[int, ...] = (1, 4, 4, 2),
                options: str = "", **values: Any) -> Net:
    net = Net()
    given = [net.input(*shape, scale=0.1), *(net.constant(value) for value in constants)]
    net.operator(name, given, net.output(*out, scale=0.1), options, **values)
    return net


def scaled(x: float, y: float, name: str, **values: Any) -> Net:
    net = Net()
    net.operator(name, [net.input(1, 8, scale=x)], net.output(1, 8, scale=y), **values)
    return net


@pytest.mark.parametrize(("net", "match"), [
    (lambda: conv(lambda n: n.constant(np.ones((2, 1, 1, 3)), "INT8", scale=0.1, zero=3)), "weights with a zero point"),
    (lambda: conv(lambda n: n.constant(np.ones((2, 1, 1, 2)), "INT8", scale=0.1)), "weights for 2 channels, .* has 3"),
    (lambda: conv(lambda n: n.constant(np.ones((2, 1, 1, 3)), "INT8", scale=[1, 1, 1])), "3 scales for 2 output"),
    (lambda: conv(lambda n: n.constant(np.ones((2, 3)), "INT8", scale=1)), "must have rank 4"),
    (lambda: conv(lambda n: n.constant(np.ones((2, 1, 1, 3)), "INT16", scale=1)), "weights of type INT16"),
    (lambda: conv(lambda n: n.tensor(2, 1, 1, 3, scale=1)), "weights that are not a constant"),
    (lambda: conv(lambda n: n.constant(np.ones((2, 5, 5, 3)), "INT8", scale=1), Padding=1), "window of 5 on an input"),
    (lambda: conv(out=(1, 5, 4, 2)), r"makes the shape \[4, 4, 2\], where the file says \[5, 4, 2\]"),
    (lambda: conv(StrideW=0), "stride 0"),
    (lambda: conv(FusedActivationFunction=4), "fused activation"),
    (lambda: conv(lambda n: n.constant(np.full((2, 1, 1, 3), 99), "INT8", scale=1e6)), "32-bit sums overflow"),
    (lambda: two("CONCATENATION", (1, 4), (1, 4), (1, 8), 0.2, "ConcatenationOptions", Axis=1), "another scale"),
    (lambda: two("CONCATENATION", (1, 1, 1, 4), (1, 1, 1, 4), (2, 1, 1, 4), 0.1, "ConcatenationOptions", Axis=0),
     "works along axis 0, the batch"),
    (lambda: two("ADD", (1, 8), (1, 8), (1, 8), 1e6, "AddOptions"), "more than 2\\*\\*19 times finer"),
    (lambda: with_inputs("MEAN", [3], out=(1, 4, 4), options="ReducerOptions"), r"averages over the axes \[3\]"),
    (lambda: with_inputs("TRANSPOSE", [0, 1, 2]), "permutation"),
    (lambda: with_inputs("PAD", [[0, 0], [0, 0], [-1, 0], [0, 0]]), "has the paddings"),
    (lambda: with_inputs("SLICE", [0, 0, 0, 1], [1, 4, 4, 2]), "only forward, within the tensor"),
    (lambda: with_inputs("STRIDED_SLICE", [0] * 4, [1, 4, 4, 2], [1, -1, 1, 1], options="StridedSliceOptions"),
     "goes backwards along axis 1"),
    (lambda: with_inputs("STRIDED_SLICE", [0] * 4, [1, 4, 4, 2], [1] * 4, options="StridedSliceOptions", NewAxisMask=1),
     "new axis or an ellipsis"),
    (lambda: with_inputs("ARG_MAX", 1, out=(1, 4, 2), options="ArgMaxOptions"), "only the last axis"),
    (lambda: with_inputs("RESHAPE", [1, 16], out=(1, 16)), r"makes \[4, 4, 2\], where the file says \[1, 1, 16\]"),
    (lambda: with_inputs("RESHAPE", [2, 2, 2, 4], out=(2, 2, 2, 4)), "at most three axes behind a batch of 1"),
    (lambda: scaled(0.1, 0.1, "LOGISTIC"), "1/256 only"),
    (lambda: scaled(0.1, 0.1, "SOFTMAX"), "1/256 and -128 only"),
    (lambda: scaled(0.1, 1e-9, "HARD_SWISH"), "too small"),
    (lambda: scaled(1e9, 1e-9, "QUANTIZE"), "no multiplier can hold"),
])
def test_operators_that_cannot_be_exact_are_refused(net: Callable[[], Net], match: str) -> None:
    assert "operator 0 (" in refuse(net(), match)


def test_weights_with_a_zero_point_must_fit_in_8_bits() -> None:
    for zero, values in ((0, [-128, 127, 0, 0]), (5, [-123, 127, 0, 0])):
        net = Net()
        w = net.constant([values], "INT8", scale=0.1, zero=zero)
        net.operator("FULLY_CONNECTED", [net.input(1, 4, scale=0.1), w, -1], net.output(1, 1, scale=0.1),
                     "FullyConnectedOptions")
        node = import_tflite(parse(net.write(), "net")).nodes[0]
        assert isinstance(node, Conv2D) and node.weights.reshape(-1).tolist() == [value - zero for value in values]
    net = Net()
    w = net.constant([[-124, 0]], "INT8", scale=0.1, zero=5)
    net.operator("FULLY_CONNECTED", [net.input(1, 2, scale=0.1), w, -1], net.output(1, 1, scale=0.1),
                 "FullyConnectedOptions")
    refuse(net, "take more than 8 bits")


def test_activations_must_have_one_scale() -> None:
    net = Net()
    net.operator("RELU", [net.input(1, 4, scale=[0.1, 0.2], axis=1)], net.output(1, 4, scale=0.1))
    with pytest.raises(UserError, match="no scale for 't0', or more than one"):
        import_tflite(parse(net.write(), "net"))


def test_constants_where_activations_belong() -> None:
    net = Net()
    c = net.constant(np.ones((1, 4)), "INT8", scale=0.1)
    x = net.input(1, 4, scale=0.1)
    net.operator("CONCATENATION", [x, c], net.output(1, 8, scale=0.1), "ConcatenationOptions", Axis=1)
    net.operator("MUL", [c, c], net.output(1, 4, scale=0.1), "MulOptions")
    net.operator("ADD", [x, net.constant(np.arange(8).reshape(2, 4), "INT8", scale=0.1)],
                 net.output(2, 4, scale=0.1), "AddOptions")
    lines = refuse(net, "3 things").splitlines()
    assert "reads the constant 't0' where an activation belongs" in lines[1] and "reads constants only" in lines[2]
    assert "only a constant that is repeated along the input" in lines[3]


def test_inputs_and_outputs_that_are_not_int8() -> None:
    net = dense()
    net.input(1, 3, kind="FLOAT32", name="unused")
    net.outputs.append(net.constant([1, 2], name="fixed"))
    lines = refuse(net, "2 things").splitlines()
    assert "input 'unused': is FLOAT32, and no QUANTIZE" in lines[1] and "output 'fixed': is a constant" in lines[2]


def test_a_tensor_is_made_once() -> None:
    net = dense()
    net.operator("RELU", [net.inputs[0]], net.outputs[0])
    refuse(net, "makes 't2' a second time|makes the shape")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    path = tmp_path / "net.tflite"
    path.write_bytes(dense().write())
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"not installed; pip install tflite"):
        import_model(path)


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                             monkeypatch: pytest.MonkeyPatch) -> None:
    raw = dense().write()
    cases = {"missing.tflite": (None, "there is no file"), "empty.tflite": (b"", "not a .tflite file"),
             "text.tflite": (b"a text, not a network", "not a .tflite file"),
             "cut.tflite": (raw[:len(raw) // 2], "damaged or was cut off"),
             "head.tflite": (raw[:8], "damaged or was cut off"),
             "zeros.tflite": (struct.pack("<I4s", 8, b"TFL3") + bytes(64), "damaged or was cut off")}
    for name, (content, match) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=match):
            import_model(tmp_path / name)
        monkeypatch.setattr("sys.argv", ["systolith", "compile", str(tmp_path / name), "-o", str(tmp_path / "o.slp")])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2 and match in said and len(said.strip().splitlines()) == 1
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(UserError, match="is not a file"):
        import_model(tmp_path / "folder.tflite")


@pytest.mark.parametrize("name", ["inverted_residuals", "keyword_network", "unet"])
def test_damaged_files_are_refused_or_read(name: str) -> None:
    """Whatever bytes are changed or cut off: a UserError or a graph, never another exception."""
    random = np.random.default_rng(1)
    raw = getattr(tflite_networks, name)(random).write()
    refused = 0
    for number in range(250):
        broken = bytearray(raw)
        # most of a file is weights; tables lie at both ends
        at = int(random.integers(8, len(raw))) if number % 2 else len(raw) - 1 - int(random.integers(3000))
        broken[max(at, 8)] = int(random.choice([0, 1, 127, 128, 255, int(random.integers(256))]))
        if number % 10 == 0:
            del broken[int(random.integers(8, len(raw))):]
        try:
            import_tflite(parse(bytes(broken), "net"))
        except UserError:
            refused += 1
    assert refused > 20
