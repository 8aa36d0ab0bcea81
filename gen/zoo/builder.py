"""Integer networks with seeded random weights: the shapes of a network whose trained weights are not at hand."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import (
    Add,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    Graph,
    Lookup,
    Node,
    Pool2D,
    Reshape,
    Resize,
    Shape,
    Softmax,
    Tensor,
    output_shape,
)
from systolith.gen.quantize import activation_scale, limits, shared_shift
from systolith.rtl.isa import SINGLE
from systolith.sim.golden.execute import apply
from systolith.sim.golden.rescale import quantise_scale, rescale

from .constants import ACTIVATIONS, normalised, random_weights, silu_table, softmax_table

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
INT32 = np.iinfo(np.int32)


def same_padding(shape: Shape, kernel: Pair, stride: int) -> Padding:
    """TensorFlow's "same": ceil(size / stride) outputs, the odd row or column of padding at the bottom and right."""
    down, across = (max(0, (-(-size // stride) - 1) * stride + k - size)
                    for size, k in zip(shape[:2], kernel, strict=True))
    return (down // 2, across // 2, down - down // 2, across - across // 2)


class Builder:
    """Adds operators one after the other; each method returns the name of the tensor that it makes.

    Parameters
    ----------
    name, input: of the graph; `input` is its input tensor.
    rounding: of the convolutions.
    sample: shape [samples, height, width, channels] of the inputs that are run while building, to make constants that
    keep values spread; None: nothing is run, all weights are 0 and the graph is good for its shapes and sizes only.
    """

    def __init__(self, name: str, input: Tensor, *, rounding: int = SINGLE, seed: int = 1,
                 sample: tuple[int, ...] | None = None) -> None:
        self.name, self.rounding = name, rounding
        self.random = np.random.default_rng(seed)
        self.input = input.name
        self.tensors = {input.name: input}
        self.nodes: list[Node] = []
        self._values: dict[str, NDArray[Any]] = {}
        if sample:  # of its own seed: weights do not depend on the size
            self._values[input.name] = np.random.default_rng((seed, 1)).integers(-128, 128, sample, np.int8)

    def _name(self, kind: str) -> str:
        return f"{kind}_{len(self.nodes)}"

    def _scales(self, name: str) -> tuple[float, int]:
        return self.tensors[name].scale, self.tensors[name].zero_point

    def _append(self, node: Node, scales: tuple[float, int], sampled: NDArray[Any] | Node | None = None) -> str:
        """Appends a node, and its output with this scale and zero point. `sampled`: what the node makes of the samples,
        or the node that makes it, where that is another one."""
        inputs = [self.tensors[name] for name in node.inputs]
        shape = output_shape(node, inputs) or (1, 1, inputs[0].elements)  # a Reshape makes a vector
        output = self.tensors[node.output] = Tensor(node.output, shape, "int8", *scales)
        self.nodes.append(node)
        if self._values:
            if not isinstance(sampled, np.ndarray):
                sampled = apply(sampled or node, [self._values[name] for name in node.inputs], inputs, output)
            self._values[node.output] = sampled
        return node.output

    def _weights(self, *shape: int) -> NDArray[np.int8]:
        return random_weights(self.random, shape) if self._values else np.zeros(shape, np.int8)

    def _weighted(self, node: Conv2D | DepthwiseConv2D, kind: str, like: str | None) -> str:
        """Appends a convolution whose bias and multipliers are still to be made."""
        activation = ACTIVATIONS[kind]
        scales = activation_scale(*activation.range(self.random))
        if like and kind != "silu":
            scales = self._scales(like)
        low, high = limits(*activation.clamp, Tensor(node.output, (1, 1, 1), "int8", *scales))
        sampled = None
        if self._values:
            x = self.tensors[node.inputs[0]]
            sums = apply(replace(node, low=INT32.min, high=INT32.max), [self._values[x.name]], [x],
                         Tensor(node.output, (1, 1, 1), "int32"))
            node = normalised(node, sums, activation, x.scale, scales[0], self.random)
            sampled = rescale((sums.astype(np.int64) + node.bias).astype(np.int32), node.multiplier, node.shift,
                              rounding=node.rounding, zero_point=scales[1], low=low, high=high).astype(np.int8)
        out = self._append(replace(node, low=low, high=high), scales, sampled)
        if kind != "silu":
            return out
        table, scale, zero_point = silu_table(self.tensors[out], self._scales(like) if like else None)
        name = self._name("silu")
        return self._append(Lookup(name, (out,), name, table), (scale, zero_point))

    def conv(self, x: str, channels: int, kernel: int | Pair = 3, stride: int = 1, padding: int | None = None,
             activation: str = "relu", like: str | None = None) -> str:
        """Convolution, then "none", "relu", "relu6" or "silu" (a table, a node of its own).

        padding: on all four sides; None: TensorFlow's "same". like: a tensor whose scale and zero point the result has.
        """
        return self._conv("conv", x, channels, kernel, stride, padding, activation, like, self.rounding)

    def dense(self, x: str, channels: int, activation: str = "none") -> str:
        """Fully connected layer."""
        return self._conv("dense", x, channels, 1, 1, 0, activation, None, SINGLE)

    def _conv(self, kind: str, x: str, channels: int, kernel: int | Pair, stride: int, padding: int | None,
              activation: str, like: str | None, rounding: int) -> str:
        shape, name = self.tensors[x].shape, self._name(kind)
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        sides = same_padding(shape, size, stride) if padding is None else (padding,) * 4
        blank = np.zeros(channels, np.int64)
        return self._weighted(Conv2D(
            name, (x,), name, self._weights(channels, *size, shape[2]), blank.astype(np.int32), blank + 1, blank,
            (stride, stride), (1, 1), sides, rounding), activation, like)

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1, activation: str = "relu") -> str:
        """Depthwise convolution with "same" padding."""
        shape, name = self.tensors[x].shape, self._name("depthwise")
        blank = np.zeros(shape[2], np.int64)
        return self._weighted(DepthwiseConv2D(
            name, (x,), name, self._weights(shape[2], kernel, kernel), blank.astype(np.int32), blank + 1, blank,
            (stride, stride), (1, 1), same_padding(shape, (kernel, kernel), stride), self.rounding), activation, None)

    def add(self, a: str, b: str, activation: str = "relu") -> str:
        """Residual sum, with or without ("none") ReLU."""
        x, y, kind = self.tensors[a], self.tensors[b], ACTIVATIONS[activation]
        low, high = kind.covered
        if self._values:
            total = (self._values[a].astype(np.float64) - x.zero_point) * x.scale
            total += (self._values[b].astype(np.float64) - y.zero_point) * y.scale
            low, high = np.quantile(np.clip(total, *kind.clamp), (0.0005, 0.9995)).tolist()
        scale, zero_point = activation_scale(low, high)
        multiplier, shift = shared_shift(x.scale / scale, y.scale / scale)
        name = self._name("add")
        ends = limits(*kind.clamp, Tensor(name, x.shape, "int8", scale, zero_point))
        return self._append(Add(name, (a, b), name, multiplier, shift, SINGLE, *ends), (scale, zero_point))

    def average(self, x: str) -> str:
        """Global average pool."""
        name = self._name("average")

        def node(height: int, width: int) -> Pool2D:
            return Pool2D(name, (x,), name, "average", (height, width), *quantise_scale(1 / (height * width)))

        sampled = node(*self._values[x].shape[1:3]) if self._values else None
        return self._append(node(*self.tensors[x].shape[:2]), self._scales(x), sampled)

    def max_pool(self, x: str, kernel: int, stride: int, padding: int) -> str:
        """Max pool."""
        name = self._name("max")
        return self._append(Pool2D(name, (x,), name, "max", (kernel, kernel), *quantise_scale(1.0), (stride, stride),
                                   padding=(padding,) * 4), self._scales(x))

    def concat(self, *parts: str) -> str:
        """The channels of `parts` one after the other; ValueError unless their scales and zero points are equal."""
        name = self._name("concat")
        for other in parts:
            if self._scales(other) != self._scales(parts[0]):
                raise ValueError(f"{name}: {other} has another scale or zero point than {parts[0]}")
        return self._append(Concat(name, parts, name, 2), self._scales(parts[0]))

    def upsample(self, x: str) -> str:
        """Twice as high and wide, nearest neighbour."""
        name = self._name("upsample")

        def node(height: int, width: int) -> Resize:
            rows, columns = (tuple((i // 2, i // 2, 0) for i in range(2 * size)) for size in (height, width))
            return Resize(name, (x,), name, rows, columns)

        sampled = node(*self._values[x].shape[1:3]) if self._values else None
        return self._append(node(*self.tensors[x].shape[:2]), self._scales(x), sampled)

    def flatten(self, x: str) -> str:
        """The tensor as a vector."""
        name = self._name("flat")
        return self._append(Reshape(name, (x,), name), self._scales(x))

    def softmax(self, x: str) -> str:
        """Softmax over the channels."""
        name = self._name("softmax")
        return self._append(Softmax(name, (x,), name, softmax_table(self.tensors[x].scale)), (1 / 256, -128))

    def graph(self, *outputs: str) -> Graph:
        """The network up to `outputs`; vectors are [1, n] for its user, images NCHW."""
        def layout(name: str) -> tuple[int, ...]:
            h, w, c = self.tensors[name].shape
            return (1, c) if (h, w) == (1, 1) else (1, c, h, w)

        graph = Graph(self.name, (self.input,), outputs, self.tensors, tuple(self.nodes),
                      {self.input: layout(self.input)}, {name: layout(name) for name in outputs})
        graph.check()
        return graph
