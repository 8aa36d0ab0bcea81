"""Float graph: a network as the front ends read it, in real numbers, before it is quantised.

Tensors are [height, width, channels] as in the core graph; leading axes of an array are a batch.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from systolith.sim.golden import operators

from .float_nodes import (
    Array,
    FloatAdd,
    FloatAffine,
    FloatArgMax,
    FloatClamp,
    FloatConcat,
    FloatConstant,
    FloatConv,
    FloatDepthwise,
    FloatEmbedding,
    FloatFunction,
    FloatMatMul,
    FloatMul,
    FloatNode,
    FloatNorm,
    FloatPad,
    FloatPool,
    FloatReshape,
    FloatResize,
    FloatRotary,
    FloatSlice,
    FloatSoftmax,
    FloatTranspose,
    FloatTransposedConv,
)
from .graph import Shape, window_shape

__all__ = [
    "FloatAdd",
    "FloatAffine",
    "FloatArgMax",
    "FloatClamp",
    "FloatConcat",
    "FloatConstant",
    "FloatConv",
    "FloatDepthwise",
    "FloatEmbedding",
    "FloatFunction",
    "FloatMatMul",
    "FloatMul",
    "FloatNode",
    "FloatNorm",
    "FloatPad",
    "FloatPool",
    "FloatReshape",
    "FloatResize",
    "FloatRotary",
    "FloatSlice",
    "FloatSoftmax",
    "FloatTranspose",
    "FloatTransposedConv",
    "FloatGraph", "CLAMPING", "float_apply", "float_execute", "float_shape",
]

CLAMPING = (FloatConv, FloatDepthwise, FloatTransposedConv, FloatAdd, FloatMul, FloatPool, FloatClamp, FloatResize)
"""Operators with `low` and `high`."""


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
    mask: str = ""
    """The file's input whose ones say how many tokens, from the first on, are valid; none of `inputs`. "": none."""

    def readers(self) -> Counter[str]:
        """How often each tensor is read; being an output counts."""
        return Counter([name for node in self.nodes for name in node.inputs] + list(self.outputs))

    def entries(self) -> dict[str, int]:
        """Inputs that are numbers of rows of a table (or of several): how many rows it has at least."""
        read = {node.output: node.inputs[0] for node in self.nodes if isinstance(node, FloatReshape)}
        least: dict[str, int] = {}
        for node in self.nodes:
            if isinstance(node, FloatEmbedding):
                name = node.inputs[0]
                while name in read:
                    name = read[name]
                least[name] = min(least.get(name, len(node.table)), len(node.table))
        return least

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
            if isinstance(node, FloatReshape):
                if math.prod(made) != math.prod(inputs[0]):
                    raise ValueError(f"{node.name} makes {made} of {inputs[0]}")
            elif made != float_shape(node, *inputs):
                raise ValueError(f"{node.name} makes {float_shape(node, *inputs)}, not {made}")
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"nothing makes the output {name}")


def float_shape(node: FloatNode, *inputs: Shape) -> Shape:
    """Shape that the node makes of its inputs' (a reshape's own is kept in the graph); ValueError where they do not fit
    together."""
    if isinstance(node, FloatConstant):
        return tuple(node.values.shape)  # type: ignore[return-value]
    x, *others = inputs
    if isinstance(node, FloatConv | FloatDepthwise):
        kernel = (node.weights.shape[1], node.weights.shape[2])
        return (*window_shape(x, kernel, node.strides, node.dilations, node.padding), len(node.weights))
    if isinstance(node, FloatTransposedConv):
        height, width = ((x[axis] - 1) * node.strides[axis] + node.weights.shape[1 + axis] - node.padding[axis]
                         - node.padding[2 + axis] for axis in (0, 1))
        return (height, width, len(node.weights))
    if isinstance(node, FloatPool):
        return (*window_shape(x, node.kernel, node.strides, node.dilations, node.padding), x[2])
    if isinstance(node, FloatPad):
        top, left, bottom, right = node.padding
        return (x[0] + top + bottom, x[1] + left + right, x[2])
    if isinstance(node, FloatAdd | FloatMul):
        return tuple(np.broadcast_shapes(x, *others))  # type: ignore[return-value]
    if isinstance(node, FloatMatMul):
        (other,) = others
        inner, columns = (other[2], other[0]) if node.transposed else (other[0], other[2])
        if inner != x[2] or x[1] % other[1]:
            raise ValueError(f"{node.name} multiplies {x} with {other}")
        return (x[0], x[1], columns)
    if isinstance(node, FloatEmbedding):
        return (x[0], x[1], node.table.shape[1])
    if isinstance(node, FloatRotary) and (x[2] % 2 or any(other != (x[0], 1, x[2]) for other in others)):
        raise ValueError(f"{node.name} turns {x} by {others}")
    if isinstance(node, FloatConcat):
        sizes = list(x)
        if any(other[k] != x[k] for other in others for k in range(3) if k != node.axis):
            raise ValueError(f"{node.name} joins {x} and {others}")
        sizes[node.axis] += sum(other[node.axis] for other in others)
        return (sizes[0], sizes[1], sizes[2])
    if isinstance(node, FloatSlice):
        return node.size
    if isinstance(node, FloatTranspose):
        return (x[node.permutation[0]], x[node.permutation[1]], x[node.permutation[2]])
    if isinstance(node, FloatResize):
        return (len(node.rows), len(node.columns), x[2])
    if isinstance(node, FloatArgMax):
        return (x[0], x[1], 1)
    return x


