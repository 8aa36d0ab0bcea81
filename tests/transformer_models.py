"""Parts of transformers as ONNX nodes, in the ways in which exporters write them."""

from typing import Any

import numpy as np
import onnx

from systolith.gen.float_graph import FloatGraph, FloatNode
from tests.onnx_models import Model
from tests.test_frontend import kinds

INT = np.int64
T, D, H = 6, 8, 2
X = {"x": (1, T, D)}
MASK = {**X, "mask": (1, T)}


def only(graph: FloatGraph, kind: type[FloatNode]) -> Any:
    """The one node of that kind."""
    (node,) = (node for node in graph.nodes if isinstance(node, kind))
    return node


def still(graph: FloatGraph) -> FloatGraph:
    """A graph in which no element is moved."""
    assert "FloatTranspose" not in kinds(graph), kinds(graph)
    return graph


def counts(graph: FloatGraph) -> dict[str, int]:
    names = [name.removeprefix("Float") for name in kinds(graph) if name != "FloatReshape"]
    return {name: names.count(name) for name in sorted(set(names))}


def linear(m: Model, x: str, y: str, inputs: int, outputs: int) -> str:
    return m.node("Add", [m.node("MatMul", [x, m.weights(inputs, outputs)], f"{y}_product"), m.weights(outputs)], y)


