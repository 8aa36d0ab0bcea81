"""What the search for a schedule takes for equal, and its estimate of cycles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from systolith.gen.graph import (
    Add,
    Conv2D,
    Graph,
    Lookup,
    MatMul,
    Node,
    Norm,
    Pack,
    Rescale,
    Softmax,
    Tensor,
    Unpack,
)
from systolith.gen.presets import preset
from systolith.gen.schedule.estimate import PIECE_CYCLES, estimate
from systolith.gen.schedule.schedule import schedule
from systolith.gen.schedule.search import Search, _structure

EDGE = preset("edge")
Edit = tuple[str, dict[str, Any]]


def layer(seed: int, prefix: str, *, tokens: int = 8, channels: int = 32, dtype: str = "int16") -> Graph:
    """A layer of sorts: projection, product, softmax, product, sum, norm."""
    random = np.random.default_rng(seed)
    scale = np.full(channels, 1 << 30, np.int64)
    shapes = {"x": (tokens, 1, channels), "narrow": (tokens, 1, channels), "q": (tokens, 1, channels),
              "s": (tokens, 2, tokens), "p": (tokens, 2, tokens), "m": (tokens, 1, channels),
              "t": (tokens, 1, channels), "y": (tokens, 1, channels)}
    wide = {"x", "t", "y"}
    nodes: tuple[Node, ...] = (
        Rescale("narrow", ("x",), "narrow", 1 << 30, 31 + seed),
        Conv2D("q", ("narrow",), "q", random.integers(-127, 128, (channels, 1, 1, channels), np.int8),
               random.integers(-99, 99, channels, np.int32), scale - seed, np.full(channels, 38)),
        MatMul("s", ("q", "q"), "s", (1 << 30) + seed, 40, channels // 2, True),
        Softmax("p", ("s",), "p", random.integers(0, 1 << 24, 256).astype(np.int32)),
        MatMul("m", ("p", "q"), "m", 1 << 30, 37 + seed, tokens),
        Add("t", ("m", "x"), "t", (1 << 30, (1 << 29) + seed), 30, low=-32768, high=32767),
        Norm("y", ("t",), "y", scale, np.full(channels, 20), scale, 7 + seed, low=-32768, high=32767))
    nodes = tuple(replace(node, name=prefix + node.name, inputs=tuple(prefix + name for name in node.inputs),
                          output=prefix + node.output, source=f"layer {seed}") for node in nodes)
    tensors = {prefix + name: Tensor(prefix + name, shape, dtype if name in wide else "int8", 0.1 * (seed + 1),
                                     0 if name in wide or name == "q" else seed) for name, shape in shapes.items()}
    return Graph(prefix, (f"{prefix}x",), (f"{prefix}y",), tensors, nodes)


def structure(graph: Graph, kept: set[str] | None = None, fixed: set[str] | None = None) -> object:
    return _structure(graph, kept or set(), fixed or set())


def test_equal_layers_are_equal() -> None:
    one, other = layer(0, "a."), layer(3, "b.")
    assert structure(one) == structure(other) and hash(structure(one)) == hash(structure(other))
    assert structure(one, {"a.x"}, {"a.x", "a.y"}) == structure(other, {"b.x"}, {"b.x", "b.y"})


@pytest.mark.parametrize("edit", [
    ("p", {"causal": True}), ("p", {"masked": True}), ("s", {"transposed": False}), ("y", {"rms": True}),
    ("s", {"inner": 32}), ("q", {"strides": (2, 1)}), ("q", {"padding": (1, 0, 0, 0)}), ("m", {"inputs": ("p", "x")}),
    ("t", {"inputs": ("x", "m")}), ("q", {"weights": np.zeros((32, 1, 3, 32), np.int8)}), ("narrow", {"rounding": 2}),
], ids=lambda edit: f"{edit[0]}-{next(iter(edit[1]))}")
def test_a_flag_or_an_edge_makes_a_difference(edit: Edit) -> None:
    graph = layer(0, "")
    nodes = tuple(replace(node, **edit[1]) if node.name == edit[0] else node for node in graph.nodes)  # type: ignore[arg-type]
    assert structure(replace(graph, nodes=nodes)) != structure(graph)


def test_shapes_types_and_what_stays_make_a_difference() -> None:
    graph = layer(0, "")
    others = [
        structure(layer(0, "", tokens=9)), structure(layer(0, "", channels=64)), structure(layer(0, "", dtype="int8")),
        structure(graph, kept={"x"}), structure(graph, fixed={"x"}), structure(replace(graph, outputs=("y", "t"))),
        structure(replace(graph, inputs=("x", "q"))), structure(replace(graph, nodes=graph.nodes[:-1]))]
    every = [structure(graph), *others]
    assert len(set(map(hash, every))) == len(every)
    table = Lookup("l", ("x",), "y", np.zeros(256, np.int8))
    small = Graph("g", ("x",), ("y",), {name: Tensor(name, (4, 1, 16)) for name in "xy"}, (table,))
    assert structure(small) == structure(replace(small, nodes=(replace(table, table=np.ones(256, np.int8)),)))
    packs = [Pack("p", ("x",), "y", (2, 1), 0, 0, 1), Pack("p", ("x",), "y", (4, 1), 0, 0, 1),
             Pack("p", ("x",), "y", (2, 1), 0, 0, 2), Pack("p", ("x",), "y", (2, 1), 0, 0, 1, True),
             Pack("p", ("x",), "y", (2, 1), 0, 0, 1, whole_stripes=True), Unpack("p", ("x",), "y", (2, 1), 0, 0, 0)]
    made = [structure(replace(small, nodes=(pack,))) for pack in packs]
    assert len(set(made)) == len(packs)
    assert structure(replace(small, nodes=(replace(packs[0], centre=9, table_set=1),))) == made[0]


def test_equal_layers_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = layer(0, "a."), layer(2, "b.")
    second = tuple(replace(node, inputs=tuple("a.y" if name == "b.x" else name for name in node.inputs))
                   for node in other.nodes)
    tensors = {**one.tensors, **other.tensors}
    tensors.pop("b.x")
    both = Graph("both", one.inputs, other.outputs, tensors, one.nodes + second)
    both.check()
    asked: list[Graph] = []
    needs = Search._needs

    def counted(self: Search, part: Graph, *rest: Any) -> Any:
        asked.append(part)
        return needs(self, part, *rest)

    monkeypatch.setattr(Search, "_needs", counted)
    search = Search(both, EDGE, layers=True)
    # the first layer's input and the last one's output are the network's
    assert len(asked) < len(both.nodes) and len(asked) >= len(one.nodes)
    alike = [search._options[end] for end in (4, 11)]
    assert [[(o.stripes, o.pages, o.cycles) for o in options] for options in alike][0] == [
        (o.stripes, o.pages, o.cycles) for o in alike[1]]


def two(tokens: int, channels: int) -> Graph:
    """A norm, and the vector unit's rescale of what it makes."""
    scale = np.full(channels, 1 << 30, np.int64)
    return Graph("two", ("x",), ("z",), {name: Tensor(name, (tokens, 1, channels)) for name in "xyz"}, (
        Norm("y", ("x",), "y", scale, np.full(channels, 20), scale, 7), Rescale("z", ("y",), "z", 1 << 30, 30)))


