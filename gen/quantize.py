"""Post-training quantisation: float graph and samples to core graph.

Activations are int8 with a scale and a zero point a tensor, int16 on the residual path of transformers
(`scales.sixteen_bits`), weights int8 symmetric with a scale an output channel,
biases int32. Scales are float32; multipliers are made of their float64 quotients (`quantise_scale`).
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import EVEN, SINGLE
from systolith.sim.golden.norm import quantise_epsilon, quantise_norm
from systolith.sim.golden.operators import window_elements
from systolith.sim.golden.rescale import ScaleError, quantise_scale

from .calibrate import Observer
from .errors import UserError
from .float_graph import (
    FloatAdd,
    FloatArgMax,
    FloatClamp,
    FloatConcat,
    FloatConstant,
    FloatConv,
    FloatDepthwise,
    FloatEmbedding,
    FloatFunction,
    FloatGraph,
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
    float_execute,
)
from .graph import (
    DTYPES,
    Add,
    ArgMax,
    Concat,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Embedding,
    Graph,
    Lookup,
    MatMul,
    Mul,
    Node,
    Norm,
    Pool2D,
    Rescale,
    Reshape,
    Resize,
    Rotary,
    Shape,
    Slice,
    Softmax,
    Tensor,
    Transpose,
    TransposedConv2D,
)
from .passes.shorten import as_long
from .scales import Range, activation_scale, ranges_of, symmetric_scale, tensors_of
from .tables import real_of, rounded_table, softmax_table

Sample = dict[str, NDArray[Any]]
INT32_MAX = 2 ** 31 - 1

__all__ = ["activation_scale", "average_scales", "calibrate", "quantise", "quantise_weights", "shared_shift"]


def quantise(graph: FloatGraph, samples: Iterable[Sample], *, percentile: float | None = None,
             least_error: bool = False, wide: Collection[str] = ()) -> Graph:
    """Core graph of `graph` (after `run_passes`), calibrated on `samples`, each input name -> float [height, width,
    channels].

    Ranges are the smallest and largest values seen; `percentile` (e.g. 99.99) leaves out the tails, `least_error`
    clips each tensor where its square error is least. `wide` tensors are int16, besides those of `scales.sixteen_bits`:
    outputs of products that only a host reads, say. Samples are looked at one by one and not kept; where the graph
    takes a mask they may have fewer tokens than it.
    Raises UserError where there is no sample, a value is not finite, or a layer's sum does not fit in int32.
    """
    if percentile is not None and not 50 < percentile <= 100:
        raise UserError(f"percentile must be above 50 and at most 100, not {percentile}")
    _check_masked_means(graph)
    observers = calibrate(graph, samples, histogram=percentile is not None or least_error)
    ranges = ranges_of(graph, observers, percentile, least_error)
    tensors = tensors_of(graph, ranges, wide)
    nodes: list[Node] = []
    for node in graph.nodes:
        node = _right_types(node, tensors, ranges, nodes)
        if isinstance(node, FloatConcat):
            node = _same_scales(node, tensors, nodes)
        nodes.append(_scaled(node, [tensors[name] for name in node.inputs], tensors[node.output]))
    result = Graph(graph.name, graph.inputs, graph.outputs, tensors, tuple(nodes), dict(graph.input_layouts),
                   dict(graph.output_layouts), mask=graph.mask)
    result.check()
    return result


def calibrate(graph: FloatGraph, samples: Iterable[Sample], *, histogram: bool = False) -> dict[str, Observer]:
    """What the tensors hold while the float graph runs on the samples, for as many tokens as these have."""
    observers: dict[str, Observer] = {}

    def observe(name: str, values: NDArray[Any]) -> None:
        if not np.isfinite(values).all():
            raise UserError(f"sample {count} makes {name!r} infinite or not a number; check the calibration data")
        observers.setdefault(name, Observer(histogram)).see(values)

    count = 0
    for sample in samples:
        with np.errstate(over="ignore", invalid="ignore"):  # `observe` looks at every tensor
            inputs = {name: np.asarray(sample[name], np.float32) for name in graph.inputs}
            float_execute(as_long(graph, inputs), inputs, observe)
        count += 1
    if not count:
        raise UserError("the calibration data holds no sample; give some typical inputs (100 are plenty)")
    return observers


NEGLIGIBLE = 1e-9
"""An epsilon of a norm, beside mean squares of any sentence's mean."""


