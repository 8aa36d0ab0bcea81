"""Small ONNX models made in the tests, and ONNX Runtime as the independent reference."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]


class Model:
    """Collects nodes and constants; node outputs are named by the caller, constants by number."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weights(self, *shape: int) -> str:
        """Random floats that keep the size of what they multiply."""
        return self.constant(self.random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:]))))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}_node", **attributes))
        return output

    def proto(self, inputs: dict[str, tuple[Any, ...]], outputs: list[str], opset: int = 17,
              kind: int = TensorProto.FLOAT, infer: bool = True,
             kinds: dict[str, int] | None = None) -> onnx.ModelProto:
        """`kinds`: types of inputs that have another than `kind`."""
        graph = helper.make_graph(
            self.nodes, "test", [helper.make_tensor_value_info(name, (kinds or {}).get(name, kind), shape)
                                 for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model) if infer else model  # the outputs' shapes


def run_reference(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    """ONNX Runtime's outputs, without any rewriting of the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))
