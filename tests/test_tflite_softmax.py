"""SOFTMAX: the exponentials are the reference kernel's, and what the machine makes of them is nearly always its output.
"""

import numpy as np
import pytest

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_softmax import exponentials, softmax_table
from systolith.sim.golden.execute import execute
from systolith.sim.golden.operators import softmax
from tests.tflite_reference import Reference, imported, needs_litert

needs_litert()
from tests.tflite_build import Net  # noqa: E402  needs the package tflite
from tests.tflite_softmax import reference  # noqa: E402

SCALES = [0.17185351, 0.01463622, 0.0625, 0.3, 1.5, 0.002]


def net(scale: float, rows: int, values: int, beta: float = 1.0) -> bytes:
    made = Net()
    x = made.input(rows, values, scale=scale, zero=11)
    made.operator("SOFTMAX", [x], made.output(rows, values, scale=1 / 256, zero=-128), "SoftmaxOptions", Beta=beta)
    return made.write()


def rows_of(random: np.random.Generator, rows: int, values: int) -> np.ndarray:
    """Uniform, or close together, or all alike."""
    spread = random.choice([0, 3, 20, 60, 400], (rows, 1))
    return np.clip(random.normal(0, 1, (rows, values)) * spread, -128, 127).astype(np.int8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("values", [1, 2, 3, 10, 12, 250])
def test_softmax(scale: float, values: int) -> None:
    """The kernel in numpy, with the importer's exponentials, equals LiteRT; the node is rarely one step off."""
    random = np.random.default_rng(values)
    count = 12000 // values
    x = rows_of(random, count, values)
    raw = net(scale, count, values)
    file, _, graph = imported(raw)
    litert = Reference(raw)
    litert.run(file, [x])
    expected = litert.tensor(file.outputs[0]).astype(int)
    table = exponentials(file.tensors[file.inputs[0]].scale, 1.0)
    assert np.array_equal(reference(x.astype(np.int64), table), expected)
    golden = execute(graph, {graph.inputs[0]: x})[graph.outputs[0]].reshape(count, values)
    apart = np.abs(golden - expected)
    assert apart.max() <= 1 and np.count_nonzero(apart) <= 3  # of 12000; measured: one in 50,000


def test_the_nodes_outputs_are_the_kernels_but_for_few() -> None:
    """Of 3.6 million outputs."""
    random, wrong, total = np.random.default_rng(1), 0, 0
    for scale in SCALES:
        x = rows_of(random, 60000, 10).astype(np.int64)
        apart = np.abs(softmax(x, softmax_table(scale, 1.0)) - reference(x, exponentials(scale, 1.0)))
        assert apart.max() <= 1
        wrong, total = wrong + np.count_nonzero(apart), total + apart.size
    assert wrong <= total / 20000


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_beta(beta: float) -> None:
    x = np.random.default_rng(2).integers(-128, 128, (30, 5), np.int8)
    raw = net(0.1, 30, 5, beta)
    file, _, graph = imported(raw)
    litert = Reference(raw)
    litert.run(file, [x])
    assert np.array_equal(execute(graph, {graph.inputs[0]: x})[graph.outputs[0]][0], litert.tensor(file.outputs[0]))


def test_what_the_kernel_cannot_do_is_refused() -> None:
    with pytest.raises(Refused, match="too small"):
        exponentials(1e-9, 1.0)