def _check_masked_means(graph: FloatGraph) -> None:
    """Raises UserError for a mean of valid tokens that nothing norms: the machine divides their sum by all tokens that
    it was compiled for, whatever the length, and only a norm makes the same of both."""
    def is_normed(name: str) -> bool:
        readers = [node for node in graph.nodes if name in node.inputs]
        return name not in graph.outputs and bool(readers) and all(
            is_normed(node.output) if isinstance(node, FloatReshape) else
            isinstance(node, FloatNorm) and node.epsilon <= NEGLIGIBLE for node in readers)

    for node in graph.nodes:
        if isinstance(node, FloatPool) and node.masked and not is_normed(node.output):
            raise UserError(f"{node.source or node.name} is the mean of the valid tokens, which the machine knows up "
                            f"to a factor only; divide it by its length (a norm with an epsilon of at most "
                            f"{NEGLIGIBLE:g}) in the network")


def steps_of(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Real numbers as the tensor's integers: ties to even, saturated."""
    info = np.iinfo(DTYPES[tensor.dtype])
    steps = np.rint(np.asarray(values, np.float64) / tensor.scale) + tensor.zero_point
    return np.clip(steps, info.min, info.max).astype(DTYPES[tensor.dtype])


_NARROW = (FloatConv | FloatDepthwise | FloatTransposedConv | FloatMatMul | FloatMul | FloatFunction | FloatSoftmax
           | FloatResize | FloatPad | FloatRotary)
"""What reads int8 only."""


def _right_types(node: FloatNode, tensors: dict[str, Tensor], ranges: dict[str, Range], nodes: list[Node]) -> FloatNode:
    """The node on copies of those of its inputs that have another type than it can read; a copy is made once."""
    inputs = []
    for place, name in enumerate(node.inputs):
        x, wanted = tensors[name], tensors[name].dtype
        if isinstance(node, _NARROW):
            wanted = "int8"
        elif isinstance(node, FloatAdd | FloatConcat) and any(tensors[other].dtype == "int16" for other in node.inputs):
            wanted = "int16"
        if wanted != x.dtype and x.dtype != "int32":
            name = f"{x.name}:{wanted}"
            if name not in tensors:
                symmetric = wanted == "int16" or (isinstance(node, FloatMatMul) and place == 1)
                scales = symmetric_scale(*ranges[x.name], wanted) if symmetric else activation_scale(*ranges[x.name])
                tensors[name] = Tensor(name, x.shape, wanted, *scales)
                info = np.iinfo(DTYPES[wanted])
                nodes.append(Rescale(name, (x.name,), name, *quantise_scale(x.scale / scales[0]), rounding=EVEN,
                                     low=int(info.min), high=int(info.max), source=f"{x.name} as {wanted}"))
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))


def _same_scales(node: FloatConcat, tensors: dict[str, Tensor], nodes: list[Node]) -> FloatConcat:
    """The node behind rescales of those of its inputs that have another scale than its output."""
    output, inputs = tensors[node.output], []
    for number, name in enumerate(node.inputs):
        x = tensors[name]
        if (x.scale, x.zero_point) != (output.scale, output.zero_point):
            part = replace(output, name=f"{output.name}:{number}", shape=x.shape)
            tensors[part.name] = part
            multiplier, shift = quantise_scale(x.scale / output.scale)
            nodes.append(Rescale(part.name, (name,), part.name, multiplier, shift, rounding=EVEN, source=node.source))
            name = part.name
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))


def limits(low: float, high: float, output: Tensor) -> tuple[int, int]:
    """The clamp of real values as the output's integers."""
    info = np.iinfo(DTYPES[output.dtype])

    def place(value: float, unlimited: int) -> int:
        if math.isinf(value):
            return unlimited
        return int(np.clip(round(value / output.scale) + output.zero_point, info.min, info.max))

    return place(low, int(info.min)), place(high, int(info.max))


def _scaled(node: FloatNode, inputs: list[Tensor], output: Tensor) -> Node:
    try:
        return _node(node, inputs, output)
    except ScaleError as error:
        raise UserError(f"{node.source or node.name}: what goes in and what comes out differ too much in size to be "
                        f"quantised ({error}); check the weights and the calibration data") from None


