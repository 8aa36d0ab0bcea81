"""Reads an ONNX file and checks that it is one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import inliner, numpy_helper

from ..errors import UserError

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
OLDEST_OPSET = 7
"""Before it, broadcasting and batch normalisation had other meanings."""


def load_model(path: str | Path) -> onnx.ModelProto:
    """The model, its functions inlined. Raises UserError for a missing, broken or too old file."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}" if not file.exists() else f"{file} is not a file")
    try:
        model = onnx.load(str(file), format="protobuf")  # whatever the name ends in
        _check(model)
    except DecodeError:
        raise UserError(f"{file} is not an ONNX file, or was cut off") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not a valid ONNX file: a name in it is no text") from None
    except onnx.checker.ValidationError as error:
        raise UserError(f"{file} is not a valid ONNX file: {str(error).strip().splitlines()[0]}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    _check_constants(model, file)
    version = opset(model)
    if version < OLDEST_OPSET:
        raise UserError(f"{file} uses operator set {version}; export it with {OLDEST_OPSET} or later")
    return inliner.inline_local_functions(model) if model.functions else model


def _check(model: onnx.ModelProto) -> None:
    """Raises ValidationError. Outputs without a shape, which many tools accept, are no reason."""
    _check_text(model)
    for entry in model.graph.input:
        kind = entry.type.tensor_type.elem_type
        if kind not in onnx.TensorProto.DataType.values():
            raise onnx.checker.ValidationError(f"the input {entry.name!r} is {type_name(kind)}")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as first:
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
        except onnx.shape_inference.InferenceError:
            raise first from None
        onnx.checker.check_model(inferred)


def _check_text(message: Message) -> None:
    """Raises ValidationError where a text is none: protobuf then gives bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in value if isinstance(value, Sequence) else [value]:
                _check_text(part)
        elif field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if isinstance(text, bytes):
                    raise onnx.checker.ValidationError(f"its {field.name} {text[:40]!r} is no text")


def _check_constants(model: onnx.ModelProto, file: Path) -> None:
    """`UserError` for weights whose bytes do not fit their type and shape, or that are not numbers."""
    constants = [(tensor.name, tensor) for tensor in model.graph.initializer]
    constants += [(f"{node.name or node.output[0]}.{attribute.name}", attribute.t) for node in model.graph.node
                  for attribute in node.attribute if attribute.HasField("t")]
    for name, tensor in constants:
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{file} is not a valid ONNX file: the bytes of the constant {name!r} do not fit its "
                            f"type and shape") from None
        if tensor.data_type in FLOATS:
            with np.errstate(invalid="ignore"):
                real = values.astype(np.float64)
            mask = ((real == 0) | (real == -np.inf)).all()  # of attention; and a limit of Clip may be infinite
            if np.isnan(real).any() or (real.size > 1 and np.isinf(real).any() and not mask):
                raise UserError(f"{file}: the constant {name!r} holds values that are not finite; train or export "
                                f"the network again")


def type_name(number: int) -> str:
    """ONNX's name of an element type, also where there is none."""
    known = number in onnx.TensorProto.DataType.values()
    return str(onnx.TensorProto.DataType.Name(number)) if known else f"of the unknown type {number}"


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operator set."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def is_qdq(model: onnx.ModelProto) -> bool:
    """The file carries its quantisation as QuantizeLinear and DequantizeLinear."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)
