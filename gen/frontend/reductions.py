"""A mean or maximum over some axes of a file's tensor, as a pool over height, width or both of a core tensor."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph import Shape


@dataclass(frozen=True)
class Reduction:
    """How the file's tensor is read, and what is pooled."""

    order: tuple[int, ...]
    """The file's axes in the order of the core's"""
    shape: Shape
    kernel: tuple[int, int]
    left: tuple[int, ...]
    """The file's shape, reduced axes being 1"""
    axes: tuple[int, ...]

    def places(self, keep: bool) -> NDArray[np.int64]:
        """Where the result's elements lie; reduced axes stay with `keep`."""
        lengths = [self.left[axis] for axis in self.order]
        where = np.arange(math.prod(lengths)).reshape(lengths).transpose(np.argsort(self.order))
        return where if keep else where.squeeze(self.axes)


def reduction(shape: tuple[int, ...], listed: Iterable[int], *, tall: bool = False) -> Reduction | None:
    """Over one or two axes, the batch of a tensor of rank 3 or 4 excepted; None for others. One axis beside the
    channels is the width, with `tall` the height."""
    rank = len(shape)
    axes = sorted({int(axis) % rank for axis in listed}) if rank else []
    free = [axis for axis in range(rank) if axis or rank < 3]
    if not 1 <= len(axes) <= 2 or not set(axes) <= set(free) or rank > 4 or (rank > 2 and shape[0] != 1):
        return None
    # an axis that stays becomes the channels, an image's own if it can be
    channel = next((axis for axis in ([1, 3, 2] if rank == 4 else free[::-1]) if axis not in axes), None)
    down = [axis for axis in free if axis != channel]
    ones = 2 - len(down)
    sizes = [shape[axis] for axis in down]
    kernel = [shape[axis] if axis in axes else 1 for axis in down]
    sizes, kernel = (each + ones * [1] if tall else ones * [1] + each for each in (sizes, kernel))
    sizes.append(1 if channel is None else shape[channel])
    order = (*([0] if rank > 2 else []), *down, *([] if channel is None else [channel]))
    left = tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    return Reduction(order, (sizes[0], sizes[1], sizes[2]), (kernel[0], kernel[1]), left, tuple(axes))
