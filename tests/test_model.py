"""The cycle model against the Verilog, against bounds that no machine can beat, and against what must not matter."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from systolith.gen import bench
from systolith.gen.cli import app
from systolith.gen.compile import compile_graph
from systolith.gen.networks import artefact_of
from systolith.gen.presets import preset
from systolith.gen.run import Session
from systolith.gen.zoo.gemm import gemm
from systolith.rtl import assembly, isa
from systolith.rtl.semaphores import Semaphores
from systolith.sim.golden.execute import random_inputs
from systolith.sim.machine.machine import Deadlock, MachineError
from systolith.sim.model import predict
from systolith.sim.model.movers import Port
from systolith.sim.model.program import decode
from systolith.sim.model.semaphores import Semaphore, granted
from systolith.sim.model.session import timing_of
from systolith.sim.rtl.session import RtlSession
from tests.random_graphs import RandomGraph
from tests.streams import simulate
from tests.test_rtl_machine import CONFIG

BYTES = {"a": 0x8000, "c": 0xC000, "params": 0x4000}
VECTOR = dict(**BYTES, source=isa.MEMORY, tiles=1, wy=1, wx=1, y_step=1, x_step=1, low=-128, high=127)
COPY = isa.VECTOR(**VECTOR, elems=64, elems_last=64, ny=6, nx=1, height=6, width=1, a_row=64, c_row=64)
SUM = isa.VECTOR(**VECTOR, b=0xA003, operands=1, elems=61, elems_last=61, ny=5, nx=1, height=5, width=1, a_row=61,
                 b_row=61, c_row=64)
POOL = isa.VECTOR(**VECTOR | {"wy": 3, "wx": 3}, elems=8, elems_last=8, ny=6, nx=6, y_start=-1, x_start=-1, height=6,
                  width=6, wy_step=1, wx_step=1, a_row=48, a_pixel=8, c_row=48, c_pixel=8)
DEPTHWISE = isa.DEPTHWISE(a=0x8000, b=0x4000, c=0xC000, rows_y=9, rows_x=11, ky=3, kx=3, tiles=3, elems=5, elems_last=5,
                          y_start=-1, height=9, x_start=-1, width=11, y_step=1, x_step=1, y_dilation=1, x_dilation=1,
                          low=-128, high=127, a_tile=8, a_row=264, a_pixel=24, b_tile=136, c_tile=8, c_row=264,
                          c_pixel=24)
STRIDE = isa.DEPTHWISE(**DEPTHWISE.values | {"y_step": 2, "x_step": 2, "rows_y": 5, "rows_x": 6})
SOFTMAX = isa.SOFTMAX(a=0x8000, b=0x4000, c=0xC000, rows=12, elems=40, a_row=40, c_row=40)

NORM = isa.NORM(a=0x8000, b=0x4000, c=0xC000, rows=12, elems=120, a_row=240, c_row=120, in_type=isa.INT16, low=-128,
                high=127)


def array(rows=20, k=6, **fields):
    """An ARRAY on rows of 8 bytes, with weights in memory for good."""
    return isa.ARRAY(**dict(a=0x8000, b=0x4000, rows_y=rows, rows_x=1, ky=1, kx=1, kc=k, tiles=3, height=rows, y_step=1,
                            row_bytes=8 * k, row_pitch=8 * k, x_step=8, kc_step=4) | fields)


def drain(rows=20, tiles=3, **fields):
    """The VECTOR that empties its accumulators."""
    return isa.VECTOR(**VECTOR | dict(source=isa.ACCUMULATORS, tiles=tiles, elems=5, elems_last=5, ny=rows, nx=1,
                                      c_tile=8, c_row=24, in_type=isa.INT32) | fields)


def moves(kind, external, blocks=20, **fields):
    return kind(a=0x10000, external=external, block_bytes=64, blocks=blocks, step=64, external_step=64, **fields)


PROGRAMS = {
    "copies": [COPY, COPY, COPY], "sums": [SUM, SUM], "pools": [POOL, POOL], "depthwise": [DEPTHWISE, DEPTHWISE],
    "depthwise strides": [STRIDE, STRIDE, STRIDE], "softmax": [SOFTMAX, SOFTMAX],
    "norm": [NORM, NORM], "one norm": [NORM], "in": [moves(isa.MOVE_IN, 0)] * 2,
    "out": [moves(isa.MOVE_OUT, 0)] * 2,
    "both directions": [moves(isa.MOVE_IN, 0), moves(isa.MOVE_OUT, 4096), moves(isa.MOVE_IN, 0)],
    "array": [array(), drain(), array(), drain()],
    "accumulators": [array(k=1), drain(), array(k=1), drain(), array(k=1), drain()],
    "few rows": [array(rows=1, k=60), drain(rows=1), array(rows=2, k=90), drain(rows=2)],
    "one bank": [array(rows=30, k=16, row_pitch=128, row_bytes=128), drain(rows=30)],
    "strides": [array(strided=1, b_row=24, b_kc=96, b_tile=8), drain(), array(strided=1, b_row=8, b_kc=32), drain()],
    "strides, few rows": [array(rows=1, k=60, strided=1, b_row=40, b_kc=160, b_tile=8), drain(rows=1),
                          array(rows=2, k=90, strided=1, b_row=16, b_kc=64, b_tile=8), drain(rows=2)],
    "strides, one bank": [array(rows=6, k=30, strided=1, b_row=128, b_kc=512, b_tile=8), drain(rows=6)],
    "strides, row's bank": [array(rows=7, k=40, row_pitch=128, row_bytes=128, kc_step=0, strided=1, b_row=128,
                                  b_kc=512), drain(rows=7)],
    "waits": [array(signal0=3, signal0_count=1), drain(signal0=4, signal0_count=1, signal1=5, signal1_count=1),
              isa.VECTOR(**COPY.values | {"wait0": 4, "wait0_count": 1, "wait1": 3, "wait1_count": 1}),
              array(wait0=5, wait0_count=1), drain()],
    "loops": [isa.LOOP(count=5), isa.ADDRESS(register=1, add=1, value=8), isa.LOOP(count=3),
              isa.SYNC(signal0=6, signal0_count=2), isa.VECTOR(**COPY.values | {"c_register": 1, "ny": 1}), isa.NEXT(),
              isa.SYNC(wait0=6, wait0_count=6), isa.NEXT()],
}


PROGRAMS["scaled"] = [isa.ADDRESS(register=1, add=1, scaled=1, value=8)] * 20 + [COPY]
AFTER = isa.SYNC.length + isa.JUMP.length
PROGRAMS["jumps"] = [one for number in range(1, 31) for one in (isa.SYNC(), isa.JUMP(address=4 * AFTER * number))]

NEAR = {"accumulators": 0.1, "few rows": 0.06, "strides, few rows": 0.06, "both directions": 0.04, "copies": 0.15,
        "depthwise strides": 0.05}
"""How far the model may be off, where that is more than 3 %: in these few cycles fetch and parameters meet the rest."""


def image(*instructions):
    """A memory image with nothing but a program."""
    words = [word for instruction in (*instructions, isa.END()) for word in instruction.encode()]
    return np.array(words, "<u4").tobytes()


@pytest.fixture(scope="module")
def rtl():
    session = RtlSession(compile_graph(gemm("gemm:3x4x5"), CONFIG), "verilator")
    yield session
    session.close()


def compare(artefact, measured, tolerance, ahead=True):
    """Total, the busy counters and each instruction's end; `tolerance`: relative, of the total. `ahead`: the mover
    runs ahead, and may be off."""
    timing = timing_of(artefact)
    allowed = tolerance * measured.cycles + 3
    assert abs(timing.cycles - measured.cycles) <= allowed, (timing.cycles, measured.cycles)
    seen = dict(zip(measured.counter_names, measured.counters, strict=True))
    found = dict(zip(timing.counter_names, timing.counters([timing.cycles])[0].tolist(), strict=True))
    busy = [name for name in found if name.endswith(".busy") and not name.startswith(("softmax", "norm", "pack"))]
    assert {name: found[name] for name in busy} == {name: seen[name] for name in busy}
    assert set(found) == {name for name in seen if not name.startswith("memory.")}
    for unit in {event.unit for event in measured.events} - ({"move_in"} if ahead else set()):
        ends = [(e.cycle, e.tag) for e in measured.events if e.unit == unit]
        mine = [(span.end + 1, span.tag) for span in timing.spans if span.unit == unit]
        assert [tag for _, tag in ends] == [tag for _, tag in mine]
        assert max(abs(a - b) for (a, _), (b, _) in zip(ends, mine, strict=True)) <= allowed, (unit, ends, mine)
    return timing, seen, found


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(rtl, name):
    """Each unit by itself, and units that wait for each other."""
    artefact = dataclasses.replace(rtl.artefact, memory=image(*PROGRAMS[name]).ljust(0x400, b"\0"))
    artefact.external = bytes(8192)
    rtl.load(artefact)
    _, measured = rtl.infer({})
    compare(artefact, measured, NEAR.get(name, 0.03), ahead=False)


@pytest.mark.parametrize("name, tolerance", [
    ("gemm:60x20x50", 0.005), ("gemm:20x40x30", 0.005), ("gemm:1x200x40", 0.01), ("gemm:30x128x20", 0.03)])
def test_matrix_products(rtl, name, tolerance):
    """The array full, waiting for weights, and with all its rows in one bank."""
    artefact = compile_graph(gemm(name), CONFIG)
    rtl.load(artefact)
    _, measured = rtl.infer(random_inputs(artefact.graph))
    _, seen, found = compare(artefact, measured, tolerance)
    for event in ("array.wait_weights", "array.wait_semaphore"):
        assert abs(seen[event] - found[event]) <= 0.1 * measured.cycles, event


@pytest.mark.parametrize("seed", [3, 7])
def test_random_networks(rtl, seed):
    """On a small machine with four banks many units meet in one bank: the model is not so near, but not far."""
    artefact = compile_graph(RandomGraph(seed).graph(4), CONFIG)
    rtl.load(artefact)
    _, measured = rtl.infer(random_inputs(artefact.graph))
    compare(artefact, measured, 0.08)


@pytest.mark.parametrize("offset", range(-6, 5))
def test_semaphores_grant_when_the_hardware_does(offset):
    """A take that is offered `offset` cycles after a give."""
    dut, give_at = Semaphores(2, 1), 12
    times = []

    async def bench_(ctx):
        ctx.set(dut.gives[0].payload, {"semaphore": 3, "count": 1})
        ctx.set(dut.takes[1].payload, {"semaphore": 3, "count": 1})
        for cycle in range(40):
            ctx.set(dut.gives[0].valid, cycle == give_at)
            ctx.set(dut.takes[1].valid, cycle >= give_at + offset and not times)
            if ctx.get(dut.takes[1].ready):
                times.append(cycle)
            await ctx.tick()

    simulate(dut, bench_)
    assert times[0] == granted(give_at + offset, give_at)


def test_a_late_give_goes_before_later_ones():
    semaphore = Semaphore()
    semaphore.give(10)
    semaphore.give(30, 2)
    assert semaphore.take(0) == 16
    semaphore.give(20)
    assert semaphore.times == [10, 20, 30, 30] and semaphore.known == 3
    assert semaphore.take(0, 2) == 36


def test_a_port_moves_one_beat_a_cycle():
    port = Port()
    assert [port.claim(time, beats) for time, beats in ((10, 5), (0, 10), (2, 4), (12, 1), (40, 2), (19, 30))] == [
        10, 0, 15, 19, 40, 42]


@pytest.mark.parametrize("kind", isa.TYPES, ids=lambda kind: kind.name)
def test_decoding(kind):
    """Fields as `assembly.decode` gives them, at the ends of their ranges too."""
    random = np.random.default_rng(kind.opcode)
    for _ in range(20):
        values = {name: int(random.choice([0, 1, (1 << f.width - f.signed) - 1, -f.signed << f.width - 1]))
                  for name, f in kind.fields.items() if name not in ("opcode", "length")}
        words = [7, *kind(**values).encode()]
        found, fields, end = decode(words, 1, assembly.Expander())
        assert found is kind and vars(fields) == assembly.decode(words, 1).values and end == len(words)


WIDE = CONFIG.replace(word_bytes=16, codec_lanes=0)


def cycles(name, **changes):
    latency = changes.pop("latency", 32)
    artefact = compile_graph(gemm(name), WIDE.replace(**changes))
    return predict(artefact.config, artefact.memory, latency=latency).cycles


@pytest.mark.parametrize("name", ["gemm:1x200x40", "gemm:6x64x20", "gemm:40x64x20"])
def test_more_bandwidth_is_never_slower(name):
    found = [cycles(name, external_bytes=width) for width in (1, 2, 4, 8, 16)]
    assert found == sorted(found, reverse=True)
    if name == "gemm:1x200x40":  # bound by the port
        assert found[0] > 1.7 * found[1] > 2.8 * found[2]


@pytest.mark.parametrize("name", ["gemm:1x200x40", "gemm:40x64x20"])
def test_more_latency_is_never_faster(name):
    found = [cycles(name, latency=latency) for latency in (4, 32, 100, 400)]
    assert found == sorted(found) and found[0] < found[-1]


@pytest.mark.parametrize("size", ["{}x40x20", "40x{}x20", "40x40x{}"])
def test_more_work_is_never_faster(size):
    found = [cycles("gemm:" + size.format(20 * n)) for n in range(1, 6)]
    assert found == sorted(found) and found[0] < found[-1]


def test_no_machine_beats_its_bounds():
    """The array takes a row a cycle, the port moves a beat a cycle."""
    for name, macs in (("gemm:60x40x50", 60 * 40 * 50), ("gemm:1x400x50", 400 * 50)):
        artefact = compile_graph(gemm(name), CONFIG)
        timing = predict(CONFIG, artefact.memory)
        least = max(macs / CONFIG.macs, len(artefact.external) / CONFIG.external_bytes)
        assert least < timing.cycles < 1.3 * least + 200


def test_deeper_queues_are_never_slower():
    artefact = compile_graph(RandomGraph(7).graph(4), CONFIG)
    found = [predict(CONFIG.replace(queue_words=words), artefact.memory).cycles for words in (32, 64, 256)]
    assert found == sorted(found, reverse=True)


def test_spans_and_counters():
    artefact = compile_graph(RandomGraph(3).graph(4), CONFIG)
    timing = predict(CONFIG, artefact.memory)
    assert [s.end for s in timing.spans] == sorted(s.end for s in timing.spans)
    assert all(0 <= s.start <= s.first <= s.end < timing.cycles for s in timing.spans)
    for unit in ("array", "vector"):
        mine = [s for s in timing.spans if s.unit == unit]
        assert all(a.end < b.end and a.start < b.start for a, b in zip(mine, mine[1:], strict=False))
    times = list(range(0, timing.cycles, 7))
    values = timing.counters(times)
    assert (np.diff(values, axis=0) >= 0).all() and values[:, 0].tolist() == times
    busy = values[:, timing.counter_names.index("array.busy")]
    assert (np.diff(busy) <= 7).all() and busy[0] == 0 < busy[-1]


@pytest.mark.parametrize("error, says, program", [
    (Deadlock, "vector waits for 2 of semaphore 4", [isa.VECTOR(**COPY.values | {"wait0": 4, "wait0_count": 2})]),
    (Deadlock, "sequencer waits for 1 of semaphore 9", [isa.SYNC(wait0=9, wait0_count=1)]),
    (Deadlock, "vector waits for a block", [drain()]), (MachineError, "LOOP_NESTING", [isa.NEXT()]),
    (MachineError, "LOOP_NESTING", [isa.LOOP(count=2)] * 5), (MachineError, "65 x 1 rows", [array(rows=65)]),
    (MachineError, "0 x 1 rows", [array(rows=0)])])
def test_programs_that_hang_or_fail(error, says, program):
    with pytest.raises(error, match=says):
        predict(CONFIG, image(*program))


def test_illegal_instructions():
    with pytest.raises(MachineError, match="ILLEGAL_INSTRUCTION at 0x0"):
        predict(CONFIG, bytes(16))
    with pytest.raises(MachineError, match="MOVE_IN on a machine without"):
        predict(CONFIG.replace(external_bytes=0), image(moves(isa.MOVE_IN, 0)))


def test_session():
    """Values are the golden model's, times the model's, and inputs do not matter."""
    artefact = compile_graph(gemm("gemm:11x30x12"), CONFIG)
    inputs = random_inputs(artefact.graph)
    session, golden = Session(artefact, "model", check=True), Session(artefact, "golden")
    outputs, measured = session.infer(inputs)
    np.testing.assert_array_equal(outputs["c"], golden.infer(inputs)[0]["c"])
    assert session.compared == 0 and session.difference is None
    assert measured.cycles == session.infer(random_inputs(artefact.graph, 2))[1].cycles
    assert [e.cycle for e in measured.events] == sorted(e.cycle for e in measured.events)
    assert len(measured.events) == len(measured.starts) == 3
    assert all(len(e.counters) == len(measured.counter_names) for e in measured.events + measured.starts)


def test_command_line(tmp_path):
    file = tmp_path / "records.json"
    done = CliRunner().invoke(app, ["bench", "gemm:49x64x64", "gemm:9x64x32", "--engine", "model", "--layers",
                                    "--json", str(file)])
    assert done.exit_code == 0 and "predicted by the cycle model" in done.output and "RTL" not in done.output
    for record, name in zip(json.loads(file.read_text()), ("gemm:49x64x64", "gemm:9x64x32"), strict=True):
        assert record["engine"] == "model" and record["bit_exact"] is None and record["network"] == name
        assert record["cycles"] == bench.measure(artefact_of(name, preset("edge")), "model").cycles
        assert record["layers"][0]["cycles"] <= record["cycles"] and 0 < record["utilisation"] <= 1
        assert record["external_read_bytes"] == record["counters"]["move_in"]["busy"] * 8