@pytest.mark.parametrize("tokens", [4, 64, 300])
def test_estimate_of_two_units(tokens: int) -> None:
    """Each unit's pieces follow each other, and one of the second unit begins when its rows are made."""
    s = schedule(two(tokens, 256), EDGE)
    norm = [piece.block for piece in s.order if s.plans[piece.node].unit == "norm"]
    vector = [piece for piece in s.order if s.plans[piece.node].unit == "vector"]
    assert sum(block.height for block in norm) == sum(piece.block.height for piece in vector) == tokens
    made, at = {}, 0.0
    for block in norm:
        at += PIECE_CYCLES + block.height * 256 / EDGE.norm_lanes
        made |= dict.fromkeys(range(block.y, block.end), at)
    free = 0.0
    for piece in vector:
        ready = max(made[y] for _, first, end in piece.needs for y in range(first, end))
        free = max(free, ready) + PIECE_CYCLES + piece.block.height * 256 / 16
    assert estimate(s) == int(max(free, at))


def test_the_estimate_knows_the_lanes_and_the_port() -> None:
    graph = two(64, 256)
    fast, slow = (estimate(schedule(graph, EDGE.replace(norm_lanes=lanes))) for lanes in (4, 1))
    assert slow > 2.5 * fast
    random = np.random.default_rng(1)
    weights = random.integers(-127, 128, (512, 1, 1, 512), np.int8)
    scale = np.full(512, 1 << 30, np.int64)
    nodes = (Conv2D("y", ("x",), "y", weights, np.zeros(512, np.int32), scale, np.full(512, 40)),)
    product = Graph("p", ("x",), ("y",), {name: Tensor(name, (1, 1, 512)) for name in "xy"}, nodes)
    eight, none = (estimate(schedule(product, EDGE.replace(external_bytes=size, codec_lanes=0))) for size in (8, 0))
    assert eight >= 512 * 512 / 8 > none  # a row of one position: the port brings weights more slowly than they work
