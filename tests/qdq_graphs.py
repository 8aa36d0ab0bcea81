"""Core graphs whose multipliers are made of their scales, and QDQ files of a few operators, for the tests of QDQ."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from systolith.gen.graph import Add, Conv2D, Graph, Node, Pool2D, Rescale, Reshape, Tensor, output_shape
from systolith.gen.quantize import average_scales, shared_shift
from systolith.rtl.isa import EVEN, SINGLE
from systolith.sim.golden.rescale import quantise_scale


class ScaledGraph:
    """Grows a network operator by operator; scales and zero points are random, and outputs mostly do not saturate."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        shape = (self._pick(9, 12), self._pick(9, 12), self._pick(2, 6))
        self.tensors = {"x": self._tensor("x", shape, 0.02)}
        self.nodes: list[Node] = []
        self.at = "x"

    def _pick(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def _tensor(self, name: str, shape: tuple[int, int, int], scale: float) -> Tensor:
        scale = float(np.float32(scale * self.random.uniform(0.7, 1.4)))
        return Tensor(name, shape, "int8", scale, self._pick(-30, 30))

    def _clamp(self, zero_point: int) -> dict[str, int]:
        """Nothing, a Relu, or a Clip on one or both sides, from 0 too."""
        return [{}, {"low": zero_point}, {"low": -90, "high": 70}, {"high": 55},
                {"low": zero_point, "high": zero_point + 50}][self._pick(0, 4)]

    def _window(self, shape: tuple[int, int, int]) -> tuple[dict[str, Any], tuple[int, int]]:
        """Strides, padding and dilations that fit, and the kernel."""
        kernel = self._pick(1, min(3, shape[0])), self._pick(1, min(3, shape[1]))
        return {"strides": (1 + self._pick(0, 3) // 3, 1 + self._pick(0, 3) // 3),
                "padding": tuple(self._pick(0, kernel[i % 2] - 1) for i in range(4)),
                "dilations": tuple(self._pick(1, 2) if shape[i] >= 2 * kernel[i] else 1 for i in (0, 1))}, kernel

    def _append(self, node: Node) -> None:
        self.nodes.append(node)
        self.at = node.output

    def _output(self, scale: float, node: Node) -> Tensor:
        """The tensor that the node, of which only the geometry is right, will make."""
        shape = output_shape(node, [self.tensors[name] for name in node.inputs])
        tensor = self._tensor(node.output, shape or (1, 1, self.tensors[self.at].elements), scale)
        self.tensors[node.output] = tensor
        return tensor

    def conv(self, channels: int | None = None, *, pointwise: bool = False) -> None:
        x = self.tensors[self.at]
        window, kernel = ({}, (1, 1)) if pointwise else self._window(x.shape)
        channels = channels or self._pick(3, 8)
        weights = self.random.integers(-127, 128, (channels, *kernel, x.shape[2])).astype(np.int8)
        steps = (0.01 * self.random.uniform(0.5, 2, channels)).astype(np.float32)
        bias = self.random.integers(-3000, 3000, channels).astype(np.int32)
        blank = np.zeros(channels, np.int64)
        name, output = f"conv{len(self.nodes)}", f"t{len(self.nodes)}"
        y = self._output(x.scale * 0.01 * 40 * np.sqrt(weights[0].size),
                         Conv2D(name, (x.name,), output, weights, bias, blank, blank, **window))
        multiplier, shift = np.array([quantise_scale(x.scale * float(s) / y.scale) for s in steps], np.int64).T
        self._append(Conv2D(name, (x.name,), output, weights, bias, multiplier, shift, rounding=SINGLE,
                            weight_scales=steps, **window, **self._clamp(y.zero_point)))

    def pool(self) -> None:
        x = self.tensors[self.at]
        window, kernel = self._window(x.shape)
        mode, exclude = ["max", "average"][self._pick(0, 1)], bool(self._pick(0, 1))
        name, output = f"pool{len(self.nodes)}", f"t{len(self.nodes)}"
        y = self._output(x.scale, Pool2D(name, (x.name,), output, mode, kernel, 0, 0, **window))
        exclude = exclude and mode == "average" and any(window["padding"])
        multiplier, shift, border = *quantise_scale(x.scale / y.scale), ()
        if mode == "average":
            multiplier, shift, border = average_scales(x, y, kernel, window["strides"], window["dilations"],
                                                       window["padding"], exclude)
        self._append(Pool2D(name, (x.name,), output, mode, kernel, multiplier, shift, exclude_padding=exclude,
                            border=border, rounding=EVEN, **window, **self._clamp(y.zero_point)))

    def rescale(self) -> None:
        x = self.tensors[self.at]
        padding = (1, 0, 2, 1) if self._pick(0, 1) else (0, 0, 0, 0)
        name = output = f"t{len(self.nodes)}"
        y = self._output(x.scale, Rescale(name, (x.name,), output, 0, 0, padding))
        self._append(Rescale(name, (x.name,), output, *quantise_scale(x.scale / y.scale), padding, EVEN,
                             **self._clamp(y.zero_point)))

    def add(self) -> None:
        same = [n for n, t in self.tensors.items() if t.shape == self.tensors[self.at].shape]
        a, b = self.tensors[same[self._pick(0, len(same) - 1)]], self.tensors[self.at]
        name, output = f"add{len(self.nodes)}", f"t{len(self.nodes)}"
        y = self._output(1.2 * max(a.scale, b.scale), Add(name, (a.name, b.name), output, (0, 0), 0))
        multiplier, shift = shared_shift(a.scale / y.scale, b.scale / y.scale)
        self._append(Add(name, (a.name, b.name), output, multiplier, shift, EVEN, **self._clamp(y.zero_point)))

    def flatten(self) -> None:
        x = self.tensors[self.at]
        output = f"t{len(self.nodes)}"
        self.tensors[output] = Tensor(output, (1, 1, x.elements), x.dtype, x.scale, x.zero_point)
        self._append(Reshape(f"reshape{len(self.nodes)}", (x.name,), output))

    def graph(self, operators: int) -> Graph:
        """`operators` random ones, a flatten, two fully connected layers; the first result is an output too."""
        while len(self.nodes) < operators:
            [self.conv, self.conv, self.pool, self.pool, self.rescale, self.add][self._pick(0, 5)]()
        if self.tensors[self.at].shape[:2] != (1, 1):
            self.flatten()
        self.conv(12, pointwise=True)
        self.conv(5, pointwise=True)
        first = self.nodes[0].output
        height, width, channels = self.tensors[first].shape
        return Graph("random", ("x",), (first, self.at), self.tensors, tuple(self.nodes),
                     output_layouts={first: (1, channels, height, width), self.at: (1, 5)})


def odd(scale: float) -> np.float32:
    """A scale nearby whose quotients with others are no short fractions.

    So no sum lies half-way between two integers, where ONNX Runtime's float32 may fall to either side.
    """
    return np.float32(scale * (1 + 0.02 * np.sin(1e5 * scale)))


class QdqFile:
    """Builds a QDQ file as a quantiser writes it, one line an operator."""

    def __init__(self, shape: tuple[int, ...] = (1, 4, 6, 6), dtype: type = np.int8, seed: int = 0) -> None:
        self.random, self.dtype, self.shape = np.random.default_rng(seed), dtype, shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.x = self.quantised("x", 0.03, 5)

    def constant(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def quantised(self, real: str, scale: float, zero_point: int = 0, dtype: type | None = None, *,
                  exact: bool = False) -> str:
        """`real` through a QuantizeLinear and a DequantizeLinear; the scale is made odd unless it is to be `exact`."""
        dtype = dtype or self.dtype
        moved = zero_point + (128 if dtype is np.uint8 else 0)
        scales = [self.constant(np.float32(scale) if exact else odd(scale)), self.constant(dtype(moved))]
        return self.op("DequantizeLinear", [self.op("QuantizeLinear", [real, *scales]), *scales])

    def weights(self, *shape: int, scale: Any = 0.01, axis: int = 0, dtype: type = np.int8, zero_point: int = 0,
                ) -> str:
        """Random weights behind a DequantizeLinear."""
        low, high = (-127, 128) if dtype is np.int8 else (1, 256)
        values = self.random.integers(low, high, shape).astype(dtype)
        scale = np.asarray(scale, np.float32)
        return self.op("DequantizeLinear", [self.constant(values), self.constant(scale),
                                            self.constant(np.full(scale.shape, zero_point, dtype))],
                       **({"axis": axis} if scale.ndim else {}))

    def bias(self, count: int, scale: Any) -> str:
        values = self.random.integers(-2000, 2000, count).astype(np.int32)
        scale = np.asarray(scale, np.float32)
        return self.op("DequantizeLinear", [self.constant(values), self.constant(scale),
                                            self.constant(np.zeros(scale.shape, np.int32))], axis=0)

    def model(self, *outputs: str, opset: int = 17, batch: str | int = 1) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "file", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, *self.shape[1:]))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    def sample(self) -> dict[str, NDArray[np.float32]]:
        return {"x": self.random.normal(0, 1.2, self.shape).astype(np.float32)}
