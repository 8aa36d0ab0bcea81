"""Executes a core graph with the golden operators, and carries arrays between the file's layout and the graph's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.graph import (
    DTYPES,
    Add,
    Append,
    ArgMax,
    Concat,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Embedding,
    Feed,
    Graph,
    Lookup,
    MatMul,
    Mul,
    Node,
    Norm,
    Pack,
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
    Unpack,
)

from . import operators
from .norm import NormParameters, norm_rows

Array = NDArray[Any]


def to_core(array: Array, layout: tuple[int, ...], shape: Shape, order: str = "NCHW") -> Array:
    """An array [N, ...] or [...] as the file lays it out (rank 4 in `order`) as [..., height, width, channels]."""
    if len(layout) == 4 and order == "NCHW":
        return np.moveaxis(array.reshape(-1, *layout[1:]), 1, 3).reshape(*_batch(array, layout), *shape)
    return array.reshape(*_batch(array, layout), *shape)


def from_core(array: Array, layout: tuple[int, ...], order: str = "NCHW") -> Array:
    """[height, width, channels] as the file lays it out; with a batch axis before them, [N, *layout without its 1]."""
    batched = array.ndim == 4
    if len(layout) == 4 and order == "NCHW":
        array = np.moveaxis(array, -1, -3)
    if not batched:
        return array.reshape(layout)
    return array.reshape(len(array), *(layout[1:] if layout[0] == 1 else layout))


def _batch(array: Array, layout: tuple[int, ...]) -> tuple[int, ...]:
    """() for one sample, (N,) for several."""
    count = array.size // max(1, int(np.prod(layout)))
    return () if array.shape == layout else (count,)


def quantise(values: Array, tensor: Tensor, ties: str = "even") -> Array:
    """Real values as the tensor's integers: the float32 quotient rounded, ties "even" or "away" (from zero); saturated.
    """
    half = 1 << 8 * np.dtype(DTYPES[tensor.dtype]).itemsize - 1
    quotient = (np.asarray(values, np.float32) / np.float32(tensor.scale)).astype(np.float64)
    steps: Array = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient) if ties == "away" else np.rint(quotient)
    result: Array = np.clip(steps + tensor.zero_point, -half, half - 1).astype(DTYPES[tensor.dtype])
    return result


def dequantise(values: Array, tensor: Tensor) -> NDArray[np.float32]:
    """The tensor's integers as real values, float32."""
    return (np.asarray(values, np.int64) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)


def _layout(layouts: dict[str, tuple[int, ...]], tensor: Tensor) -> tuple[int, ...]:
    """The file's shape; of a graph made without a file, NCHW."""
    height, width, channels = tensor.shape
    return layouts.get(tensor.name, (1, channels, height, width))


def quantise_input(graph: Graph, name: str, array: Array) -> Array:
    """One sample of input `name` as the graph takes it, [height, width, channels].

    Floats come in the file's layout and are quantised. Integers of the tensor's own type are taken as they are, in
    the file's layout or already as [height, width, channels]; so are uint8 where that is the file's type. Raises
    UserError for another shape or type, and for values that are not finite.
    """
    return _input(graph, name, np.asarray(array), batch=False)


def quantise_inputs(graph: Graph, name: str, array: Array) -> Array:
    """`quantise_input` of a batch: [N, ...] gives [N, height, width, channels]."""
    return _input(graph, name, np.asarray(array), batch=True)


def _input(graph: Graph, name: str, array: Array, *, batch: bool) -> Array:
    if name not in graph.inputs:
        raise UserError(f"the network has no input {name!r}; its inputs are {', '.join(graph.inputs)}")
    tensor = graph.tensors[name]
    layout = _layout(graph.input_layouts, tensor)
    sample = layout[1:] if batch and layout[0] == 1 else layout
    given = array.shape[1:] if batch else array.shape
    kind, order = np.dtype(DTYPES[tensor.dtype]), graph.convention.order
    if array.dtype == np.uint8 and name in graph.convention.unsigned:
        array = (array ^ 0x80).view(np.int8)
    entries = graph.entries().get(name)
    if entries is not None and array.dtype.kind in "iuf":
        check_numbers(name, array, entries)
        array = array if array.dtype.kind == "f" else array.astype(kind)
    integers = array.dtype == kind
    if not integers and array.dtype.kind != "f":
        # pixels of 0 to 255, say, are real values, not the network's integers
        own = "uint8" if name in graph.convention.unsigned else kind
        if entries is not None:
            raise UserError(f"input {name!r} must be integers from 0 to {entries - 1}, not {array.dtype}")
        raise UserError(f"input {name!r} must be floats, or {own} with the network's own integers, not {array.dtype}")
    if integers and given == tensor.shape:
        core = array
    elif given == sample or (batch and given == layout):
        core = to_core(array, layout, tensor.shape, order)
        core = core.reshape(len(array), *tensor.shape) if batch else core
    else:
        raise UserError(f"input {name!r} must have the shape {list(sample)}{' a sample' if batch else ''}, "
                        f"not {list(given)}")
    if not integers:
        if not np.isfinite(core).all():
            raise UserError(f"input {name!r} holds values that are not finite")
        return quantise(core, tensor, graph.convention.ties)
    return core


