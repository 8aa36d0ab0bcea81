"""Import of what only changes a shape or the order of elements."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .builder import Builder, Operation, Unsupported, Value
from .load import type_name
from .operators import operator

Array = NDArray[Any]


def _alias(b: Builder, op: Operation, index: Array) -> None:
    b.values[op.outputs[0]] = Value(b.value(op.inputs[0]).tensor, index)


@operator("Identity", "Dropout", unit="none", notes="dropped", attributes=("ratio", "seed", "is_test"))
def identity(b: Builder, op: Operation) -> None:
    if op.input(2) and b.constant(op.input(2), "training mode").any():
        raise Unsupported("it is in training mode", "export the network for inference")
    _alias(b, op, b.value(op.inputs[0]).index)


@operator("Cast", unit="none", notes="to a float type", attributes=("to", "saturate", "round_mode"))
def cast(b: Builder, op: Operation) -> None:
    kind = type_name(op.attributes["to"])
    whole = kind in ("INT32", "INT64") and b.value(op.inputs[0]).tensor in b.indices
    if kind not in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE") and not whole:
        raise Unsupported(f"it casts to {kind}", "keep to float")
    _alias(b, op, b.value(op.inputs[0]).index)


@operator("Flatten", unit="none", notes="no data is moved", attributes=("axis",))
def flatten(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    axis = op.attributes.get("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    _alias(b, op, x.index.reshape(math.prod(x.shape[:axis]), -1))


@operator("Reshape", unit="none", notes="no data is moved", attributes=("allowzero",))
def reshape(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    wanted = b.constant(op.inputs[1], "shape").tolist()
    if not op.attributes.get("allowzero"):
        wanted = [x.shape[i] if size == 0 and i < len(x.shape) else size for i, size in enumerate(wanted)]
    try:
        _alias(b, op, x.index.reshape(wanted))
    except ValueError:
        raise Unsupported(f"it makes {wanted} of {list(x.shape)}", "export with a batch of 1") from None


@operator("Squeeze", "Unsqueeze", unit="none", attributes=("axes",))
def squeeze(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    given = b.constant(op.input(1), "axes").tolist() if op.input(1) else op.attributes.get("axes")
    axes = None if given is None else tuple(given)
    if op.kind == "Unsqueeze":
        _alias(b, op, np.expand_dims(x.index, axes or ()))
    else:
        _alias(b, op, np.squeeze(x.index, axes))


@operator("Expand", "Tile", unit="none", notes="before Add, Sub, Mul and a MatMul's second operand, which repeat it",
          formats="float")
def expand(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    given = tuple(b.constant(op.inputs[1], "shape" if op.kind == "Expand" else "repeats").tolist())
    _alias(b, op, np.tile(x.index, given) if op.kind == "Tile" else
           np.broadcast_to(x.index, np.broadcast_shapes(x.shape, given)))


@operator("Transpose", unit="none", notes="moves data only where its reader needs another order", attributes=("perm",))
def transpose(b: Builder, op: Operation) -> None:
    _alias(b, op, np.transpose(b.value(op.inputs[0]).index, op.attributes.get("perm")))


@operator("DepthToSpace", "SpaceToDepth", unit="none", notes="as Transpose", attributes=("blocksize", "mode"))
def depth_and_space(b: Builder, op: Operation) -> None:
    index, block = b.value(op.inputs[0]).index, op.attributes["blocksize"]
    batch, channels, height, width = index.shape
    if op.kind == "SpaceToDepth":
        split = index.reshape(batch, channels, height // block, block, width // block, block)
        made = split.transpose(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // block, width // block)
    elif op.attributes.get("mode", "DCR") == "CRD":
        split = index.reshape(batch, -1, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
        made = split.reshape(batch, -1, height * block, width * block)
    else:
        split = index.reshape(batch, block, block, -1, height, width).transpose(0, 3, 4, 1, 5, 2)
        made = split.reshape(batch, -1, height * block, width * block)
    _alias(b, op, made)
