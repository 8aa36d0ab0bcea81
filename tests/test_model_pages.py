"""The cycle model on programs with streams of pages and with rows that the host brings."""

import dataclasses

import numpy as np
import pytest

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Pool, load, save
from systolith.gen.goal import Goal
from systolith.gen.schedule import streams
from systolith.rtl import assembly, isa
from systolith.sim.codec.encode import tile_bytes
from systolith.sim.golden.execute import random_inputs
from systolith.sim.machine.machine import Deadlock
from systolith.sim.model import predict
from systolith.sim.model.host import HostRow
from systolith.sim.model.pages import Pages, Run
from systolith.sim.model.program import decode
from systolith.sim.model.session import timing_of
from systolith.sim.rtl.session import RtlSession
from tests.random_graphs import RandomGraph
from tests.test_model import compare, moves
from tests.test_pages_machine import PAGED

FROM, TO, PAGES = 0x2000, 0x6000, 0x8000
CODED = 2 ** 16


@pytest.fixture(scope="module")
def rtl():
    session = RtlSession(compile_graph(RandomGraph(0).graph(1), PAGED), "verilator")
    yield session
    session.close()


def tiles(shape, count, *, limit=999, raw=0, bands=1, close=1):
    """PACKs of `count` tiles, UNPACKs of one reader that follow each other, and of one that wait for each other."""
    rows, columns, channels = shape
    size, row = rows * columns * channels, columns * channels
    fields = {"rows": rows, "bands": bands, "columns": columns, "columns_last": columns, "across": 1,
              "channels": channels, "b": PAGES, "outside": CODED, "limit": limit, "stream": 5}
    last, of = count // bands - 1, range(count // bands)
    packs = [isa.PACK(**fields, a=FROM + k * bands * size, a_row=row, a_pixel=channels, open=k == 0,
                      readers=2 * (k == 0), close=close * (k == last), raw=raw, signal0=3 * (k == last),
                      signal0_count=int(k == last)) for k in of]
    fields |= {"c_row": row, "c_pixel": channels, "signal0": 4, "signal0_count": 1}
    return [*packs,
            *(isa.UNPACK(**fields, c=TO, close=close * (k == last), wait0=3 * (k == 0), wait0_count=int(k == 0))
              for k in of),
            *(isa.UNPACK(**fields, c=TO, reader=1, close=close * (k == last), wait0=4,
                         wait0_count=1 if k else last + 1) for k in of)]


def values(kind, shape):
    random = np.random.default_rng(1)
    if kind == "centre":
        return np.zeros(shape, np.int8)
    return random.integers(-128, 128, shape, np.int8) if kind == "noise" else np.maximum(
        0, random.normal(0, 20, shape)).clip(0, 127).astype(np.int8)


def program(rtl, instructions, data=None, size=0):
    words = assembly.assemble([*instructions, isa.END()], PAGED.instruction_slots)
    memory = np.array(words, "<u4").tobytes().ljust(FROM, b"\0") + (b"" if data is None else data.tobytes())
    artefact = dataclasses.replace(rtl.artefact, program=words, memory=memory.ljust(0x8000, b"\0"), feeds=[],
                                   pages=Pool(PAGES, 999, 0, CODED, {0: size}))
    artefact.external = bytes(8192)
    return artefact


CASES = [((1, 16, 16), "relu", {}), ((2, 5, 24), "relu", {}), ((1, 4, 64), "relu", {}), ((3, 9, 8), "relu", {}),
         ((4, 7, 21), "relu", {"bands": 2}), ((1, 16, 16), "noise", {}), ((2, 6, 32), "noise", {"raw": 1}),
         ((2, 10, 16), "centre", {}), ((4, 8, 16), "relu", {"limit": 0}), ((2, 5, 24), "noise", {"limit": 12}),
         ((2, 10, 16), "centre", {"limit": 0})]


