"""The cycle model against RTL, on a small machine, and what must hold for any prediction."""

import pytest

from systolith.gen.compile import compile_graph
from systolith.gen.presets import preset
from systolith.gen.run import Session, random_inputs
from systolith.gen.zoo import ZOO
from systolith.gen.zoo.gemm import gemm
from tests.random_graphs import RandomGraph
from tests.test_rtl_machine import CONFIG

EDGE = preset("edge")


def cycles(artefact, engine):
    session = Session(artefact, engine)
    _, measurement = session.infer(random_inputs(artefact))
    session.close()
    return measurement


@pytest.mark.parametrize("seed", range(8))
def test_small_networks_are_close(seed):
    """Networks of a few hundred cycles, mostly latencies: within a tenth."""
    artefact = compile_graph(RandomGraph(seed).graph(5), CONFIG, ring_tiles=4)
    assert cycles(artefact, "model").cycles == pytest.approx(cycles(artefact, "verilator").cycles, rel=0.1, abs=60)


@pytest.mark.parametrize("shape", ["gemm:40x60x30", "gemm:5x200x40"])
def test_products_are_within_three_per_cent(shape):
    artefact = compile_graph(gemm(shape), CONFIG)
    assert cycles(artefact, "model").cycles == pytest.approx(cycles(artefact, "verilator").cycles, rel=0.03)


@pytest.mark.parametrize("name", ["resnet8", "ds-cnn", "ad"])
def test_a_prediction_is_sensible(name):
    graph = ZOO[name]()
    artefact = compile_graph(graph, EDGE)
    made = cycles(artefact, "model")
    assert made.cycles > artefact.macs / EDGE.macs
    assert made.cycles >= len(artefact.external) / EDGE.external_bytes
    array = made.nested()["array"]
    assert array["busy"] < made.cycles and all(value >= 0 for value in array.values())
    slower = compile_graph(graph, EDGE.replace(external_bytes=2))
    assert cycles(slower, "model").cycles > made.cycles
    assert cycles(artefact, "model").cycles == made.cycles


def test_a_known_figure():
    """Measured on RTL: 53,608 cycles."""
    assert cycles(compile_graph(ZOO["resnet8"](), EDGE), "model").cycles == pytest.approx(53608, rel=0.03)
