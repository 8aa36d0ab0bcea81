"""Operators of a .tflite file that work element by element, SOFTMAX, and QUANTIZE and DEQUANTIZE."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from systolith.gen.frontend import tflite_tables as tables
from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import Integers, away, clamp, in_range, quantise_multiplier
from systolith.gen.frontend.tflite_channels import by_channel
from systolith.gen.frontend.tflite_file import FileTensor, Operator
from systolith.gen.frontend.tflite_softmax import softmax_table
from systolith.gen.frontend.tflite_sums import Form, Sum
from systolith.gen.graph import Add, Lookup, Mul, Rescale, Softmax, Tensor
from systolith.rtl.isa import DOUBLE, SINGLE
from systolith.sim.golden.rescale import round_shift

if TYPE_CHECKING:
    from systolith.gen.frontend.tflite_import import Importer

BOUNDS = {"RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
INT32 = (-1 << 31, (1 << 31) - 1)


def constant_operand(importer: "Importer", operator: Operator) -> int | None:
    """Which of the two inputs is a constant; None if neither."""
    given = [which for which in (0, 1) if importer.read(operator, which).data is not None]
    if len(given) == 2:
        raise Refused("reads constants only; convert the network again, which computes it")
    return given[0] if given else None


def operand(importer: "Importer", operator: Operator, which: int) -> tuple[Tensor, Integers]:
    """A constant operand's type and integers."""
    tensor: FileTensor = importer.read(operator, which)
    if tensor.type != "INT8" or tensor.data is None:
        raise Refused(f"reads the constant {tensor.name!r} as {tensor.type}; quantise it to int8")
    return importer.typed(tensor), tensor.data.astype(np.int64)


def add(importer: "Importer", operator: Operator) -> None:
    """ADD and SUB."""
    sign = -1 if operator.name == "SUB" else 1
    which = constant_operand(importer, operator)
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    if which is not None:
        x = importer.source(operator, 1 - which)
        kind, values = operand(importer, operator, which)
        total = Sum(*((kind, x) if which == 0 else (x, kind)), output, sign, low, high)
        signs = (sign, 1) if which == 0 else (1, sign)
        by_channel(importer, operator, x, output, values, lambda v, c: total(*((c, v) if which == 0 else (v, c))),
                   lambda c: (signs[0] * x.scale / output.scale,
                              signs[1] * (c - kind.zero_point) * kind.scale / output.scale), low, high)
        return
    a, b = importer.source(operator, 0), importer.source(operator, 1)
    total = Sum(a, b, output, sign, low, high)
    if (found := total.one_pass()) is not None:
        importer.add(Add(importer.name(operator), (a.name, b.name), output.name, *found, SINGLE, low, high))
        return
    *inputs, last = total.passes()
    wide = tuple(widened(importer, operator, x, forms) for x, forms in zip((a, b), inputs, strict=True))
    importer.add(Add(importer.name(operator), wide, output.name, (last.multiplier, sign * last.multiplier), last.shift,
                     last.rounding, low, high))


def widened(importer: "Importer", operator: Operator, x: Tensor, forms: list[Form]) -> str:
    """The int32 tensor that rescales in a row make of `x`."""
    for number, form in enumerate(forms):
        y = importer.between(x, f"for {operator.index}, {number}", dtype="int32", zero_point=0,
                             scale=x.scale * 2.0 ** form.shift / form.multiplier)
        importer.add(Rescale(importer.name(operator), (x.name,), y.name, form.multiplier, form.shift,
                             rounding=form.rounding, low=INT32[0], high=INT32[1]))
        x = y
    return x.name


def mul(importer: "Importer", operator: Operator) -> None:
    which = constant_operand(importer, operator)
    kinds = [importer.source(operator, k) if k != which else operand(importer, operator, k)[0] for k in (0, 1)]
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    multiplier, shift = quantise_multiplier(  # the kernel computes in float32 here
        float(np.float32(kinds[0].scale) * np.float32(kinds[1].scale) / np.float32(output.scale)))
    in_range(255 * 255, shift)
    if which is None:
        importer.add(Mul(importer.name(operator), (kinds[0].name, kinds[1].name), output.name, multiplier, shift,
                         DOUBLE, low, high))
        return
    x, constant = kinds[1 - which], kinds[which]

    def product(v: Integers, c: Integers) -> Integers:
        p = (v - x.zero_point) * (c - constant.zero_point) * multiplier
        return np.clip(round_shift(p, shift, DOUBLE) + output.zero_point, low, high)

    by_channel(importer, operator, x, output, operand(importer, operator, which)[1], product,
               lambda c: ((c - constant.zero_point) * multiplier / 2 ** shift, 0.0), low, high)


