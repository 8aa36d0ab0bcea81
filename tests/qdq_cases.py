"""Random QDQ files of one operator, or of a few that belong together, by families; for the tests of their import."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from systolith.gen.frontend.functions import FUNCTIONS
from systolith.gen.qdq_compare import runtime
from tests.qdq_graphs import QdqFile

Array = NDArray[Any]


class Case(QdqFile):
    """A file that grows; `outputs` are what it is to be compared by."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        super().__init__((1, 1, 1, 1), [np.int8, np.uint8][int(random.integers(2))], seed)
        self.random = random
        self.opset = 17
        del self.nodes[:], self.constants[:]
        shape = (1, self.pick(1, 9), self.pick(2, 12), self.pick(2, 12))
        self.start(shape)

    def file(self, *outputs: str) -> onnx.ModelProto:
        return self.model(*outputs, opset=self.opset, batch=self.shape[0])

    def pick(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def one_of(self, *values: Any) -> Any:
        return values[self.pick(0, len(values) - 1)]

    def start(self, shape: tuple[int, ...], scale: float | None = None, zero_point: int | None = None) -> str:
        """The file's input, anew: its shape, scale and zero point."""
        del self.nodes[:], self.constants[:]
        self.shape = shape
        self.scale = np.float32(self.random.uniform(0.01, 0.06) if scale is None else scale)
        self.zero_point = self.pick(-60, 60) if zero_point is None else zero_point
        self.x = self.quantised("x", float(self.scale), self.zero_point, exact=True)
        return self.x

    def sample(self) -> dict[str, NDArray[np.float32]]:
        """Every integer is as likely."""
        integers = self.random.integers(-128, 128, self.shape) - self.zero_point
        return {"x": integers.astype(np.float32) * self.scale}

    def rounded(self, real: str, scale: float | None = None, zero_point: int | None = None) -> str:
        """Through a QuantizeLinear and a DequantizeLinear that fit its values, or as given."""
        if scale is None:
            seen = runtime(self.file(real)).run([real], self.sample())[0]
            low, high = (float(np.clip(v, -1e4, 1e4)) for v in (min(seen.min(), 0), max(seen.max(), 0)))
            scale = max(high - low, 1e-3) / 255 * self.random.uniform(0.8, 1.3)
            zero_point = int(np.clip(round(-128 - low / scale) + self.pick(-3, 3), -128, 127))
        assert zero_point is not None
        return self.quantised(real, float(np.float32(scale)), zero_point, exact=True)

    def other(self) -> str:
        """A tensor of the input's shape with other values and another scale."""
        pooled = self.op("MaxPool", [self.x], kernel_shape=[2, 3], auto_pad="SAME_UPPER")
        return self.rounded(pooled)

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))


def depthwise(c: Case) -> list[str]:
    channels, kernel = c.shape[1], (c.pick(1, 2), c.pick(1, 2))
    outputs = channels * c.pick(1, 3)
    steps = c.random.uniform(0.005, 0.02, outputs).astype(np.float32)
    inputs = [c.x, c.weights(outputs, 1, *kernel, scale=steps)]
    if c.pick(0, 1):
        inputs.append(c.bias(outputs, np.float32(c.scale) * steps))
    pads = [c.pick(0, kernel[i % 2] - 1) for i in range(4)]
    y = c.op("Conv", inputs, group=channels, strides=[c.pick(1, 2), c.pick(1, 2)], pads=pads)
    return [c.rounded(c.op("Relu", [y]) if c.pick(0, 1) else y)]


def transposed_convolution(c: Case) -> list[str]:
    outputs, kernel = c.pick(1, 6), (c.pick(1, 4), c.pick(1, 4))
    steps = c.random.uniform(0.005, 0.02, outputs).astype(np.float32)
    inputs = [c.x, c.weights(c.shape[1], outputs, *kernel, scale=steps, axis=1)]
    if c.pick(0, 1):
        inputs.append(c.bias(outputs, np.float32(c.scale) * steps))
    strides = [c.pick(1, 3), c.pick(1, 3)]
    given: dict[str, Any] = {"strides": strides}
    match c.pick(0, 4):
        case 0:
            given["pads"] = [c.pick(0, kernel[i % 2] - 1) for i in range(4)]
        case 1:
            given["output_padding"] = [c.pick(0, stride - 1) for stride in strides]
        case 2:
            given["auto_pad"] = c.one_of("SAME_UPPER", "SAME_LOWER", "VALID")
        case 3:
            given["dilations"] = [c.pick(1, 2), c.pick(1, 2)]
    if any(strides[i] > kernel[i] for i in (0, 1)) and "auto_pad" in given:
        given["auto_pad"] = "VALID"
    return [c.rounded(c.op("ConvTranspose", inputs, **given))]


