"""Small networks of several operators, with the shapes of known ones."""

import numpy as np

from tests.tflite_build import Net
from tests.tflite_layer_cases import SAME, VALID, Random


class Builder:
    """Adds layers one after the other; each method returns the number of the tensor that it makes."""

    def __init__(self, random: Random) -> None:
        self.random, self.net = random, Net()

    def made(self, x: int, shape: tuple[int, ...], spread: float = 1.0) -> int:
        """A tensor whose scale is `spread` of that of `x`."""
        scale = float(self.net.tensors[x].scales[0]) * spread * float(self.random.uniform(0.7, 1.4))
        return self.net.tensor(*shape, scale=scale, zero=int(self.random.integers(-100, 100)))

    def like(self, x: int, shape: tuple[int, ...]) -> int:
        """A tensor with the scale and zero point of `x`."""
        t = self.net.tensors[x]
        return self.net.tensor(*shape, scale=t.scales, zero=int(t.zero_points[0]))

    def shape(self, x: int) -> tuple[int, ...]:
        return self.net.tensors[x].shape

    def conv(self, x: int, outputs: int, kernel: int = 1, stride: int = 1, activation: int = 0,
             depthwise: bool = False) -> int:
        _, height, width, inputs = self.shape(x)
        outputs = inputs if depthwise else outputs
        terms = kernel * kernel * (1 if depthwise else inputs)
        shape = (1, kernel, kernel, outputs) if depthwise else (outputs, kernel, kernel, inputs)
        scales = self.random.uniform(0.5, 1.5, outputs).astype(np.float32) / (73 * np.sqrt(terms) * 2)
        weights = self.net.constant(self.random.integers(-127, 128, shape), "INT8", scale=scales,
                                    axis=3 if depthwise else 0)
        bias = self.net.constant(self.random.integers(-2000, 2000, outputs),
                                 scale=scales * self.net.tensors[x].scales)
        y = self.made(x, (1, -(-height // stride), -(-width // stride), outputs))
        kind = "DepthwiseConv2D" if depthwise else "Conv2D"
        more = {"DepthMultiplier": 1} if depthwise else {}
        self.net.operator("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, weights, bias], y, f"{kind}Options",
                          Padding=SAME, StrideH=stride, StrideW=stride, FusedActivationFunction=activation, **more)
        return y

    def unary(self, name: str, x: int) -> int:
        y = self.made(x, self.shape(x))
        self.net.operator(name, [x], y)
        return y

    def binary(self, name: str, a: int, b: int) -> int:
        y = self.made(a, np.broadcast_shapes(self.shape(a), self.shape(b)),
                      100 * float(self.net.tensors[b].scales[0]) if name == "MUL" else 1.5)
        self.net.operator(name, [a, b], y, f"{name.capitalize()}Options")
        return y

    def mean(self, x: int, keep: bool = True) -> int:
        channels = self.shape(x)[3]
        y = self.made(x, (1, 1, 1, channels) if keep else (1, channels), 0.3)
        self.net.operator("MEAN", [x, self.net.constant([1, 2])], y, "ReducerOptions", KeepDims=keep)
        return y

    def dense(self, x: int, outputs: int) -> int:
        inputs = self.shape(x)[-1]
        weights = self.net.constant(self.random.integers(-127, 128, (outputs, inputs)), "INT8",
                                    scale=1 / (73 * np.sqrt(inputs)))
        bias = self.net.constant(self.random.integers(-2000, 2000, outputs),
                                 scale=self.net.tensors[weights].scales * self.net.tensors[x].scales)
        y = self.made(x, (1, outputs))
        self.net.operator("FULLY_CONNECTED", [x, weights, bias], y, "FullyConnectedOptions")
        return y

    def logistic(self, x: int) -> int:
        y = self.net.tensor(*self.shape(x), scale=1 / 256, zero=-128)
        self.net.operator("LOGISTIC", [x], y)
        return y


def inverted_residuals(random: Random) -> Net:
    """As MobileNetV3 has them: hard swish, squeeze and excite, a residual sum."""
    b = Builder(random)
    x = b.conv(b.net.input(1, 12, 12, 3, scale=0.02, zero=-3), 8, 3, 2)
    x = b.unary("HARD_SWISH", x)
    y = b.conv(b.unary("HARD_SWISH", b.conv(x, 24)), 0, 3, depthwise=True)
    gate = b.logistic(b.conv(b.conv(b.mean(y), 6, activation=1), 24))
    x = b.binary("ADD", b.conv(b.binary("MUL", y, gate), 8), x)
    b.net.outputs.append(b.dense(b.mean(b.unary("LEAKY_RELU", b.conv(x, 16, 3, 2, 3)), keep=False), 10))
    return b.net


def keyword_network(random: Random) -> Net:
    """Depthwise and pointwise layers between a float input and a float output, with a pool."""
    b = Builder(random)
    x = b.net.tensor(1, 13, 10, 1, scale=0.1, zero=5)
    b.net.operator("QUANTIZE", [b.net.input(1, 13, 10, 1, kind="FLOAT32")], x)
    x = b.conv(x, 16, 4, 2, 1)
    for _ in range(2):
        x = b.conv(b.conv(x, 0, 3, activation=1, depthwise=True), 16, activation=3)
    y = b.like(x, (1, 1, 1, 16))
    b.net.operator("AVERAGE_POOL_2D", [x], y, "Pool2DOptions", Padding=VALID, StrideH=7, StrideW=5, FilterHeight=7,
                   FilterWidth=5)
    flat = b.like(y, (1, 16))
    b.net.operator("RESHAPE", [y, b.net.constant([1, 16])], flat, "ReshapeOptions")
    b.net.operator("DEQUANTIZE", [b.dense(flat, 12)], b.net.output(1, 12, kind="FLOAT32"))
    return b.net


def unet(random: Random) -> Net:
    """Down, up again with a resize, joined with what was there before; split and put together in another order."""
    b = Builder(random)
    x = b.conv(b.net.input(1, 9, 8, 3, scale=0.02, zero=10), 6, 3, 1, 1)
    y = b.like(x, (1, 4, 4, 6))
    b.net.operator("MAX_POOL_2D", [x], y, "Pool2DOptions", Padding=VALID, StrideH=2, StrideW=2, FilterHeight=2,
                   FilterWidth=2)
    up = b.like(y, (1, 9, 8, 6))
    name = str(random.choice(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]))
    kind = "ResizeBilinearOptions" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    b.net.operator(name, [y, b.net.constant([9, 8])], up, kind, HalfPixelCenters=True)
    both = b.like(x, (1, 9, 8, 12))
    b.net.operator("CONCATENATION", [x, up], both, "ConcatenationOptions", Axis=3)
    parts = [b.like(both, (1, 9, 8, 4)) for _ in range(3)]
    b.net.operator("SPLIT", [b.net.constant(-1), both], parts, "SplitOptions", NumSplits=3)
    mixed = b.binary("SUB", b.binary("ADD", parts[2], parts[0]), parts[1])
    padded = b.like(mixed, (1, 11, 10, 4))
    b.net.operator("PAD", [mixed, b.net.constant([[0, 0], [1, 1], [1, 1], [0, 0]])], padded, "PadOptions")
    turned = b.like(padded, (1, 10, 11, 4))
    b.net.operator("TRANSPOSE", [padded, b.net.constant([0, 2, 1, 3])], turned, "TransposeOptions")
    b.net.outputs.append(b.conv(turned, 2))
    b.net.outputs.append(b.net.tensor(1, 10, 11, kind="INT32"))
    b.net.operator("ARG_MAX", [turned, b.net.constant(3)], b.net.outputs[-1], "ArgMaxOptions", OutputType=2)
    return b.net
