"""The whole machine's Verilog against the golden model, and its error states, on a small array."""

import dataclasses
import random

import numpy as np
import pytest

from systolith.gen.compile import compile_graph
from systolith.gen.presets import preset
from systolith.gen.run import Session
from systolith.gen.zoo.gemm import gemm
from systolith.rtl import isa
from systolith.rtl.errors import ErrorCode, MachineStopped
from systolith.rtl.register_map import BY_NAME
from systolith.sim.golden.execute import random_inputs
from systolith.sim.machine.machine import Machine
from systolith.sim.rtl.session import RtlSession
from tests.array_instructions import random_fields, random_ring, random_strides, weight_bytes
from tests.random_graphs import RandomGraph
from tests.vector_cases import Cases

CONFIG = preset("edge").replace(rows=4, cols=5, word_bytes=8, banks=4, vector_lanes=4, memory_bytes=1 << 17,
                                accumulator_rows=64, external_bytes=4, watchdog_cycles=2048, codec_lanes=0)


def program(*instructions):
    """An artefact with nothing but a program."""
    artefact = compile_graph(gemm("gemm:3x4x5"), CONFIG)
    words = [word for instruction in instructions for word in instruction.encode()]
    return dataclasses.replace(artefact, program=words, memory=np.array(words, "<u4").tobytes())


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    """Every byte of memory that the program touches is as the instruction model leaves it."""
    artefact = compile_graph(RandomGraph(seed).graph(5), CONFIG, ring_tiles=4)
    model, rtl = Session(artefact, "machine", check=True), Session(artefact, "verilator", check=True)
    for inference in range(2):
        inputs = random_inputs(artefact.graph, inference)
        model.infer(inputs)
        _, measurement = rtl.infer(inputs)
        assert model.difference is None and rtl.difference is None, f"seed {seed}: {rtl.difference}"
        found = rtl._rtl.engine.read_memory(0, artefact.sizes["total"])
        assert found == model._machine.memory[:len(found)].tobytes(), f"seed {seed}"
    assert sum(e.unit == "vector" for e in measurement.events) == model._machine.instructions["vector"]
    rtl.close()


def test_icarus_and_verilator_count_the_same_cycles():
    artefact = compile_graph(gemm("gemm:11x30x12"), CONFIG)
    seen = []
    for engine in ("verilator", "icarus"):
        session = Session(artefact, engine, check=True)
        _, measurement = session.infer(random_inputs(artefact.graph))
        session.close()
        assert session.difference is None
        seen.append((measurement.cycles, measurement.counters, measurement.events))
    assert seen[0] == seen[1]


def test_loops_and_address_registers():
    """Copies blocks with a loop: the same bytes as the instruction model."""
    copies = program(
        isa.ADDRESS(register=1, value=0x1000), isa.ADDRESS(register=2, value=0x2000),
        isa.LOOP(count=3), isa.LOOP(count=2),
        isa.MOVE_IN(a=0, a_register=1, external=64, block_bytes=16, blocks=1, signal0=5, signal0_count=1),
        isa.SYNC(wait0=5, wait0_count=1),
        isa.MOVE_OUT(a=0, a_register=1, external=256, block_bytes=16, blocks=1),
        isa.ADDRESS(register=1, add=1, value=16), isa.NEXT(),
        isa.ADDRESS(register=1, add=1, value=-8), isa.NEXT(), isa.END())
    copies.external = np.random.default_rng(1).integers(0, 256, 512, np.uint8).tobytes()
    model = Machine(CONFIG, copies.memory, copies.external)
    model.run()
    rtl = RtlSession(copies, "verilator")
    rtl.infer({})
    assert rtl.engine.read_memory(0x1000, 0x100) == model.memory[0x1000:0x1100].tobytes()
    assert bytes(rtl.engine.external[:512]) == model.external.tobytes()
    rtl.close()


@pytest.mark.parametrize("seed", range(2))
def test_tables_products_and_rings(seed):
    """Instructions of all kinds on memory and on the array's sums: the same bytes as the instruction model."""
    rng = random.Random(seed)
    cases = Cases(seed, CONFIG.cols, CONFIG.word_bytes, CONFIG.memory_bytes)
    instructions = []
    for _ in range(8):
        a = 2048 + rng.randrange(512)
        instructions += [cases.instruction(source=isa.MEMORY), cases.instruction(source=isa.MEMORY, out_type=isa.INT8)]
        fields = random_fields(rng, CONFIG.rows, CONFIG.accumulator_rows, products=True)
        fields |= random_strides(rng, CONFIG.word_bytes, CONFIG.rows == CONFIG.cols == CONFIG.word_bytes)
        array = isa.ARRAY(a=a, b=3072, **fields, **random_ring(rng, a, 1024))
        assert array.b + weight_bytes(array, CONFIG.rows, CONFIG.word_bytes) <= cases.INPUTS
        instructions += [array, cases.instruction(source=isa.ACCUMULATORS, ny=array.rows_y, nx=array.rows_x,
                                                  tiles=array.tiles)]
    artefact = program(*instructions, isa.END())
    cases.memory[:len(artefact.memory)] = np.frombuffer(artefact.memory, np.uint8)  # the program is input, too
    assert len(artefact.memory) < cases.INPUTS
    artefact.memory = cases.memory.tobytes()
    model = Machine(CONFIG, artefact.memory)
    model.run()
    assert not np.array_equal(model.memory, cases.memory)
    rtl = RtlSession(artefact, "verilator")
    rtl.infer({})
    np.testing.assert_array_equal(np.frombuffer(rtl.engine.read_memory(0, CONFIG.memory_bytes), np.uint8), model.memory)
    rtl.close()


BAD = {
    "ILLEGAL_INSTRUCTION": [isa.SYNC()],  # zeros follow
    "ADDRESS_OUT_OF_RANGE": [isa.VECTOR(a=CONFIG.memory_bytes, c=0x1000, params=0x800, elems=4, elems_last=4, tiles=1,
                                        wy=1, wx=1, ny=1, nx=1, height=1, width=1, high=127), isa.END()],
    "ILLEGAL_OPERAND": [isa.ARRAY(rows_y=65, rows_x=1, ky=1, kx=1, kc=1, tiles=1, height=65, row_bytes=4), isa.END()],
    "SEMAPHORE_OVERFLOW": [isa.LOOP(count=40), isa.SYNC(signal0=3, signal0_count=2047), isa.NEXT(), isa.END()],
    "LOOP_NESTING": [isa.NEXT(), isa.END()],
    "TIMEOUT": [isa.SYNC(wait0=7, wait0_count=1), isa.END()],
}


@pytest.mark.parametrize("name", BAD)
def test_errors_have_names_and_can_be_cleared(name):
    good = compile_graph(gemm("gemm:9x20x6"), CONFIG)
    rtl = RtlSession(program(*BAD[name]), "verilator")
    with pytest.raises(MachineStopped, match=name):
        rtl.infer({})
    assert rtl.engine.host_read(BY_NAME["ERROR_CODE"].address) == ErrorCode[name]
    rtl.engine.host_write(BY_NAME["CONTROL"].address, 2)
    rtl.load(good)
    inputs = random_inputs(good.graph)
    outputs, _ = rtl.infer(inputs)
    expected, _ = Session(good, "golden").infer(inputs)
    np.testing.assert_array_equal(outputs["c"], expected["c"])
    rtl.close()
