"""ADD, SUB and MUL with a constant: a function of one value, the same for all or one a channel.

With one number it is a table. With a number a channel it becomes a 1x1 depthwise convolution, whose weight, bias and
multiplier are searched for each channel and checked on all 256 values.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import INT8, Integers, exact_multiplier, quantise_multiplier
from systolith.gen.frontend.tflite_file import Operator
from systolith.gen.graph import DepthwiseConv2D, Lookup, Tensor
from systolith.rtl.isa import SINGLE

if TYPE_CHECKING:
    from systolith.gen.frontend.tflite_import import Importer

Function = Callable[[Integers, Integers], Integers]
"""Outputs for values of the input and of the constant."""
Line = Callable[[int], tuple[float, float]]
"""For a value of the constant: the output is about slope * (x - zero point) + offset, before its zero point."""


def by_channel(importer: "Importer", operator: Operator, x: Tensor, output: Tensor, constant: Integers,
               function: Function, line: Line, low: int, high: int) -> None:
    """The node for `function(x, constant)`."""
    if x.shape != output.shape:
        raise Refused(f"makes {list(output.shape)} of an input of {list(x.shape)} and a constant; only a constant that "
                      "is repeated along the input is supported")
    if (constant == constant.reshape(-1)[0]).all():
        importer.add(Lookup(importer.name(operator), (x.name,), output.name,
                            function(INT8, constant.reshape(-1)[:1]).astype(np.int8)))
        return
    channels = output.shape[2]
    if constant.size != channels or constant.shape[-1] != channels:
        raise Refused(f"has a constant of shape {list(constant.shape)}; a constant may differ between channels only")
    found: dict[int, tuple[int, int, int, int]] = {}
    for value in np.unique(constant).tolist():
        table = function(INT8, np.array([value], np.int64))
        found[value] = fitted(INT8 - x.zero_point, table, line(value), output.zero_point, low, high)
    weights, bias, multiplier, shift = np.array([found[value] for value in constant.reshape(-1).tolist()], np.int64).T
    importer.add(DepthwiseConv2D(importer.name(operator), (x.name,), output.name,
                                 weights.astype(np.int8).reshape(-1, 1, 1), bias.astype(np.int32), multiplier, shift,
                                 rounding=SINGLE, low=low, high=high))


def fitted(x: Integers, table: Integers, line: tuple[float, float], zero_point: int, low: int, high: int,
           ) -> tuple[int, int, int, int]:
    """(weight, bias, multiplier, shift) whose rescaled x * weight + bias is the table, one entry for each x.

    A weight w divides the offset into steps of 1 / w of an input's; of the 127 weights most hit the table's steps.
    """
    if (table == table[0]).all():
        return 0, int(table[0] - zero_point), 1 << 30, 30
    slope, offset = line
    steps = (table - zero_point).tolist()
    for weight in range(127, 0, -1) if slope else ():
        nearest, shift = quantise_multiplier(abs(slope) / weight)
        signed, bias = weight if slope > 0 else -weight, round(offset / abs(slope) * weight)
        if shift < 1 or abs(bias) >= 1 << 30:
            continue
        sums = list(zip((x * signed + bias).tolist(), steps, table.tolist(), strict=True))
        multiplier = exact_multiplier([(sum_, step) for sum_, step, value in sums if value > low],
                                      [(sum_, step + 1) for sum_, step, value in sums if value < high], nearest, shift)
        if multiplier is not None:
            return signed, bias, multiplier, shift
    raise Refused("has a constant for which no exact weight and bias of a channel is found; quantise the network again")
