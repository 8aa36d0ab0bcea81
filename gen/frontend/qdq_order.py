"""Elements of a core tensor in another order: Reshape and Transpose nodes for a view that an operator cannot read as
it lies."""

from typing import TYPE_CHECKING

import numpy as np

from systolith.gen.frontend.order import Order, exchanges
from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.graph import Reshape, Shape, Tensor, Transpose

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer

SCATTERED = ("reads a tensor whose elements were moved in a way that is no exchange of axes; leave out the Reshape or "
             "Transpose before it")


def arranged(importer: "Importer", source: Tensor, order: Order, shape: Shape) -> Tensor:
    """A tensor of the given shape whose element j is element order[j] of `source`; that itself where it is one."""
    order = order.reshape(-1)
    if not np.array_equal(order, np.arange(source.elements)):
        key = (source.name, shape, order.tobytes())
        if key not in importer.arranged:
            importer.arranged[key] = _transposed(importer, source, order)
        source = importer.tensors[importer.arranged[key]]
    return reshaped(importer, source, shape)


def reshaped(importer: "Importer", source: Tensor, shape: Shape) -> Tensor:
    """The tensor under another shape: a Reshape node, one for all who want it so."""
    if source.shape == shape:
        return source
    key = (source.name, shape, b"")
    if key not in importer.arranged:
        target = importer.like(source, f"{source.name}_reshaped", shape)
        importer.nodes.append(Reshape(importer.node_name(target.name), (source.name,), target.name,
                                      source=source.name))
        importer.arranged[key] = target.name
    return importer.tensors[importer.arranged[key]]


def _transposed(importer: "Importer", source: Tensor, order: Order) -> str:
    """The name of a tensor with the elements in that order."""
    steps = exchanges(order) if len(order) == source.elements else None
    if steps is None:
        raise Refused(SCATTERED)
    for before, permutation in steps:
        source = reshaped(importer, source, before)
        after: Shape = (before[permutation[0]], before[permutation[1]], before[permutation[2]])
        target = importer.like(source, f"{source.name}_transposed", after)
        importer.nodes.append(Transpose(importer.node_name(target.name), (source.name,), target.name, permutation,
                                        source=source.name))
        source = target
    return source.name
