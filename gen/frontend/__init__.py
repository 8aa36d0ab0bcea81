"""From the user's file to the core graph: ONNX in float, which is calibrated here, ONNX with QuantizeLinear and
DequantizeLinear, or TensorFlow Lite in int8, whose numbers are taken as they are."""

from pathlib import Path

from ..errors import UserError
from ..graph import Graph
from ..passes import run_passes
from ..quantize import quantise
from .load import is_qdq, load_model
from .onnx_float import import_float
from .operators import operators_table as onnx_table
from .samples import Calibration, samples
from .tflite_file import is_tflite

__all__ = ["import_float", "import_model", "is_qdq", "load_model", "operators_table"]


def import_model(path: str | Path, calibration: Calibration | None = None, *, percentile: float | None = None,
                 least_error: bool = False) -> Graph:
    """Core graph of an ONNX or a TensorFlow Lite file.

    `calibration`, for a float file: input name -> array [N, ...] in the file's layout, or an iterable of such
    dictionaries with one sample each. `percentile` and `least_error`: see `quantise`.
    Raises UserError with everything that stands in the way.
    """
    if is_tflite(path):
        return _import_tflite(path, calibration)
    model, name = load_model(path), Path(path).stem
    if is_qdq(model):
        from .onnx_qdq import import_qdq

        return import_qdq(model, name)
    graph = import_float(model, name)
    if calibration is None:
        raise UserError(f"{path} is a float network: give calibration data (typical inputs) to quantise it with, "
                        f"--calibrate DATA.npz with an array [N, ...] for each of "
                        + ", ".join([*graph.inputs, *([graph.mask] if graph.mask else [])]))
    graph = run_passes(graph)
    return quantise(graph, samples(graph, calibration), percentile=percentile, least_error=least_error)


def _import_tflite(path: str | Path, calibration: Calibration | None) -> Graph:
    from .tflite_file import read_file
    from .tflite_import import import_tflite

    if calibration is not None:
        raise UserError(f"{path} is quantised already; calibration data goes with a float ONNX file, so leave out "
                        "--calibrate")
    return import_tflite(read_file(path))


def operators_table() -> list[tuple[str, str, str, str]]:
    """(name, formats, unit, notes) of each accepted operator, by name."""
    from .tflite_operators import tflite_table

    return sorted([*onnx_table(), *tflite_table()])
