"""The TensorFlow Lite operators that are accepted, in one table: what imports each, what runs it, its conditions."""

from dataclasses import dataclass

from systolith.gen.frontend import tflite_elementwise as elementwise
from systolith.gen.frontend import tflite_layers as layers
from systolith.gen.frontend import tflite_views as views
from systolith.gen.frontend import tflite_windows as windows
from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_file import Operator
from systolith.gen.frontend.tflite_import import Handler, Importer

FORMATS = "TFLite"


@dataclass(frozen=True)
class Row:
    """What `systolith operators` shows of an operator."""

    handler: Handler
    unit: str
    notes: str = ""


ROWS: dict[str, Row] = {
    "ADD": Row(elementwise.add, "vector", "shapes that broadcast; a constant for all or for each channel"),
    "ARG_MAX": Row(views.arg_max, "vector", "along the last axis"),
    "AVERAGE_POOL_2D": Row(windows.pool, "vector"),
    "CONCATENATION": Row(views.concatenation, "vector", "inputs with the output's scale"),
    "CONV_2D": Row(layers.conv_2d, "array", "int8 weights; grouped ones are run as dense"),
    "DEPTHWISE_CONV_2D": Row(layers.depthwise_conv_2d, "depthwise", "int8 weights"),
    "DEQUANTIZE": Row(elementwise.dequantise, "none", "before an output"),
    "EXPAND_DIMS": Row(views.reshape, "none"),
    "FULLY_CONNECTED": Row(layers.fully_connected, "array", "int8 weights"),
    "HARD_SWISH": Row(elementwise.hard_swish, "vector"),
    "LEAKY_RELU": Row(elementwise.leaky_relu, "vector"),
    "LOGISTIC": Row(elementwise.logistic, "vector"),
    "MAX_POOL_2D": Row(windows.pool, "vector"),
    "MEAN": Row(windows.mean, "vector", "over height, width or both"),
    "MUL": Row(elementwise.mul, "vector", "shapes that broadcast; a constant for all or for each channel"),
    "PAD": Row(windows.pad, "vector", "height and width; channels on the array"),
    "PADV2": Row(windows.pad, "vector", "height and width; channels on the array"),
    "QUANTIZE": Row(elementwise.quantise, "vector", "behind a float or uint8 input, and int8 to int8"),
    "RELU": Row(elementwise.relu, "vector"),
    "RELU6": Row(elementwise.relu, "vector"),
    "RELU_0_TO_1": Row(elementwise.relu, "vector"),
    "RELU_N1_TO_1": Row(elementwise.relu, "vector"),
    "RESHAPE": Row(views.reshape, "none"),
    "RESIZE_BILINEAR": Row(windows.bilinear, "vector"),
    "RESIZE_NEAREST_NEIGHBOR": Row(windows.nearest, "vector"),
    "SLICE": Row(views.slice_, "vector"),
    "SOFTMAX": Row(elementwise.softmax, "softmax", "over the last axis"),
    "SPLIT": Row(views.split, "vector"),
    "SPLIT_V": Row(views.split, "vector"),
    "SQUEEZE": Row(views.reshape, "none"),
    "STRIDED_SLICE": Row(views.strided_slice, "vector", "forward; no new axis, no ellipsis"),
    "SUB": Row(elementwise.add, "vector", "shapes that broadcast; a constant for all or for each channel"),
    "TANH": Row(elementwise.tanh, "vector"),
    "TRANSPOSE": Row(views.transpose, "vector", "up to three axes that are not 1"),
    "TRANSPOSE_CONV": Row(layers.transpose_conv, "array", "int8 weights"),
}
OPERATORS: dict[str, Handler] = {name: row.handler for name, row in ROWS.items()}


OTHERWISE = "is not supported; leave it to the host, or convert the network without it"
ADVICE = {
    **dict.fromkeys(("SHAPE", "PACK", "RANGE", "FILL", "TILE", "GATHER", "CAST"),
                    "is not supported; where it computes a shape, convert the network with a fixed input shape"),
    **dict.fromkeys(("DIV", "EXP", "LOG", "SQRT", "RSQRT", "POW", "SQUARED_DIFFERENCE", "SUM", "L2_NORMALIZATION"),
                    "is not supported; leave it to the host, or fold it into the layers when training"),
    **dict.fromkeys(("PRELU", "ELU", "GELU"), "is not supported; train with RELU, LEAKY_RELU or HARD_SWISH"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "is not supported; train with RELU or RELU6"),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "VAR_HANDLE",
                     "READ_VARIABLE", "ASSIGN_VARIABLE"), "keeps a state, which is not supported; use convolutions"),
    **dict.fromkeys(("IF", "WHILE", "CALL_ONCE"), "chooses what runs while it runs, which is not supported; convert "
                                                  "the network without control flow"),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
                    "is not supported; convert with a newer TensorFlow, which makes a dilated convolution of it"),
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
                    "is not supported; use a strided or a transposed convolution"),
    "LOG_SOFTMAX": "is not supported; end the network at its input, the logits, which have the same order",
    "MIRROR_PAD": "is not supported; pad with zeros",
    "DENSIFY": "is not supported; convert the network without sparse weights",
    "BATCH_MATMUL": "is not supported; only products with constant weights are",
}
"""What helps where an operator is often met and not supported."""


def unsupported(importer: Importer, operator: Operator) -> None:
    """The handler of what is not in the table."""
    raise Refused(ADVICE.get(operator.name, OTHERWISE))


def tflite_table() -> list[tuple[str, str, str, str]]:
    """(name, formats, unit, notes) of each accepted operator."""
    return [(name, FORMATS, row.unit, row.notes) for name, row in ROWS.items()]
