"""Which exchanges of axes put a tensor's elements in another order."""

from itertools import permutations
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..graph import Shape

Order = NDArray[np.int64]
Permutation = tuple[int, int, int]
Steps = list[tuple[tuple[int, int], Permutation]]
MOST_AXES = 6
"""Above it the search for the fewest transpositions would take long."""
LONGEST = 32767
"""Of height and width, for the machine."""


def exchanges(order: Order) -> list[tuple[Shape, Permutation]] | None:
    """Transpositions in a row that put element order[j] at j: the shape that each reads its input under, and its
    permutation. None where no exchange of axes does that."""
    found = axes_of(order)
    if found is None or len(found[0]) > MOST_AXES:
        return None
    sizes, wanted = found
    state = tuple(range(len(sizes)))
    steps: list[tuple[Shape, Permutation]] = []
    for (first, second), exchange in transpositions(len(sizes), tuple(wanted)):
        groups = state[:first], state[first:second], state[second:]
        lengths = [prod(sizes[axis] for axis in group) for group in groups]
        permutation = list(exchange)
        if lengths[0] == 1 and max(lengths) > LONGEST:
            lengths, permutation = _split(lengths, permutation)
        steps.append(((lengths[0], lengths[1], lengths[2]), (permutation[0], permutation[1], permutation[2])))
        state = tuple(axis for group in exchange for axis in groups[group])
    return steps


def axes_of(order: Order) -> tuple[list[int], list[int]] | None:
    """The exchange of axes that puts element order[j] at j: sizes of the axes before, and which of them comes k-th
    after; as few axes as possible. None where it is none."""
    loops: list[tuple[int, int]] = []  # size and stride, the innermost first
    left = order
    while len(left) > 1:
        stride = int(left[1] - left[0])
        run = left[0] + stride * np.arange(len(left))
        size = len(left) if np.array_equal(run, left) else int(np.argmax(run != left))
        if size < 2 or len(left) % size:
            return None
        if not np.array_equal(left, (left[::size, np.newaxis] + stride * np.arange(size)).reshape(-1)):
            return None
        loops.append((size, stride))
        left = left[::size]
    found = sorted(loops, key=lambda loop: -loop[1])
    inner = 1
    for size, stride in reversed(found):
        if stride != inner:
            return None
        inner *= size
    if left[0] != 0 or inner != len(order):
        return None
    return [size for size, _ in found], [found.index(loop) for loop in reversed(loops)]


def transpositions(axes: int, wanted: tuple[int, ...]) -> Steps:
    """Fewest exchanges of three neighbouring groups of axes that put them in the wanted order: where the groups end,
    and which of them comes k-th."""
    start = tuple(range(axes))
    ways: dict[tuple[int, ...], Steps] = {start: []}
    layer = [start]
    while wanted not in ways:
        following = []
        for state in layer:
            for first in range(axes):
                for second in range(first, axes):
                    groups = state[:first], state[first:second], state[second:]
                    for a, b, c in permutations(range(3)):
                        made = (*groups[a], *groups[b], *groups[c])
                        if made not in ways:
                            ways[made] = [*ways[state], ((first, second), (a, b, c))]
                            following.append(made)
        layer = following
    return ways[wanted]


def _split(lengths: list[int], permutation: list[int]) -> tuple[list[int], list[int]]:
    """Two groups as three: the one that is longer than a side of a tensor may be, in two."""
    large = 1 if lengths[1] > lengths[2] else 2
    part = next(n for n in range(min(LONGEST, lengths[large]), 0, -1) if lengths[large] % n == 0)
    pieces = [lengths[large] // part, part]
    if large == 1:
        return [*pieces, lengths[2]], [2, 0, 1]
    return [lengths[1], *pieces], [1, 2, 0]
