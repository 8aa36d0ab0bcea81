"""Which input rows and columns ONNX's Resize reads, computed in float32 as ONNX Runtime does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = tuple[tuple[int, int, int], ...]
"""As in the core's Resize."""
FINEST = 22
"""Bits of a fraction that are kept; sums of int8 rows then just fit in 32."""
F = np.float32


class NoResize(Exception):
    """A resize that is not supported: what it is and what would help."""


@dataclass(frozen=True)
class Axis:
    """An axis that is resized: its size before and after, and the scale that ONNX Runtime computes with."""

    size: int
    outputs: int
    scale: float


def _half(axis: Axis, at: Floats) -> Floats:
    return (at + F(0.5)) / F(axis.scale) - F(0.5)


def _symmetric(axis: Axis, at: Floats) -> Floats:
    adjustment = F(axis.outputs) / (F(axis.scale) * F(axis.size))
    centre = F(axis.size) / F(2)
    return centre * (F(1) - adjustment) + (at + F(0.5)) / F(axis.scale) - F(0.5)


COORDINATES: dict[str, Callable[[Axis, Floats], Floats]] = {
    "half_pixel": _half,
    "pytorch_half_pixel": lambda axis, at: _half(axis, at) if axis.outputs > 1 else np.zeros_like(at),
    "half_pixel_symmetric": _symmetric,
    "asymmetric": lambda axis, at: at / F(axis.scale),
    "align_corners": lambda axis, at: (at * F(axis.size - 1) / F(axis.outputs - 1) if axis.outputs > 1
                                       else np.zeros_like(at)),
    "tf_half_pixel_for_nn": lambda axis, at: (at + F(0.5)) / F(axis.scale),
}
"""Where in the input the middle of an output lies, by ONNX's names."""


def _away(x: Floats) -> Floats:
    return np.copysign(np.floor(np.abs(x) + F(0.5)), x)


ROUNDINGS: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.where(x == np.trunc(x) + F(0.5), np.floor(x), _away(x)),
    "round_prefer_ceil": _away,
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Of positions to a row or column, by ONNX's names."""


@dataclass(frozen=True)
class Resizing:
    """What a Resize does to height and width."""

    rows: Places
    columns: Places
    bits: int
    """0: nearest"""


def _text(given: Mapping[str, Any], name: str, otherwise: str) -> str:
    value = given.get(name, otherwise) or otherwise
    return value.decode() if isinstance(value, bytes) else str(value)


def resizing(kind: str, given: Mapping[str, Any], opset: int, size: tuple[int, int], scales: list[float] | None,
             sizes: list[int] | None) -> Resizing:
    """Tables of a Resize or Upsample node on [1, C, *size]; raises NoResize."""
    mode = _text(given, "mode", "nearest")
    old = kind == "Upsample" or opset < 11
    coordinates = "asymmetric" if old else _text(given, "coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else _text(given, "nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear"):
        raise NoResize(f"has the mode {mode}; resize with nearest or linear")
    if coordinates not in COORDINATES or (mode == "nearest" and rounding not in ROUNDINGS):
        raise NoResize(f"has the coordinates {coordinates} and {rounding}; export it with half_pixel or asymmetric")
    if given.get("antialias", 0) or _text(given, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NoResize("has antialias or keeps the aspect ratio; export it with fixed sizes and without antialias")
    places = [int(axis) % 4 for axis in given.get("axes") or range(4)]
    numbers = scales if scales is not None else sizes
    if numbers is None or len(numbers) != len(places):
        raise NoResize("has scales or sizes that do not fit its axes; check the file with onnx.checker")
    asked = dict(zip(places, numbers, strict=True))
    if any(asked.get(axis, 1) != 1 for axis in (0, 1)) and scales is not None:
        raise NoResize("resizes the batch or the channels; only height and width can be resized")
    axes = []
    for place, length in zip((2, 3), size, strict=True):
        number = asked.get(place, 1 if scales is not None else length)
        if scales is not None:
            axes.append(Axis(length, int(np.floor(F(length) * F(number))), float(number)))
        else:
            axes.append(Axis(length, int(number), float(F(number) / F(length))))
    if min(axis.outputs for axis in axes) < 1:
        raise NoResize("makes an empty output; check its scales")
    if old and mode == "nearest" and any(axis.scale < 1 for axis in axes):
        raise NoResize("makes an image smaller with an old operator set; export it with operator set 11 or later")
    tables = [_nearest(axis, coordinates, rounding) if mode == "nearest" else _linear(axis, coordinates)
              for axis in axes]
    if mode == "nearest":
        return Resizing(tables[0], tables[1], 0)
    fractions = [fraction for table in tables for _, _, fraction in table]
    spare = min([(fraction & -fraction).bit_length() - 1 for fraction in fractions if fraction], default=FINEST - 1)
    spare = min(spare, FINEST - 1)
    rows, columns = (tuple((low, high, fraction >> spare) for low, high, fraction in table) for table in tables)
    return Resizing(rows, columns, FINEST - spare)


def _positions(axis: Axis, coordinates: str) -> Floats:
    at = np.arange(axis.outputs, dtype=np.float32)
    return at if axis.scale == 1 else COORDINATES[coordinates](axis, at).astype(np.float32)


def _nearest(axis: Axis, coordinates: str, rounding: str) -> Places:
    found = np.clip(ROUNDINGS[rounding](_positions(axis, coordinates)), 0, axis.size - 1).astype(int).tolist()
    return tuple((row, row, 0) for row in found)


def _linear(axis: Axis, coordinates: str) -> Places:
    places = []
    for at in np.clip(_positions(axis, coordinates), F(0), F(axis.size - 1)):
        low = int(at)
        high = min(low + 1, axis.size - 1)
        fraction = round(float(at - F(low)) * (1 << FINEST)) if high != low else 0
        places.append((low, high if fraction else low, fraction))
    return tuple(places)
