"""State of an import: what is known of each value of the file, and the float graph as it grows.

The file's tensors are NCHW, the graph's are HWC; the rows of a matrix are the height, so that a sequence can be cut
into blocks of tokens. A value keeps, for each element of the file's tensor, its place in the graph's: Flatten, Reshape,
Squeeze and Transpose only change that index. Whatever reads the value asks for the order that it needs, and only where
that is another are elements moved.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..float_graph import FloatEmbedding, FloatNode, FloatReshape, FloatTranspose, float_shape
from ..graph import Shape
from .masks import COMPUTING, Masks, compute
from .order import exchanges

Index = NDArray[np.int64]
Function = Callable[[NDArray[Any]], NDArray[Any]]


class Unsupported(Exception):
    """What is not supported, and what would help."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


@dataclass(frozen=True)
class Value:
    """A tensor of the file: `index[...]` is the place of its element [...] in the graph's `tensor`, read row by row."""

    tensor: str
    index: Index

    @property
    def shape(self) -> tuple[int, ...]:
        """The file's shape."""
        return self.index.shape


@lru_cache(maxsize=256)
def image_index(shape: Shape) -> Index:
    """Index of a file's [1, C, H, W] in [H, W, C]."""
    return np.ascontiguousarray(np.arange(math.prod(shape)).reshape(1, *shape).transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Operation:
    """A node of the file, its attributes as Python values."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def source(self) -> str:
        return f"{self.name} ({self.kind})"

    def input(self, place: int) -> str:
        """Name of an input; "" where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""


@dataclass
class Builder:
    """Values and constants by the file's names; the nodes and shapes of the float graph."""

    opset: int
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: list[FloatNode] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    functions: dict[str, tuple[str, "Function"]] = field(default_factory=dict)
    """Of tensors whose elements each depend on one element of another: that other, and how."""
    indices: set[str] = field(default_factory=set)
    """Tensors of integers, which only an output may be and only an embedding may read."""
    makers: dict[str, Operation] = field(default_factory=dict)
    """Of each output of a node of the file: that node."""
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each output of a node of the file: the values that it is made of, where a pattern skips what lies between."""
    masks: Masks = field(default_factory=Masks)

    def value(self, name: str) -> Value:
        """An operand that is computed; a constant there is refused."""
        if name in self.constants:
            raise Unsupported(f"its input {name!r} is a constant where a computed value belongs",
                              "swap the operands, or compute the result when exporting")
        return self.values[name]

    def constant(self, name: str, what: str) -> NDArray[Any]:
        if name not in self.constants:
            raise Unsupported(f"its {what} ({name!r}) is computed while the network runs",
                              f"make the {what} a constant of the file")
        return self.constants[name]

    def add(self, node: FloatNode, index: Index | None = None, *, shape: Shape | None = None) -> Value:
        """Appends a node; its value has the index (the file's image, where none is given)."""
        made = shape or float_shape(node, *(self.shapes[name] for name in node.inputs))
        if any(name in self.indices for name in node.inputs) and not isinstance(node, FloatEmbedding):
            raise Unsupported("it reads indices", "take them as an output of the network, or into a Gather of a table")
        if min(made) < 1:
            raise Unsupported(f"its output would be empty ({made[0]} x {made[1]} x {made[2]})",
                              "check kernel, padding and the input's size")
        self.shapes[node.output] = made
        self.nodes.append(node)
        value = Value(node.output, image_index(made) if index is None else index)
        self.values[node.output] = value
        return value

    def reshaped(self, tensor: str, shape: Shape) -> str:
        """The tensor under another shape; a new name where the shape is not its own."""
        if self.shapes[tensor] == shape:
            return tensor
        name = f"{tensor}:{'x'.join(map(str, shape))}"
        if name not in self.shapes:
            self.shapes[name] = shape
            self.nodes.append(FloatReshape(name, (tensor,), name, source=f"shape of {tensor}"))
            if tensor in self.indices:
                self.indices.add(name)
        return name

    def image(self, value: Value) -> tuple[str, Shape]:
        """The value as a map: its tensor and [height, width, channels]."""
        if len(value.shape) != 4:
            raise Unsupported(f"its input has the shape {list(value.shape)}, not [1, channels, height, width]",
                              "use the two-dimensional operator, with a height of 1 where there is one axis only")
        batch, channels, height, width = value.shape
        shape = (height, width, channels)
        if batch != 1:
            raise Unsupported(f"its input has a batch of {batch}", "export with a batch of 1")
        return self.arranged(value.tensor, value.index.transpose(0, 2, 3, 1), shape), shape

    def arranged(self, tensor: str, order: Index, shape: Shape) -> str:
        """A tensor of that shape whose element j is element order[j] of `tensor`; that itself where it is one."""
        order = order.reshape(-1)
        if np.array_equal(order, np.arange(math.prod(self.shapes[tensor]))):
            return self.reshaped(tensor, shape)
        name = f"{tensor}:{zlib.crc32(order.tobytes()):08x}"
        if name not in self.shapes:
            if len(order) > math.prod(self.shapes[tensor]):
                raise Unsupported("its input repeats the elements of a smaller one",
                                  "Expand and Tile go before Add, Sub, Mul and the second operand of a MatMul only")
            steps = exchanges(order)
            if steps is None:
                raise Unsupported("the elements of its input were moved in a way that is no exchange of axes",
                                  "leave out the Transpose or Reshape before it")
            for number, (before, permutation) in enumerate(steps):
                read = self.reshaped(tensor, before)
                tensor = name if number == len(steps) - 1 else f"{name}:{number}"
                node = FloatTranspose(tensor, (read,), tensor, permutation, source=f"order of {read}")
                self.shapes[tensor] = float_shape(node, before)
                self.nodes.append(node)
        return self.reshaped(name, shape)

    def settled(self, value: Value) -> str:
        """A tensor that holds the value in the graph's usual order: an image as one, a matrix as [rows, 1, n]."""
        if len(value.shape) == 4:
            return self.image(value)[0]
        if len(value.shape) > 4 or (len(value.shape) == 3 and value.shape[0] != 1):
            raise Unsupported(f"its input has the shape {list(value.shape)}", "export with a batch of 1")
        columns = value.shape[-1] if value.shape else 1
        return self.arranged(value.tensor, value.index, (value.index.size // max(1, columns), 1, columns))

    def fold(self, node: onnx.NodeProto) -> bool:
        """Computes a node all of whose inputs are constants; False where it is not one."""
        if node.op_type == "Shape" and node.input[0] in self.values:
            given = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
            shape = np.array(self.values[node.input[0]].shape, np.int64)
            self.constants[node.output[0]] = shape[given.get("start"):given.get("end")]
            return True
        names = [name for name in node.input if name]
        if not all(name in self.constants for name in names) or (not names and node.op_type != "Constant"):
            return False
        try:
            results = compute(node, {name: self.constants[name] for name in names}, self.opset)
        except COMPUTING as error:
            raise Unsupported(f"its constant result could not be computed ({error})",
                              "simplify the file, for example with onnxsim") from None
        self.constants.update(results)
        return True
