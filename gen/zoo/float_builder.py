"""Float networks layer by layer: the parts of transformers, with weights from anywhere."""

import math
from collections.abc import Callable

import numpy as np

from systolith.gen.float_graph import (
    FloatAdd,
    FloatConcat,
    FloatConstant,
    FloatConv,
    FloatEmbedding,
    FloatFunction,
    FloatGraph,
    FloatMatMul,
    FloatMul,
    FloatNode,
    FloatNorm,
    FloatPool,
    FloatReshape,
    FloatRotary,
    FloatSlice,
    FloatSoftmax,
    float_shape,
)
from systolith.gen.frontend.functions import FUNCTIONS
from systolith.gen.graph import Shape

from .weights import Array, Weights


class Attention:
    """An attention of so many `heads`, and `groups` of keys and values (as many unless given); which scores count:
    `causal`, and with `masked` only those of valid tokens."""

    def __init__(self, heads: int, groups: int = 0, *, causal: bool = False, masked: bool = False) -> None:
        self.heads, self.groups, self.causal, self.masked = heads, groups or heads, causal, masked


class FloatBuilder:
    """Adds operators one after the other; each method returns the name of the tensor that it makes, which is the
    layer's: weights are asked for by it. Tokens are rows: [tokens, 1, channels].

    Parameters
    ----------
    name: of the graph. weights: where its numbers come from.
    """

    def __init__(self, name: str, weights: Weights) -> None:
        self.name, self.weights = name, weights
        self.shapes: dict[str, Shape] = {}
        self.nodes: list[FloatNode] = []
        self._inputs: dict[str, tuple[int, ...]] = {}

    def _add(self, node: FloatNode, shape: Shape | None = None) -> str:
        self.shapes[node.output] = shape or float_shape(node, *(self.shapes[name] for name in node.inputs))
        self.nodes.append(node)
        return node.output

    def input(self, name: str, shape: Shape, layout: tuple[int, ...]) -> str:
        """An input; `layout` is its shape for the user, with the batch."""
        self.shapes[name], self._inputs[name] = shape, layout
        return name

    def linear(self, x: str, channels: int, name: str, *, gain: float = 1.0, bias: bool = True) -> str:
        """Fully connected layer of each token."""
        inputs = self.shapes[x][2]
        weights, offset = self.weights.linear(name, channels, inputs, gain)
        return self._add(FloatConv(name, (x,), name, weights.reshape(channels, 1, 1, inputs),
                                   offset if bias else np.zeros(channels, np.float32)))

    def patches(self, x: str, channels: int, size: int, name: str) -> str:
        """Each square of an image as a token."""
        inputs = self.shapes[x][2]
        weights, bias = self.weights.linear(name, channels, size * size * inputs, 1.0)
        y = self._add(FloatConv(name, (x,), name, weights.reshape(channels, size, size, inputs), bias, (size, size)))
        return self.reshape(y, (math.prod(self.shapes[y][:2]), 1, channels), f"{name}.tokens")

    def embedding(self, x: str, entries: int, channels: int, name: str, size: float = 1.0) -> str:
        """Rows of a table."""
        return self._add(FloatEmbedding(name, (x,), name, self.weights.table(name, entries, channels, size)))

    def constant(self, values: Array, name: str) -> str:
        """Numbers [height, width, channels]."""
        return self._add(FloatConstant(name, (), name, values))

    def norm(self, x: str, name: str, epsilon: float, *, rms: bool = False) -> str:
        """Layer norm, or RMS norm."""
        gamma, beta = self.weights.norm(name, self.shapes[x][2])
        return self._add(FloatNorm(name, (x,), name, gamma, np.zeros_like(beta) if rms else beta, epsilon, rms))

    def function(self, x: str, kind: str, name: str) -> str:
        """A function by ONNX's name."""
        function: Callable[[Array], Array] = lambda v: FUNCTIONS[kind](v, {})  # noqa: E731
        return self._add(FloatFunction(name, (x,), name, function))

    def add(self, a: str, b: str, name: str) -> str:
        """Sum."""
        return self._add(FloatAdd(name, (a, b), name))

    def mul(self, a: str, b: str, name: str) -> str:
        """Product, element by element."""
        return self._add(FloatMul(name, (a, b), name))

    def reshape(self, x: str, shape: Shape, name: str) -> str:
        """The same elements in another shape."""
        return self._add(FloatReshape(name, (x,), name), shape)

    def concat(self, parts: tuple[str, ...], name: str) -> str:
        """Tokens one after the other."""
        return self._add(FloatConcat(name, parts, name, 0))

    def first(self, x: str, name: str) -> str:
        """The first token."""
        channels = self.shapes[x][2]
        return self._add(FloatSlice(name, (x,), name, (0, 0, 0), (1, 1, 1), (1, 1, channels)))

    def mean_direction(self, x: str, name: str) -> str:
        """The mean of the valid tokens, divided by its length."""
        tokens, _, channels = self.shapes[x]
        mean = self._add(FloatPool(f"{name}.mean", (x,), f"{name}.mean", "average", (tokens, 1), masked=True))
        gamma = np.full(channels, channels ** -0.5, np.float32)
        return self._add(FloatNorm(name, (mean,), name, gamma, np.zeros(channels, np.float32), 0.0, True))

    def attention(self, x: str, name: str, how: Attention, *, bias: bool = True,
                  turned: tuple[str, str] | None = None) -> str:
        """Self-attention with its four projections; heads are as wide as the channels allow. turned: cos and sin of
        rotary positions, if any."""
        tokens, _, channels = self.shapes[x]
        size = channels // how.heads
        parts = []
        for part, count in (("query", how.heads), ("key", how.groups), ("value", how.groups)):
            # random scores with a deviation of 1.7: a token looks at several others, at none of them alone
            gain = 1.0 if part == "value" else 1.3
            made = self.linear(x, count * size, f"{name}.{part}", gain=gain, bias=bias)
            made = self.reshape(made, (tokens, count, size), f"{made}.heads")
            if turned and part != "value":
                made = self._add(FloatRotary(f"{made}.turned", (made, *turned), f"{made}.turned"))
            parts.append(made)
        query, key, value = parts
        scores = self._add(FloatMatMul(f"{name}.scores", (query, key), f"{name}.scores", True, size ** -0.5))
        soft = self._add(FloatSoftmax(f"{name}.softmax", (scores,), f"{name}.softmax", how.causal, how.masked))
        mixed = self._add(FloatMatMul(f"{name}.mixed", (soft, value), f"{name}.mixed"))
        joined = self.reshape(mixed, (tokens, 1, channels), f"{name}.joined")
        # what random attentions mix is much the same for all tokens: much of it would leave them no difference
        return self.linear(joined, channels, f"{name}.output", gain=0.5, bias=bias)

    def graph(self, outputs: dict[str, tuple[int, ...]], mask: str = "") -> FloatGraph:
        """The network up to `outputs`, which have these shapes for the user; `mask`: see `FloatGraph.mask`."""
        graph = FloatGraph(self.name, tuple(self._inputs), tuple(outputs), self.shapes, tuple(self.nodes),
                           dict(self._inputs), dict(outputs), mask=mask)
        graph.check()
        return graph
