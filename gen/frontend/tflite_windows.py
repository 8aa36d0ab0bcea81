"""Pools, MEAN, PAD and the resizes of a .tflite file."""

import math
from typing import TYPE_CHECKING

import numpy as np

from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_arithmetic import away, clamp, in_range, quantise_multiplier
from systolith.gen.frontend.tflite_file import Operator
from systolith.gen.frontend.tflite_layers import image, window
from systolith.gen.graph import Conv2D, Pool2D, Rescale, Resize
from systolith.rtl.isa import DOUBLE, SINGLE
from systolith.sim.golden.operators import window_elements

if TYPE_CHECKING:
    from systolith.gen.frontend.tflite_import import Importer

Places = tuple[tuple[int, int, int], ...]
EXACT = (1 << 30, 30)
"""Multiplier and shift of 1."""
BITS = 10
"""Of the fractions with which RESIZE_BILINEAR weighs; its sums stay within 2**(7 + 2 * BITS)."""
AWAY = ((1 << 28) + 1, 28)
"""A hair more than 1: a sum of at most 2**28 that is halfway between two integers is rounded away from zero, and no
other sum is rounded otherwise."""


def average_multiplier(count: int) -> tuple[int, int]:
    """(multiplier, shift) with which SINGLE rounds sums of `count` int8 values to their mean, ties away from zero.

    The multiplier is 2**shift / count rounded up to the next greater: halves move away from zero by less than
    2**7 * count / 2**shift, and what is no half is at least 1 / (2 * count) from one, which is more below 2**22 counts.
    """
    shift = 30 + count.bit_length() - 1
    return (1 << shift) // count + 1, shift


def pool(importer: "Importer", operator: Operator) -> None:
    """MAX_POOL_2D and AVERAGE_POOL_2D: on the integers as they are; an average counts what is inside the input."""
    x = image(importer, operator)
    kernel = (operator.option("FilterHeight"), operator.option("FilterWidth"))
    strides, padding = window(operator, x.shape, kernel)
    output = importer.output(operator)
    low, high = clamp(operator.option("FusedActivationFunction"), output)
    mode, (multiplier, shift) = "max", EXACT
    border: tuple[tuple[int, int, int], ...] = ()
    if operator.name == "AVERAGE_POOL_2D":
        mode, (multiplier, shift) = "average", average_multiplier(kernel[0] * kernel[1])
        if any(padding):
            counts = np.unique(window_elements(*x.shape[:2], kernel, strides, (1, 1), padding)).tolist()
            border = tuple((count, *average_multiplier(count)) for count in counts)
    importer.add(Pool2D(importer.name(operator), (x.name,), output.name, mode, kernel, multiplier, shift, strides,
                        padding=padding, exclude_padding=bool(border), border=border, raw=True, rounding=SINGLE,
                        low=low, high=high))