def _node(node: FloatNode, inputs: list[Tensor], output: Tensor) -> Node:
    if isinstance(node, FloatConstant):
        return Constant(node.name, (), node.output, steps_of(node.values, output), source=node.source)
    if isinstance(node, FloatEmbedding):
        return Embedding(node.name, node.inputs, node.output, steps_of(node.table, output), source=node.source)
    if isinstance(node, FloatReshape):
        return Reshape(node.name, node.inputs, node.output, source=node.source)
    if isinstance(node, FloatConv | FloatDepthwise | FloatTransposedConv):
        return _conv(node, inputs[0], output)
    if isinstance(node, FloatPool):
        return _pool(node, inputs[0], output)
    if isinstance(node, FloatAdd):
        low, high = limits(node.low, node.high, output)
        multiplier, shift = shared_shift(inputs[0].scale / output.scale, inputs[1].scale / output.scale)
        if node.minus:
            multiplier = multiplier[0], -multiplier[1]
        return Add(node.name, node.inputs, node.output, multiplier, shift, EVEN, low, high, source=node.source)
    if isinstance(node, FloatMul):
        low, high = limits(node.low, node.high, output)
        scale = inputs[0].scale * inputs[1].scale / output.scale
        return Mul(node.name, node.inputs, node.output, *quantise_scale(scale), EVEN, low, high, source=node.source)
    if isinstance(node, FloatMatMul):
        scale = node.scale * inputs[0].scale * inputs[1].scale / output.scale
        return MatMul(node.name, node.inputs, node.output, *quantise_scale(scale), inputs[0].shape[2],
                      node.transposed, SINGLE, *limits(-math.inf, math.inf, output), source=node.source)
    if isinstance(node, FloatRotary):
        multiplier, shift = shared_shift(*(inputs[0].scale * table.scale / output.scale for table in inputs[1:]))
        return Rotary(node.name, node.inputs, node.output, multiplier, shift, SINGLE,
                      *limits(-math.inf, math.inf, output), source=node.source)
    if isinstance(node, FloatNorm):
        x = inputs[0]
        parameters = quantise_norm(node.gamma, node.beta, output.scale)
        epsilon = quantise_epsilon(node.epsilon, x.scale, x.shape[2])
        return Norm(node.name, node.inputs, node.output, *parameters, epsilon, node.rms,
                    *limits(-math.inf, math.inf, output), source=node.source)
    if isinstance(node, FloatResize):
        low, high = limits(node.low, node.high, output)
        return Resize(node.name, node.inputs, node.output, node.rows, node.columns, node.bits, EVEN, low, high,
                      source=node.source)
    if isinstance(node, FloatPad) and node.value == 0:
        return Rescale(node.name, node.inputs, node.output, *quantise_scale(1.0), node.padding, source=node.source)
    if isinstance(node, FloatPad):
        raise UserError(f"{node.source or node.name} pads with {node.value:g}; only 0 can stand before what follows it")
    if isinstance(node, FloatClamp):
        low, high = limits(node.low, node.high, output)
        return Rescale(node.name, node.inputs, node.output, *quantise_scale(inputs[0].scale / output.scale),
                       rounding=EVEN, low=low, high=high, source=node.source)
    return _simple(node, inputs[0], output)


def _simple(node: FloatNode, x: Tensor, output: Tensor) -> Node:
    """Tables, and what keeps the integers."""
    if isinstance(node, FloatFunction):
        with np.errstate(all="ignore"):
            values = np.asarray(node.function(real_of(x)), np.float32)
        return Lookup(node.name, node.inputs, node.output, rounded_table(values, output), source=node.source)
    if isinstance(node, FloatSoftmax):
        return Softmax(node.name, node.inputs, node.output, softmax_table(x.scale), node.causal, node.masked,
                       source=node.source)
    if isinstance(node, FloatConcat):
        return Concat(node.name, node.inputs, node.output, node.axis, source=node.source)
    if isinstance(node, FloatSlice):
        return Slice(node.name, node.inputs, node.output, node.start, node.step, source=node.source)
    if isinstance(node, FloatTranspose):
        return Transpose(node.name, node.inputs, node.output, node.permutation, source=node.source)
    if isinstance(node, FloatArgMax):
        return ArgMax(node.name, node.inputs, node.output, node.last, source=node.source)
    raise TypeError(f"no core operator for {type(node).__name__}; run the passes first")


