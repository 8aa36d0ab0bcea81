"""Generated networks of one operator without weights; a function makes one from a seeded generator."""

from functools import partial

import numpy as np

from tests.tflite_build import Net
from tests.tflite_layer_cases import ACTIVATIONS, SAME, Random, out_size, pick, scale, zero_point

EVERY = (1, 16, 16, 1)
"""A shape with room for each int8 value once."""


def shape_of(random: Random) -> tuple[int, ...]:
    """Rank 1 to 4, batch 1."""
    rank = pick(random, 1, 4)
    return (1, *(pick(random, 1, 7) for _ in range(rank - 1))) if rank > 1 else (pick(random, 1, 20),)


# Two operands

def pair_scales(random: Random, forms: int = 5) -> tuple[float, float, float]:
    """Of two operands and the output: alike, far apart, powers of two, which make ties, or short decimals, which come
    so near to ties that one pass cannot round as the kernel does."""
    base = scale(random)
    form = pick(random, 0, forms - 1)
    if form == 4:
        return 0.45, float(random.choice([0.01, 0.02, 0.1])), 0.3
    if form == 0:
        return 1 / 32, 2.0 ** -pick(random, 4, 6), 2.0 ** -pick(random, 3, 6)
    if form == 1:
        return base, base, base * float(random.choice([1, 2, 1.7, 0.6]))
    reach = 1.5 if form == 2 else 5.0
    return base, base * float(np.exp(random.uniform(-reach, reach))), base * float(np.exp(random.uniform(-1, reach)))


def binary(name: str, random: Random) -> Net:
    """Of every pair of int8 values."""
    net, scales = Net(), pair_scales(random)
    if name == "MUL":
        scales = (*scales[:2], scales[0] * scales[1] * float(random.choice([20, 60, 127, 300])))
    a = net.input(1, 256, 256, 1, scale=scales[0], zero=zero_point(random))
    b = net.input(1, 256, 256, 1, scale=scales[1], zero=zero_point(random))
    y = net.output(1, 256, 256, 1, scale=scales[2], zero=zero_point(random))
    net.operator(name, [a, b], y, f"{name.capitalize()}Options",
                 FusedActivationFunction=int(random.choice(ACTIVATIONS)))
    return net


def broadcast(name: str, random: Random) -> Net:
    shape = [1, pick(random, 1, 5), pick(random, 1, 5), pick(random, 1, 6)]
    a, b = list(shape), list(shape)
    for axis in (1, 2, 3):
        given = pick(random, 0, 2)
        if given:
            (a, b)[given - 1][axis] = 1
    b = b[pick(random, 0, 3):] if random.random() < 0.5 else b
    made = np.broadcast_shapes(a, b)
    net, scales = Net(), pair_scales(random)
    y_scale = scales[0] * scales[1] * 80 if name == "MUL" else scales[2]
    x = net.input(*a, scale=scales[0], zero=zero_point(random))
    z = net.input(*b, scale=scales[1], zero=zero_point(random))
    y = net.output(*made, scale=y_scale, zero=zero_point(random))
    net.operator(name, [x, z] if random.random() < 0.5 else [z, x], y, f"{name.capitalize()}Options")
    return net


def with_constant(name: str, each: bool, random: Random) -> Net:
    """A number for all, or one a channel; on either side."""
    net, scales = Net(), pair_scales(random, 4 if each else 5)
    channels = 6 if each else 1
    shape = (1, 16, 16, channels)
    x = net.input(*shape, scale=scales[0], zero=zero_point(random))
    values = random.integers(-128, 128, channels) if each else random.integers(-128, 128, ())
    c = net.constant(values, "INT8", scale=scales[1], zero=zero_point(random))
    y_scale = scales[0] * scales[1] * float(random.choice([20, 80])) if name == "MUL" else scales[2]
    y = net.output(*shape, scale=y_scale, zero=zero_point(random))
    net.operator(name, [x, c] if random.random() < 0.6 else [c, x], y, f"{name.capitalize()}Options",
                 FusedActivationFunction=int(random.choice(ACTIVATIONS)))
    return net


# One operand

