"""Reads an ONNX file and checks that it is one."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from ..errors import UserError

OLDEST_OPSET = 7
"""Before it, broadcasting and batch normalisation had other meanings."""


def load_model(path: str | Path) -> onnx.ModelProto:
    """The model, its functions inlined. Raises UserError for a missing, broken or too old file."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}" if not file.exists() else f"{file} is not a file")
    try:
        model = onnx.load(str(file))
        _check(model)
    except DecodeError:
        raise UserError(f"{file} is not an ONNX file, or was cut off") from None
    except onnx.checker.ValidationError as error:
        raise UserError(f"{file} is not a valid ONNX file: {str(error).strip().splitlines()[0]}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    version = opset(model)
    if version < OLDEST_OPSET:
        raise UserError(f"{file} uses operator set {version}; export it with {OLDEST_OPSET} or later")
    return inliner.inline_local_functions(model) if model.functions else model


def _check(model: onnx.ModelProto) -> None:
    """Raises ValidationError. Outputs without a shape, which many tools accept, are no reason."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as first:
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
        except onnx.shape_inference.InferenceError:
            raise first from None
        onnx.checker.check_model(inferred)


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operator set."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def is_qdq(model: onnx.ModelProto) -> bool:
    """The file carries its quantisation as QuantizeLinear and DequantizeLinear."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)
