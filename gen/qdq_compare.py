"""The golden model against ONNX Runtime, operator by operator: each gets the golden model's integers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.sim.golden.execute import execute, from_core, to_core

from .errors import UserError
from .graph import Graph
from .qdq_writer import write_operators

Sample = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """How an operator's outputs compare."""

    operator: str
    """E.g. Conv2D."""
    name: str
    source: str
    """What the user's file calls it."""
    values: int
    differing: int
    largest: int
    """Largest difference in steps of the output."""


def runtime(model: onnx.ModelProto) -> Any:
    """An ONNX Runtime session that computes as the file says: no optimisation, one thread."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError("the comparison needs ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compare_with_onnxruntime(graph: Graph, inputs: Sample | Iterable[Sample]) -> list[Comparison]:
    """A record for each operator of the graph, over one sample or several (inputs as `execute` takes them)."""
    model, layouts = write_operators(graph)
    session = runtime(model)
    given = {value.name: np.int8 if value.type == "tensor(int8)" else np.int64 for value in session.get_inputs()}
    differing, largest, values = ({node.name: 0 for node in graph.nodes} for _ in range(3))
    for sample in [inputs] if isinstance(inputs, Mapping) else inputs:
        golden = execute(graph, dict(sample))
        feeds = {}
        for name, kind in given.items():
            tensor = name.removesuffix("_given")
            feeds[name] = np.ascontiguousarray(from_core(golden[tensor], layouts[tensor]), kind)
        results = session.run([f"{node.output}_quantised" for node in graph.nodes], feeds)
        for node, result in zip(graph.nodes, results, strict=True):
            answer = to_core(result, layouts[node.output], graph.tensors[node.output].shape)
            apart = np.abs(answer.astype(np.int32) - golden[node.output].astype(np.int32))
            values[node.name] += apart.size
            differing[node.name] += int((apart > 0).sum())
            largest[node.name] = max(largest[node.name], int(apart.max(initial=0)))
    return [Comparison(node.operator, node.name, node.source, values[node.name], differing[node.name],
                       largest[node.name]) for node in graph.nodes]
