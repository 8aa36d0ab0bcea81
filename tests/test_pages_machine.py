"""Networks whose tensors rest in pages, on the Verilog of small machines."""

import dataclasses

import numpy as np
import pytest

from systolith.gen.compile import compile_graph
from systolith.gen.goal import Goal
from systolith.gen.run import Session
from systolith.gen.schedule import streams
from systolith.rtl import isa
from systolith.rtl.errors import MachineStopped
from systolith.rtl.isa import PACK, UNPACK, Instruction, InstructionType
from systolith.rtl.register_map import BY_NAME
from systolith.sim.golden.execute import random_inputs
from systolith.sim.machine.machine import Machine
from systolith.sim.rtl.session import RtlSession
from tests.random_graphs import RandomGraph
from tests.test_rtl_machine import CONFIG

PAGED = CONFIG.replace(codec_lanes=8, page_bytes=64, outside_pages=1024)


@pytest.fixture(autouse=True)
def small_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small, what crosses from one operator to another rests in pages."""
    monkeypatch.setattr(streams, "LEAST", 0)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int) -> None:
    """The same tensors as the golden model's, and the same pages as the instruction model's; every third with half of
    the pages that it needs, so that it spills."""
    goal = Goal("memory", codec="pages", cascades=bool(seed % 2), margin=1 if seed % 3 else -0.5)
    artefact = compile_graph(RandomGraph(seed).graph(6), PAGED, goal)
    model, rtl = Session(artefact, "machine", check=True), Session(artefact, "verilator", check=True)
    for inference in range(2):
        inputs = random_inputs(artefact.graph, inference)
        model.infer(inputs)
        _, measured = rtl.infer(inputs)
        assert model.difference is None and rtl.difference is None, f"seed {seed}: {rtl.difference}"
        counters = dict(zip(measured.counter_names, measured.counters, strict=True))
        pages = model._machine.pages
        assert (counters["unpack.tiles"], counters["unpack.zero_tiles"]) == (pages.tiles, pages.zero_tiles)
        if measured.pages:
            assert sum(measured.pages) <= 2 * artefact.pages.needed and measured.pages[0] <= artefact.pages.limit
            cycles, used = zip(*measured.filling, strict=True)
            assert list(cycles) == sorted(cycles) and 0 < max(used) <= measured.pages[0] and used[-1] == 0
    rtl.close()


def test_icarus_and_verilator_count_the_same_cycles() -> None:
    """With spilling, and an input that comes in row by row."""
    graph = RandomGraph(38).graph(2)
    artefact = compile_graph(graph, PAGED, Goal("memory", codec="pages", cascades=False, margin=-0.5))
    assert artefact.feeds and artefact.pages
    seen = []
    for engine in ("verilator", "icarus"):
        session = Session(artefact, engine, check=True)
        _, measured = session.infer(random_inputs(graph))
        session.close()
        assert session.difference is None
        seen.append((measured.cycles, measured.counters, measured.events, measured.pages, measured.filling))
    assert seen[0] == seen[1]


def _program(*instructions: Instruction, memory: bytes = b""):
    artefact = compile_graph(RandomGraph(0).graph(1), PAGED)
    words = [word for instruction in instructions for word in instruction.encode()]
    image = np.array(words, "<u4").tobytes().ljust(512, b"\0") + memory
    return dataclasses.replace(artefact, program=words, memory=image, feeds=[])


def _stops(instructions: list[Instruction], name: str) -> None:
    """Both the Verilog and the instruction model stop with the error."""
    artefact = _program(*instructions, isa.END())
    session = RtlSession(artefact, "verilator")
    with pytest.raises(MachineStopped, match=name):
        session.infer({})
    session.close()
    with pytest.raises((MachineStopped, ValueError), match=name if "_STREAM" in name else "must"):
        Machine(PAGED, artefact.memory, bytes(1 << 18)).run()


TILE = {"rows": 2, "bands": 1, "columns": 4, "columns_last": 4, "across": 1, "channels": 8, "b": 1024, "limit": 9}
"""A tile of 64 values."""


@pytest.mark.parametrize("change", ["rows", "bands", "columns", "columns_last", "across", "channels", "wide", "large",
                                    "steps"])
@pytest.mark.parametrize("kind", [PACK, UNPACK])
def test_illegal_operands(kind: InstructionType, change: str) -> None:
    fields = dict(TILE, open=kind is PACK, readers=int(kind is PACK))
    fields |= {"wide": {"columns_last": 5}, "large": {"columns": 200, "channels": 24},
               "steps": {"columns": 300, "channels": 1}}.get(change, {change: 0})
    _stops([kind(**{name: int(value) for name, value in fields.items()})], "ILLEGAL_OPERAND")


def test_no_page_left_and_the_next_run() -> None:
    """More than all pages on the chip and outside; after a clear a network runs as ever."""
    much = _program(PACK(**TILE | {"bands": 1000, "limit": 4}, raw=1, open=1, readers=1, tag=9), isa.END())
    graph = RandomGraph(38).graph(2)
    good = compile_graph(graph, PAGED, Goal("memory", codec="pages", cascades=False))
    inputs = random_inputs(graph)
    expected, _ = Session(good, "machine").infer(inputs)
    session = RtlSession(much, "verilator")
    for _ in range(2):
        session.load(much)
        with pytest.raises(MachineStopped, match="OUT_OF_PAGES") as stopped:
            session.infer({})
        assert stopped.value.information == 9
        session.engine.host_write(BY_NAME["CONTROL"].address, 2)
        session.load(good)
        outputs, _ = session.infer(inputs)
        assert all((outputs[name] == value).all() for name, value in expected.items())
    session.close()


def test_misused_and_missing_streams() -> None:
    pack, unpack = PACK(**TILE, open=1, readers=1), UNPACK(**TILE)
    _stops([PACK(**TILE)], "MISUSED_STREAM")
    _stops([pack, pack], "MISUSED_STREAM")
    _stops([unpack], "MISUSED_STREAM")
    ready = {"signal0": 3, "signal0_count": 1}
    _stops([PACK(**TILE, open=1, readers=1, **ready), UNPACK(**TILE, wait0=3, wait0_count=1),
            UNPACK(**TILE | {"rows": 3}), UNPACK(**TILE, reader=0)], "DAMAGED_STREAM")
