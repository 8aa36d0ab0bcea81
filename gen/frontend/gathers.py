"""Import of Gather: rows of a table by computed numbers, and elements at constant places."""

import numpy as np

from ..float_graph import FloatConcat, FloatEmbedding
from .builder import Builder, Index, Operation, Unsupported, Value
from .layout import cut
from .operators import operator

MOST_PARTS = 16
"""Slices that a Gather may become."""


@operator("Gather", unit="vector", notes="rows of a constant table by an integer input; or at constant places",
          attributes=("axis",), formats="float")
def gather(b: Builder, op: Operation) -> None:
    data, places = op.inputs[:2]
    axis = op.attributes.get("axis", 0)
    if data in b.constants:
        ids, table = b.value(places), b.constants[data]
        if ids.tensor not in b.indices or table.ndim != 2 or axis or table.dtype.kind != "f":
            raise Unsupported(f"it takes elements of a constant {list(table.shape)} along axis {axis}",
                              "take rows of a table [entries, n], by an integer input of the network")
        tensor = b.arranged(ids.tensor, ids.index, (ids.index.size, 1, 1))
        made = np.arange(ids.index.size * table.shape[1]).reshape(*ids.shape, table.shape[1])
        b.add(FloatEmbedding(op.name, (tensor,), op.outputs[0], table.astype(np.float32), source=op.source), made)
        return
    x = b.value(data)
    wanted = b.constant(places, "indices")
    index = x.index.take(wanted, axis)
    steps = np.diff(wanted.reshape(-1) % x.shape[axis])
    if np.unique(steps).size > 1 or (steps < 1).any():
        _parts(b, op, x, index)
    else:
        cut(b, x, index, op)


def _parts(b: Builder, op: Operation, x: Value, index: Index) -> None:
    """Rows of a matrix in any order: a slice for each run."""
    axis = op.attributes.get("axis", 0) % len(x.shape)
    places = b.constants[op.inputs[1]].reshape(-1) % x.shape[axis]
    ends = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    lying = np.moveaxis(x.index, axis, 0)
    if len(ends) - 1 > MOST_PARTS or not np.array_equal(lying.reshape(-1), np.arange(x.index.size)):
        raise Unsupported(f"it takes {places.tolist()[:8]}... along axis {axis}, which a few slices do not give",
                          "order the elements when training, or slice")
    size = lying[0].size
    tensor = b.reshaped(x.tensor, (len(lying), 1, size))
    parts = []
    for number, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
        part = f"{op.outputs[0]}:{number}"
        first = int(places[start])
        cut(b, Value(tensor, np.arange(len(lying) * size)), np.arange(first * size, (first + end - start) * size), op,
            part)
        parts.append(b.values[part].tensor)
    made = np.arange(len(places) * size).reshape(len(places), *lying.shape[1:])
    b.add(FloatConcat(op.name, tuple(parts), op.outputs[0], 0, source=op.source),
          np.moveaxis(made, 0, axis).reshape(index.shape))
