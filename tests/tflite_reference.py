"""LiteRT's reference kernels, and the golden model on what is imported, compared on every tensor."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.frontend.tflite_file import File, parse
from systolith.gen.frontend.tflite_import import Importer
from systolith.gen.graph import Graph
from systolith.sim.golden.execute import dequantise_output, execute_batch

Array = NDArray[Any]
Sample = list[Array]
"""A value for each input of the file, in its type and layout."""


class Reference:
    """A file in LiteRT's interpreter with the resolver BUILTIN_REF: plain C++ kernels, no delegate."""

    def __init__(self, raw: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.interpreter = Interpreter(model_content=raw, experimental_preserve_all_tensors=True,
                                       experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        self.interpreter.allocate_tensors()

    def run(self, file: File, sample: Sample) -> None:
        """Computes every tensor for a sample."""
        for index, value in zip(file.inputs, sample, strict=True):
            self.interpreter.set_tensor(index, value)
        self.interpreter.invoke()

    def tensor(self, index: int) -> Array:
        return self.interpreter.get_tensor(index)


def imported(raw: bytes, name: str = "net") -> tuple[File, Importer, Graph]:
    """The file, its importer (whose `place` says where each file tensor is) and the graph."""
    file = parse(raw, name)
    importer = Importer(file)
    return file, importer, importer.run()


def difference(raw: bytes, samples: list[Sample], *, skip: tuple[int, ...] = ()) -> str:
    """Where the golden model first differs from LiteRT; empty where every tensor is equal for every sample.

    Each file tensor that the graph has is compared as integers: int8, or uint8 minus 128. `skip`: tensors not compared.
    """
    file, importer, graph = imported(raw)
    reference = Reference(raw)
    compared = [index for index, tensor in enumerate(file.tensors)
                if index in importer.place and tensor.type != "FLOAT32" and index not in skip]
    made = {index for operator in file.operators for index in operator.outputs if file.tensors[index].scales.size}
    missing = [file.tensors[index].name for index in made
               if index not in importer.place or importer.place[index] not in graph.tensors]
    if missing:
        return f"{missing} are in no core tensor"
    every = replace(graph, outputs=tuple(graph.tensors))
    batches = {name: np.stack([sample[k] for sample in samples]) for k, name in enumerate(graph.inputs)}
    whole = execute_batch(every, batches, chunk=16)
    for number, sample in enumerate(samples):
        reference.run(file, sample)
        golden = {name: values[number] for name, values in whole.items()}
        for index in compared:
            expected, got = reference.tensor(index).astype(np.int64), golden[importer.place[index]].astype(np.int64)
            if file.tensors[index].type == "UINT8":
                expected = expected - 128
            if not np.array_equal(expected.reshape(-1), got.reshape(-1)):
                wrong = np.flatnonzero(expected.reshape(-1) != got.reshape(-1))
                return (f"sample {number}, {file.tensors[index].name}: {len(wrong)} of {got.size} differ, the first at "
                        f"{wrong[0]}: {got.reshape(-1)[wrong[0]]}, not {expected.reshape(-1)[wrong[0]]}")
        for name, index in zip(graph.outputs, file.outputs, strict=True):
            real = dequantise_output(graph, name, golden[name])
            if file.tensors[index].type == "FLOAT32" and not np.array_equal(real, reference.tensor(index)):
                return f"sample {number}, {name}: other real numbers"
            if real.shape != file.tensors[index].shape:
                return f"{name} has the shape {real.shape}, not {file.tensors[index].shape}"
    return ""


def every_value(raw: bytes) -> list[Sample]:
    """A sample with every int8 value (pair of values) in each channel, where the shape is made for it; else none."""
    file, values = parse(raw, "net"), np.arange(-128, 128).astype(np.int8)
    shapes = [file.tensors[index].shape for index in file.inputs]
    if shapes == [(1, 256, 256, 1)] * 2:
        return [[np.repeat(values, 256).reshape(shapes[0]), np.tile(values, 256).reshape(shapes[0])]]
    if len(shapes) == 1 and shapes[0][:3] == (1, 16, 16) and file.tensors[file.inputs[0]].type == "INT8":
        return [[np.repeat(values, shapes[0][3]).reshape(shapes[0])]]
    return []


def random_samples(raw: bytes, count: int, seed: int) -> list[Sample]:
    """Seeded inputs: uniform, and the extremes of the type."""
    file, random = parse(raw, "net"), np.random.default_rng(seed)
    samples: list[Sample] = []
    for number in range(count):
        sample = []
        for index in file.inputs:
            tensor = file.tensors[index]
            if tensor.type == "FLOAT32":
                sample.append(random.normal(0, 40, tensor.shape).astype(np.float32))
                continue
            low, high = (0, 256) if tensor.type == "UINT8" else (-128, 128)
            value = random.integers(low, high, tensor.shape)
            if number % 3 == 1:
                value = random.choice([low, high - 1], tensor.shape)
            elif number % 3 == 2:
                value = np.full(tensor.shape, random.choice([low, high - 1]))
            sample.append(value.astype(np.uint8 if tensor.type == "UINT8" else np.int8))
        samples.append(sample)
    return samples


def needs_litert() -> None:
    """Skips the calling module where what it compares with is not installed."""
    pytest.importorskip("tflite", reason="needs the package tflite: pip install tflite")
    pytest.importorskip("ai_edge_litert.interpreter", reason="needs LiteRT: pip install 'systolith[dev]'")
