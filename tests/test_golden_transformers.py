"""The golden operators of transformers against plain loops."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.graph import Constant, Embedding, Graph, MatMul, Node, Rotary, Softmax, Tensor
from systolith.gen.tables import softmax_table
from systolith.rtl.isa import DOUBLE, EVEN, SINGLE
from systolith.sim.golden import operators
from systolith.sim.golden.execute import execute, execute_batch, quantise_input, random_inputs
from systolith.sim.golden.rescale import round_shift

Array = NDArray[Any]
M, S = 1518500250, 37


def int8(random: np.random.Generator, *shape: int) -> Array:
    return random.integers(-128, 128, shape, np.int8)


def clamp(sums: int, rounding: int, zero_point: int, low: int, high: int) -> int:
    return max(low, min(high, int(round_shift(np.int64(sums), S, rounding)) + zero_point))


@pytest.mark.parametrize(("heads", "groups"), [(1, 1), (4, 4), (4, 2), (6, 1), (6, 3)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rounding", [SINGLE, EVEN])
def test_matmul(heads: int, groups: int, transposed: bool, rounding: int) -> None:
    """Tensors of several heads, some with all of them in one position, and two samples at once."""
    random = np.random.default_rng(heads * 10 + groups)
    rows, inner, columns, others = 3, 5, 4, 7
    inner, columns, b_rows, b_wide = (5, others, others, 5) if transposed else (5, columns, inner, columns)
    a, b = int8(random, 2, rows, heads, inner), int8(random, 2, b_rows, groups, b_wide)
    expected = np.zeros((2, rows, heads, columns), np.int64)
    for sample, t, h, n in np.ndindex(expected.shape):
        s = sum((int(a[sample, t, h, k]) - 9) * int(b[(sample, n, h // (heads // groups), k) if transposed else
                                                     (sample, k, h // (heads // groups), n)]) for k in range(inner))
        expected[sample, t, h, n] = clamp(s * M, rounding, -7, -100, 90)
    assert len(np.unique(expected)) > 9
    flat = {"a": ((rows, heads, inner), (rows, 1, heads * inner)), "b": ((b_rows, groups, b_wide),
            (b_rows, 1, groups * b_wide)), "y": ((rows, heads, columns), (rows, 1, heads * columns))}
    for one in range(8):
        a_shape, b_shape, y_shape = (shapes[one >> place & 1] for place, shapes in enumerate(flat.values()))
        node = MatMul("m", ("a", "b"), "y", M, S, inner, transposed, rounding, -100, 90)
        graph = Graph("g", ("a", "b"), ("y",), {
            "a": Tensor("a", a_shape, zero_point=9), "b": Tensor("b", b_shape), "y": Tensor("y", y_shape,
                                                                                            zero_point=-7)}, (node,))
        assert node.sizes(a_shape, b_shape, y_shape) == (heads, groups, columns)
        assert node.macs(graph.tensors["y"]) == rows * heads * columns * inner
        made = execute_batch(graph, {"a": a.reshape(2, *a_shape), "b": b.reshape(2, *b_shape)})["y"]
        assert np.array_equal(made, expected.reshape(2, *y_shape)) and made.dtype == np.int8
        alone = execute(graph, {"a": a[1].reshape(a_shape), "b": b[1].reshape(b_shape)})["y"]
        assert np.array_equal(alone, made[1])


def test_the_largest_sums_of_a_matmul_are_exact() -> None:
    a, b = np.full((1, 1, 4096), -128, np.int8), np.full((4096, 1, 1), -128, np.int8)
    y = operators.matmul(a, b, 1 << 30, 30, zero_a=127, low=-(1 << 31), high=(1 << 31) - 1)
    assert y.tolist() == [[[4096 * 128 * 255]]]


@pytest.mark.parametrize("rounding", [SINGLE, DOUBLE, EVEN])
@pytest.mark.parametrize("heads_apart", [True, False])
def test_rotary(rounding: int, heads_apart: bool) -> None:
    random = np.random.default_rng(4)
    rows, heads, n = 3, 2, 6
    x, cos, sin = int8(random, 2, rows, heads, n), int8(random, rows, 1, n), int8(random, rows, 1, n)
    first, second, shift = 1 << 30, (1 << 30) - 54321, S
    expected = np.zeros(x.shape, np.int64)
    for sample, t, h, c in np.ndindex(x.shape):
        partner, sign = (c + n // 2, -1) if c < n // 2 else (c - n // 2, 1)
        s = (int(x[sample, t, h, c]) - 3) * (int(cos[t, 0, c]) + 5) * first
        s += sign * (int(x[sample, t, h, partner]) - 3) * (int(sin[t, 0, c]) - 11) * second
        expected[sample, t, h, c] = clamp(s, rounding, 6, -120, 110)
    assert len(np.unique(expected)) > 20
    shape = (rows, heads, n) if heads_apart else (rows, 1, heads * n)
    for out in ((rows, heads, n), (rows, 1, heads * n)):
        nodes: tuple[Node, ...] = (
            Constant("cos", (), "cos", cos), Constant("sin", (), "sin", sin),
            Rotary("r", ("x", "cos", "sin"), "y", (first, second), shift, rounding, -120, 110))
        graph = Graph("g", ("x",), ("y",), {
            "x": Tensor("x", shape, zero_point=3), "cos": Tensor("cos", cos.shape, zero_point=-5),
            "sin": Tensor("sin", sin.shape, zero_point=11), "y": Tensor("y", out, zero_point=6)}, nodes)
        made = execute_batch(graph, {"x": x.reshape(2, *shape)})["y"]
        assert np.array_equal(made, expected.reshape(2, *out))
        assert np.array_equal(execute(graph, {"x": x[0].reshape(shape)})["y"], made[0])
        assert np.array_equal(execute(graph, {"x": x[0].reshape(shape)})["cos"], cos)


@pytest.mark.parametrize("masked", [False, True])
def test_a_causal_softmax_sees_what_is_behind_it(masked: bool) -> None:
    """Row t of [tokens, heads, tokens] is the softmax of its first t + 1 values by themselves; the mask does not change
    whole sequences."""
    random = np.random.default_rng(2)
    tokens, heads = 7, 3
    x, table = int8(random, 2, tokens, heads, tokens), softmax_table(0.03)
    tensors = {name: Tensor(name, (tokens, heads, tokens)) for name in "xy"}
    graph = Graph("g", ("x",), ("y",), tensors, (Softmax("s", ("x",), "y", table, True, masked),))
    made = execute_batch(graph, {"x": x})["y"]
    for sample, t, h in np.ndindex(2, tokens, heads):
        alone = operators.softmax(x[sample, t, h, :t + 1], table)
        assert np.array_equal(made[sample, t, h, :t + 1], alone) and (made[sample, t, h, t + 1:] == -128).all()
        real = np.exp(0.03 * x[sample, t, h, :t + 1].astype(float))
        assert np.abs((alone + 128) / 256 - real / real.sum()).max() < 0.01
    graph = Graph("g", ("x",), ("y",), tensors, (Softmax("s", ("x",), "y", table, False, masked),))
    made = execute(graph, {"x": x[0]})["y"]
    assert np.array_equal(made, operators.softmax(x[0], table)) and (made[0, :, 1:] > -128).any()


def embedded(entries: int = 11, other: int = 0) -> Graph:
    """A table of int16, and perhaps another one with fewer rows."""
    random = np.random.default_rng(3)
    tensors = {"ids": Tensor("ids", (4, 1, 1), "int32"), "y": Tensor("y", (4, 1, 5), "int16"),
               "z": Tensor("z", (4, 1, 5), "int16")}
    nodes: list[Node] = [Embedding("e", ("ids",), "y", random.integers(-30000, 30000, (entries, 5)).astype(np.int16))]
    if other:
        nodes.append(Embedding("f", ("ids",), "z", random.integers(-30000, 30000, (other, 5)).astype(np.int16)))
    return Graph("g", ("ids",), ("y", "z") if other else ("y",), tensors, tuple(nodes), {"ids": (1, 4)})


def test_embedding() -> None:
    graph = embedded()
    graph.check()
    (node,) = graph.nodes
    assert isinstance(node, Embedding)
    for kind in (np.int32, np.int64, np.uint8):
        made = execute(graph, {"ids": np.array([[0, 10, 3, 3]], kind)})["y"]
        assert made.dtype == np.int16 and np.array_equal(made[:, 0], node.table[[0, 10, 3, 3]])
    batch = execute_batch(graph, {"ids": np.array([[1, 2, 3, 4], [4, 3, 2, 1]])})["y"]
    assert np.array_equal(batch[1, :, 0], node.table[[4, 3, 2, 1]]) and batch.shape == (2, 4, 1, 5)
    ids = random_inputs(embedded(11, 3))["ids"]
    assert ids.dtype == np.int32 and 0 <= ids.min() and ids.max() < 3


@pytest.mark.parametrize(("ids", "message"), [
    ([[0, 1, 11, 2]], r"input 'ids' is 11 at \[0, 2\]; its table has entries 0 to 10"),
    ([[0, -1, 1, 2]], r"input 'ids' is -1 at \[0, 1\]; its table has entries 0 to 10"),
    ([[0, 1 << 32, 1, 2]], r"input 'ids' is 4294967296 at"),
    ([[0, 1, 2]], r"input 'ids' must have the shape \[1, 4\], not \[1, 3\]"),
])
def test_numbers_that_no_table_has_are_refused(ids: list[list[int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        quantise_input(embedded(), "ids", np.array(ids, np.int64))


def test_the_shortest_table_counts_and_booleans_are_no_numbers() -> None:
    with pytest.raises(UserError, match="entries 0 to 2"):
        quantise_input(embedded(11, 3), "ids", np.array([[0, 1, 2, 3]]))
    with pytest.raises(UserError, match="must be integers from 0 to 10, not bool"):
        quantise_input(embedded(), "ids", np.zeros((1, 4), bool))


def test_floats_that_are_numbers_of_rows_are_checked_too() -> None:
    whole = np.array([[0.0, 1.0, 10.0, 2.0]], np.float32)
    assert quantise_input(embedded(), "ids", whole).ravel().tolist() == [0, 1, 10, 2]
    with pytest.raises(UserError, match=r"input 'ids' is 11.0 at \[0, 2\]; its table has entries 0 to 10"):
        quantise_input(embedded(), "ids", whole + np.float32([0, 0, 1, 0]))
