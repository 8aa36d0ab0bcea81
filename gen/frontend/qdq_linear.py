"""Convolutions and matrix products of a QDQ file: weights made symmetric int8, bias in steps of the sum."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend.qdq_values import Pending, Quantised, RealBias, Refused, Value, positions, real_values
from systolith.gen.graph import Conv2D, DepthwiseConv2D, Node, Tensor, TransposedConv2D, output_shape
from systolith.rtl.isa import SINGLE
from systolith.sim.golden.rescale import quantise_scale

SYMMETRIC = ("quantise weights symmetrically (onnxruntime: weight_type=QuantType.QInt8, "
             "extra_options={'WeightSymmetric': True})")
LARGEST = 2 ** 31 - 1
LARGEST_BIAS = 2 ** 30
Linear = type[Conv2D] | type[DepthwiseConv2D] | type[TransposedConv2D]


def output_scale(scale: float, target: Tensor) -> float:
    """Quotient of two float32 scales, as float64."""
    return float(np.float64(scale) / np.float64(target.scale))


def linear(kind: Linear, source: Tensor, weights: Quantised, bias: Value | None, label: str, output: str,
           **geometry: Any) -> Pending:
    """A convolution of `source` whose output scale is not known yet; weights as the node has them, and `geometry` its
    strides, dilations and padding."""
    kernel, scale = symmetric(weights)
    steps = bias_steps(bias, np.float64(source.scale) * scale.astype(np.float64))
    # A bias that is huge beside its channel's weights: coarser steps, for which the weights hardly matter.
    coarser = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(steps) / LARGEST_BIAS, 1)))
    kernel = np.rint(kernel / coarser.reshape(-1, *(1,) * (kernel.ndim - 1))).astype(np.int8)
    scale = (scale * coarser).astype(np.float32)
    return _pending(kind, source, kernel, scale, np.rint(steps / coarser), label, output, geometry)


def _pending(kind: Linear, source: Tensor, kernel: NDArray[np.int8], scale: NDArray[np.float32],
             bias: NDArray[np.float64], label: str, output: str, geometry: dict[str, Any]) -> Pending:
    reach = np.abs(kernel.reshape(len(kernel), -1).astype(np.int64)).sum(1)
    reach = reach * max(127 - source.zero_point, source.zero_point + 128) + np.abs(bias)
    if reach.max() > LARGEST:
        raise Refused(f"can exceed 32 bits in channel {int(reach.argmax())}; split its {kernel[0].size} products a sum")
    step = np.float64(source.scale) * scale.astype(np.float64)

    def node(name: str, target: str, pairs: NDArray[np.int64], low: int = -128, high: int = 127) -> Node:
        return kind(name, (source.name,), target, kernel, bias.astype(np.int32), pairs[0], pairs[1],
                    **geometry, rounding=SINGLE, low=low, high=high, weight_scales=scale, source=label)

    shape = output_shape(node(label, "", np.zeros((2, len(kernel)), np.int64)), [source])
    assert shape is not None
    if min(shape) < 1:
        raise Refused(f"makes an empty output ({shape[0]} x {shape[1]}); check its kernel and padding")

    def make(name: str, target: Tensor, low: int, high: int) -> Node:
        try:
            pairs = [quantise_scale(float(ratio)) for ratio in step / np.float64(target.scale)]
        except ValueError as error:
            raise Refused(f"has scales that do not fit: {error}") from None
        return node(name, target.name, np.array(pairs, np.int64).T, low, high)

    def with_bias(real: RealBias) -> Pending:
        return _pending(kind, source, kernel, scale, bias + _steps(real, step), label, output, geometry)

    return Pending(make, label, output, shape, positions((1, shape[2], *shape[:2])), with_bias=with_bias)


def symmetric(weights: Quantised) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights as int8 with zero point 0, and a scale an output channel."""
    channels = weights.integers.shape[0]
    if weights.scales.scale.size > 1 and weights.scales.axis % weights.integers.ndim != 0:
        raise Refused("has weights scaled along their inputs; scale them by output channel or by tensor")
    middle = {"int8": 0, "uint8": 128}.get(weights.scales.dtype)
    if middle is None:
        raise Refused(f"has {weights.scales.dtype} weights; {SYMMETRIC}")
    if np.any(weights.scales.zero_point != middle):
        zero_point = next(int(z) for z in weights.scales.zero_point.reshape(-1) if z != middle)
        raise Refused(f"has asymmetric weights (zero point {zero_point}); {SYMMETRIC}")
    scale = np.broadcast_to(weights.scales.scale, (channels,)).astype(np.float32)
    return (weights.integers - middle).astype(np.int8), scale


def bias_steps(bias: Value | None, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bias in steps of the sum; as it is where the file has it so."""
    if bias is None:
        return np.zeros(len(step))
    if isinstance(bias, Quantised) and bias.integers.size == len(step) and not np.any(bias.scales.zero_point):
        scale = np.broadcast_to(bias.scales.scale.astype(np.float64), step.shape)
        if np.allclose(scale, step, rtol=1e-5, atol=0):
            return bias.integers.reshape(-1).astype(np.float64)
    real = real_values(bias)
    if real is None:
        raise Refused("has a bias that is not a constant")
    if real.size not in (1, len(step)):
        raise Refused(f"has a bias of {real.size} numbers for {len(step)} channels")
    return _steps(np.broadcast_to(real.reshape(-1), step.shape), step)


def _steps(real: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    if np.any((step == 0) & (real != 0)):
        raise Refused("has a bias in a channel whose weights have scale 0; give that channel a scale")
    return np.rint(real / np.where(step > 0, step, 1))
