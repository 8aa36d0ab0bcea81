"""The zoo's transformers: sizes as published, attentions that look at several tokens, the same on the machine."""

import functools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.emit import link, plan
from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatConv, FloatGraph, float_execute
from systolith.gen.graph import Constant, Embedding, Graph, MatMul, Norm, Slice, Softmax, Tensor
from systolith.gen.passes import run_passes
from systolith.gen.passes.shorten import shortened
from systolith.gen.presets import preset
from systolith.gen.quantize import quantise
from systolith.gen.run import Session
from systolith.gen.zoo import ZOO, from_name
from systolith.gen.zoo.bert import embeddings, layer
from systolith.gen.zoo.builder import Builder
from systolith.gen.zoo.float_builder import Attention, FloatBuilder
from systolith.gen.zoo.network import macs, parameters
from systolith.gen.zoo.transformer import Transformer, samples
from systolith.gen.zoo.weights import Blank, Seeded
from systolith.sim.golden.execute import dequantise, execute, random_inputs
from systolith.sim.golden.execute import quantise as integers
from systolith.sim.model.session import timing_of

Array = NDArray[Any]
NAMES = [name for name, network in ZOO.items() if isinstance(network, Transformer)]
COMMON = 0.7
"""Part of the tokens' variance that all have in common, at most."""
SMALL = {"roberta-layer": 16, "vit-tiny": 64, "decoder-block": 16}
"""Sizes that are quick; roberta-base has 163 million parameters at any."""
HEAD = 768 * (768 + 1) + 2 * 768 + 50265
"""Parameters of the masked word's head beside the words' table."""
PUBLISHED = {  # MACs; parameters as published, but for what the comments say; outputs
    # 124,697,433 with the head, of which the decoder's weights (the words' table there) count twice, 386 positions are
    # left out and the type is a part of the positions
    "roberta-base": (12 * 931_135_488, 124_697_433 - 387 * 768 - HEAD, (128, 1, 768)),
    "roberta-mlm": (12 * 931_135_488 + 768 * (768 + 50265), 124_697_433 + (50265 - 387) * 768, (1, 1, 50265)),
    "roberta-layer": (931_135_488, 7_087_872, (128, 1, 768)),
    "vit-tiny": (1_253_683_200, 5_717_416, (1, 1, 1000)),
    "decoder-block": (377_487_360, 2_823_680, (128, 1, 512)),
}


@functools.cache
def small(name: str) -> tuple[FloatGraph, Graph]:
    """The float network after its passes, which are verified, and the integer one."""
    network = ZOO[name]
    assert isinstance(network, Transformer)
    graph = run_passes(network.float_graph(SMALL[name]))
    return graph, quantise(graph, samples(graph, 1))


