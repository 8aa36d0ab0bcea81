"""Starts of instructions: the watcher against a model, and on real machines."""

import shutil

import numpy as np
import pytest

from systolith.gen.bench import LATENCY
from systolith.gen.errors import UserError
from systolith.gen.report import Report, run_report
from systolith.gen.report.timeline import is_mover
from systolith.gen.run import Session
from systolith.rtl import isa
from systolith.rtl.bench_top import BenchTop
from systolith.sim.golden.execute import random_inputs
from systolith.sim.rtl.engine import Event
from systolith.sim.rtl.starts import FirstBusy, Starts, split
from systolith.sim.rtl.verilator import find_tools
from tests.report_cases import artefact, program
from tests.streams import simulate
from tests.test_rtl_machine import CONFIG


@pytest.mark.parametrize("seed", range(4))
def test_first_busy_cycles(seed: int) -> None:
    """Busy in any cycle, ends in any cycle, runs one after the other: the counter begins at 0 in each."""
    random = np.random.default_rng(seed)
    cycles = 600
    running = np.repeat(random.integers(0, 4, cycles // 20) > 0, 20)
    busy = (random.random(cycles) < [0.1, 0.5, 0.9, 1.0][seed]) & running
    retired = (random.random(cycles) < 0.15) & running
    dut = FirstBusy()

    async def bench(ctx):  # type: ignore[no-untyped-def]
        count, waiting, starts, was_running = 0, True, 0, False
        for cycle in range(cycles):
            if running[cycle] and not was_running:
                count = 0  # the machine clears its counters when it starts
            was_running = bool(running[cycle])
            before = cycle > 0 and bool(busy[cycle - 1]) and bool(running[cycle - 1])
            ctx.set(dut.running, int(running[cycle]))
            ctx.set(dut.busy, count)
            ctx.set(dut.retired, int(retired[cycle]))
            expected = waiting and before and count > 0
            assert ctx.get(dut.start) == expected, cycle
            starts += expected
            waiting = (waiting and not expected) or bool(retired[cycle]) or not running[cycle]
            count += int(busy[cycle])
            await ctx.tick()
        assert starts > 10
    simulate(dut, bench)


def test_ports() -> None:
    """A unit that counts busy cycles has a port of its own; the bench's own ports stay."""
    top = BenchTop(CONFIG)
    names = top.machine.counter_names
    made = Starts(top, names)
    own = set(made.signature.members) - set(top.signature.members)
    assert set(top.signature.members) < set(made.signature.members)
    assert own == {f"{name.partition('.')[0]}_start_retired" for name in names if name.endswith(".busy")}
    assert "array_start_retired" in own


def test_split() -> None:
    events = [Event(5, "array_start", 0, ()), Event(7, "array", 3, ()), Event(8, "vector_start", 0, ())]
    assert split(events) == ([Event(5, "array", 0, ()), Event(8, "vector", 0, ())], [events[1]])


def _run(engine: str) -> Report:
    session = Session(artefact(), engine, check=True)
    try:
        for seed in (1, 2):  # the second run's cycles begin at 0 again
            _, measured = session.infer(random_inputs(artefact().graph, seed))
    finally:
        session.close()
    assert session.difference is None
    return run_report(artefact(), engine, "tiny", True, measured, LATENCY)


@pytest.fixture(scope="module")
def report() -> Report:
    try:
        find_tools()
    except UserError as error:
        pytest.skip(str(error))
    return _run("verilator")


def test_a_real_machine_adds_up(report: Report) -> None:
    assert report.cycles is not None and report.cycles_outside is not None
    assert sum(layer.cycles or 0 for layer in report.layers) + report.cycles_outside == report.cycles
    assert 0 <= report.cycles_outside < 8
    assert report.external_read_bytes == report.traffic.external_read > 0
    line = [(isa.UNITS.get(i.kind.opcode >> 4), i, times) for i, times in program()]
    for unit in report.units:
        assert unit.instructions == sum(times for name, _, times in line if name == unit.name)
        shares = [share for layer in report.layers for share in layer.units if share.unit == unit.name]
        assert unit.busy == sum(share.busy for share in shares)
        assert not unit.instructions or 0 < unit.active <= report.cycles
    fed = sum(i.tiles * i.ky * i.kx * i.kc * i.rows_y * i.rows_x * n for name, i, n in line if name == "array")
    assert next(unit.busy for unit in report.units if unit.name == "array") == fed
    for layer in report.layers:
        assert layer.utilisation is None or 0 <= layer.utilisation <= 1
        assert sum(layer.lost.values()) == (layer.cycles or 0) - layer.macs // CONFIG.macs


def test_a_real_machine_starts_before_it_ends(report: Report) -> None:
    for unit in report.units:
        spans = [span for span in report.spans if span.unit == unit.name]
        assert all(a.end <= b.start for a, b in zip(spans, spans[1:], strict=False))
        # it is busy in its first cycle, or was so only before the older one's end
        assert all(span.start < span.end for span in spans)
        assert all(b.busy or b.start == a.end for a, b in zip(spans, spans[1:], strict=False))
        assert all(sum(span.waits.values()) < span.end - span.start for span in spans
                   if span.busy and not is_mover(unit.name))
    first = {unit.name: next(span for span in report.spans if span.unit == unit.name)
             for unit in report.units if unit.instructions}
    assert LATENCY <= first["move_in"].start < first["array"].start  # weights come from external memory


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
def test_icarus_sees_the_same(report: Report) -> None:
    other = _run("icarus")
    assert (other.spans, other.cycles, other.slices) == (report.spans, report.cycles, report.slices)