def check_numbers(name: str, array: Array, entries: int, what: str = "input") -> None:
    """UserError where one of the numbers of `what` is not that of a row of a table."""
    wrong = np.argwhere(~((array >= 0) & (array < entries) & (array == np.floor(array))))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise UserError(f"{what} {name!r} is {array[place]} at {list(place)}; its table has entries 0 to {entries - 1}"
                        ": give whole numbers from there, as the network's own tokenizer makes them")


def dequantise_output(graph: Graph, name: str, array: Array) -> NDArray[np.float32]:
    """Output `name` as real values in the file's layout; a batch [N, height, width, channels] gives [N, ...]."""
    if name not in graph.outputs:
        raise UserError(f"the network has no output {name!r}; its outputs are {', '.join(graph.outputs)}")
    tensor = graph.tensors[name]
    return from_core(dequantise(array, tensor), _layout(graph.output_layouts, tensor), graph.convention.order)


def apply(node: Node, inputs: list[Array], tensors: list[Tensor], output: Tensor) -> Array:
    """What the node makes of its inputs (whose tensors are given), in the output's type."""
    if isinstance(node, Constant):
        return node.values
    if isinstance(node, Embedding):
        return node.table[inputs[0][..., 0]]
    x, zero_in, zero_out = inputs[0], tensors[0].zero_point, output.zero_point
    if isinstance(node, Feed | Pack | Unpack):
        return x
    if isinstance(node, Reshape):
        return x.reshape(*x.shape[:-3], *output.shape)
    if isinstance(node, Concat):
        return np.concatenate(inputs, axis=node.axis - 3)
    if isinstance(node, Slice):
        taken: tuple[Any, ...] = (..., *(slice(start, start + (size - 1) * step + 1, step) for start, size, step in
                                         zip(node.start, output.shape, node.step, strict=True)))
        return x[taken]
    if isinstance(node, Transpose):
        return x.transpose(*range(x.ndim - 3), *(x.ndim - 3 + axis for axis in node.permutation))
    if isinstance(node, Conv2D):
        y = operators.conv2d(
            x, node.weights, node.bias, node.multiplier, node.shift, zero_in=zero_in, zero_out=zero_out,
            strides=node.strides, dilations=node.dilations, padding=node.padding, rounding=node.rounding,
            low=node.low, high=node.high)
    elif isinstance(node, DepthwiseConv2D):
        y = operators.depthwise_conv2d(
            x, node.weights, node.bias, node.multiplier, node.shift, zero_in=zero_in, zero_out=zero_out,
            strides=node.strides, dilations=node.dilations, padding=node.padding, rounding=node.rounding,
            low=node.low, high=node.high)
    elif isinstance(node, TransposedConv2D):
        y = operators.transposed_conv2d(
            x, node.weights, node.bias, node.multiplier, node.shift, zero_in=zero_in, zero_out=zero_out,
            strides=node.strides, padding=node.padding, rounding=node.rounding, low=node.low, high=node.high)
    elif isinstance(node, Mul):
        y = operators.mul(
            x, inputs[1], node.multiplier, node.shift, zero_a=zero_in, zero_b=tensors[1].zero_point, zero_out=zero_out,
            rounding=node.rounding, low=node.low, high=node.high)
    elif isinstance(node, Lookup):
        y = operators.lookup(x, node.table)
    elif isinstance(node, Softmax):
        rows = np.arange(1, output.shape[0] + 1)[:, None]
        y = operators.softmax(x, node.table, rows if node.causal else None)
    elif isinstance(node, MatMul):
        heads = node.sizes(tensors[0].shape, tensors[1].shape, output.shape)
        a, b = (v.reshape(*v.shape[:-2], count, -1) for v, count in zip((x, inputs[1]), heads, strict=False))
        y = operators.matmul(a, b, node.multiplier, node.shift, transposed=node.transposed, zero_a=zero_in,
                             zero_out=zero_out, rounding=node.rounding, low=node.low, high=node.high)
        y = y.reshape(*y.shape[:-3], *output.shape)
    elif isinstance(node, Rotary):
        y = operators.rotary(
            x.reshape(*x.shape[:-2], -1, inputs[1].shape[-1]), inputs[1], inputs[2], node.multiplier, node.shift,
            zero_x=zero_in, zero_cos=tensors[1].zero_point, zero_sin=tensors[2].zero_point, zero_out=zero_out,
            rounding=node.rounding, low=node.low, high=node.high)
        y = y.reshape(*y.shape[:-3], *output.shape)
    elif isinstance(node, Norm):
        y = norm_rows(x, NormParameters(node.gain, node.shift, node.offset), node.epsilon, rms=node.rms,
                      zero_point=zero_out, low=node.low, high=node.high)
    elif isinstance(node, Resize):
        zero_in, zero_out = (0, 0) if node.raw else (zero_in, zero_out)
        y = operators.resize(x, node.rows, node.columns, node.bits, node.multiplier, node.shift, zero_in=zero_in,
                             zero_out=zero_out, rounding=node.rounding, low=node.low, high=node.high)
    elif isinstance(node, ArgMax):
        y = operators.arg_max(x, node.last)
    elif isinstance(node, Add):
        y = operators.add(
            x, inputs[1], node.multiplier, node.shift, zero_a=zero_in, zero_b=tensors[1].zero_point, zero_out=zero_out,
            rounding=node.rounding, low=node.low, high=node.high)
    elif isinstance(node, Pool2D):
        zero_in, zero_out = (0, 0) if node.raw else (zero_in, zero_out)
        y = operators.pool2d(
            x, node.mode, node.kernel, node.multiplier, node.shift, zero_in=zero_in, zero_out=zero_out,
            strides=node.strides, dilations=node.dilations, padding=node.padding,
            exclude_padding=node.exclude_padding, border=node.border, rounding=node.rounding,
            low=node.low, high=node.high)
    elif isinstance(node, Rescale):
        y = operators.rescale_map(
            x, node.multiplier, node.shift, zero_in=zero_in, zero_out=zero_out, padding=node.padding,
            rounding=node.rounding, low=node.low, high=node.high)
    else:
        raise TypeError(f"the golden model has no operator {node.operator}")
    return y.astype(DTYPES[output.dtype])