def float_apply(node: FloatNode, inputs: list[Array], shape: Shape) -> Array:
    """What the node makes of its inputs, in their float type; `shape` is the output's."""
    y = node.values if isinstance(node, FloatConstant) else _result(node, inputs[0], inputs[1:], shape)
    if isinstance(node, CLAMPING) and (node.low, node.high) != (-math.inf, math.inf):
        y = np.clip(y, y.dtype.type(node.low), y.dtype.type(node.high))
    return y


def _result(node: FloatNode, x: Array, others: list[Array], shape: Shape) -> Array:
    """Before clamping."""
    if isinstance(node, FloatConv | FloatDepthwise | FloatTransposedConv):
        return _convolution(node, x, shape)
    if isinstance(node, FloatAdd):
        return x - others[0] if node.minus else x + others[0]
    if isinstance(node, FloatMul):
        return x * others[0]
    if isinstance(node, FloatPool):
        return _pool(node, x)
    if isinstance(node, FloatPad):
        return operators.pad_map(x, node.padding, node.value)
    if isinstance(node, FloatAffine):
        return x * node.scale.astype(x.dtype) + node.offset.astype(x.dtype)
    if isinstance(node, FloatReshape):
        return x.reshape(*x.shape[:-3], *shape)
    if isinstance(node, FloatFunction):
        return node.function(x)
    if isinstance(node, FloatSoftmax):
        if node.causal:
            x = np.where(np.arange(x.shape[-1]) <= np.arange(x.shape[-3])[:, None, None], x, -np.inf)
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    if isinstance(node, FloatMatMul):
        b = np.swapaxes(others[0], -3, -1) if node.transposed else others[0]
        b = np.repeat(np.swapaxes(b, -3, -2), x.shape[-2] // b.shape[-2], axis=-3)
        return np.swapaxes(np.swapaxes(x, -3, -2) @ b, -3, -2) * x.dtype.type(node.scale)
    if isinstance(node, FloatEmbedding):
        return node.table[x[..., 0].astype(np.int64)]
    if isinstance(node, FloatRotary):
        lower, upper = np.split(x, 2, axis=-1)
        return x * others[0] + np.concatenate([-upper, lower], axis=-1) * others[1]
    if isinstance(node, FloatNorm):
        centred = x if node.rms else x - x.mean(axis=-1, keepdims=True)
        power = (centred * centred).mean(axis=-1, keepdims=True) + x.dtype.type(node.epsilon)
        return centred / np.sqrt(power) * node.gamma.astype(x.dtype) + node.beta.astype(x.dtype)
    if isinstance(node, FloatConcat):
        batch = np.broadcast_shapes(*(part.shape[:-3] for part in (x, *others)))
        return np.concatenate([np.broadcast_to(part, (*batch, *part.shape[-3:])) for part in (x, *others)],
                              axis=node.axis - 3)
    if isinstance(node, FloatSlice):
        cut = [slice(start, start + (size - 1) * step + 1, step)
               for start, size, step in zip(node.start, node.size, node.step, strict=True)]
        return x[..., cut[0], cut[1], cut[2]]
    if isinstance(node, FloatTranspose):
        return x.transpose(*range(x.ndim - 3), *(x.ndim - 3 + axis for axis in node.permutation))
    if isinstance(node, FloatResize):
        return _resize(node, x)
    if isinstance(node, FloatArgMax):
        return operators.arg_max(x, node.last).astype(x.dtype)
    return x


def _convolution(node: FloatConv | FloatDepthwise | FloatTransposedConv, x: Array, shape: Shape) -> Array:
    weights, bias = node.weights.astype(x.dtype), node.bias.astype(x.dtype)
    if isinstance(node, FloatConv):
        return operators.correlate(operators.pad_map(x, node.padding), weights, node.strides, node.dilations) + bias
    if isinstance(node, FloatDepthwise):
        padded = np.repeat(operators.pad_map(x, node.padding), len(weights) // x.shape[-1], axis=-1)
        total = np.zeros((*x.shape[:-3], *shape), x.dtype)
        for ky, kx, seen in operators.taps(padded, weights.shape[1:3], node.strides, node.dilations):
            total += seen * weights[:, ky, kx]
        return total + bias
    # every input adds its kernel to the full output, of which the padding is cut off
    height, width = x.shape[-3:-1]
    (sy, sx), (top, left, _, _) = node.strides, node.padding
    full = np.zeros((*x.shape[:-3], max((height - 1) * sy + weights.shape[1], top + shape[0]),
                     max((width - 1) * sx + weights.shape[2], left + shape[1]), shape[2]), x.dtype)
    for ky in range(weights.shape[1]):
        for kx in range(weights.shape[2]):
            full[..., ky:ky + (height - 1) * sy + 1:sy, kx:kx + (width - 1) * sx + 1:sx, :] += x @ weights[:, ky, kx].T
    return full[..., top:top + shape[0], left:left + shape[1], :] + bias


def _resize(node: FloatResize, x: Array) -> Array:
    (low_y, high_y, fy), (low_x, high_x, fx) = np.array(node.rows).T, np.array(node.columns).T
    if node.bits == 0:
        return x[..., low_y, :, :][..., low_x, :]
    down = (fy / (1 << node.bits)).astype(x.dtype)[:, None, None]
    right = (fx / (1 << node.bits)).astype(x.dtype)[:, None]
    tall = x[..., low_y, :, :] * (1 - down) + x[..., high_y, :, :] * down
    return tall[..., low_x, :] * (1 - right) + tall[..., high_x, :] * right


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