def test_names() -> None:
    assert list(PUBLISHED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_sizes_as_published(name: str) -> None:
    graph = ZOO[name].outline()
    assert isinstance(graph, FloatGraph)
    count, numbers, output = PUBLISHED[name]
    assert (macs(graph), parameters(graph)) == (count, numbers)
    assert [graph.shapes[each] for each in graph.outputs] == [output]


@pytest.mark.parametrize("name", SMALL)
def test_the_outline_is_the_network(name: str) -> None:
    outline, graph = ZOO[name].outline(SMALL[name]), ZOO[name](SMALL[name])
    assert isinstance(outline, FloatGraph)
    assert (macs(graph), parameters(graph)) == (macs(outline), parameters(outline))
    assert {t: graph.tensors[t].shape for t in outline.shapes if t in graph.tensors} == {
        t: shape for t, shape in outline.shapes.items() if t in graph.tensors}
    assert graph.name == outline.name == f"{name}@{SMALL[name]}"
    made = small(name)[1]  # the passes that are verified make the same
    for a, b in zip(graph.nodes, made.nodes, strict=True):
        for key, value in vars(a).items():
            assert np.array_equal(value, vars(b)[key]), (a.name, key)


def test_a_seed_makes_a_network() -> None:
    one, other, larger = (ZOO["decoder-block"](size, seed) for size, seed in ((4, 1), (4, 2), (6, 1)))
    weights = [next(node.weights for node in graph.nodes if node.name == "gate") for graph in (one, other, larger)]
    assert np.array_equal(weights[0], weights[2]) and not np.array_equal(weights[0], weights[1])


@pytest.mark.parametrize("name", SMALL)
def test_values_are_like_trained_ones(name: str) -> None:
    """Attention looks at a few tokens, not at one or at all alike; int8 shows what float computes, on other inputs."""
    graph, core = small(name)
    sample = list(samples(graph, 7))[1]
    largest: list[Array] = []

    def observe(tensor: str, values: Array) -> None:
        if tensor.endswith("softmax"):
            rows = values[4:] if "decoder" in name else values  # its first rows see few tokens
            largest.append(rows.max(axis=-1))

    expected = float_execute(graph, sample, observe)
    for each in largest:
        assert 2 / 17 < np.median(each) < 0.8 and np.mean(each > 0.95) < 0.1
    made = execute(core, {key: integers(value, core.tensors[key]) for key, value in sample.items()})
    (output,) = core.outputs
    x, y = dequantise(made[output], core.tensors[output]).ravel(), expected[output].ravel()
    assert x @ y / np.sqrt((x @ x) * (y @ y)) > 0.998
    assert all(len(np.unique(values)) > 48 for tensor, values in made.items() if core.tensors[tensor].dtype == "int8")


@pytest.mark.parametrize("name", ["roberta-layer", "decoder-block"])
def test_the_machine_computes_them(name: str) -> None:
    graph = small(name)[1]
    session = Session(compile_graph(graph, preset("edge")), "machine", check=True)
    session.infer(random_inputs(graph))
    assert session.difference is None and session.compared > 10


def test_what_they_are() -> None:
    causal = [node.causal for node in small("decoder-block")[1].nodes if isinstance(node, Softmax)]
    assert causal == [True]
    graph = small("decoder-block")[1]
    scores = next(node for node in graph.nodes if isinstance(node, MatMul))
    shapes = [graph.tensors[each].shape for each in (*scores.inputs, scores.output)]
    assert scores.sizes(*shapes)[:2] == (8, 2)
    assert all(node.rms for node in graph.nodes if isinstance(node, Norm))
    graph = small("vit-tiny")[1]
    assert graph.input_layouts["input"] == (1, 3, 64, 64) and graph.output_layouts == {"head": (1, 1000)}
    assert sum(isinstance(node, Norm) for node in graph.nodes) == 25
    assert graph.tensors["tokens"].shape == (17, 1, 192)  # 16 patches behind the class token
    token = execute(graph, random_inputs(graph))["tokens"][0]
    assert np.array_equal(token, next(n for n in graph.nodes if isinstance(n, Constant)).values[0])


def masked(tokens: int, weights: Seeded | Blank | None = None) -> FloatGraph:
    """A small encoder that takes a mask, and gives the first token."""
    b = FloatBuilder("encoder", weights or Seeded(3))
    x = embeddings(b, tokens, words=50, positions=20, skipped=2, types=1, channels=64, epsilon=1e-5)
    x = layer(b, x, "layer", Attention(4, masked=True), 96, 1e-5)
    return b.graph({b.first(x, "first"): (1, 64)}, mask="attention_mask")


def test_an_encoder_with_words_and_a_mask() -> None:
    graph = run_passes(masked(12))
    core = quantise(graph, samples(graph, 1))
    assert core.mask == "attention_mask" and core.entries() == {"input_ids": 50} and core.inputs == ("input_ids",)
    ids = np.random.default_rng(5).integers(50, size=(12, 1, 1)).astype(np.int32)
    whole = execute(shortened(core, 7), {"input_ids": ids[:7]})["first"]
    expected = float_execute(masked(7), {"input_ids": ids[:7].astype(np.float32)})["first"].ravel()
    real = dequantise(whole, core.tensors["first"]).ravel()
    assert real @ expected / np.sqrt((real @ real) * (expected @ expected)) > 0.995
    table = next(node for node in core.nodes if isinstance(node, Embedding))
    assert core.tensors[table.output].dtype == "int16" and table.table.shape == (50, 64)
    assert any(isinstance(node, Slice) for node in core.nodes)
    session = Session(compile_graph(core, preset("edge")), "machine", check=True)
    session.infer({"input_ids": ids})
    assert session.difference is None


def test_tokens_stay_different_over_many_layers() -> None:
    """What they have in common does not pile up until every attention is flat."""
    b = FloatBuilder("deep", Seeded(1))
    x = embeddings(b, 64, words=300, positions=100, skipped=2, types=1, channels=192, epsilon=1e-5)
    for number in range(12):
        x = layer(b, x, f"encoder.layer.{number}", Attention(3), 768, 1e-5)
    ids = np.random.default_rng(0).integers(300, size=(64, 1, 1)).astype(np.float32)
    y = float_execute(b.graph({x: (1, 64, 192)}), {"input_ids": ids})[x]
    assert y.mean(axis=0).var() / y.var() < COMMON


def test_positions_are_taken_behind_the_padding() -> None:
    fixed = next(node for node in masked(6).nodes if node.output == "embeddings.positions")
    seeded = Seeded(3)
    place = seeded.table("embeddings.position_embeddings", 20, 64, 0.5)
    kind = seeded.table("embeddings.token_type_embeddings", 1, 64, 0.5)
    assert np.array_equal(fixed.values[:, 0], place[2:8] + kind)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text, says", [
    ("roberta-layer@1", "2 to 512 tokens, not 1"), ("vit-tiny@100", "multiples of 16, 32 to 512 pixels, not 100"),
    ("decoder-block@1025", "not 1025"), ("vit-tiny@16", "not 16"), ("roberta-layer@0", "not 0"),
    ("roberta-base@128x13", "1 to 12 layers, not 13"), ("roberta-base@128x0", "not 0"),
    ("roberta-layer@16x2", "one layer, not 2")])