def unary(name: str, random: Random) -> Net:
    """A function of every int8 value."""
    net = Net()
    x_scale, y_scale, y_zero = scale(random, 0.001, 0.5), scale(random, 0.004, 0.1), zero_point(random)
    options: dict = {}
    kind = ""
    if name == "LOGISTIC":
        y_scale, y_zero = 1 / 256, int(random.choice([-128, -128, 0]))
    if name == "TANH":
        y_scale, y_zero = (1 / 128, 0) if random.random() < 0.6 else (y_scale, y_zero)
    if name == "HARD_SWISH":
        y_scale = x_scale * float(random.choice([1, 0.7, 1.9, 0.2, 0.05]))
    if name == "LEAKY_RELU":
        kind, options = "LeakyReluOptions", {"Alpha": float(random.choice([0.1, 0.3, 0.01, 1.5, 0.0]))}
    if name in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "QUANTIZE"):
        y_scale = x_scale * float(np.exp(random.uniform(-1.5, 1.5))) if random.random() < 0.8 else x_scale
    x = net.input(*EVERY, scale=x_scale, zero=zero_point(random))
    y = net.output(*EVERY, scale=y_scale, zero=y_zero)
    net.operator(name, [x], y, kind, **options)
    return net


def pool(name: str, random: Random) -> Net:
    height, width, channels = pick(random, 1, 14), pick(random, 1, 14), pick(random, 1, 9)
    kind, strides = pick(random, 0, 1), (pick(random, 1, 3), pick(random, 1, 3))
    kernel = tuple(pick(random, 1, 7 if kind == SAME else min(7, size)) for size in (height, width))
    if random.random() < 0.2:
        kind, kernel = 1, (height, width)
    net, one, zero = Net(), scale(random), zero_point(random)
    x = net.input(1, height, width, channels, scale=one, zero=zero)
    made = [out_size(kind, size, kernel[i], strides[i]) for i, size in enumerate((height, width))]
    y = net.output(1, *made, channels, scale=one, zero=zero)
    net.operator(name, [x], y, "Pool2DOptions", Padding=kind, StrideH=strides[0], StrideW=strides[1],
                 FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=int(random.choice(ACTIVATIONS)))
    return net


def mean(random: Random) -> Net:
    net = Net()
    shape = (1, pick(random, 1, 12), pick(random, 1, 12), pick(random, 1, 9)) if random.random() < 0.8 else (
        1, pick(random, 1, 60), pick(random, 1, 9))
    axes = [[1, 2], [2, 1], [-2, -3], [1], [2]][pick(random, 0, 4)] if len(shape) == 4 else [1]
    keep, x_scale = bool(pick(random, 0, 1)), scale(random)
    x = net.input(*shape, scale=x_scale, zero=zero_point(random))
    gone = {axis % len(shape) for axis in axes}
    made = [1 if axis in gone else size for axis, size in enumerate(shape) if keep or axis not in gone]
    y = net.output(*made, scale=x_scale * float(np.exp(random.uniform(-1.5, 0.5))), zero=zero_point(random))
    net.operator("MEAN", [x, net.constant(axes)], y, "ReducerOptions", KeepDims=keep)
    return net


def resize(name: str, random: Random) -> Net:
    net, one, zero = Net(), scale(random), zero_point(random)
    sizes, made = (pick(random, 1, 9), pick(random, 1, 9)), (pick(random, 1, 20), pick(random, 1, 20))
    if random.random() < 0.3:
        made = (sizes[0] * 2, sizes[1] * 2)
    x = net.input(1, *sizes, 3, scale=one, zero=zero)
    y = net.output(1, *made, 3, scale=one, zero=zero)
    form = pick(random, 0, 2)
    kind = "ResizeBilinearOptions" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    net.operator(name, [x, net.constant(made)], y, kind, AlignCorners=form == 1, HalfPixelCenters=form == 2)
    return net


CASES = {
    **{partial(binary, name): count for name, count in (("ADD", 24), ("SUB", 12), ("MUL", 12))},
    **{partial(broadcast, name): 5 for name in ("ADD", "SUB", "MUL")},
    **{partial(with_constant, name, each): 6 for name in ("ADD", "SUB", "MUL") for each in (False, True)},
    **{partial(unary, name): count for name, count in (
        ("LOGISTIC", 10), ("TANH", 10), ("HARD_SWISH", 16), ("LEAKY_RELU", 10), ("RELU", 6), ("RELU6", 6),
        ("RELU_N1_TO_1", 4), ("RELU_0_TO_1", 4), ("QUANTIZE", 12))},
    partial(pool, "AVERAGE_POOL_2D"): 24, partial(pool, "MAX_POOL_2D"): 12, mean: 16,
    partial(resize, "RESIZE_BILINEAR"): 20, partial(resize, "RESIZE_NEAREST_NEIGHBOR"): 16,
}
"""How many of each."""