def heads(m: Model, x: str, y: str, tokens: int, count: int, size: int, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
    m.node("Reshape", [x, m.constant([1, tokens, count, size], INT)], f"{y}_split")
    return m.node("Transpose", [f"{y}_split"], y, perm=list(perm))


def together(m: Model, x: str, y: str, tokens: int, width: int) -> str:
    m.node("Transpose", [x], f"{y}_turned", perm=[0, 2, 1, 3])
    return m.node("Reshape", [f"{y}_turned", m.constant([1, tokens, width], INT)], y)


def layer_norm(m: Model, x: str, y: str, size: int, variant: int = 0, affine: bool = True, opset: int = 17) -> str:
    """0: the operator; 1: torch before opset 17; 2: Mul and Reciprocal; 3: the difference twice."""
    last = f"{y}_plain" if affine else y
    axes: dict[str, Any] = {"axes": [-1]} if opset < 18 else {}
    axis = [] if opset < 18 else [m.constant([-1], INT)]
    gamma, beta = m.constant(m.random.uniform(0.5, 2, size)), m.weights(size)
    if variant == 0:
        return m.node("LayerNormalization", [x, gamma, *([beta] if affine else [])], y, epsilon=1e-3, axis=-1)
    m.node("ReduceMean", [x, *axis], f"{y}_mean", **axes)
    m.node("Sub", [x, f"{y}_mean"], f"{y}_centred")
    again = m.node("Sub", [x, f"{y}_mean"], f"{y}_again") if variant == 3 else f"{y}_centred"
    if variant == 2:
        m.node("Mul", [again, again], f"{y}_square")
    else:
        m.node("Pow", [again, m.constant(2.0)], f"{y}_square")
    m.node("ReduceMean", [f"{y}_square", *axis], f"{y}_variance", **axes)
    m.node("Sqrt", [m.node("Add", [f"{y}_variance", m.constant(1e-3)], f"{y}_above")], f"{y}_root")
    if variant == 2:
        m.node("Mul", [m.node("Reciprocal", [f"{y}_root"], f"{y}_inverse"), f"{y}_centred"], last)
    else:
        m.node("Div", [f"{y}_centred", f"{y}_root"], last)
    if affine:
        m.node("Add", [m.node("Mul", [last, gamma], f"{y}_scaled"), beta], y)
    return y


def rms_norm(m: Model, x: str, y: str, size: int, variant: int = 0) -> str:
    """0: Reciprocal; 1: Div of 1; 2: Div; 3: Pow of -0.5; 4: gamma first, x * x."""
    if variant == 4:
        m.node("Mul", [x, x], f"{y}_square")
    else:
        m.node("Pow", [x, m.constant(2.0)], f"{y}_square")
    m.node("ReduceMean", [f"{y}_square"], f"{y}_power", axes=[-1])
    m.node("Add", [m.constant(1e-3), f"{y}_power"], f"{y}_above")
    if variant != 3:
        m.node("Sqrt", [f"{y}_above"], f"{y}_root")
    if variant == 2:
        m.node("Div", [x, f"{y}_root"], f"{y}_plain")
    else:
        inverse = (m.node("Div", [m.constant(1.0), f"{y}_root"], f"{y}_inverse") if variant == 1 else
                   m.node("Pow", [f"{y}_above", m.constant(-0.5)], f"{y}_inverse") if variant == 3 else
                   m.node("Reciprocal", [f"{y}_root"], f"{y}_inverse"))
        m.node("Mul", [inverse, x] if variant == 4 else [x, inverse], f"{y}_plain")
    gamma = m.constant(m.random.uniform(0.5, 2, size))
    return m.node("Mul", [gamma, f"{y}_plain"] if variant == 4 else [f"{y}_plain", gamma], y)


def gelu(m: Model, x: str, y: str) -> str:
    m.node("Erf", [m.node("Div", [x, m.constant(np.sqrt(2))], f"{y}_d")], f"{y}_e")
    m.node("Mul", [x, m.node("Add", [f"{y}_e", m.constant(1.0)], f"{y}_a")], f"{y}_b")
    return m.node("Mul", [f"{y}_b", m.constant(0.5)], y)


def rotated(m: Model, x: str, y: str, cos: str, sin: str, size: int, split: bool = False) -> str:
    """HuggingFace's rotary positions along the last axis of x."""
    if split:
        m.node("Split", [x, m.constant([size // 2] * 2, INT)], f"{y}_low", axis=-1)
        m.nodes[-1].output.append(f"{y}_high")
    else:
        for part, start, end in (("low", 0, size // 2), ("high", size // 2, 2 ** 63 - 1)):
            m.node("Slice", [x, m.constant([start], INT), m.constant([end], INT), m.constant([-1], INT)], f"{y}_{part}")
    m.node("Concat", [m.node("Neg", [f"{y}_high"], f"{y}_minus"), f"{y}_low"], f"{y}_turned", axis=-1)
    m.node("Mul", [x, cos], f"{y}_straight")
    m.node("Mul", [f"{y}_turned", sin], f"{y}_crossed")
    return m.node("Add", [f"{y}_straight", f"{y}_crossed"], y)


def angles(tokens: int, size: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """cos and sin [1, 1, tokens, size]."""
    one = np.arange(tokens)[:, None] * 10000.0 ** (-np.arange(size // 2) / (size // 2))
    both = np.concatenate([one, one], axis=-1)[None, None]
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def repeated(m: Model, x: str, y: str, tokens: int, groups: int, count: int, size: int) -> str:
    """Each of `groups` heads `count` times, one after the other."""
    m.node("Unsqueeze", [x, m.constant([2], INT)], f"{y}_five")
    m.node("Expand", [f"{y}_five", m.constant([1, groups, count, tokens, size], INT)], f"{y}_wide")
    return m.node("Reshape", [f"{y}_wide", m.constant([1, groups * count, tokens, size], INT)], y)


def attention(m: Model, q: str, k: str, v: str, y: str, mask: str = "", scale: float = 0.5) -> str:
    """Of heads [1, h, T, d]: the keys turned, scores scaled after."""
    m.node("Transpose", [k], f"{y}_keys", perm=[0, 1, 3, 2])
    scores = m.node("Mul", [m.node("MatMul", [q, f"{y}_keys"], f"{y}_raw"), m.constant(scale)], f"{y}_scores")
    if mask:
        scores = m.node("Add", [scores, mask], f"{y}_masked")
    return m.node("MatMul", [m.node("Softmax", [scores], f"{y}_soft", axis=-1), v], y)


def padding_mask(m: Model, mask: str, y: str) -> str:
    """[1, T] of ones to [1, 1, 1, T] of 0 and the least number, as BERT's."""
    m.node("Unsqueeze", [m.node("Unsqueeze", [mask, m.constant([1], INT)], f"{y}_u"), m.constant([2], INT)], f"{y}_v")
    m.node("Sub", [m.constant(1.0), m.node("Cast", [f"{y}_v"], f"{y}_f", to=1)], f"{y}_s")
    return m.node("Mul", [f"{y}_s", m.constant(np.finfo(np.float32).min)], y)


def causal(tokens: int, low: float = -1e9) -> np.ndarray:  # type: ignore[type-arg]
    return np.where(np.tri(tokens, dtype=bool), 0, low).astype(np.float32)[None, None]


def self_attention(m: Model, x: str, y: str, tokens: int, width: int, count: int, mask: str = "") -> str:
    """With projections, by one matrix each."""
    parts = [heads(m, linear(m, x, f"{y}_{name}", width, width), f"{y}_{name}h", tokens, count, width // count)
             for name in "qkv"]
    mixed = attention(m, *parts, f"{y}_mixed", mask)
    return linear(m, together(m, mixed, f"{y}_joined", tokens, width), y, width, width)


def feed_forward(m: Model, x: str, y: str, width: int, inner: int) -> str:
    return linear(m, gelu(m, linear(m, x, f"{y}_up", width, inner), f"{y}_act"), y, inner, width)


def bert_layer(m: Model, x: str, y: str, tokens: int, width: int, count: int, mask: str = "", variant: int = 1) -> str:
    made = self_attention(m, x, f"{y}_att", tokens, width, count, mask)
    layer_norm(m, m.node("Add", [made, x], f"{y}_sum"), f"{y}_mid", width, variant)
    made = feed_forward(m, f"{y}_mid", f"{y}_ff", width, 2 * width)
    return layer_norm(m, m.node("Add", [made, f"{y}_mid"], f"{y}_last"), y, width, variant)


def projected(m: Model, count: int = H, size: int = D // H) -> list[str]:
    """Queries, keys and values [1, h, T, d] of x."""
    return [heads(m, m.node("MatMul", ["x", m.weights(D, count * size)], name), f"{name}h", T, count, size)
            for name in "qkv"]


def bert_export(tokens: int = 24, width: int = 64, count: int = 4, words: int = 50) -> onnx.ModelProto:
    """Words by number with positions, a norm and a layer: `input_ids` and `attention_mask` [1, tokens] to `tokens`."""
    m = Model(7)
    m.node("Gather", [m.constant(m.random.standard_normal((words, width))), "input_ids"], "word")
    layer_norm(m, m.node("Add", ["word", m.weights(1, tokens, width)], "e"), "x", width)
    bert_layer(m, "x", "tokens", tokens, width, count, padding_mask(m, "attention_mask", "m"))
    inputs = {"input_ids": (1, tokens), "attention_mask": (1, tokens)}
    return m.proto(inputs, ["tokens"], kinds=dict.fromkeys(inputs, onnx.TensorProto.INT64))
