"""Small transformers of sizes that machines take: heads are multiples of 16 channels."""

from functools import cache

import numpy as np

from systolith.gen.float_graph import FloatGraph
from systolith.gen.frontend.onnx_float import import_float
from systolith.gen.graph import Graph
from systolith.gen.passes import run_passes
from systolith.gen.quantize import Sample, quantise
from systolith.gen.zoo.bert import embeddings, layer
from systolith.gen.zoo.float_builder import Attention, FloatBuilder
from systolith.gen.zoo.weights import Seeded
from tests.onnx_models import Model
from tests.transformer_models import (
    INT,
    angles,
    attention,
    bert_layer,
    causal,
    feed_forward,
    heads,
    layer_norm,
    linear,
    padding_mask,
    repeated,
    rms_norm,
    rotated,
    together,
)


def bert(tokens: int = 20, width: int = 64, count: int = 4, layers: int = 2, masked: bool = False) -> FloatGraph:
    """Layers of BERT, norms behind their sums."""
    m = Model(0)
    mask = padding_mask(m, "mask", "m") if masked else ""
    names = ["x", *(f"layer{number}" for number in range(layers))]
    for number, (x, y) in enumerate(zip(names, names[1:], strict=False)):
        bert_layer(m, x, y, tokens, width, count, mask, 1 - number % 2)
    inputs = {"x": (1, tokens, width), **({"mask": (1, tokens)} if masked else {})}
    return import_float(m.proto(inputs, names[-1:]), "bert")


def vit(width: int = 64, count: int = 4) -> FloatGraph:
    """Patches, a class token, positions, a block with one matrix for its projections and norms before them."""
    m = Model(1)
    m.node("Conv", ["x", m.weights(width, 3, 4, 4), m.weights(width)], "patches", strides=[4, 4])
    m.node("Reshape", ["patches", m.constant([1, width, 9], INT)], "flat")
    m.node("Transpose", ["flat"], "tokens", perm=[0, 2, 1])
    m.node("Concat", [m.weights(1, 1, width), "tokens"], "all", axis=1)
    m.node("Add", ["all", m.weights(1, 10, width)], "e")
    layer_norm(m, "e", "n", width)
    shape = m.constant([1, 10, 3, count, width // count], INT)
    m.node("Reshape", [linear(m, "n", "qkv", width, 3 * width), shape], "five")
    m.node("Transpose", ["five"], "turned", perm=[2, 0, 3, 1, 4])
    for place, name in enumerate("qkv"):
        m.node("Gather", ["turned", m.constant(place, INT)], name, axis=0)
    together(m, attention(m, "q", "k", "v", "mixed"), "joined", 10, width)
    m.node("Add", ["e", linear(m, "joined", "projected", width, width)], "f")
    m.node("Add", ["f", feed_forward(m, layer_norm(m, "f", "o", width), "g", width, 16)], "h")
    m.node("Gather", ["h", m.constant(0, INT)], "class", axis=1)
    linear(m, "class", "y", width, 5)
    return import_float(m.proto({"x": (1, 3, 12, 12)}, ["y"]), "vit")


def llama(tokens: int = 20, width: int = 64, count: int = 4, groups: int = 2, size: int = 16) -> FloatGraph:
    """Grouped heads with rotary positions, a causal mask, and a gated feed forward."""
    m = Model(2)
    cos, sin = (m.constant(each) for each in angles(tokens, size))
    rms_norm(m, "x", "n", width)
    q, k, v = (heads(m, m.node("MatMul", ["n", m.weights(width, number * size)], name), f"{name}h", tokens, number,
                     size) for name, number in (("q", count), ("k", groups), ("v", groups)))
    q, k = rotated(m, q, "qr", cos, sin, size), rotated(m, k, "kr", cos, sin, size)
    k, v = (repeated(m, each, f"{each}w", tokens, groups, count // groups, size) for each in (k, v))
    mixed = attention(m, q, k, v, "mixed", m.constant(causal(tokens)))
    together(m, mixed, "joined", tokens, count * size)
    m.node("Add", ["x", m.node("MatMul", ["joined", m.weights(count * size, width)], "o")], "f")
    rms_norm(m, "f", "g", width)
    m.node("MatMul", ["g", m.weights(width, 48)], "gate")
    m.node("Mul", ["gate", m.node("Sigmoid", ["gate"], "sigmoid")], "silu")
    m.node("Mul", ["silu", m.node("MatMul", ["g", m.weights(width, 48)], "up")], "both")
    m.node("Add", ["f", m.node("MatMul", ["both", m.weights(48, width)], "down")], "y")
    return import_float(m.proto({"x": (1, tokens, width)}, ["y"]), "llama")


def words(tokens: int = 24, output: str = "tokens") -> FloatGraph:
    """A layer on words by number and a mask; out come all tokens, the first one or the direction of their mean."""
    b = FloatBuilder(f"words-{output}", Seeded(3))
    x = embeddings(b, tokens, words=50, positions=40, skipped=2, types=1, channels=64, epsilon=1e-5)
    x = layer(b, x, "layer", Attention(4, masked=True), 96, 1e-5)
    if output == "tokens":
        return b.graph({x: (1, tokens, 64)}, mask="mask")
    return b.graph({b.first(x, "first") if output == "first" else b.mean_direction(x, "mean"): (1, 64)}, mask="mask")


MODELS = {
    "bert": bert, "masked bert": lambda: bert(24, masked=True), "vit": vit, "llama": llama, "words": words,
    "first": lambda: words(output="first"), "mean": lambda: words(output="mean"),
}


def samples(graph: FloatGraph, count: int = 4, seed: int = 3) -> list[Sample]:
    """Seeded inputs."""
    random, entries = np.random.default_rng(seed), graph.entries()
    return [{name: random.integers(entries[name], size=graph.shapes[name]) if name in entries else
             random.standard_normal(graph.shapes[name]).astype(np.float32) for name in graph.inputs}
            for _ in range(count)]


@cache
def float_model(name: str) -> FloatGraph:
    """One of MODELS after the passes."""
    return run_passes(MODELS[name]())


@cache
def model(name: str) -> Graph:
    """The same quantised."""
    return quantise(float_model(name), samples(float_model(name)))
