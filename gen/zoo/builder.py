"""Integer networks with seeded random weights: the shapes of a network whose trained weights are not at hand."""

import numpy as np

from systolith.gen.graph import Add, Conv2D, Graph, Node, Pool2D, Reshape, Shape, Tensor, window_shape
from systolith.sim.golden.rescale import quantise_scale


class Builder:
    """Adds operators one after the other; each method returns the name of the tensor that it makes.

    Values stay spread over int8: a convolution's scale is set from the expected size of its sums.
    """

    def __init__(self, name: str, shape: Shape, seed: int = 1) -> None:
        self.name = name
        self.random = np.random.default_rng(seed)
        self.tensors = {"input": Tensor("input", shape, scale=1 / 64)}
        self.nodes: list[Node] = []

    def _make(self, kind: str, shape: Shape, zero_point: int) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.tensors[name] = Tensor(name, shape, scale=1 / 64, zero_point=zero_point)
        return name

    def conv(self, x: str, channels: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> str:
        """Convolution with "same" padding, ReLU or not."""
        shape = self.tensors[x].shape
        out_h, out_w = -(-shape[0] // stride), -(-shape[1] // stride)
        down, across = (max(0, (o - 1) * stride + kernel - size)
                        for o, size in zip((out_h, out_w), shape[:2], strict=True))
        padding = (down // 2, across // 2, down - down // 2, across - across // 2)
        weights = self.random.integers(-127, 128, (channels, kernel, kernel, shape[2]), np.int8)
        multiplier, shift = quantise_scale(1 / (73 * np.sqrt(kernel * kernel * shape[2])))
        out = self._make("conv", (*window_shape(shape, (kernel, kernel), (stride, stride), (1, 1), padding), channels),
                         -128 if relu else 0)
        ones = np.ones(channels, np.int64)
        self.nodes.append(Conv2D(out, (x,), out, weights, self.random.integers(-500, 500, channels, np.int32),
                                 ones * multiplier, ones * shift, (stride, stride), (1, 1), padding))
        return out

    def add(self, a: str, b: str) -> str:
        """Residual sum with ReLU."""
        multiplier, shift = quantise_scale(0.7)
        out = self._make("add", self.tensors[a].shape, -128)
        self.nodes.append(Add(out, (a, b), out, (multiplier, multiplier), shift))
        return out

    def average(self, x: str) -> str:
        """Global average pool."""
        h, w, c = self.tensors[x].shape
        multiplier, shift = quantise_scale(1 / (h * w))
        out = self._make("average", (1, 1, c), self.tensors[x].zero_point)
        self.nodes.append(Pool2D(out, (x,), out, "average", (h, w), multiplier, shift))
        return out

    def flatten(self, x: str) -> str:
        """The tensor as a vector."""
        out = f"flat_{len(self.nodes)}"
        t = self.tensors[x]
        self.tensors[out] = Tensor(out, (1, 1, t.elements), t.dtype, t.scale, t.zero_point)
        self.nodes.append(Reshape(out, (x,), out))
        return out

    def graph(self, output: str) -> Graph:
        """The network up to `output`."""
        h, w, c = self.tensors["input"].shape
        shape = self.tensors[output].shape
        return Graph(self.name, ("input",), (output,), self.tensors, tuple(self.nodes), {"input": (1, c, h, w)},
                     {output: (1, shape[2]) if shape[:2] == (1, 1) else (1, shape[2], *shape[:2])})
