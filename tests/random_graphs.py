"""Seeded random networks over all operators of the core graph."""

import numpy as np

from systolith.gen.graph import (
    Add,
    ArgMax,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    Graph,
    Lookup,
    Mul,
    Node,
    Pool2D,
    Rescale,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Transpose,
    TransposedConv2D,
    output_shape,
)
from systolith.rtl.isa import DOUBLE, EVEN, SINGLE
from systolith.sim.golden.rescale import quantise_scale


class RandomGraph:
    """Grows a network by random operators; every tensor is int8 with a random zero point."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        shape = (self._pick(1, 12), self._pick(1, 12), self._pick(1, 40))
        self.tensors = {"x": Tensor("x", shape, zero_point=self._pick(-128, 127))}
        self.nodes: list[Node] = []
        self.at = "x"

    def _pick(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def _scale(self, size: float) -> tuple[int, int]:
        return quantise_scale(float(size * np.exp(self.random.uniform(-1, 1))))

    def _append(self, node: Node) -> None:
        shape = output_shape(node, [self.tensors[name] for name in node.inputs])
        assert shape is not None
        self.tensors[node.output] = Tensor(node.output, shape, zero_point=self._pick(-128, 127))
        self.nodes.append(node)
        self.at = node.output

    def _clamp(self) -> dict[str, int]:
        low, high = sorted((self._pick(-128, 127), self._pick(-128, 127)))
        return {"low": low, "high": high} if self._pick(0, 2) == 0 else {}

    def _window(self, shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
        dilations = self._pick(1, 2), self._pick(1, 2)
        kernel = tuple(self._pick(1, max(1, min(4, (shape[i] - 1) // dilations[i] + 1))) for i in (0, 1))
        reach = [dilations[i] * (kernel[i] - 1) for i in (0, 1)]
        return {"kernel": kernel, "dilations": dilations, "strides": (self._pick(1, 3), self._pick(1, 3)),
                "padding": tuple(self._pick(0, reach[i % 2]) for i in range(4))}

    def conv(self) -> None:
        x = self.tensors[self.at]
        window = self._window(x.shape)
        kernel = window.pop("kernel")
        channels = self._pick(1, 40)
        weights = self.random.integers(-128, 128, (channels, *kernel, x.shape[2]), np.int8)
        scales = [self._scale(1 / (80 * np.sqrt(weights[0].size))) for _ in range(channels)]
        self._append(Conv2D(
            f"conv{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", weights,
            self.random.integers(-2000, 2000, channels, np.int32), np.array([m for m, _ in scales], np.int64),
            np.array([s for _, s in scales], np.int64), rounding=[SINGLE, DOUBLE][self._pick(0, 1)],
            **window, **self._clamp()))  # type: ignore[arg-type]

    def pool(self) -> None:
        x = self.tensors[self.at]
        window = self._window(x.shape)
        mode = ["max", "average"][self._pick(0, 1)]
        size = window["kernel"][0] * window["kernel"][1]
        multiplier, shift = self._scale(1.0 if mode == "max" else 1 / size)
        border = tuple((count, *self._scale(1 / count)) for count in range(1, size + 1))
        exclude = mode == "average" and self._pick(0, 1) == 1
        # A window that lies wholly in the padding has no count; such paddings stay below the kernel's reach.
        self._append(Pool2D(f"pool{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", mode, multiplier=multiplier,
                            shift=shift, exclude_padding=exclude, border=border if exclude else (),
                            rounding=[SINGLE, DOUBLE, EVEN][self._pick(0, 2)], **window, **self._clamp()))  # type: ignore[arg-type]

    def rescale(self) -> None:
        multiplier, shift = self._scale(1.0)
        clamp = self._clamp()
        padding = (0, 0, 0, 0) if clamp else tuple(self._pick(0, 2) for _ in range(4))
        self._append(Rescale(f"rescale{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", multiplier, shift, padding,
                             **clamp))  # type: ignore[arg-type]

    def depthwise(self) -> None:
        x = self.tensors[self.at]
        window = self._window(x.shape)
        kernel = window.pop("kernel")
        outputs = x.shape[2] * self._pick(1, 2)
        weights = self.random.integers(-128, 128, (outputs, *kernel), np.int8)
        scales = [self._scale(1 / (80 * np.sqrt(weights[0].size))) for _ in range(outputs)]
        self._append(DepthwiseConv2D(
            f"depthwise{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", weights,
            self.random.integers(-2000, 2000, outputs, np.int32), np.array([m for m, _ in scales], np.int64),
            np.array([s for _, s in scales], np.int64), rounding=[SINGLE, DOUBLE][self._pick(0, 1)],
            **window, **self._clamp()))  # type: ignore[arg-type]

    def transposed(self) -> None:
        x = self.tensors[self.at]
        kernel, strides = (self._pick(1, 4), self._pick(1, 4)), (self._pick(1, 3), self._pick(1, 3))
        channels = self._pick(1, 20)
        padding = (*(self._pick(0, kernel[i] - 1) for i in (0, 1)), *(self._pick(-1, kernel[i] - 1) for i in (0, 1)))
        sizes = [(x.shape[i] - 1) * strides[i] + kernel[i] - padding[i] - padding[2 + i] for i in (0, 1)]
        if min(sizes) < 1:
            return
        weights = self.random.integers(-128, 128, (channels, *kernel, x.shape[2]), np.int8)
        scales = [self._scale(1 / (80 * np.sqrt(weights[0].size))) for _ in range(channels)]
        self._append(TransposedConv2D(
            f"transposed{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", weights,
            self.random.integers(-2000, 2000, channels, np.int32), np.array([m for m, _ in scales], np.int64),
            np.array([s for _, s in scales], np.int64), strides, padding, **self._clamp()))  # type: ignore[arg-type]

    def bilinear(self) -> None:
        shape = self.tensors[self.at].shape
        bits = self._pick(1, 10)
        tables = []
        for size in shape[:2]:
            length = self._pick(1, 2 * size)
            at = [(2 * k + 1) * size * (1 << bits) // (2 * length) for k in range(length)]
            tables.append(tuple((k >> bits, min((k >> bits) + 1, size - 1), k % (1 << bits)) for k in at))
        self._append(Resize(f"bilinear{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", *tables, bits,
                            **self._clamp(), multiplier=self._pick(1, 1 << 20), shift=self._pick(16, 21),
                            raw=self._pick(0, 1) == 1))

    def arg_max(self) -> None:
        """Ends the network: its output is int32."""
        name = f"t{len(self.nodes)}"
        shape = self.tensors[self.at].shape
        self.tensors[name] = Tensor(name, (*shape[:2], 1), "int32")
        self.nodes.append(ArgMax(f"argmax{len(self.nodes)}", (self.at,), name, bool(self._pick(0, 1))))

    def mul(self) -> None:
        """The product with an earlier tensor of its shape, or with one value a channel."""
        shape = self.tensors[self.at].shape
        other = [n for n, t in self.tensors.items() if t.shape in (shape, (1, 1, shape[2]), (*shape[:2], 1))]
        b = other[self._pick(0, len(other) - 1)]
        self._append(Mul(f"mul{len(self.nodes)}", (self.at, b), f"t{len(self.nodes)}", *self._scale(1 / 128),
                         **self._clamp()))

    def lookup(self) -> None:
        table = self.random.integers(-128, 128, 256, np.int8)
        self._append(Lookup(f"lookup{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", table))

    def softmax(self) -> None:
        if self.tensors[self.at].shape[2] > 4096:
            return
        table = np.rint(2.0 ** 24 * np.exp(-self.random.uniform(0.01, 0.3) * np.arange(256))).astype(np.int32)
        self._append(Softmax(f"softmax{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", table))

    def slice(self) -> None:
        shape = self.tensors[self.at].shape
        start = tuple(self._pick(0, size - 1) for size in shape)
        step = tuple(self._pick(1, 3) for _ in shape)
        name = f"t{len(self.nodes)}"
        size = tuple(self._pick(1, (n - 1 - a) // k + 1) for n, a, k in zip(shape, start, step, strict=True))
        self.tensors[name] = Tensor(name, size, zero_point=self.tensors[self.at].zero_point)  # type: ignore[arg-type]
        self.nodes.append(Slice(f"slice{len(self.nodes)}", (self.at,), name, start, step))  # type: ignore[arg-type]
        self.at = name

    def concat(self) -> None:
        """Two or three tensors that agree in two axes."""
        axis = self._pick(0, 2)
        shape = self.tensors[self.at].shape
        like = [n for n, t in self.tensors.items() if all(t.shape[k] == shape[k] for k in range(3) if k != axis)]
        inputs = (self.at, *(like[self._pick(0, len(like) - 1)] for _ in range(self._pick(1, 2))))
        self._append(Concat(f"concat{len(self.nodes)}", inputs, f"t{len(self.nodes)}", axis))

    def transpose(self) -> None:
        permutation = tuple(int(k) for k in self.random.permutation(3))
        self._append(Transpose(f"transpose{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", permutation))  # type: ignore[arg-type]

    def resize(self) -> None:
        shape = self.tensors[self.at].shape
        tables = []
        for size in shape[:2]:
            length = size * 2 if self._pick(0, 1) else self._pick(1, 2 * size)
            at = [k * size // length for k in range(length)]
            tables.append(tuple((k, k, 0) for k in at))
        self._append(Resize(f"resize{len(self.nodes)}", (self.at,), f"t{len(self.nodes)}", *tables))

    def add(self) -> None:
        """The sum of a tensor with a rescaled copy of itself, or with an earlier tensor of its shape."""
        other = [n for n, t in self.tensors.items() if t.shape == self.tensors[self.at].shape]
        b = other[self._pick(0, len(other) - 1)]
        multiplier = self._pick(1 << 20, (1 << 30) - 1), self._pick(1 << 20, (1 << 30) - 1)
        self._append(Add(f"add{len(self.nodes)}", (self.at, b), f"t{len(self.nodes)}", multiplier, 30, **self._clamp()))

    def reshape(self) -> None:
        x = self.tensors[self.at]
        name = f"t{len(self.nodes)}"
        shape = (1, 1, x.elements) if self._pick(0, 1) else (1, x.shape[0] * x.shape[1], x.shape[2])
        self.tensors[name] = Tensor(name, shape, zero_point=x.zero_point)
        self.nodes.append(Reshape(f"reshape{len(self.nodes)}", (self.at,), name))
        self.at = name

    def graph(self, nodes: int) -> Graph:
        """A network of `nodes` operators; its last tensor and one in the middle are outputs."""
        while len(self.nodes) < nodes:
            kinds = [self.conv, self.conv, self.depthwise, self.pool, self.rescale, self.add, self.mul, self.lookup,
                     self.softmax, self.slice, self.concat, self.transposed, self.bilinear, self.transpose,
                     self.resize, self.reshape]
            if self.tensors[self.at].elements > 6000:
                kinds = [self.pool, self.slice]
            kinds[self._pick(0, len(kinds) - 1)]()
        outputs = tuple(dict.fromkeys((self.nodes[len(self.nodes) // 2].output, self.at)))
        if self._pick(0, 3) == 0:
            self.arg_max()
            outputs += (self.nodes[-1].output,)
        return Graph("random", ("x",), outputs, self.tensors, tuple(self.nodes))
