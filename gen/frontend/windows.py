"""Kernel, strides, dilations and padding of ONNX' window operators."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..graph import Shape
from .builder import Operation, Unsupported

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """As in the graph; `extended`: rounding up made the padding larger than the file says."""

    kernel: Pair
    strides: Pair
    dilations: Pair
    padding: tuple[int, int, int, int]
    extended: bool = False


def _pair(op: Operation, name: str, default: Pair) -> Pair:
    given = op.attributes.get(name) or default
    if len(given) != 2:
        raise Unsupported(f"{name} has {len(given)} values", "use the two-dimensional operator")
    first, second = given
    if min(first, second) < 1:
        raise Unsupported(f"{name} is {list(given)}", f"{name} must be at least 1")
    return first, second


def window(op: Operation, x: Shape, kernel: Pair | None = None) -> Window:
    """The operation's window on a map of shape `x`; `kernel` where the weights give it."""
    shape = _pair(op, "kernel_shape", kernel or (0, 0))
    if kernel is not None and shape != kernel:
        raise Unsupported(f"kernel_shape {list(shape)} is not that of the weights, {list(kernel)}", "repair the file")
    strides, dilations = _pair(op, "strides", (1, 1)), _pair(op, "dilations", (1, 1))
    spans = [dilations[i] * (shape[i] - 1) + 1 for i in (0, 1)]
    automatic = op.attributes.get("auto_pad", "NOTSET") or "NOTSET"
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((-(-x[i] // strides[i]) - 1) * strides[i] + spans[i] - x[i], 0) for i in (0, 1)]
        small = [total // 2 for total in totals]
        large = [total - half for total, half in zip(totals, small, strict=True)]
        pads = [*small, *large] if automatic == "SAME_UPPER" else [*large, *small]
    elif automatic == "VALID":
        pads = [0, 0, 0, 0]
    else:
        pads = list(op.attributes.get("pads") or (0, 0, 0, 0))
    if len(pads) != 4 or min(pads) < 0:
        raise Unsupported(f"pads is {pads}", "pads must be four numbers, none below 0")
    result = Window(shape, strides, dilations, (pads[0], pads[1], pads[2], pads[3]))
    return _rounded_up(result, x, spans) if op.attributes.get("ceil_mode") and automatic == "NOTSET" else result


def _rounded_up(given: Window, x: Shape, spans: list[int]) -> Window:
    """`ceil_mode`: more padding at the end, so that the last, incomplete window counts if it starts in the map."""
    padding, extended = list(given.padding), False
    for i in (0, 1):
        stride, size = given.strides[i], x[i] + padding[i] + padding[i + 2]
        count = -(-(size - spans[i]) // stride) + 1
        if (count - 1) * stride >= x[i] + padding[i]:
            count -= 1
        extra = (count - 1) * stride + spans[i] - size
        if extra > 0:
            padding[i + 2] += extra
            extended = True
    return replace(given, padding=(padding[0], padding[1], padding[2], padding[3]), extended=extended)


def transposed_padding(given: Mapping[str, Any], size: tuple[int, ...], kernel: tuple[int, ...],
                       strides: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Padding of a ConvTranspose on a map of that size as the graph has it: top, left, bottom, right, cut off the full
    output. `kernel` is the dilated one. Output padding and a given output shape move the end."""
    full = [(size[i] - 1) * strides[i] + kernel[i] for i in (0, 1)]
    extra = list(given.get("output_padding") or (0, 0))
    auto = given.get("auto_pad", "NOTSET") or "NOTSET"
    auto = auto.decode() if isinstance(auto, bytes) else auto
    wanted = list(given.get("output_shape") or ())[-2:]
    if auto in ("SAME_UPPER", "SAME_LOWER") and not wanted:
        wanted = [size[i] * strides[i] for i in (0, 1)]
    if not wanted:
        top, left, bottom, right = (given.get("pads") or (0, 0, 0, 0)) if auto == "NOTSET" else (0, 0, 0, 0)
        return top, left, bottom - extra[0], right - extra[1]
    # ONNX: the total padding, output padding included, is halved; the odd one goes to the end for SAME_UPPER
    total = [max(full[i] + extra[i] - wanted[i], 0) for i in (0, 1)]
    before = [pads // 2 if auto == "SAME_UPPER" else pads - pads // 2 for pads in total]
    return before[0], before[1], full[0] - wanted[0] - before[0], full[1] - wanted[1] - before[1]
