"""Compiled programs on the instruction model against the golden model, tensor by tensor."""

import dataclasses

import numpy as np
import pytest

from systolith.gen.compile import Goal, compile_graph, compile_schedule
from systolith.gen.emit.artefact import load, save
from systolith.gen.errors import UserError
from systolith.gen.presets import PRESETS, preset
from systolith.gen.run import Session
from systolith.gen.schedule.schedule import Stripes, schedule
from systolith.gen.zoo import ZOO
from systolith.gen.zoo.gemm import gemm
from systolith.gen.zoo.resnet8 import resnet8
from systolith.sim.golden.execute import execute, random_inputs
from systolith.sim.machine.machine import Deadlock, Machine
from tests.random_graphs import RandomGraph

SMALL = preset("edge").replace(rows=4, cols=5, word_bytes=8, banks=4, vector_lanes=4,
                               memory_bytes=1 << 20, depthwise_lanes=0,
                               accumulator_rows=16)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("external", [0, 4])
def test_random_networks(seed, external):
    graph = RandomGraph(seed).graph(6)
    config = SMALL.replace(external_bytes=external, memory_bytes=1 << 20)
    session = Session(compile_graph(graph, config, ring_tiles=3), "machine", check=True)
    for inference in range(2):  # the second finds the memory as the first left it
        session.infer(random_inputs(session.artefact.graph, inference))
        assert session.difference is None, f"seed {seed}: {session.difference}"
    assert session.compared == 2 * sum(layer.unit != "none" for layer in session.artefact.layers)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_a_product(name):
    artefact = compile_graph(gemm("gemm:37x50x21"), preset(name))
    session = Session(artefact, "machine", check=True)
    session.infer(random_inputs(artefact.graph))
    assert session.difference is None


def test_a_difference_is_found():
    artefact = compile_graph(gemm("gemm:9x20x6"), SMALL)
    weights = bytearray(artefact.external)
    weights[0] ^= 64  # the first weight
    session = Session(dataclasses.replace(artefact, external=bytes(weights)), "machine", check=True)
    session.infer(random_inputs(artefact.graph))
    assert session.difference is not None and session.difference.tensor == "c"


def test_what_reads_comes_after_what_writes():
    artefact = compile_graph(resnet8(), preset("edge"))
    machine = Machine(artefact.config, artefact.memory, artefact.external)
    order = []
    machine.on_retired = lambda unit, instruction, number: order.append((unit, instruction.tag))
    machine.run()
    for tag in range(1, 10):
        if ("array", tag) in order and ("vector", tag - 1) in order:
            assert order.index(("vector", tag - 1)) < order.index(("array", tag))


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_in_stripes(seed):
    """All operators in one segment, in stripes as fine as can be or not, with rings."""
    graph = RandomGraph(seed).graph(7)
    config = SMALL.replace(external_bytes=4 * (seed % 2), memory_bytes=1 << 20)
    stripes = Stripes([range(len(graph.nodes))], [(99, 3, 2)[seed % 3]])
    artefact = compile_schedule(schedule(graph, config, stripes), 3)
    session = Session(artefact, "machine", check=True)
    for inference in range(2):
        session.infer(random_inputs(artefact.graph, inference))
        assert session.difference is None, f"seed {seed}: {session.difference}"


@pytest.mark.parametrize("name", ["resnet8", "ds-cnn", "vww"])
def test_memory_is_saved(name):
    graph = ZOO[name]()
    fast = compile_graph(graph, preset("edge"))
    small = compile_graph(graph, preset("edge"), Goal("memory"))
    assert small.sizes["activations"] < 0.75 * fast.sizes["activations"]
    session = Session(small, "machine", check=True)
    session.infer(random_inputs(small.graph))
    assert session.difference is None


def test_the_file_gives_the_same_back(tmp_path):
    artefact = compile_graph(resnet8(), preset("edge"))
    path = tmp_path / "net.slp"
    save(artefact, path)
    first = path.read_bytes()
    again = load(path)
    assert again.memory == artefact.memory and again.external == artefact.external
    assert again.program == artefact.program and again.layers == artefact.layers and again.config == artefact.config
    x = random_inputs(artefact.graph)
    for name, value in execute(artefact.graph, x).items():
        np.testing.assert_array_equal(execute(again.graph, x)[name], value)
    save(again, path)
    assert path.read_bytes() == first


def test_a_damaged_file_says_so(tmp_path):
    path = tmp_path / "net.slp"
    save(compile_graph(gemm("gemm:9x20x6"), SMALL), path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        try:
            load(path)  # some bytes of a zip mean nothing: then everything must still be there
        except UserError as error:
            assert "damaged" in str(error) or "format" in str(error)
    path.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load(path)
    with pytest.raises(UserError, match="there is no file"):
        load(tmp_path / "other.slp")


def test_what_does_not_fit_says_by_how_much():
    with pytest.raises(UserError, match=r"needs \d+ bytes and edge has 40960: \d+ bytes too many "
                                        r".*largest at conv_\d+: \S+ 32x32x\d+"):
        compile_graph(resnet8(), preset("edge").replace(memory_bytes=40960), ring_tiles=128)


def test_a_program_that_hangs_is_found():
    artefact = compile_graph(gemm("gemm:9x20x6"), SMALL)
    words = artefact.program
    broken = [w & ~0xFFF0 if i == 2 else w for i, w in enumerate(words)]  # the ring's first credits
    machine = Machine(artefact.config, np.array(broken, "<u4").tobytes() + artefact.memory[4 * len(words):],
                      artefact.external)
    with pytest.raises(Deadlock, match="move_in waits for 1 of semaphore 2"):
        machine.run()


def test_what_does_not_fit_is_cut_finer():
    graph = resnet8()
    whole = compile_graph(graph, preset("edge"))
    small = compile_graph(graph, preset("edge"), Goal(memory=75_000))
    assert whole.sizes["total"] > 75_000 >= small.sizes["total"]
    session = Session(small, "machine", check=True)
    session.infer(random_inputs(small.graph))
    assert session.difference is None
    with pytest.raises(UserError, match=r"needs \d+ bytes and may use 16000: \d+ bytes too many"):
        compile_graph(graph, preset("edge"), Goal(memory=16_000))
    with pytest.raises(UserError, match="--optimise must be one of cycles, memory, balanced, not 'speed'"):
        Goal("speed")
    with pytest.raises(UserError, match="--memory must be a number of bytes"):
        Goal(memory=0)
