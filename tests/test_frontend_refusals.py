"""What cannot be compiled is refused with the thing's name, the reason and what would help."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from systolith.gen.errors import UserError
from systolith.gen.frontend import import_float, load_model
from tests.onnx_models import Model

IMAGE = {"x": (1, 4, 9, 7)}


def test_everything_unsupported_is_listed_at_once() -> None:
    m = Model()
    m.node("LRN", ["x"], "a", size=3)
    m.node("Conv", ["a", m.weights(4, 4, 1, 1)], "b")
    m.node("InstanceNormalization", ["b", m.weights(4), m.weights(4)], "c")
    m.node("Pad", ["x", m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)], "p", mode="reflect")
    m.node("Flatten", ["p"], "f")
    m.node("LogSoftmax", ["f"], "y")
    with pytest.raises(UserError) as caught:
        import_float(m.proto(IMAGE, ["y", "c"]), "network")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5 and "4 things" in lines[0]
    expected = (("a_node", "LRN"), ("c_node", "InstanceNormalization", "train with BatchNormalization"),
                ("p_node", "reflect"), ("y_node", "LogSoftmax", "network's end", "logits"))
    for line, texts in zip(lines[1:], expected, strict=True):
        assert all(text in line for text in texts)


def refused(build: Any, message: str, inputs: dict[str, tuple[Any, ...]] | None = None, opset: int = 17) -> None:
    m = Model()
    build(m)
    model = m.proto(inputs or IMAGE, ["y"], opset, infer=False)
    with pytest.raises(UserError, match=message):
        import_float(model, "test")


def test_what_cannot_be_done_says_why() -> None:
    refused(lambda m: m.node("Add", ["x", m.constant(np.ones((1, 4, 3, 7)))], "y"), r"takes \[1, 4, 9, 7\] and")
    refused(lambda m: m.node("Add", ["x", m.node("MaxPool", ["x"], "g", kernel_shape=[2, 2])], "y"),
            r"takes shapes \[1, 4, 9, 7\] and")
    refused(lambda m: m.node("Div", ["x", m.node("GlobalMaxPool", ["x"], "g")], "y"), "both operands are computed")
    refused(lambda m: m.node("MatMul", ["x", m.node("Relu", ["x"], "r")], "y"), "multiply matrices", {"x": (5,)})
    refused(lambda m: m.node("Gemm", ["x", "x", m.weights(5)], "y"), "has a bias", {"x": (5, 5)})
    refused(lambda m: m.node("Relu", [m.node("Expand", ["x", m.constant([1, 8, 9, 7], np.int64)], "e")], "y"),
            "repeats the elements", {"x": (1, 1, 9, 7)})
    refused(lambda m: m.node("Conv", ["x", m.weights(4, 4, 3)], "y"), r"\[1, channels, height, width\]",
            {"x": (1, 4, 9)})
    refused(lambda m: m.node("Conv", ["x", m.weights(4, 4, 3)], "y"), "shapes or attributes do not fit")
    refused(lambda m: m.node("Pad", ["x", m.constant([0, 0, 1], np.int64)], "y"), r"its pads are \[0, 0, 1\]")
    refused(lambda m: m.node("Conv", ["x", m.weights(4, 4, 20, 1)], "y"), "output would be empty")
    refused(lambda m: m.node("Pad", ["x", m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), m.constant(2.0)], "y"),
            "pads with 2")
    refused(lambda m: m.node("ReduceMean", ["x"], "y", axes=[0, 1]), r"reduces axes \[0, 1\]")
    refused(lambda m: m.node("Gemm", ["x", m.weights(5, 5)], "y", transA=1), "transA", {"x": (5, 5)})
    refused(lambda m: m.node("Relu", ["x"], "y"), "input 'x' has no fixed size in dimension 2 .'rows'.",
            {"x": ("batch", 3, "rows", 7)})
    refused(lambda m: m.node("Relu", ["x"], "y"), "batch of 4", {"x": (4, 3, 5, 7)})


def test_input_type() -> None:
    m = Model()
    m.node("Relu", ["x"], "y")
    with pytest.raises(UserError, match="INT64, not float"):
        import_float(m.proto({"x": (1, 5)}, ["y"], kind=TensorProto.INT64), "test")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        load_model(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match="not a file"):
        load_model(tmp_path)
    m = Model()
    m.node("Relu", ["x"], "y")
    whole = m.proto(IMAGE, ["y"]).SerializeToString()
    for data in (b"", b"hello", whole[:-20], bytes(100)):
        (tmp_path / "broken.onnx").write_bytes(data)
        with pytest.raises(UserError, match="broken.onnx is not"):
            load_model(tmp_path / "broken.onnx")
    (tmp_path / "old.onnx").write_bytes(m.proto(IMAGE, ["y"], opset=6).SerializeToString())
    with pytest.raises(UserError, match="operator set 6"):
        load_model(tmp_path / "old.onnx")