def _partner(c: Case) -> tuple[str, str]:
    """Two operands that broadcast."""
    pooled = c.one_of("GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "same")
    if pooled == "same":
        other = c.other()
    elif pooled == "ReduceMax":
        other = c.rounded(c.op("ReduceMax", [c.x], axes=[c.pick(1, 3)]))
    else:
        other = c.rounded(c.op(pooled, [c.x]))
    return (c.x, other) if c.pick(0, 1) else (other, c.x)


def sums(c: Case) -> list[str]:
    return [c.rounded(c.op(c.one_of("Add", "Sub"), list(_partner(c))))]


def products(c: Case) -> list[str]:
    return [c.rounded(c.op("Mul", list(_partner(c))))]


def constants(c: Case) -> list[str]:
    """Arithmetic with a constant: one number, or one a channel."""
    channels = c.shape[1]
    values = (c.random.uniform(0.2, 2, (1, channels, 1, 1)) * c.random.choice([-1, 1], (1, channels, 1, 1)))
    number = c.constant(values.astype(np.float32) if c.pick(0, 1) else np.float32(values.reshape(-1)[0]))
    kind = c.one_of("Add", "Sub", "Mul", "Div", "Sub")
    swapped = kind != "Div" and c.pick(0, 1)
    return [c.rounded(c.op(kind, [number, c.x] if swapped else [c.x, number]))]


def joined(c: Case) -> list[str]:
    """Inputs of other scales, and of the output's."""
    _, channels, height, width = c.shape
    axis = c.pick(1, 3)
    parts = [c.x, c.other()]
    if c.pick(0, 1):
        sizes = [channels, height, width]
        sizes[axis - 1] = c.pick(1, sizes[axis - 1])
        parts.append(c.op("Slice", [c.x, c.ints(0), c.ints(sizes[axis - 1]), c.ints(axis)]))
    y = c.op("Concat", parts, axis=axis - 4 if c.pick(0, 1) else axis)
    scale, zero = (float(c.scale), c.zero_point) if c.pick(0, 1) else (None, None)
    return [c.rounded(c.op("Relu", [y]) if c.pick(0, 3) == 0 else y, scale, zero)]


def slices(c: Case) -> list[str]:
    starts, ends, axes, steps = [], [], [], []
    for axis in (1, 2, 3):
        if c.pick(0, 1):
            size = c.shape[axis]
            start = c.pick(0, size - 1)
            end = c.pick(start + 1, size)
            starts.append(start - size if c.pick(0, 1) else start)
            ends.append(end if end < size else 2 ** 31)
            axes.append(axis - 4 if c.pick(0, 1) else axis)
            steps.append(c.pick(1, 3))
    if not axes:
        starts, ends, axes, steps = [1], [2], [2], [1]
    y = c.op("Slice", [c.x, c.ints(*starts), c.ints(*ends), c.ints(*axes), c.ints(*steps)])
    return [c.rounded(y, float(c.scale), c.zero_point)]


def splits(c: Case) -> list[str]:
    c.start((1, 2 * c.pick(1, 4), 3 * c.pick(1, 3), c.pick(2, 9)))
    axis, count = c.one_of((1, 2), (2, 3), (1, 2))
    name = f"split{len(c.nodes)}"
    names = [f"{name}_{number}" for number in range(count)]
    inputs = [c.x]
    if c.pick(0, 1):
        size = c.shape[axis]
        inputs.append(c.ints(*[1] * (count - 1), size - count + 1))
    c.nodes.append(helper.make_node("Split", inputs, names, name, axis=axis))
    return [c.rounded(part) if c.pick(0, 1) else c.rounded(part, float(c.scale), c.zero_point) for part in names]


def transposes(c: Case) -> list[str]:
    """Any order of the axes, through Reshapes too: channel shuffles, depth to space."""
    _, channels, height, width = c.shape
    match c.pick(0, 5):
        case 0:
            c.start((1, 2 * c.pick(1, 5), height, width))
            split = c.op("Reshape", [c.x, c.ints(1, 2, c.shape[1] // 2, height, width)])
            turned = c.op("Transpose", [split], perm=[0, 2, 1, 3, 4])
            y = c.op("Reshape", [turned, c.ints(1, c.shape[1], height, width)])
        case 1:
            c.start((1, 4 * c.pick(1, 3), height, width))
            y = c.op("DepthToSpace", [c.x], blocksize=2, mode=c.one_of("DCR", "CRD"))
        case 2:
            c.start((1, channels, 2 * c.pick(1, 4), 2 * c.pick(1, 4)))
            y = c.op("SpaceToDepth", [c.x], blocksize=2)
        case 3:
            y = c.op("Flatten", [c.x])
        case _:
            y = c.op("Transpose", [c.x], perm=[0, *(c.random.permutation(3) + 1).tolist()])
    return [c.rounded(y, float(c.scale), c.zero_point) if c.pick(0, 1) else c.rounded(y)]


def _resized(c: Case, **given: Any) -> list[str]:
    own = given["mode"] == "nearest" or c.pick(0, 2) > 0
    if own:
        c.start(c.shape, 2.0 ** -c.pick(4, 6))  # exact in float32: half of the results lie between two integers
    if c.pick(0, 1):
        scales = [c.one_of(2.0, 2.0, 3.0, 4.0, 1.5, 0.5, 0.75, 1.0) for _ in range(2)]
        inputs = [c.x, "", c.constant(np.array([1, 1, *scales], np.float32))]
    else:
        inputs = [c.x, "", "", c.ints(*c.shape[:2], c.pick(1, 20), c.pick(1, 20))]
    y = c.op("Resize", inputs, **given)
    return [c.rounded(y, float(c.scale), c.zero_point) if own else c.rounded(y)]


def nearest(c: Case) -> list[str]:
    rounding = c.one_of("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    return _resized(c, mode="nearest", nearest_mode=rounding,
                    coordinate_transformation_mode=c.one_of("asymmetric", "half_pixel", "align_corners",
                                                            "pytorch_half_pixel"))


def linear(c: Case) -> list[str]:
    return _resized(c, mode="linear", coordinate_transformation_mode=c.one_of(
        "asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"))


def old_resize(c: Case) -> list[str]:
    """Before operator set 11: scales as the second input, positions asymmetric."""
    c.opset = 10
    factors = c.constant(np.array([1, 1, c.pick(1, 3), c.pick(1, 3)], np.float32))
    y = c.op("Resize", [c.x, factors], mode=c.one_of("nearest", "linear"))
    return [c.rounded(y)]


def softmax(c: Case) -> list[str]:
    form = c.pick(0, 3)
    if form == 0:
        c.start((c.one_of(1, 1, 7), c.pick(2, 40)), c.random.uniform(0.02, 0.3))
        y = c.op("Softmax", [c.x], axis=c.one_of(-1, 1))
    elif form == 1:
        c.start((1, c.pick(2, 9), c.pick(2, 12)), c.random.uniform(0.02, 0.3))
        y = c.op("Softmax", [c.x], axis=c.pick(1, 2))
    else:
        y = c.op("Softmax", [c.x], axis=c.pick(1, 3))
    return [c.rounded(y, 1 / 256, -128)]


def activation(c: Case) -> list[str]:
    kind = c.one_of(*(name for name in FUNCTIONS if name not in ("Gelu", "Swish", "Log", "Reciprocal", "Celu", "Mish")))
    if kind == "Sqrt":
        c.start(c.shape, zero_point=-128)
    given = {"alpha": float(c.random.uniform(0.05, 1))} if kind in ("LeakyRelu", "Elu", "HardSigmoid") else {}
    y = c.op(kind, [c.x], **given)
    return [c.rounded(y, 1 / 256, -128) if kind == "Sigmoid" and c.pick(0, 1) else c.rounded(y)]


def composed(c: Case) -> list[str]:
    """Activations of several operators, rounded in between or not: SiLU, GELU, hard swish."""
    between = c.one_of(c.rounded, lambda real: real)
    form = c.pick(0, 3)
    if form == 0:
        y = c.op("Mul", [c.x, between(c.op("Sigmoid", [c.x]))])
    elif form == 1:
        inner = between(c.op("Erf", [between(c.op("Div", [c.x, c.constant(np.float32(1.4142135))]))]))
        inner = between(c.op("Mul", [c.x, between(c.op("Add", [inner, c.constant(np.float32(1))]))]))
        y = c.op("Mul", [inner, c.constant(np.float32(0.5))])
    elif form == 2:
        inner = between(c.op("Clip", [between(c.op("Add", [c.x, c.constant(np.float32(3))])),
                                      c.constant(np.float32(0)), c.constant(np.float32(6))]))
        y = c.op("Div", [between(c.op("Mul", [inner, c.x])), c.constant(np.float32(6))])
    else:
        y = c.op("Max", [c.op("Mul", [c.x, c.constant(np.float32(0.1))]), c.x])
    return [c.rounded(y)]


def reductions(c: Case) -> list[str]:
    kind = c.one_of("GlobalMaxPool", "GlobalAveragePool", "ReduceMean", "ReduceMean", "ReduceMax")
    if kind.startswith("Global"):
        return [c.rounded(c.op(kind, [c.x]))]
    axes = c.one_of([2, 3], [-1, -2], [2], [3], [1], [1, 2])
    if c.pick(0, 2) == 0:
        c.start((1, c.pick(2, 9), c.pick(2, 12)))
        axes = c.one_of([1], [2], [-1])
    return [c.rounded(c.op(kind, [c.x], axes=axes, keepdims=c.pick(0, 1)))]


def arg_max(c: Case) -> list[str]:
    if c.pick(0, 2) == 0:
        c.start((c.pick(1, 5), c.pick(2, 30)))
    axis = c.pick(1, len(c.shape) - 1)
    y = c.op("ArgMax", [c.x], axis=axis, keepdims=c.pick(0, 1), select_last_index=c.pick(0, 1))
    return [c.op("Cast", [y], to=1)]


FAMILIES: dict[str, Callable[[Case], list[str]]] = {
    function.__name__: function for function in (
        depthwise, transposed_convolution, sums, products, constants, joined, slices, splits, transposes, nearest,
        linear, old_resize, softmax, activation, composed, reductions, arg_max)}
