"""The digits example: its file, its accuracy in int8, its QDQ form and its pictures."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from systolith.gen.frontend import import_model
from systolith.gen.graph import Graph
from systolith.gen.qdq_compare import compare_with_onnxruntime, runtime
from systolith.gen.qdq_writer import write_qdq
from systolith.sim.golden.execute import execute, execute_batch
from tests.examples import DIGITS, example_module

pytest.importorskip("sklearn")
pytest.importorskip("onnxruntime")
data, pictures = example_module(DIGITS, "data"), example_module(DIGITS, "pictures")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_model(DIGITS / "digits.onnx", data.calibration())


@pytest.fixture(scope="module")
def float_accuracy() -> float:
    session, digits = runtime(onnx.load(DIGITS / "digits.onnx")), data.load()
    answers = [session.run(["logits"], {"image": image[np.newaxis]})[0].argmax() for image in digits.test_images]
    return float((np.array(answers) == digits.test_labels).mean())


def accuracy(graph: Graph) -> float:
    digits = data.load()
    logits = execute_batch(graph, {"image": digits.test_images})["logits"]
    return float((logits.reshape(len(logits), 10).argmax(1) == digits.test_labels).mean())


def test_split() -> None:
    """1297 and 500 images, none in both (but for the few that the data set holds twice), ten digits alike in each."""
    digits = data.load()
    assert digits.train_images.shape == (1297, 1, 8, 8) and digits.test_images.shape == (500, 1, 8, 8)
    assert digits.test_images.dtype == np.float32 and digits.test_images.min() == 0 and digits.test_images.max() == 1
    assert np.bincount(digits.test_labels).min() >= 48 and np.bincount(digits.test_labels).max() <= 51
    assert digits.test_labels[:8].tolist() == [4, 8, 8, 3, 9, 0, 6, 3], "another split than digits.onnx was trained on"
    assert data.calibration()["image"].shape == (100, 1, 8, 8)
    train = {image.tobytes() for image in digits.train_images}
    assert sum(image.tobytes() in train for image in digits.test_images) <= 1


def test_float_network(float_accuracy: float) -> None:
    """Small, unfused, and right on 98.5 % of the digits that it has not seen."""
    assert (DIGITS / "digits.onnx").stat().st_size < 200_000
    operators = [node.op_type for node in onnx.load(DIGITS / "digits.onnx").graph.node]
    assert operators.count("BatchNormalization") == 4
    assert {"Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm"} < set(operators)
    assert float_accuracy >= 0.985


def test_int8_accuracy(graph: Graph, float_accuracy: float) -> None:
    """In int8 within half a point of the float network."""
    assert accuracy(graph) >= float_accuracy - 0.005


def test_onnxruntime_agrees(graph: Graph) -> None:
    """Written as QDQ, each operator is at most one step apart in at most 0.1 % of its values."""
    records = compare_with_onnxruntime(graph, ({"image": image} for image in data.load().test_images[:40, np.newaxis]))
    assert len(records) == len(graph.nodes)
    for record in records:
        assert record.largest <= 1 and record.differing <= 0.001 * record.values, record


def test_round_trip(graph: Graph, tmp_path: Path) -> None:
    """Written and read again, the network makes the same integers in every tensor; such a file needs no calibration."""
    onnx.save(write_qdq(graph), tmp_path / "digits_qdq.onnx")
    again = import_model(tmp_path / "digits_qdq.onnx")
    for image in data.load().test_images[:5, np.newaxis]:
        first, second = execute(graph, {"image": image}), execute(again, {"image": image})
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_pictures() -> None:
    """A pixel is two characters, images stand beside each other, labels underneath."""
    image = np.array([[0, 1], [0.5, 0.25]])
    assert pictures.picture(image) == ["  ██", "▒▒░░"]
    assert pictures.pictures([image, image], ["a", "b"]).splitlines() == ["  ██     ██", "▒▒░░   ▒▒░░", " a      b"]
    assert pictures.pictures([image] * 3, across=2).count("\n\n") == 1
    assert pictures.shades_for("ascii") == pictures.LETTERS and pictures.shades_for("utf-8") == pictures.BLOCKS
    with pytest.raises(ValueError, match="a label for each of the 2 images, not 1"):
        pictures.pictures([image, image], ["a"])