def test_sizes_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        from_name(text)


def test_records() -> None:
    records = {name: ZOO[name].record() for name in NAMES}
    assert [record["input"] for record in records.values()] == [[128], [128], [128, 768], [224, 224, 3], [128, 512]]
    assert records["vit-tiny"]["sizes"] == "multiples of 16, 32 to 512 pixels"
    assert records["roberta-base"]["weights"] == "seeded random"
    assert [record["layers"] for record in records.values()] == [*["1 to 12 layers"] * 2, "", "1 to 12 layers", ""]


def test_fewer_layers() -> None:
    """The first ones, with the same weights; what comes behind them stays."""
    network = ZOO["vit-tiny"]
    assert isinstance(network, Transformer)
    few, all_ = network.outline(64, 2), network.outline(64)
    assert (few.name, all_.name, network.outline(layers=2).name) == ("vit-tiny@64x2", "vit-tiny@64", "vit-tiny@224x2")
    assert network.outline(224, 12).name == "vit-tiny"
    fixed = macs(network.outline(64, 1)) - (macs(few) - macs(network.outline(64, 1)))
    assert macs(all_) - fixed == 12 * (macs(network.outline(64, 1)) - fixed) and few.outputs == all_.outputs
    made = from_name("vit-tiny@32x1")
    assert made is not None and made.name == "vit-tiny@32x1" and sum(isinstance(n, Softmax) for n in made.nodes) == 1
    weights = {n.name: n.weights for n in network.float_graph(32, layers=1).nodes if isinstance(n, FloatConv)}
    for node in network.float_graph(32, layers=2).nodes:
        if isinstance(node, FloatConv) and node.name in weights:
            assert np.array_equal(node.weights, weights[node.name])
    roberta = ZOO["roberta-base"]
    assert isinstance(roberta, Transformer) and macs(roberta.outline(layers=2)) == 2 * 931_135_488
    mlm, base = ZOO["roberta-mlm"].outline(), ZOO["roberta-base"].outline()
    assert isinstance(mlm, FloatGraph) and isinstance(base, FloatGraph) and mlm.mask == base.mask == "attention_mask"
    assert [n.name for n in mlm.nodes[:len(base.nodes)]] == [n.name for n in base.nodes]


def test_constants_do_not_come_behind_weights_that_wait() -> None:
    """The vector unit's queue is short: where it waits for cos behind the weights of a layer that cannot be issued
    before there is room in it, nothing moves."""
    artefact = compile_graph(ZOO["decoder-block"](64), preset("edge").replace(memory_bytes=1 << 18))
    assert timing_of(artefact).cycles > macs(artefact.graph) / 256


def test_no_more_waits_behind_weights_than_the_movers_queue_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers whose weights take three instructions each, as one of 50265 words has them."""
    monkeypatch.setattr(plan, "MOST_BLOCKS", 100)
    monkeypatch.setattr(link, "MOST_BLOCKS", 100)
    b = Builder("deep", Tensor("input", (1, 1, 256)), sample=(2, 1, 1, 256))
    x = "input"
    for _ in range(5):
        x = b.dense(x, 256)
    assert timing_of(compile_graph(b.graph(x), preset("edge"))).cycles > 5 * 256