def _conv(node: FloatConv | FloatDepthwise | FloatTransposedConv, x: Tensor, output: Tensor) -> Node:
    weights, bias, scales = quantise_weights(node.weights, node.bias, x.scale)
    check_sums(node.source or node.name, weights, bias, x)
    multiplier, shift = np.array([quantise_scale(x.scale * float(scale) / output.scale) for scale in scales],
                                 np.int64).reshape(-1, 2).T
    low, high = limits(node.low, node.high, output)
    common: dict[str, Any] = {
        "strides": node.strides, "padding": node.padding, "rounding": SINGLE, "low": low, "high": high,
        "weight_scales": scales, "source": node.source}
    if isinstance(node, FloatTransposedConv):
        return TransposedConv2D(node.name, node.inputs, node.output, weights, bias, multiplier, shift, **common)
    kind = Conv2D if isinstance(node, FloatConv) else DepthwiseConv2D
    return kind(node.name, node.inputs, node.output, weights, bias, multiplier, shift, dilations=node.dilations,
                **common)


def quantise_weights(weights: NDArray[Any], bias: NDArray[Any], input_scale: float,
                     ) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.float32]]:
    """Weights in int8, -127 to 127, bias in int32, and the weights' scale a channel.

    A channel whose bias is huge beside its weights (a batch normalisation that nearly switched it off) gets a larger
    scale, so that its bias stays within 2**30 steps.
    """
    real = np.asarray(weights, np.float64)
    largest = np.abs(real).reshape(len(real), -1).max(axis=1, initial=0) / 127
    offset = np.asarray(bias, np.float64)
    scales = np.maximum(largest, np.abs(offset) / input_scale / 2.0 ** 30)
    scales = np.where(scales > np.finfo(np.float32).tiny, scales, 1.0).astype(np.float32)
    steps = scales.astype(np.float64)
    quantised = np.clip(np.rint(real / steps.reshape(-1, *(1,) * (real.ndim - 1))), -127, 127).astype(np.int8)
    return quantised, np.rint(offset / (input_scale * steps)).astype(np.int32), scales


def check_sums(what: str, weights: NDArray[np.int8], bias: NDArray[np.int32], x: Tensor) -> None:
    """Raises UserError where bias and products of a channel could leave int32."""
    far = max(127 - x.zero_point, 128 + x.zero_point)
    products = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1) * far
    largest = (products + np.abs(bias.astype(np.int64))).max(initial=0)
    if largest > INT32_MAX:
        raise UserError(f"{what}: sums can reach {largest}, more than the {INT32_MAX} of an int32 accumulator; "
                        f"split the layer's {weights[0].size} products a sum")


def shared_shift(scale_a: float, scale_b: float) -> tuple[tuple[int, int], int]:
    """Multipliers for two operands that share one shift: the larger one has 31 bits."""
    large, shift = quantise_scale(max(scale_a, scale_b))
    small = round(math.ldexp(min(scale_a, scale_b), shift))
    return ((large, small) if scale_a >= scale_b else (small, large)), shift


def average_scales(x: Tensor, output: Tensor, kernel: tuple[int, int], strides: tuple[int, int],
                   dilations: tuple[int, int], padding: tuple[int, int, int, int], exclude_padding: bool,
                   ) -> tuple[int, int, tuple[tuple[int, int, int], ...]]:
    """Multiplier, shift and `border` of an average pool."""
    ratio = x.scale / output.scale
    multiplier, shift = quantise_scale(ratio / (kernel[0] * kernel[1]))
    if not exclude_padding:
        return multiplier, shift, ()
    shape: Shape = x.shape
    counts = np.unique(window_elements(shape[0], shape[1], kernel, strides, dilations, padding)).tolist()
    return multiplier, shift, tuple((n, *quantise_scale(ratio / n)) for n in counts if n)


def _pool(node: FloatPool, x: Tensor, output: Tensor) -> Pool2D:
    low, high = limits(node.low, node.high, output)
    border: tuple[tuple[int, int, int], ...] = ()
    if node.mode == "max":
        multiplier, shift = quantise_scale(1.0)
    else:
        multiplier, shift, border = average_scales(x, output, node.kernel, node.strides, node.dilations, node.padding,
                                                   node.exclude_padding)
    average = node.mode == "average"
    return Pool2D(
        node.name, node.inputs, node.output, node.mode, node.kernel, multiplier, shift, node.strides, node.dilations,
        node.padding, node.exclude_padding and average, border, EVEN if average else SINGLE, low, high,
        source=node.source)
