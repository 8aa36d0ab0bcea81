"""The operators that may stand between DequantizeLinear and QuantizeLinear: `OPERATORS`, one function each.

A function takes the importer, the node and what its inputs stand for, and returns what its output stands for, or a list
for several outputs.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import onnx

from systolith.gen.frontend import qdq_views as views
from systolith.gen.frontend.functions import BINARY, FUNCTIONS
from systolith.gen.frontend.qdq_convolutions import conv, conv_transpose, gemm
from systolith.gen.frontend.qdq_elementwise import binary, clip
from systolith.gen.frontend.qdq_moves import concat, resize, slice_, split
from systolith.gen.frontend.qdq_rows import arg_max, softmax
from systolith.gen.frontend.qdq_tables import unary
from systolith.gen.frontend.qdq_values import Value
from systolith.gen.frontend.qdq_windows import pad, pool, reduce

if TYPE_CHECKING:
    from systolith.gen.frontend.onnx_qdq import Importer

Handler = Callable[["Importer", onnx.NodeProto, list[Value]], Value | list[Value]]
ADVICE = {
    "BatchNormalization": ("is not folded; run onnxruntime.quantization.shape_inference.quant_pre_process before "
                           "quantising"),
    "LogSoftmax": "is not computed; use Softmax, or end the network at its input, which has the same order",
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QGemm"),
                    "is the operator format; quantise with quant_format=QuantFormat.QDQ"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
                    "is dynamically quantised; quantise statically with quant_format=QuantFormat.QDQ"),
}
"""What helps where an operator is often met and not supported."""

_VIEWS = {"DepthToSpace": views.depth_to_space, "Flatten": views.flatten, "Reshape": views.reshape,
          "SpaceToDepth": views.space_to_depth, "Squeeze": views.squeeze, "Transpose": views.transpose,
          "Unsqueeze": views.unsqueeze}
OPERATORS: dict[str, Handler] = {
    "ArgMax": arg_max, "AveragePool": pool, "Cast": views.cast, "Clip": clip, "Concat": concat,
    "Constant": views.constant, "Conv": conv, "ConvTranspose": conv_transpose, "Dropout": views.identity,
    "Gather": views.gather, "Gemm": gemm, "GlobalAveragePool": pool, "GlobalMaxPool": pool, "Identity": views.identity,
    "MatMul": gemm, "MaxPool": pool, "Pad": pad, "ReduceMax": reduce, "ReduceMean": reduce, "Relu": clip,
    "Resize": resize, "Slice": slice_, "Softmax": softmax, "Split": split, "Upsample": resize,
    **dict.fromkeys(FUNCTIONS, unary), **dict.fromkeys(BINARY, binary),
    **{name: partial(views.rearrange, change) for name, change in _VIEWS.items()},
}
