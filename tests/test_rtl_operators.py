"""Generated operators on the Verilog of a small machine: every output is the golden model's."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from systolith.gen.compile import Goal, compile_graph
from systolith.gen.frontend.onnx_qdq import import_qdq
from systolith.gen.graph import Graph
from systolith.gen.zoo.gemm import gemm
from systolith.sim.golden.execute import execute, random_inputs
from systolith.sim.rtl.session import RtlSession
from tests.qdq_cases import FAMILIES, Case
from tests.test_rtl_machine import CONFIG as SMALL
from tests.tflite_reference import imported, needs_litert

needs_litert()
from tests.test_tflite_operators import CASES, label  # noqa: E402  needs the package tflite

CONFIG = SMALL.replace(memory_bytes=1 << 19)
QDQ = [(family, number) for family in FAMILIES for number in range(4)]


@pytest.fixture(scope="module")
def session() -> Iterator[RtlSession]:
    running = RtlSession(compile_graph(gemm("gemm:3x4x5"), CONFIG), "verilator")
    yield running
    running.close()


def check(session: RtlSession, graph: Graph, seed: int) -> None:
    """Two inferences, one of a large network, that is compiled for few cycles, or for little memory."""
    large = sum(tensor.elements for tensor in graph.tensors.values()) > 1 << 14
    session.load(compile_graph(graph, CONFIG, Goal("memory" if seed % 2 else "cycles"), ring_tiles=4))
    for inference in range(1 if large else 2):
        inputs = random_inputs(graph, 2 * seed + inference)
        expected = execute(graph, inputs)
        for name, found in session.infer(inputs)[0].items():
            np.testing.assert_array_equal(found, expected[name], name)


@pytest.mark.parametrize(("make", "seed"), CASES, ids=[f"{label(make)}-{seed}" for make, seed in CASES])
def test_tflite_operator(session: RtlSession, make: Callable, seed: int) -> None:
    check(session, imported(make(np.random.default_rng(seed)).write())[2], seed)


@pytest.mark.parametrize(("family", "number"), QDQ, ids=[f"{family}-{number}" for family, number in QDQ])
def test_qdq_operator(session: RtlSession, family: str, number: int) -> None:
    case = Case(1000 * list(FAMILIES).index(family) + number)
    check(session, import_qdq(case.file(*FAMILIES[family](case)), family), number)