@pytest.mark.parametrize("shape, kind, changes", CASES)
def test_tiles(rtl, shape, kind, changes):
    """Tiles alone and one behind the other, coded and as they are, on the chip and outside: each instruction's end."""
    count = 8
    data = values(kind, (count, *shape))
    size = round((-(-tile_bytes(data.view(np.uint8) ^ 0x80, 128)[0] // 8) * 8).mean())
    if changes.get("raw"):
        size = data[0].size + 8
    artefact = program(rtl, tiles(shape, count, **changes), data, size)
    rtl.load(artefact)
    _, measured = rtl.infer({})
    _, seen, found = compare(artefact, measured, 0.05)
    for name in ("pack.tiles", "unpack.tiles", "unpack.zero_tiles"):
        assert seen[name] == found[name]
    for name in ("pack.spilled", "external.packed", "external.unpacked"):
        assert abs(seen[name] - found[name]) <= 1 + 0.08 * seen[name]
    for name, part in (("pack.busy", 0.06), ("pack.wait_output", 0.06), ("pack.wait_semaphore", 0.04),
                       ("unpack.wait_semaphore", 0.04), ("unpack.wait_input", 0.14)):
        assert abs(seen[name] - found[name]) <= part * measured.cycles, (name, seen[name], found[name])


def test_both_directions_beside_pages_outside(rtl):
    """One port for the movers and for pages."""
    data = values("noise", (8, 2, 8, 32))
    artefact = program(rtl, [moves(isa.MOVE_IN, 0, 60), *tiles((2, 8, 32), 8, limit=0)], data, 520)
    rtl.load(artefact)
    _, measured = rtl.infer({})
    compare(artefact, measured, 0.05)


@pytest.mark.parametrize("seed", [0, 2, 3, 8])
def test_networks(monkeypatch, seed):
    """Streams, some of them spilled, and inputs that come row by row."""
    monkeypatch.setattr(streams, "LEAST", 0)
    goal = Goal("memory", codec="pages", cascades=bool(seed % 2), margin=1 if seed % 3 else -0.5)
    artefact = compile_graph(RandomGraph(seed).graph(6), PAGED, goal)
    assert artefact.feeds
    session = RtlSession(artefact, "verilator")
    _, measured = session.infer(random_inputs(artefact.graph))
    session.close()
    _, seen, found = compare(artefact, measured, 0.06)
    assert (seen["pack.tiles"], seen["unpack.tiles"]) == (found["pack.tiles"], found["unpack.tiles"])


def test_sizes_are_kept(tmp_path, monkeypatch):
    """What a tile has on average is measured, for PACK and UNPACK alike, and is in the file."""
    monkeypatch.setattr(streams, "LEAST", 0)
    artefact = compile_graph(RandomGraph(2).graph(6), PAGED, Goal("memory", codec="pages", cascades=False))
    sizes, at, tags = artefact.pages.tile_bytes, 0, set()
    expander = assembly.Expander(PAGED.instruction_slots)
    while True:
        kind, fields, at = decode(artefact.program, at, expander)
        if kind in (isa.PACK, isa.UNPACK):
            tags.add(fields.tag)
            assert 8 <= sizes[fields.tag] <= fields.rows * fields.columns * fields.channels + 8
        if kind is isa.END:
            break
    assert tags == set(sizes)
    save(artefact, tmp_path / "network.slp")
    assert load(tmp_path / "network.slp").pages == artefact.pages
    assert timing_of(load(tmp_path / "network.slp")).cycles == timing_of(artefact).cycles


def cycles(instructions, size, latency=32, **changes):
    config = PAGED.replace(**changes)
    words = assembly.assemble([*instructions, isa.END()], config.instruction_slots)
    return predict(config, np.array(words, "<u4").tobytes(), latency=latency, tile_bytes={0: size}).cycles


def test_bounds():
    """More bytes, slower memory, fewer lanes are never faster; half of the values stand for what is not known."""
    many = tiles((4, 8, 32), 8)
    found = [cycles(many, size) for size in (8, 16, 200, 514, 800, 1026)]
    assert found == sorted(found) and found[0] < found[-1]
    outside = tiles((4, 8, 32), 8, limit=0)
    found = [cycles(many, 514), *(cycles(outside, 514, latency) for latency in (4, 32, 100, 400))]
    assert found == sorted(found) and found[0] < found[1] < found[-1]
    found = [cycles(many, 514, codec_lanes=lanes) for lanes in (8, 2)]  # tiles one by one: 4 lanes have shorter turns
    assert found == sorted(found) and found[0] < found[-1]
    words = np.array(assembly.assemble([*many, isa.END()], PAGED.instruction_slots), "<u4").tobytes()
    assert predict(PAGED, words).cycles == cycles(many, 514)


def test_pages_in_use():
    pages = Pages(64, {1: 40, 2: 200})
    one, two = (dataclasses.make_dataclass("I", ["tag", "stream", "open", "readers", "reader", "limit"])(
        tag, tag, 1, 2, 0, 3) for tag in (1, 2))
    assert pages.size(one) == 40
    assert pages.write(one, 40) == [Run(40, False, True)]
    one.open = 0
    assert pages.write(one, 40) == [Run(24, False, False), Run(16, False, True)]
    assert pages.write(two, 200) == [Run(64, False, True), *[Run(64, True, True)] * 2, Run(8, True, True)]
    assert pages.read(one, 40) == [Run(40, False, True)]
    assert pages.read(one, 40) == [Run(24, False, False), Run(16, False, True)]
    two.open = 0
    assert pages.write(two, 64) == [Run(56, True, False), Run(8, True, True)]  # the other reader has not gone on
    one.reader = 1
    pages.read(one, 80)
    assert pages.write(two, 64) == [Run(56, True, False), Run(8, False, True)]
    pages.close(one)
    one.reader = 0
    pages.close(one)
    one.open, two.stream = 1, 7
    two.open = 1
    assert [run.outside for run in pages.write(two, 128)] == [False, True]


def test_the_host_waits_for_its_places():
    """A row after the other; each when its semaphore has been given so often since the start."""
    program = [isa.SYNC(wait0=3, wait0_count=1), isa.SYNC(signal0=4, signal0_count=1),
               isa.SYNC(wait0=3, wait0_count=2)]
    words = np.array([word for one in (*program, isa.END()) for word in one.encode()], "<u4").tobytes()

    def run(size, *after):
        return predict(PAGED, words, feeds=[HostRow(0x4000, size, one, (3,)) for one in after]).cycles

    base = run(400, {}, {}, {})
    assert run(800, {}, {}, {}) - base == 3 * 100 * 4
    assert 0 < run(400, {}, {4: 1}, {}) - base < 20
    loop = [isa.LOOP(count=100), isa.ADDRESS(register=1, add=1), isa.NEXT()]
    program[1:1] = loop
    words = np.array([word for one in (*program, isa.END()) for word in one.encode()], "<u4").tobytes()
    assert run(400, {}, {4: 1}, {}) > run(400, {}, {}, {}) + 500
    with pytest.raises(Deadlock, match="host waits for 2 of semaphore 4"):
        run(400, {}, {4: 2}, {})
