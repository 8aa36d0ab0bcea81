"""Where tensors lie in the unified memory: in buffers of their own, or as parts of another's."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from systolith.gen.graph import DTYPES, Concat, Graph, Reshape, Slice, Tensor
from systolith.rtl.memory import bank_of

from .program import Region


def item_bytes(tensor: Tensor) -> int:
    """Bytes of an element."""
    return np.dtype(DTYPES[tensor.dtype]).itemsize


@dataclass(frozen=True)
class Place:
    """A tensor's bytes: element (y, x, c) is at address + y % ring * row + x * pixel + c * size."""

    address: int
    row: int
    """Bytes from one row to the next."""
    pixel: int
    """Bytes from one position of a row to the next."""
    width: int
    """Positions of a row."""
    run: int
    """Bytes of a position."""
    rows: int
    """Rows in memory; fewer than the tensor has where it is a ring."""
    ring: bool = False
    pad: int = 0
    """Bytes at the end of a row that nobody uses."""

    @property
    def whole_pixels(self) -> bool:
        """A row's elements follow each other without gaps."""
        return self.pixel == self.run

    @property
    def whole_rows(self) -> bool:
        """Rows follow each other without gaps that others use."""
        return self.whole_pixels and self.row == self.width * self.pixel + self.pad

    def at(self, y: int, x: int = 0) -> int:
        """Address of a position."""
        return self.address + (y % self.rows if self.ring else y) * self.row + x * self.pixel

    def runs(self, first: int, end: int) -> list[tuple[int, int]]:
        """Rows first .. end - 1 as runs (first row, rows) that do not go past the end of a ring."""
        out = []
        while first < end:
            height = min(end - first, self.rows - first % self.rows) if self.ring else end - first
            out.append((first, height))
            first += height
        return out

    def operand(self, letter: str, first: int) -> dict[str, int]:
        """An instruction's fields for reading from row `first` on: where row 0 would be, and the ring."""
        base = (self.at(max(first, 0)) - max(first, 0) * self.row) % (1 << 24)
        return {letter: base, **self.wrap(letter)}

    def wrap(self, letter: str) -> dict[str, int]:
        """An instruction's ring fields."""
        if not self.ring:
            return {}
        return {f"{letter}_end": self.address + self.rows * self.row, f"{letter}_ring": self.rows * self.row}

    def regions(self, first: int, end: int, x: int = 0, width: int | None = None) -> list[Region]:
        """What an access to rows first .. end - 1, or some of their positions, touches."""
        width = self.width if width is None else width
        partly = not self.whole_rows or width != self.width
        runs = [(first, end)]
        if self.ring:
            a, count = first % self.rows, end - first
            runs = [(a, min(a + count, self.rows)), (0, a + count - self.rows)]
        length = (width - 1) * self.pixel + self.run
        return [Region(self.address + a * self.row + x * self.pixel, (b - a - 1) * self.row + length, partly)
                for a, b in runs if b > a]


@dataclass(frozen=True)
class View:
    """A tensor without memory of its own: a part of another one, or (`reshaped`) all of it in another shape."""

    of: str
    start: tuple[int, int, int] = (0, 0, 0)
    step: tuple[int, int] = (1, 1)
    """of rows and of positions"""
    reshaped: bool = False
    same_rows: bool = False
    """Row y is a part of the other one's row y."""


def find_views(graph: Graph, near: int | None = None) -> dict[str, View]:
    """The tensors that need no memory of their own.

    A Reshape's output is its input's bytes, a Slice's output a part of its input; the inputs of a Concat are made
    where its output lies, if nothing else rules where they lie (and they are made at most `near` operators before).
    """
    made = {node.output: index for index, node in enumerate(graph.nodes)}
    found: dict[str, View] = {}
    reshaped = {node.inputs[0] for node in graph.nodes if isinstance(node, Reshape)}
    fixed = {*graph.inputs, *graph.outputs, *reshaped}  # the host reads and writes these whole
    for node in graph.nodes:
        if isinstance(node, Reshape):
            same = graph.tensors[node.inputs[0]].shape[0] == graph.tensors[node.output].shape[0]
            found[node.output] = View(node.inputs[0], reshaped=True, same_rows=same)
        elif isinstance(node, Slice) and node.step[2] == 1 and node.output not in fixed:
            found[node.output] = View(node.inputs[0], node.start, node.step[:2],
                                      same_rows=(node.start[0], node.step[0]) == (0, 1))
            fixed.add(node.inputs[0])
    for node in reversed(graph.nodes):
        if not isinstance(node, Concat):
            continue
        start = [0, 0, 0]
        for name in node.inputs:
            near_by = near is None or made[node.output] - made.get(name, 0) <= near
            if name not in fixed and name not in found and near_by and node.inputs.count(name) == 1:
                found[name] = View(node.output, (start[0], start[1], start[2]), same_rows=start[0] == 0)
            start[node.axis] += graph.tensors[name].shape[node.axis]
    return found


def home(name: str, views: dict[str, View]) -> str:
    """The tensor whose buffer a tensor lies in."""
    while name in views:
        name = views[name].of
    return name


def find_pads(graph: Graph, views: dict[str, View], fixed: set[str], banks: int, word: int) -> dict[str, int]:
    """Bytes behind the rows of those buffers that need them: rows of one position whose words all lie in one or two of
    the memory's banks, as a matrix of 3072 columns has them, would keep others from these banks. `fixed` ones have
    none.
    """
    flat = {home(name, views) for name, view in views.items() if not view.same_rows}
    pads = {}
    for name, tensor in graph.tensors.items():
        if name in views or name in fixed or name in flat or tensor.shape[1] != 1 or tensor.channel_bytes % word:
            continue
        if pad := _pad(tensor.channel_bytes // word, banks):
            pads[name] = pad * word
    return pads


@cache
def _pad(words: int, banks: int) -> int:
    """Words behind a row of so many that make such rows begin in half of the banks at least, two at most."""
    for pad in (0, 1):
        if 2 * len({bank_of(at, banks) for at in range(0, (words + pad) * banks * banks, words + pad)}) >= banks:
            return pad
    return 2


def place(graph: Graph, name: str, views: dict[str, View], addresses: dict[str, int], rings: dict[str, int],
          pads: dict[str, int]) -> Place:
    """Where a tensor lies: `addresses` of the buffers, the rows of those that are `rings`, and the `pads` of rows."""
    tensor = graph.tensors[name]
    run = tensor.shape[2] * item_bytes(tensor)
    if name in views and not views[name].reshaped:
        view = views[name]
        parent = place(graph, view.of, views, addresses, rings, pads)
        return Place(parent.at(*view.start[:2]) + view.start[2] * item_bytes(tensor), parent.row * view.step[0],
                     parent.pixel * view.step[1], tensor.shape[1], run,
                     parent.rows if parent.ring else tensor.shape[0], parent.ring,
                     parent.pad if parent.row == run * tensor.shape[1] + parent.pad else 0)
    owner = home(name, views)
    rows = rings.get(owner, tensor.shape[0])
    pad = pads.get(owner, 0)
    return Place(addresses[owner], run * tensor.shape[1] + pad, run, tensor.shape[1], run, rows,
                 rows < tensor.shape[0], pad)
