"""How the QDQ writer shows convolutions and matrix products."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .graph import Conv2D, DepthwiseConv2D, Node, Tensor, TransposedConv2D

if TYPE_CHECKING:
    from .qdq_writer import QdqWriter

Layout = tuple[int, ...]


def image_layout(tensor: Tensor) -> Layout:
    """A core tensor as an image of the file."""
    height, width, channels = tensor.shape
    return (1, channels, height, width)


def convolution(writer: "QdqWriter", node: Conv2D | DepthwiseConv2D, result: str) -> tuple[str, Layout]:
    """A Conv, or a Gemm for a 1x1 convolution on a vector or a matrix."""
    source, target = writer.graph.tensors[node.inputs[0]], writer.graph.tensors[node.output]
    steps = weight_scales(node, source, target)
    outputs = len(node.weights)
    bias = []
    if node.bias.any():
        bias = [parameters(writer, node, "bias", node.bias.astype(np.int32), np.float32(source.scale) * steps)]
    if isinstance(node, DepthwiseConv2D):
        inputs = [writer.read(source.name, image_layout(source)),
                  parameters(writer, node, "weights", node.weights[:, np.newaxis], steps), *bias]
        writer.add("Conv", inputs, result, node, kernel_shape=list(node.weights.shape[1:3]), group=source.shape[2],
                   strides=list(node.strides), dilations=list(node.dilations), pads=list(node.padding))
        return result, image_layout(target)
    pointwise = node.weights.shape[1:3] == (1, 1) and node.strides == (1, 1) and not any(node.padding)
    if pointwise and (source.shape[:2] == (1, 1) or len(writer.layouts[source.name]) < 4) and source.shape[0] == 1:
        x = writer.read(source.name, source.shape[1:])
        weights = parameters(writer, node, "weights", node.weights[:, 0, 0], steps)
        return writer.add("Gemm", [x, weights, *bias], result, node, transB=1), (source.shape[1], outputs)
    x = writer.read(source.name, image_layout(source))
    weights = parameters(writer, node, "weights", node.weights.transpose(0, 3, 1, 2), steps)
    writer.add("Conv", [x, weights, *bias], result, node, kernel_shape=list(node.weights.shape[1:3]),
               strides=list(node.strides), dilations=list(node.dilations), pads=list(node.padding))
    return result, image_layout(target)


def weight_scales(node: Conv2D | DepthwiseConv2D | TransposedConv2D, source: Tensor, target: Tensor,
                  ) -> NDArray[np.float32]:
    """A weight's step a channel."""
    if node.weight_scales is not None:
        return np.asarray(node.weight_scales, np.float32)
    return np.asarray(node.multiplier / 2.0 ** node.shift * target.scale / source.scale, np.float32)


def parameters(writer: "QdqWriter", node: Node, what: str, values: NDArray[Any], scales: NDArray[np.float32],
               axis: int = 0) -> str:
    """A constant behind a DequantizeLinear, scaled along one axis."""
    name = writer.unique(f"{node.name}_{what}")
    return writer.add("DequantizeLinear", [
        writer.constant(f"{name}_quantised", np.ascontiguousarray(values)), writer.constant(f"{name}_scale", scales),
        writer.constant(f"{name}_zero_point", np.zeros(values.shape[axis], values.dtype))], name, axis=axis)


def transposed_convolution(writer: "QdqWriter", node: TransposedConv2D, result: str) -> tuple[str, Layout]:
    """A ConvTranspose; where its output ends later than the full one, by output padding."""
    source, target = writer.graph.tensors[node.inputs[0]], writer.graph.tensors[node.output]
    steps = weight_scales(node, source, target)
    weights = parameters(writer, node, "weights", node.weights.transpose(3, 0, 1, 2), steps, axis=1)
    bias = []
    if node.bias.any():
        bias = [parameters(writer, node, "bias", node.bias.astype(np.int32), np.float32(source.scale) * steps)]
    top, left, bottom, right = node.padding
    extra = [max(0, -bottom), max(0, -right)]
    if extra[0] >= max(node.strides[0], 2) or extra[1] >= max(node.strides[1], 2) or min(top, left) < 0:
        raise UserError(f"TransposedConv2D {node.name!r} has a border that no ConvTranspose has; it cannot be written "
                        "as QDQ")
    writer.add("ConvTranspose", [writer.read(source.name, image_layout(source)), weights, *bias], result, node,
               kernel_shape=list(node.weights.shape[1:3]), strides=list(node.strides), output_padding=extra,
               pads=[top, left, max(0, bottom), max(0, right)])
    return result, image_layout(target)
