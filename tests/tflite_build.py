"""Makes small .tflite files, with the schema's generated builders in the package `tflite`."""

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

KINDS = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
         "FLOAT32": np.float32, "FLOAT16": np.float16, "BOOL": np.bool_}


@dataclass(frozen=True)
class NetTensor:
    name: str
    shape: tuple[int, ...]
    kind: str
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int
    data: NDArray[Any] | None
    signature: tuple[int, ...] | None


@dataclass
class Net:
    """A network to be written; tensors are known by their number."""

    tensors: list[NetTensor] = field(default_factory=list)
    operators: list[tuple[str, list[int], list[int], str, dict[str, Any]]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(self, *shape: int, kind: str = "INT8", scale: Any = None, zero: Any = 0, axis: int = 0,
               data: Any = None, name: str = "", signature: tuple[int, ...] | None = None) -> int:
        """A tensor; without a scale it has none."""
        scales = np.zeros(0, np.float32) if scale is None else np.atleast_1d(np.asarray(scale, np.float32))
        zeros = np.broadcast_to(np.asarray(zero, np.int64), scales.shape)
        values = None if data is None else np.asarray(data, KINDS.get(kind, np.uint8))
        self.tensors.append(NetTensor(name or f"t{len(self.tensors)}", tuple(shape), kind, scales, zeros, axis, values,
                                      signature))
        return len(self.tensors) - 1

    def constant(self, data: Any, kind: str = "INT32", **how: Any) -> int:
        """A constant tensor."""
        values = np.asarray(data, KINDS[kind])
        return self.tensor(*values.shape, kind=kind, data=values, **how)

    def input(self, *shape: int, **how: Any) -> int:
        self.inputs.append(self.tensor(*shape, **how))
        return self.inputs[-1]

    def output(self, *shape: int, **how: Any) -> int:
        self.outputs.append(self.tensor(*shape, **how))
        return self.outputs[-1]

    def operator(self, name: str, inputs: list[int], outputs: int | list[int], options: str = "",
                 **values: Any) -> None:
        """An operator; `options` is the schema's table of its options, `values` go into it."""
        self.operators.append((name, inputs, [outputs] if isinstance(outputs, int) else outputs, options, values))

    def write(self) -> bytes:
        """The file."""
        return _Writer().write(self)


class _Writer:
    def __init__(self) -> None:
        self.b = flatbuffers.Builder(1024)

    def table(self, kind: str, **fields: Any) -> int:
        """A table of the schema; fields that are None are left out."""
        getattr(tflite, f"{kind}Start")(self.b)
        for name, value in fields.items():
            if value is not None:
                getattr(tflite, f"{kind}Add{name}")(self.b, value)
        return int(getattr(tflite, f"{kind}End")(self.b))

    def numbers(self, values: Any, kind: Any = np.int32) -> int:
        return int(self.b.CreateNumpyVector(np.asarray(values, kind)))

    def offsets(self, made: list[int]) -> int:
        self.b.StartVector(4, len(made), 4)
        for offset in reversed(made):
            self.b.PrependUOffsetTRelative(offset)
        return int(self.b.EndVector())

    def tensor(self, t: NetTensor, buffer: int) -> int:
        name, shape = self.b.CreateString(t.name), self.numbers(t.shape)
        signature = None if t.signature is None else self.numbers(t.signature)
        quantisation = None
        if t.scales.size:
            scales, zeros = self.numbers(t.scales, np.float32), self.numbers(t.zero_points, np.int64)
            quantisation = self.table("QuantizationParameters", Scale=scales, ZeroPoint=zeros,
                                      QuantizedDimension=t.axis)
        return self.table("Tensor", Shape=shape, Type=getattr(tflite.TensorType, t.kind), Buffer=buffer, Name=name,
                          Quantization=quantisation, ShapeSignature=signature, HasRank=True)

    def operator(self, index: int, net: Net) -> int:
        _, inputs, outputs, kind, values = net.operators[index]
        ins, outs = self.numbers(inputs), self.numbers(outputs)
        options = self.table(kind, **values) if kind else None
        number = getattr(tflite.BuiltinOptions, kind) if kind else None
        return self.table("Operator", OpcodeIndex=index, Inputs=ins, Outputs=outs, BuiltinOptionsType=number,
                          BuiltinOptions=options)

    def code(self, name: str) -> int:
        number = getattr(tflite.BuiltinOperator, name, tflite.BuiltinOperator.CUSTOM)
        custom = self.b.CreateString(name) if number == tflite.BuiltinOperator.CUSTOM else None
        return self.table("OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number, Version=1,
                          CustomCode=custom)

    def write(self, net: Net) -> bytes:
        buffers, tensors = [self.table("Buffer")], []
        for t in net.tensors:
            number = 0
            if t.data is not None:
                raw = self.numbers(np.frombuffer(t.data.tobytes(), np.uint8), np.uint8)
                buffers.append(self.table("Buffer", Data=raw))
                number = len(buffers) - 1
            tensors.append(self.tensor(t, number))
        operators = self.offsets([self.operator(index, net) for index in range(len(net.operators))])
        graph = self.table("SubGraph", Tensors=self.offsets(tensors), Inputs=self.numbers(net.inputs),
                           Outputs=self.numbers(net.outputs), Operators=operators)
        codes = self.offsets([self.code(name) for name, *_ in net.operators])
        model = self.table("Model", Version=3, OperatorCodes=codes, Subgraphs=self.offsets([graph]),
                           Buffers=self.offsets(buffers))
        self.b.Finish(model, file_identifier=b"TFL3")
        return bytes(self.b.Output())
