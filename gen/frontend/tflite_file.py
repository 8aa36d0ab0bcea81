"""A .tflite file as plain values: tensors, operators, constants.

The tables are read with the PyPI package `tflite`: the schema's generated readers, 150 kB of Python, on `flatbuffers`
(LiteRT has the same readers in a wheel of 20 MB for each Python). It is imported when the first file is read.
"""

import importlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

IDENTIFIER = b"TFL3"
"""At byte 4 of every file."""
LARGEST = 1 << 31
"""Elements of a tensor; a damaged file can say anything."""
TYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16,
         "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
"""Element types of which constants are read."""
DAMAGED = (struct.error, IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError)
"""What the readers raise for bytes that are no table."""


@dataclass(frozen=True)
class FileTensor:
    """A tensor: real value = scale * (integer - zero_point), one scale or one for each index along `axis`."""

    index: int
    name: str
    shape: tuple[int, ...]
    open_axes: tuple[int, ...]
    """Axes whose size the file leaves open; `shape` has what is used unless someone says otherwise."""
    type: str
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int
    sparse: bool
    data: NDArray[Any] | None
    """A constant's values; None for a sparse one too."""

    @property
    def scale(self) -> float:
        return float(self.scales[0])

    @property
    def zero_point(self) -> int:
        return int(self.zero_points[0]) if self.zero_points.size else 0


@dataclass(frozen=True)
class Operator:
    """An operator of the main subgraph: indices of its tensors; -1 is an optional input that is not given."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    """The schema's reader of its options, by its own method names; None where there are none."""

    def option(self, name: str, default: Any = 0) -> Any:
        """The value of an option."""
        return getattr(self.options, name)() if self.options is not None else default


@dataclass(frozen=True)
class File:
    """The main subgraph."""

    name: str
    tensors: tuple[FileTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def is_tflite(path: str | Path) -> bool:
    """The file is TensorFlow Lite's, by its content; by its name where it cannot be read or is too short to say."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError:
        start = b""
    return start[4:] == IDENTIFIER or Path(path).suffix == ".tflite"


def schema() -> ModuleType:
    """The package that reads the tables; `UserError` where it is not installed."""
    try:
        return importlib.import_module("tflite")
    except ImportError:
        raise UserError("a .tflite file is read with the package tflite, which is not installed; "
                        "pip install tflite") from None


def read_file(path: str | Path) -> File:
    """The main subgraph of a file. Raises UserError for one that is missing, damaged, or of no known version."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}" if not file.exists() else f"{file} is not a file")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    return parse(raw, file.stem, str(file))


def parse(raw: bytes, name: str, label: str = "") -> File:
    """`read_file` of a file's bytes; `name` is the network's, `label` what messages call the file."""
    package, label = schema(), label or name
    if raw[4:8] != IDENTIFIER:
        raise UserError(f"{label} is not a .tflite file: it does not have {IDENTIFIER.decode()} at byte 4")
    try:
        return _Reader(package, raw).read(name)
    except DAMAGED:
        raise UserError(f"{label} is damaged or was cut off: its tables do not fit together; "
                        "convert or copy it again") from None


class _Reader:
    """Reads one file; raises one of `DAMAGED` where a number in it cannot be right."""

    def __init__(self, package: ModuleType, raw: bytes) -> None:
        self.package, self.raw = package, raw
        self.types, self.operators, self.options = (
            {value: name for name, value in vars(kind).items() if isinstance(value, int)}
            for kind in (package.TensorType, package.BuiltinOperator, package.BuiltinOptions))
        self.model = package.Model.GetRootAs(raw, 0)

    def read(self, name: str) -> File:
        graph = self.model.Subgraphs(0)
        tensors = tuple(self._tensor(graph.Tensors(k), k) for k in range(self._count(graph.TensorsLength())))
        operators = tuple(self._operator(graph.Operators(k), k, len(tensors))
                          for k in range(self._count(graph.OperatorsLength())))
        inputs, outputs = self._numbers(graph, "Inputs"), self._numbers(graph, "Outputs")
        self._check(inputs + outputs, 0, len(tensors))
        if not (tensors and operators and inputs and outputs):
            raise ValueError("no network")
        return File(name, tensors, operators, inputs, outputs)

    def _count(self, length: int) -> int:
        """A vector's length; each entry takes at least a byte of the file."""
        if length > len(self.raw):
            raise ValueError("a vector longer than the file")
        return length

    @staticmethod
    def _check(values: tuple[int, ...], low: int, high: int) -> None:
        if any(not low <= value < high for value in values):
            raise IndexError("a number of a tensor that is not there")

    def _numbers(self, table: Any, what: str) -> tuple[int, ...]:
        """A vector of numbers; empty where it is not given."""
        if not self._count(getattr(table, f"{what}Length")()):
            return ()
        return tuple(getattr(table, f"{what}AsNumpy")().tolist())

    def _tensor(self, tensor: Any, index: int) -> FileTensor:
        shape, signature = self._numbers(tensor, "Shape"), self._numbers(tensor, "ShapeSignature")
        if any(size < 0 for size in shape) or math.prod(shape) > LARGEST:
            raise ValueError("sizes that cannot be")
        open_axes = tuple(axis for axis, size in enumerate(signature) if size < 0)
        kind = self.types.get(tensor.Type(), f"type {tensor.Type()}")
        scales, zero_points, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if (quantisation := tensor.Quantization()) is not None:
            scales = np.array(self._numbers(quantisation, "Scale"), np.float32)
            zero_points = np.array(self._numbers(quantisation, "ZeroPoint"), np.int64)
            axis = quantisation.QuantizedDimension()
            if not (np.isfinite(scales).all() and (scales >= 0).all() and (np.abs(zero_points) < LARGEST).all()):
                raise ValueError("a scale that is none")
        name = (tensor.Name() or b"").decode() or f"tensor {index}"
        sparse = tensor.Sparsity() is not None
        data = None if sparse else self._data(tensor.Buffer(), shape, kind)
        return FileTensor(index, name, shape, open_axes, kind, scales, zero_points, axis, sparse, data)

    def _data(self, number: int, shape: tuple[int, ...], kind: str) -> NDArray[Any] | None:
        """A constant's values; None for what the network computes."""
        self._check((number,), 0, self.model.BuffersLength())
        buffer = self.model.Buffers(number)
        if number == 0 or buffer.DataLength() == 0 or kind not in TYPES:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), np.dtype(TYPES[kind]).newbyteorder("<"))
        return values.reshape(shape)

    def _operator(self, operator: Any, index: int, tensors: int) -> Operator:
        self._check((operator.OpcodeIndex(),), 0, self.model.OperatorCodesLength())
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # codes up to 127 were a byte of their own once
        name = self.operators.get(number, f"operator code {number}")
        if name == "CUSTOM":
            name = f"custom operator {(code.CustomCode() or b'').decode()}"
        inputs, outputs = self._numbers(operator, "Inputs"), self._numbers(operator, "Outputs")
        self._check(inputs, -1, tensors)
        self._check(outputs, 0, tensors)
        if not outputs:
            raise ValueError("an operator that makes nothing")
        table, options = operator.BuiltinOptions(), None
        kind = self.options.get(operator.BuiltinOptionsType(), "NONE")
        if table is not None and kind != "NONE":
            options = getattr(self.package, kind)()
            options.Init(table.Bytes, table.Pos)
        return Operator(index, name, inputs, outputs, options)
