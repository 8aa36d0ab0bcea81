"""NORM in the whole machine: Verilog against the instruction model, and what a machine without the unit says."""

import dataclasses

import numpy as np
import pytest

from systolith.gen.presets import preset
from systolith.rtl import isa
from systolith.rtl.config import ConfigError
from systolith.rtl.errors import MachineStopped
from systolith.rtl.machine import Machine as Hardware
from systolith.rtl.register_map import BY_NAME
from systolith.sim.machine.machine import Machine, MachineError
from systolith.sim.rtl.session import RtlSession
from tests.norm_cases import ROWS, make_parameters, make_row
from tests.test_rtl_machine import CONFIG, program

ROW = {"rows": 5, "elems": 50, "a": 0x1003, "a_row": 104, "in_type": isa.INT16, "b": 0x2000, "c": 0x3005, "c_row": 61,
       "low": -128, "high": 127, "epsilon": 12345}


def _artefact(*instructions: isa.Instruction):
    """The program, with rows of int16 at 0x1000 and parameters at 0x2000 and 0x2400."""
    numbers = np.random.default_rng(5)
    artefact = program(*instructions)
    memory = numbers.integers(0, 256, 0x8000, np.uint8)
    memory[:len(artefact.memory)] = np.frombuffer(artefact.memory, np.uint8)
    rows = np.concatenate([make_row(ROWS[k % 6], 64, 16, numbers) for k in range(32)])
    memory[0x1000:0x2000] = rows.astype("<i2").view(np.uint8)
    for at in (0x2000, 0x2400):
        memory[at:at + 1024] = make_parameters("usual", 128, numbers).encode()
    return dataclasses.replace(artefact, memory=memory.tobytes())


def test_program() -> None:
    """Loops, address registers, two sets of parameters, an instruction that reads what another one wrote, and the
    longest rows, most of whose parameters are noise."""
    artefact = _artefact(
        isa.ADDRESS(register=1, value=0), isa.ADDRESS(register=2, value=0), isa.LOOP(count=3),
        isa.NORM(**ROW, a_register=1, c_register=2, signal0=4, signal0_count=1, tag=1),
        isa.ADDRESS(register=1, add=1, value=300), isa.ADDRESS(register=2, add=1, value=310), isa.NEXT(),
        isa.NORM(rows=15, elems=50, a=0x3005, a_row=61, b=0x2400, c=0x4001, c_row=100, wait0=4, wait0_count=3,
                 signal1=6, signal1_count=2, tag=2, out_type=isa.INT16, low=-32768, high=32767, rms=1),
        isa.SYNC(wait0=6, wait0_count=2),
        isa.NORM(rows=1, elems=700, a=0x4001, b=0x2400, c=0x6000, tag=3, low=-128, high=127, in_type=isa.INT16),
        isa.NORM(rows=2, elems=1024, a=0x1000, a_row=2048, b=0x2000, c=0x7000, c_row=1024, tag=4, low=-128, high=127,
                 in_type=isa.INT16),
        isa.NORM(rows=1, elems=2048, a=0x1000, b=0x2400, c=0x7800, tag=5, low=-128, high=127, in_type=isa.INT16),
        isa.END())
    model = Machine(CONFIG, artefact.memory)
    model.run()
    assert model.instructions["norm"] == 7
    rtl = RtlSession(artefact, "verilator")
    _, measurement = rtl.infer({})
    found = rtl.engine.read_memory(0, len(artefact.memory))
    rtl.close()
    assert found == model.memory[:len(found)].tobytes() != artefact.memory
    assert [event.tag for event in measurement.events if event.unit == "norm"] == [1, 1, 1, 2, 3, 4, 5]
    counters = measurement.nested()["norm"]
    assert counters["busy"] > 0 and counters["wait_semaphore"] > 0


@pytest.mark.parametrize("name, fields", [
    ("ILLEGAL_OPERAND", {"elems": 0}), ("ADDRESS_OUT_OF_RANGE", {"a": CONFIG.memory_bytes}),
    ("ADDRESS_OUT_OF_RANGE", {"c": CONFIG.memory_bytes - 20})])
def test_errors(name: str, fields: dict[str, int]) -> None:
    """The machine stops; after a clear the unit works as after power-up."""
    rtl = RtlSession(_artefact(isa.NORM(**ROW), isa.NORM(**(ROW | fields)), isa.END()), "verilator")
    with pytest.raises(MachineStopped, match=name):
        rtl.infer({})
    rtl.engine.host_write(BY_NAME["CONTROL"].address, 2)
    good = _artefact(isa.NORM(**ROW), isa.NORM(**(ROW | {"b": 0x2400, "c": 0x4000})), isa.END())
    rtl.load(good)
    rtl.infer({})
    model = Machine(CONFIG, good.memory)
    model.run()
    assert rtl.engine.read_memory(0x3000, 0x2000) == model.memory[0x3000:0x5000].tobytes()
    rtl.close()


def test_machines_without_the_unit() -> None:
    config = CONFIG.replace(norm_lanes=0)
    assert "norm" in Hardware(CONFIG).units and "norm" not in Hardware(config).units
    for lanes in (3, 8):
        with pytest.raises(ConfigError, match=rf"norm_lanes must be 0 or a power of two up to half of word_bytes "
                                              rf"\(4\), not {lanes}"):
            CONFIG.replace(norm_lanes=lanes)
    assert preset("large").replace(word_bytes=64, rows=8, cols=8, vector_lanes=8).norm_lanes == 8
    assert preset("edge").replace(word_bytes=4, rows=4, cols=4, vector_lanes=4, external_bytes=4).norm_lanes == 1
    for name, lanes in (("nano", 0), ("micro", 0), ("edge", 4), ("large", 8)):
        assert preset(name).norm_lanes == lanes
    with pytest.raises(MachineError, match="ILLEGAL_INSTRUCTION: NORM on a machine without"):
        Machine(config, _artefact(isa.NORM(**ROW), isa.END()).memory).run()
