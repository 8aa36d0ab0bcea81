"""DEPTHWISE in the whole machine: Verilog against the instruction model, and what a machine without the unit says."""

import dataclasses

import numpy as np
import pytest

from systolith.gen.emit.artefact import Artefact
from systolith.gen.presets import preset
from systolith.rtl import isa
from systolith.rtl.config import ConfigError
from systolith.rtl.errors import MachineStopped
from systolith.rtl.machine import Machine as Hardware
from systolith.rtl.register_map import BY_NAME
from systolith.sim.machine.machine import Machine, MachineError
from systolith.sim.rtl.session import RtlSession
from tests.depthwise_cases import DepthwiseCases
from tests.test_rtl_machine import CONFIG, program

LAYER = {"ky": 3, "kx": 3, "y_step": 1, "x_step": 1, "y_dilation": 1, "x_dilation": 1, "y_start": -1, "x_start": -1,
         "height": 7, "width": 6, "rows_y": 7, "rows_x": 6, "a_pixel": 5, "a_row": 30, "tiles": 1, "elems": 5,
         "elems_last": 5, "zero_point": 3, "low": -128, "high": 127, "tag": 0}


def _cases(seed: int) -> DepthwiseCases:
    return DepthwiseCases(seed, CONFIG.cols, CONFIG.word_bytes, CONFIG.memory_bytes)


def _layer(cases: DepthwiseCases, **fields: int) -> isa.Instruction:
    """One of 7 x 6 x 5 values into as many, packed; `fields` on top."""
    instruction = cases.instruction(**LAYER)
    instruction.values |= {"a_ring": 0, "c_ring": 0, "c": cases._take(256), "c_pixel": 5, "c_row": 30} | fields
    return instruction


def _artefact(cases: DepthwiseCases, *instructions: isa.Instruction) -> Artefact:
    """The program at address 0 of the cases' memory: it is input, too."""
    artefact = program(*instructions, isa.END())
    assert len(artefact.memory) < cases.INPUTS
    cases.memory[:len(artefact.memory)] = np.frombuffer(artefact.memory, np.uint8)
    return dataclasses.replace(artefact, memory=cases.memory.tobytes())


def _model(artefact: Artefact) -> Machine:
    model = Machine(CONFIG, artefact.memory)
    model.run()
    return model


def test_program() -> None:
    """Loops, address registers, instructions that read what others wrote, the vector unit at the same time."""
    cases = _cases(5)
    first, second = _layer(cases, signal0=1, signal0_count=1, tag=1), _layer(cases, wait0=1, wait0_count=1, tag=2)
    second.values |= {"a": first.c, "signal1": 2, "signal1_count": 3}
    copy = isa.VECTOR(wait0=2, wait0_count=3, a=second.c, c=cases._take(256), params=cases._take(64, 8), tiles=1, ny=1,
                      nx=1, wy=1, wx=1, elems=210, elems_last=210, height=1, width=1, low=-128, high=127)
    again = _layer(cases, c=cases._take(1024), c_register=3, a_register=4, tag=3)
    artefact = _artefact(
        cases, first, second, copy, isa.ADDRESS(register=3, value=0), isa.ADDRESS(register=4, value=2),
        isa.LOOP(count=3), again, isa.ADDRESS(register=3, add=1, value=300), isa.NEXT(),
        *(cases.instruction(tag=4) for _ in range(6)))
    model = _model(artefact)
    assert model.instructions["depthwise"] == 11
    rtl = RtlSession(artefact, "verilator")
    _, measurement = rtl.infer({})
    found = rtl.engine.read_memory(0, CONFIG.memory_bytes)
    rtl.close()
    assert found == model.memory.tobytes() != artefact.memory
    tags = [event.tag for event in measurement.events if event.unit == "depthwise"]
    assert tags == [1, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]
    counters = measurement.nested()["depthwise"]
    assert counters["busy"] > 0 and counters["wait_semaphore"] > 0


@pytest.mark.parametrize("name, fields", [
    ("ILLEGAL_OPERAND", {"kx": 0}), ("ADDRESS_OUT_OF_RANGE", {"a": CONFIG.memory_bytes - 100}),
    ("ADDRESS_OUT_OF_RANGE", {"c": CONFIG.memory_bytes - 100})])
def test_errors(name: str, fields: dict[str, int]) -> None:
    """The machine stops in the middle of it; after a clear the unit works as after power-up."""
    cases = _cases(6)
    rtl = RtlSession(_artefact(cases, _layer(cases), _layer(cases, **fields), _layer(cases)), "verilator")
    with pytest.raises(MachineStopped, match=name):
        rtl.infer({})
    rtl.engine.host_write(BY_NAME["CONTROL"].address, 2)
    good = _artefact(cases, _layer(cases), _layer(cases))
    rtl.load(good)
    rtl.infer({})
    found = rtl.engine.read_memory(0, CONFIG.memory_bytes)
    rtl.close()
    assert found == _model(good).memory.tobytes()


def test_machines_without_the_unit() -> None:
    config = CONFIG.replace(depthwise_lanes=0)
    assert "depthwise" in Hardware(CONFIG).units and "depthwise" not in Hardware(config).units
    with pytest.raises(MachineError, match="ILLEGAL_INSTRUCTION: DEPTHWISE on a machine without"):
        Machine(config, _artefact(_cases(1), _layer(_cases(1))).memory).run()


def test_sizes() -> None:
    """What each machine has, and that the number follows the columns."""
    for name, lanes in (("nano", 0), ("micro", 0), ("edge", 64), ("large", 128)):
        assert preset(name).depthwise_lanes == lanes
    edge = preset("edge")
    assert edge.replace(cols=8).depthwise_lanes == 32 and CONFIG.depthwise_lanes == 20
    assert edge.replace(cols=8, depthwise_lanes=64).depthwise_lanes == 64
    assert edge.replace(depthwise_lanes=0).replace(cols=4).depthwise_lanes == 0
    for lanes in (20, 256, 8, -2):
        with pytest.raises(ConfigError, match=r"depthwise_lanes must be 0 or cols \(16\) times 1, 2, 4 or 8, not"):
            edge.replace(depthwise_lanes=lanes)