def _run(graph: Graph, values: dict[str, Array], kept: dict[str, Array] | None = None) -> dict[str, Array]:
    """Every tensor, from the integer inputs; works with and without a batch axis. kept: see `execute`."""
    for node in graph.nodes:
        tensors, inputs = [graph.tensors[name] for name in node.inputs], [values[name] for name in node.inputs]
        output = graph.tensors[node.output]
        if isinstance(node, Append):
            values[node.output] = _appended(inputs[0], output, kept)
        else:
            values[node.output] = apply(node, inputs, tensors, output)
    return values


def _appended(x: Array, output: Tensor, kept: dict[str, Array] | None) -> Array:
    """The rows that are kept and the new one, which is kept then, too; without any that are kept, zeros."""
    before = output.shape[0] - 1
    if kept is None:
        rows = np.zeros((*x.shape[:-3], before, *x.shape[-2:]), x.dtype)
    else:
        rows = kept.get(output.name, x[:0])[:before]
        if len(rows) < before:
            raise UserError(f"token {before + 1} comes after {len(rows)} tokens; give them one after the other")
    result: Array = np.concatenate([rows, x], axis=-3)
    if kept is not None:
        kept[output.name] = result
    return result


def _missing(graph: Graph, inputs: dict[str, Array]) -> None:
    for name in graph.inputs:
        if name not in inputs:
            raise UserError(f"no value for the input {name!r}")


def execute(graph: Graph, inputs: dict[str, Array], kept: dict[str, Array] | None = None) -> dict[str, Array]:
    """Every tensor of the graph by name, [height, width, channels]; inputs as `quantise_input` takes them.

    kept: what stays in the machine from run to run (`Graph.kept`), with this run's afterwards; {} before the first.
    Without it there are zeros.
    """
    _missing(graph, inputs)
    return _run(graph, {name: quantise_input(graph, name, array) for name, array in inputs.items()}, kept)


def execute_batch(graph: Graph, inputs: dict[str, Array], *, chunk: int = 64) -> dict[str, Array]:
    """The graph's outputs [N, height, width, channels] for inputs [N, ...], `chunk` samples at a time."""
    _missing(graph, inputs)
    counts = {len(inputs[name]) for name in graph.inputs}
    if len(counts) != 1:
        raise UserError(f"inputs must have one number of samples, not {sorted(counts)}")
    parts: dict[str, list[Array]] = {name: [] for name in graph.outputs}
    for start in range(0, max(counts.pop(), 1), chunk):
        values = {name: quantise_inputs(graph, name, inputs[name][start:start + chunk]) for name in graph.inputs}
        done = _run(graph, values)
        for name, part in parts.items():
            part.append(done[name])
    return {name: np.concatenate(part) for name, part in parts.items()}


def random_inputs(graph: Graph, seed: int = 1) -> dict[str, Array]:
    """Seeded integer inputs [height, width, channels]."""
    random = np.random.default_rng(seed)
    out, entries = {}, graph.entries()
    for name in graph.inputs:
        tensor = graph.tensors[name]
        info = np.iinfo(DTYPES[tensor.dtype])
        low, high = (0, entries[name]) if name in entries else (info.min, info.max + 1)
        out[name] = random.integers(low, high, tensor.shape, DTYPES[tensor.dtype])
    return out