def mean(importer: "Importer", operator: Operator) -> None:
    """MEAN over height, width or both: the multiplier of the scales, divided by the count in integers."""
    x = importer.source(operator)
    rank = len(importer.read(operator, 0).shape)
    listed = importer.constant(operator, 1, "axes").reshape(-1).tolist()
    axes = {axis % rank - (rank - 3) for axis in listed if -rank <= axis < rank}
    axes = {axis for axis in axes if axis >= 0 and x.shape[axis] > 1} or {0}
    if 2 in axes or any(not -rank <= axis < rank for axis in listed):
        raise Refused(f"averages over the axes {listed}; only height and width of [1, H, W, C] are supported")
    output = importer.output(operator)
    kernel = tuple(x.shape[axis] if axis in axes else 1 for axis in (0, 1))
    count = kernel[0] * kernel[1]
    multiplier, shift = quantise_multiplier(x.scale / output.scale)
    up = min(count.bit_length() - 1, 32, 62 - shift)
    multiplier, shift = (multiplier << up) // count, shift + up
    in_range(255 * count, shift)
    made = (x.shape[0] // kernel[0], x.shape[1] // kernel[1], x.shape[2])
    target = output if output.shape == made else importer.between(output, "with its axes", shape=made)
    importer.add(Pool2D(importer.name(operator), (x.name,), target.name, "average", (kernel[0], kernel[1]), multiplier,
                        shift, rounding=DOUBLE))
    if target is not output:
        importer.same_integers(operator, target, output)


def pad(importer: "Importer", operator: Operator) -> None:
    """PAD and PADV2: height and width by a copy with a border, channels by a convolution with a 1 for each.

    A border is the zero point; another value is made that for a while, since integers are only copied.
    """
    x = importer.source(operator)
    rank = len(importer.read(operator, 0).shape)
    pads = importer.constant(operator, 1, "paddings").astype(np.int64)
    if pads.shape != (rank, 2) or (pads < 0).any() or pads[:-3].any():
        raise Refused(f"has the paddings {pads.tolist()}; height, width and channels of [1, H, W, C] can be padded")
    if not pads.any():
        importer.same(operator, x)
        return
    output = importer.output(operator)
    value = output.zero_point
    if operator.name == "PADV2":
        value = int(importer.constant(operator, 2, "values to pad with").reshape(()))
    full = np.concatenate((np.zeros((3, 2), np.int64), pads))[-3:]
    (top, bottom), (left, right), (before, after) = full.tolist()
    if x.zero_point != value:
        x = importer.same_integers(operator, x, importer.between(x, f"for {operator.index}", zero_point=value))
    y = output if output.zero_point == value else importer.between(output, "copied", zero_point=value)
    padding = (top, left, bottom, right)
    if before or after:
        channels = x.shape[2]
        ones = np.zeros((before + channels + after, 1, 1, channels), np.int8)
        ones[np.arange(channels) + before, 0, 0, np.arange(channels)] = 1
        multiplier, shift = (np.full(len(ones), number, np.int64) for number in EXACT)
        importer.add(Conv2D(importer.name(operator), (x.name,), y.name, ones, np.zeros(len(ones), np.int32), multiplier,
                            shift, padding=padding))
    else:
        importer.add(Rescale(importer.name(operator), (x.name,), y.name, *EXACT, padding))
    if y is not output:
        importer.same_integers(operator, y, output)


def nearest(importer: "Importer", operator: Operator) -> None:
    """RESIZE_NEAREST_NEIGHBOR; rows and columns are found in float32, as its kernel does."""
    x = image(importer, operator)
    output = importer.output(operator)
    corners, centres = operator.option("AlignCorners"), operator.option("HalfPixelCenters")

    def places(size: int, outputs: int) -> Places:
        aligned = corners and outputs > 1
        scale = np.float32(size - aligned) / np.float32(outputs - aligned)
        at = (np.arange(outputs, dtype=np.float32) + np.float32(0.5 if centres else 0)) * scale
        rows = np.clip(away(at) if corners else np.floor(at), 0, size - 1).astype(int).tolist()
        return tuple((row, row, 0) for row in rows)

    importer.add(Resize(importer.name(operator), (x.name,), output.name, places(x.shape[0], output.shape[0]),
                        places(x.shape[1], output.shape[1])))


def bilinear(importer: "Importer", operator: Operator) -> None:
    """RESIZE_BILINEAR: positions with 10 fractional bits, weights of 20, ties away from zero."""
    x = image(importer, operator)
    output = importer.output(operator)
    corners, centres = operator.option("AlignCorners"), operator.option("HalfPixelCenters")
    one = 1 << BITS

    def places(size: int, outputs: int) -> Places:
        aligned = corners and outputs > 1
        scale = (one * (size - aligned) + (outputs - aligned) // 2) // (outputs - aligned)
        found = []
        for number in range(outputs):
            at = number * scale + (scale // 2 - one // 2 if centres else 0)
            low = max(math.trunc(at / one), 0)
            high = min(math.trunc((at + one - 1) / one), size - 1)
            if low >= size:
                raise Refused(f"reads past its input of {size} where it makes {outputs}, in the reference kernel too; "
                              "resize to fewer")
            found.append((low, high, at - low * one if high != low else 0))
        return tuple(found)

    importer.add(Resize(importer.name(operator), (x.name,), output.name, places(x.shape[0], output.shape[0]),
                        places(x.shape[1], output.shape[1]), BITS, SINGLE, multiplier=AWAY[0], shift=AWAY[1], raw=True))
