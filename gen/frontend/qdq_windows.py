"""Pools and padding of a QDQ file."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from systolith.gen.frontend.qdq_linear import output_scale
from systolith.gen.frontend.qdq_nodes import Attributes, attributes_of, image, label_of, rescaled, stored
from systolith.gen.frontend.qdq_order import arranged
from systolith.gen.frontend.qdq_values import Pending, Refused, Value, View, positions, real_values
from systolith.gen.frontend.reductions import reduction
from systolith.gen.graph import Node, Pool2D, Tensor, window_shape
from systolith.gen.quantize import average_scales
from systolith.rtl.isa import EVEN
from systolith.sim.golden.rescale import quantise_scale

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer


def pool(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """MaxPool, AveragePool, and the global ones."""
    given = attributes_of(node)
    source = image(importer, values[0])
    size = source.shape[:2]
    mode = "max" if "Max" in node.op_type else "average"
    if node.op_type.startswith("Global"):
        return _pooled(source, mode, label_of(node), node.output[0], size)
    if any(node.output[1:]):
        raise Refused("has its output Indices used; leave Indices out")
    kernel, strides = tuple(given["kernel_shape"]), tuple(given.get("strides", (1, 1)))
    dilations = tuple(given.get("dilations", (1, 1)))
    padding = window_padding(given, size, kernel, strides, dilations)
    if given.get("ceil_mode", 0):
        padding = _ceiling(size, kernel, strides, dilations, padding, mode)
    exclude = mode == "average" and any(padding) and not given.get("count_include_pad", 0)
    return _pooled(source, mode, label_of(node), node.output[0], kernel, strides, dilations, padding, exclude)


def _pooled(source: Tensor, mode: str, label: str, output: str, kernel: tuple[int, int],
            strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
            padding: tuple[int, int, int, int] = (0, 0, 0, 0), exclude: bool = False) -> Pending:
    shape = (*window_shape(source.shape, kernel, strides, dilations, padding), source.shape[2])
    if min(shape) < 1:
        raise Refused(f"makes an empty output ({shape[0]} x {shape[1]}); check its kernel and padding")

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        multiplier, shift, border = (
            average_scales(source, target, kernel, strides, dilations, padding, exclude) if mode == "average"
            else (*quantise_scale(output_scale(source.scale, target)), ()))
        return Pool2D(name, (source.name,), target.name, mode, kernel, multiplier, shift, strides, dilations, padding,
                      exclude, border, EVEN, low, high, source=label)

    return Pending(make, label, output, shape, positions((1, shape[2], *shape[:2])))


def reduce(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """ReduceMean and ReduceMax over one or two axes, as a pool over height, width or both."""
    view, given = stored(values[0]), attributes_of(node)
    listed = real_values(values[1]) if len(values) > 1 and node.input[1] else given.get("axes")
    axes = [] if listed is None else np.asarray(listed).reshape(-1).astype(int).tolist()
    found = reduction(view.where.shape, axes)
    if found is None:
        raise Refused(f"reduces the axes {axes} of {list(view.where.shape)}; one or two are supported, the batch "
                      "excepted")
    source = arranged(importer, importer.tensors[view.tensor], view.where.transpose(found.order), found.shape)
    mode = "max" if node.op_type == "ReduceMax" else "average"
    pending = _pooled(source, mode, label_of(node), node.output[0], found.kernel)
    return replace(pending, where=found.places(bool(given.get("keepdims", 1))))


def window_padding(given: Attributes, size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...],
             dilations: tuple[int, ...]) -> tuple[int, int, int, int]:
    """top, left, bottom, right; SAME as ONNX defines it."""
    if len(kernel) != 2:
        raise Refused(f"has a kernel of {len(kernel)} dimensions; only two are supported")
    auto = given.get("auto_pad", b"NOTSET").decode()
    if auto in ("NOTSET", ""):
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        return top, left, bottom, right
    if auto == "VALID":
        return 0, 0, 0, 0
    total = [max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
             for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    return before[0], before[1], after[0], after[1]


def _ceiling(size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...],
             padding: tuple[int, int, int, int], mode: str) -> tuple[int, int, int, int]:
    """Padding that makes the window count round up; a maximum does not see it."""
    after = []
    for axis in (0, 1):
        span = size[axis] + padding[axis] + padding[axis + 2] - dilations[axis] * (kernel[axis] - 1) - 1
        windows = math.ceil(span / strides[axis]) + 1
        if (windows - 1) * strides[axis] >= size[axis] + padding[axis]:
            windows -= 1
        missing = (windows - 1) * strides[axis] - span
        if missing > 0 and mode == "average":
            raise Refused("has ceil_mode=1 and windows that reach past the padding; export it with ceil_mode=0")
        after.append(padding[axis + 2] + max(missing, 0))
    return padding[0], padding[1], after[0], after[1]


def pad(importer: "Importer", node: onnx.NodeProto, values: list[Value]) -> Value:
    """Zeros around an image."""
    given = attributes_of(node)
    if given.get("mode", b"constant") != b"constant":
        raise Refused(f"has mode {given['mode'].decode()}; only constant zeros can be padded")
    pads = real_values(values[1]) if len(values) > 1 else np.asarray(given.get("pads"))
    fill = real_values(values[2]) if len(values) > 2 and node.input[2] else np.asarray(given.get("value", 0.0))
    if pads is None or fill is None or np.any(fill != 0) or len(values) > 3:
        raise Refused("pads with something else than constant zeros on all axes")
    view = View(image(importer, values[0]).name, stored(values[0]).where, real=True)
    sizes = [int(n) for n in pads]
    if len(sizes) != 8 or any(sizes[i] for i in (0, 1, 4, 5)) or min(sizes) < 0:
        raise Refused("pads the batch or the channels, or crops; only height and width can be padded")
    padding = (sizes[2], sizes[3], sizes[6], sizes[7])
    height, width, channels = importer.tensors[view.tensor].shape
    shape = (height + padding[0] + padding[2], width + padding[1] + padding[3], channels)
    return replace(rescaled(importer, view, node.output[0], label_of(node), padding), shape=shape,
                   where=positions((1, channels, *shape[:2])))
