"""RTL engines of whole machines step alike and show what the machine did. A small design stands for a machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.gen.errors import UserError
from systolith.rtl.ports import HostBus, Retired
from systolith.sim.rtl import verilator
from systolith.sim.rtl.engine import EngineError, RtlEngine, design
from systolith.sim.rtl.icarus import IcarusEngine
from systolith.sim.rtl.verilator import VerilatorEngine

BEAT = 8


class Toy(wiring.Component):
    """Inverts `n` beats of external memory, from address 0 on, each after three cycles; `n` is written to address 0.

    A beat is an instruction of the array; the vector unit retires one with every fourth beat.
    1 KiB of memory is behind the window; other addresses answer with an error.
    """

    host: In(HostBus())
    store_address: Out(32)
    store_read_data: In(8 * BEAT)
    store_write: Out(1)
    store_write_data: Out(8 * BEAT)
    running: Out(1)
    interrupt: Out(1)
    cycle: Out(32)
    counters: Out(64)
    array_retired: Out(Retired)
    vector_retired: Out(Retired)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=256, init=[])
        write, read = memory.write_port(), memory.read_port()
        left, phase, beat, busy, step = Signal(16), Signal(2), Signal(16), Signal(32), Signal(2)
        request, response = self.host.request, self.host.response
        window = request.payload.address[24:] == 1
        taken = request.valid & request.ready
        m.d.comb += [
            self.running.eq(left != 0), self.counters.eq(Cat(self.cycle, busy)), self.store_address.eq(beat * BEAT),
            self.store_write.eq(phase == 2), self.store_write_data.eq(~self.store_read_data),
            self.array_retired.valid.eq(phase == 2), self.array_retired.tag.eq(beat),
            self.vector_retired.valid.eq((phase == 2) & (beat[:2] == 3)), self.vector_retired.tag.eq(beat + 100),
            read.addr.eq(request.payload.address[2:]), read.en.eq(taken),
            write.addr.eq(request.payload.address[2:]), write.data.eq(request.payload.data),
            write.en.eq(taken & request.payload.write & window),
            request.ready.eq(step == 0), response.valid.eq(step == 2), response.payload.data.eq(read.data),
        ]
        with m.If(taken):
            m.d.sync += [step.eq(1), response.payload.error.eq(~window & (request.payload.address != 0))]
            with m.If(request.payload.write & (request.payload.address == 0)):
                m.d.sync += [left.eq(request.payload.data), self.cycle.eq(0), busy.eq(0), self.interrupt.eq(0),
                             beat.eq(0)]
        with m.Elif(step == 1):
            m.d.sync += step.eq(2)
        with m.Elif(response.ready & (step == 2)):
            m.d.sync += step.eq(0)
        with m.If(self.running):
            m.d.sync += [self.cycle.eq(self.cycle + 1), phase.eq(phase + 1)]
            with m.If(phase == 2):
                m.d.sync += [phase.eq(0), left.eq(left - 1), beat.eq(beat + 1), busy.eq(busy + 3),
                             self.interrupt.eq(left == 1)]
        return m


@pytest.fixture(scope="module")
def toy() -> Any:
    return design(Toy(), "toy")


def _skip(name: str) -> None:
    if name == "icarus" and shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog (iverilog) is not installed")
    if name == "verilator":
        try:
            verilator.find_tools()
        except UserError as error:
            pytest.skip(str(error))


ENGINES = {"verilator": VerilatorEngine, "icarus": IcarusEngine}


@pytest.fixture(params=ENGINES)
def engine(request: Any, toy: Any) -> Iterator[RtlEngine]:
    _skip(request.param)
    with ENGINES[request.param](toy, external_size=4096) as engine:
        yield engine


def test_memory_window(engine: RtlEngine) -> None:
    data = bytes(range(1, 62))
    engine.write_memory(101, data)
    assert engine.read_memory(101, len(data)) == data
    assert engine.read_memory(100, 1) == b"\0" and engine.read_memory(162, 4) == bytes(4)
    engine.write_memory(103, b"\xff")
    assert engine.read_memory(100, 8) == b"\0\1\2\xff\4\5\6\7"
    engine.reset()
    assert engine.read_memory(103, 2) == b"\xff\4"


def test_errors_are_told(engine: RtlEngine) -> None:
    with pytest.raises(EngineError, match="0x00000040 with an error"):
        engine.host_read(0x40)
    with pytest.raises(EngineError, match="0x00000044 with an error"):
        engine.host_write(0x44, 1)
    with pytest.raises(EngineError, match="does not start"):
        engine.run(10)


def test_run(engine: RtlEngine) -> None:
    before = bytes((7 * i) & 255 for i in range(4096))
    engine.external[:] = before
    engine.host_write(0, 9)
    run = engine.run(1000)
    assert run.finished and run.cycles == 27 and run.counters == (27, 27) and engine.interrupt()
    assert engine.external == bytes(255 - b for b in before[:72]) + before[72:]
    array = [event for event in run.events if event.unit == "array"]
    assert [(event.cycle, event.tag, event.counters) for event in array] == [
        (3 * i + 2, i, (3 * i + 2, 3 * i)) for i in range(9)]
    assert [(event.cycle, event.tag) for event in run.events if event.unit == "vector"] == [(11, 103), (23, 107)]
    engine.external[8] = 0
    engine.host_write(0, 2)  # a second run has its own events
    run = engine.run(1000)
    assert run.cycles == 6 and len(run.events) == 2 and not engine.external[9] ^ before[9]
    assert engine.external[8] == 255


def test_limit(engine: RtlEngine) -> None:
    engine.host_write(0, 100)
    run = engine.run(50)
    assert not run.finished
    assert engine.run(1 << 40).finished


def test_engines_agree(toy: Any) -> None:
    _skip("verilator")
    _skip("icarus")
    runs = []
    for kind in ENGINES.values():
        with kind(toy, external_size=1024) as engine:
            engine.host_write(0, 77)
            runs.append(engine.run(10_000))
            assert engine.external[:616] == b"\xff" * 616
    assert runs[0].cycles == runs[1].cycles and runs[0].events == runs[1].events
    assert runs[0].counters == runs[1].counters


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("suffix", ["vcd", "fst"])
def test_traces(name: str, suffix: str, toy: Any, tmp_path: Path) -> None:
    _skip(name)
    file = tmp_path / f"waves.{suffix}"
    try:
        with ENGINES[name](toy, external_size=1024, trace=file) as engine:
            engine.host_write(0, 3)
            engine.run(100)
    except UserError as error:
        assert suffix == "fst" and "liblz4" in str(error)
        pytest.skip("FST traces of Verilator need liblz4-dev")
    assert file.stat().st_size > 500


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, toy: Any) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="g\\+\\+"):
        VerilatorEngine(toy)
    with pytest.raises(UserError, match="iverilog"):
        IcarusEngine(toy)
    with pytest.raises(UserError, match="waves.txt"):
        IcarusEngine(toy, trace="waves.txt")


def test_a_compiled_model_is_kept(toy: Any) -> None:
    _skip("verilator")
    told: list[str] = []
    VerilatorEngine(toy, external_size=64).close()
    VerilatorEngine(toy, external_size=64, progress=told.append).close()
    assert not told
