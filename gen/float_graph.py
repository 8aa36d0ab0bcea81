"""Float graph: a network as the front ends read it, in real numbers, before it is quantised.

Tensors are [height, width, channels] as in the core graph; leading axes of an array are a batch.
`low` and `high` of a node clamp its result (an activation that was fused into it).
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.sim.golden import operators

from .graph import Shape, window_shape

Array = NDArray[Any]
Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class FloatNode:
    """An operator: `inputs` and `output` are tensor names; `source` names what the user's file calls it."""

    name: str
    inputs: tuple[str, ...]
    output: str
    source: str = field(default="", kw_only=True)


@dataclass(frozen=True, eq=False)
class FloatConv(FloatNode):
    """Convolution; positions outside the input count as 0."""

    weights: Array
    """[output channels, kernel height, kernel width, input channels]"""
    bias: Array
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatAdd(FloatNode):
    """Sum of two tensors of equal shape."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatPool(FloatNode):
    """Window reduction, `mode` "max" or "average"; an average counts the padding unless `exclude_padding`."""

    mode: str
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    exclude_padding: bool = False
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatPad(FloatNode):
    """A border of `value`."""

    padding: Padding
    value: float = 0.0


@dataclass(frozen=True, eq=False)
class FloatClamp(FloatNode):
    """Relu and Clip."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class FloatAffine(FloatNode):
    """x * scale + offset, each a value a channel: batch normalisation, bias, constant factor."""

    scale: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class FloatReshape(FloatNode):
    """The same elements in the same order; an identity where the shape is the same too."""


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A network: nodes in an order in which each comes after those it reads."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, Shape]
    nodes: tuple[FloatNode, ...]
    input_layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    output_layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What the user should know: sentences."""

    def readers(self) -> Counter[str]:
        """How often each tensor is read; being an output counts."""
        return Counter([name for node in self.nodes for name in node.inputs] + list(self.outputs))

    def check(self) -> None:
        """Raises ValueError where a node reads what is not there yet, two write one tensor, or shapes disagree."""
        known = set(self.inputs)
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise ValueError(f"{node.name} reads {name}, which nothing before it makes")
            if node.output in known:
                raise ValueError(f"{node.name} makes {node.output} a second time")
            known.add(node.output)
            inputs, made = [self.shapes[name] for name in node.inputs], self.shapes[node.output]
            if isinstance(node, FloatAdd) and inputs[0] != inputs[1]:
                raise ValueError(f"{node.name} adds {inputs[0]} and {inputs[1]}")
            if isinstance(node, FloatReshape):
                if math.prod(made) != math.prod(inputs[0]):
                    raise ValueError(f"{node.name} makes {made} of {inputs[0]}")
            elif made != float_shape(node, inputs[0]):
                raise ValueError(f"{node.name} makes {float_shape(node, inputs[0])}, not {made}")
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"nothing makes the output {name}")


def float_shape(node: FloatNode, x: Shape) -> Shape:
    """Shape that the node makes of its first input's (a reshape's own is kept in the graph)."""
    if isinstance(node, FloatConv):
        outputs, height, width, _ = node.weights.shape
        return (*window_shape(x, (height, width), node.strides, node.dilations, node.padding), outputs)
    if isinstance(node, FloatPool):
        return (*window_shape(x, node.kernel, node.strides, node.dilations, node.padding), x[2])
    if isinstance(node, FloatPad):
        top, left, bottom, right = node.padding
        return (x[0] + top + bottom, x[1] + left + right, x[2])
    return x


def float_apply(node: FloatNode, inputs: list[Array], shape: Shape) -> Array:
    """What the node makes of its inputs, in their float type; `shape` is the output's."""
    x, y = inputs[0], inputs[0]
    if isinstance(node, FloatConv):
        y = operators.correlate(operators.pad_map(x, node.padding), node.weights.astype(x.dtype), node.strides,
                                node.dilations) + node.bias.astype(x.dtype)
    elif isinstance(node, FloatAdd):
        y = x + inputs[1]
    elif isinstance(node, FloatPool):
        y = _pool(node, x)
    elif isinstance(node, FloatPad):
        y = operators.pad_map(x, node.padding, node.value)
    elif isinstance(node, FloatAffine):
        y = x * node.scale.astype(x.dtype) + node.offset.astype(x.dtype)
    elif isinstance(node, FloatReshape):
        y = x.reshape(*x.shape[:-3], *shape)
    if isinstance(node, FloatConv | FloatAdd | FloatPool | FloatClamp):
        if (node.low, node.high) != (-math.inf, math.inf):
            y = np.clip(y, x.dtype.type(node.low), x.dtype.type(node.high))
    return y


def _pool(node: FloatPool, x: Array) -> Array:
    if node.mode == "max":
        padded = operators.pad_map(x, node.padding, -math.inf)
        return operators.window_maxima(padded, node.kernel, node.strides, node.dilations)
    sums = operators.window_sums(operators.pad_map(x, node.padding), node.kernel, node.strides, node.dilations)
    count: Array = np.array(node.kernel[0] * node.kernel[1])
    if node.exclude_padding:
        count = np.maximum(1, operators.window_elements(x.shape[-3], x.shape[-2], node.kernel, node.strides,
                                                        node.dilations, node.padding))
    average: Array = sums / count.astype(x.dtype)
    return average


def float_execute(graph: FloatGraph, inputs: dict[str, Array],
                  observe: Callable[[str, Array], None] | None = None) -> dict[str, Array]:
    """The outputs for inputs [..., height, width, channels]; `observe` sees every tensor as it is made.

    A tensor is dropped after its last reader, so memory holds what is alive.
    """
    left = graph.readers()
    values = dict(inputs)
    if observe is not None:
        for name in graph.inputs:
            observe(name, values[name])
    for node in graph.nodes:
        values[node.output] = float_apply(node, [values[name] for name in node.inputs], graph.shapes[node.output])
        if observe is not None:
            observe(node.output, values[node.output])
        for name in node.inputs:
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)
    return {name: values[name] for name in graph.outputs}