def relu(importer: "Importer", operator: Operator) -> None:
    """RELU and its kin as operators of their own: a rescale with a clamp."""
    x, output = importer.source(operator), importer.output(operator)
    low, high = (None if bound is None else int(away(np.float32(bound) / np.float32(output.scale))) + output.zero_point
                 for bound in BOUNDS[operator.name])
    rescale(importer, operator, x, output, float(np.float32(x.scale) / np.float32(output.scale)),
            -128 if low is None else max(-128, low), 127 if high is None else min(127, high))


def rescale(importer: "Importer", operator: Operator, x: Tensor, output: Tensor, scale: float, low: int = -128,
            high: int = 127) -> None:
    """Element by element to another scale."""
    multiplier, shift = quantise_multiplier(scale)
    in_range(255, shift)
    importer.add(Rescale(importer.name(operator), (x.name,), output.name, multiplier, shift, rounding=DOUBLE, low=low,
                         high=high))


def lookup(importer: "Importer", operator: Operator, x: Tensor, output: Tensor, table: NDArray[np.int8]) -> None:
    importer.add(Lookup(importer.name(operator), (x.name,), output.name, table))


def logistic(importer: "Importer", operator: Operator) -> None:
    x, output = importer.source(operator), importer.output(operator)
    if output.scale != 1 / 256:
        raise Refused(f"has the output scale {output.scale:g}; the reference kernel has 1/256 only")
    lookup(importer, operator, x, output, tables.of_real(tables.logistic, x, output))


def tanh(importer: "Importer", operator: Operator) -> None:
    x, output = importer.source(operator), importer.output(operator)
    lookup(importer, operator, x, output, tables.of_real(math.tanh, x, output))


def hard_swish(importer: "Importer", operator: Operator) -> None:
    x, output = importer.source(operator), importer.output(operator)
    lookup(importer, operator, x, output, tables.hard_swish(x, output))


def leaky_relu(importer: "Importer", operator: Operator) -> None:
    x, output = importer.source(operator), importer.output(operator)
    lookup(importer, operator, x, output, tables.leaky_relu(x, output, operator.option("Alpha", 0.0)))


def softmax(importer: "Importer", operator: Operator) -> None:
    """Over the last axis."""
    x, output = importer.source(operator), importer.output(operator)
    if output.zero_point != -128 or abs(output.scale * 256 - 1) > 0.001:
        raise Refused(f"has the output scale {output.scale:g} and zero point {output.zero_point}; the reference kernel "
                      "has 1/256 and -128 only")
    if x.shape[2] > 4096:
        raise Refused(f"has {x.shape[2]} values a row; the reference kernel's sums hold at most 4096")
    importer.add(Softmax(importer.name(operator), (x.name,), output.name,
                         softmax_table(x.scale, operator.option("Beta", 0.0))))


def quantise(importer: "Importer", operator: Operator) -> None:
    """To another scale; behind a float input, that input's type."""
    tensor = importer.read(operator, 0)
    target = importer.file.tensors[operator.outputs[0]]
    if tensor.type == "FLOAT32" and tensor.index in importer.file.inputs:
        importer.same(operator, importer.enter(tensor.index, target))
        return
    x = importer.source(operator, kinds=("INT8", "UINT8"))
    kind = importer.typed(target)
    if (kind.scale, kind.zero_point) == (x.scale, x.zero_point):
        importer.same(operator, x)
        return
    rescale(importer, operator, x, importer.output(operator), x.scale / kind.scale)


def dequantise(importer: "Importer", operator: Operator) -> None:
    """To real numbers, before an output only: what reads it is refused, for it reads real numbers."""
    x = importer.source(operator, kinds=("INT8", "UINT8"))
    tensor = importer.file.tensors[operator.outputs[0]]
    if tensor.type != "FLOAT32":
        raise Refused(f"makes {tensor.type}; only FLOAT32 is supported")
    importer.put(tensor, x.name)
