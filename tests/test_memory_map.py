"""Where constants lie that are moved in: beside activations, or among them where memory is short."""

import pytest

from systolith.gen.compile import compile_schedule
from systolith.gen.emit.artefact import Artefact
from systolith.gen.emit.link import DoesNotFit, Request, link
from systolith.gen.emit.memory_map import MemoryMap, least_bytes
from systolith.gen.emit.plan import constants
from systolith.gen.goal import Goal
from systolith.gen.graph import Tensor
from systolith.gen.presets import preset
from systolith.gen.run import Session
from systolith.gen.schedule.schedule import Schedule, schedule
from systolith.gen.zoo.builder import Builder
from systolith.sim.golden.execute import random_inputs
from systolith.sim.model.session import timing_of

EDGE = preset("edge").replace(memory_bytes=1 << 17)
RING = 16


def network() -> Schedule:
    """Layers of many positions and few channels, then of one position and many channels, whose constants are large."""
    b = Builder("waist", Tensor("input", (240, 1, 64)), sample=(2, 240, 1, 64))
    x = "input"
    for _ in range(3):
        x = b.conv(x, 64, 1)
    x = b.average(x)
    for channels in (512, 768, 32):
        x = b.dense(x, channels)
    return schedule(b.graph(x), EDGE)


def compiled(s: Schedule, capacity: int | None = None, *, brief: bool = False) -> Artefact:
    return link(s, Request(Goal(), RING, capacity or EDGE.memory_bytes, {}, brief=brief))


def test_among_activations_where_memory_is_short() -> None:
    s = network()
    ample = compiled(s)
    assert s.streamed and ample.sizes["parameters"] > 9 * 768
    short = compiled(s, ample.sizes["total"] - 16)
    assert short.sizes["total"] < ample.sizes["total"] - 1000
    assert short.sizes["parameters"] < 1000 < 9 * 768 < short.sizes["activations"]
    inputs = random_inputs(ample.graph)
    for artefact in (ample, short):
        session = Session(artefact, "machine", check=True)
        session.infer(inputs)
        assert session.difference is None and session.compared == 7
        assert timing_of(artefact).cycles < 1.05 * timing_of(ample).cycles


def test_they_share_bytes_at_other_times_only() -> None:
    s = network()
    tight = MemoryMap(s, RING, 1, tight=False, ahead=False)
    layout, _ = tight.lay_out(0)
    buffers = [*s.activations(), *s.constants()]
    shared = 0
    for a in buffers:
        for b in buffers[:buffers.index(a)]:
            apart = layout.buffers[a.name] + a.size <= layout.buffers[b.name] or (
                layout.buffers[b.name] + b.size <= layout.buffers[a.name])
            later = all(x[1] < y[0] or y[1] < x[0] for x in a.lives for y in b.lives)
            assert apart or later
            shared += not apart and (a.name.startswith("constants") != b.name.startswith("constants"))
    assert shared > 0
    ample, _ = MemoryMap(s, RING, EDGE.memory_bytes, tight=False, ahead=False).lay_out(0)
    first = min(ample.buffers[b.name] for b in s.activations())
    assert all(ample.buffers[b.name] + b.size <= first for b in s.constants()) and constants(0) in ample.buffers


def test_the_least_that_a_schedule_needs() -> None:
    s = network()
    least = least_bytes(s, RING)
    total = compiled(s, compiled(s).sizes["total"] - 16).sizes["total"]
    assert RING * EDGE.weight_tile_bytes + 2 * 240 * 64 < least <= total < least + 8000
    emitted = len(s.network.pool)
    s.network.keep(bytes(range(64)))
    assert least_bytes(s, RING) == least + emitted + 64
    assert least_bytes(s, RING + 1) == least + emitted + 64 + EDGE.weight_tile_bytes


def test_joined_when_the_program_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where constants seem to have room beside activations, but not with the program."""
    total = compiled(network()).sizes["total"]
    monkeypatch.setattr("systolith.gen.emit.memory_map.SHORTEST", 0)
    short = compiled(network(), total - 16)
    assert short.sizes["total"] < total - 1000 and short.sizes["parameters"] < 1000
    memory_map = MemoryMap(network(), RING, EDGE.memory_bytes, tight=False, ahead=False)
    assert memory_map.join() and not memory_map.join()


@pytest.mark.parametrize("brief", [False, True])
def test_what_does_not_fit(brief: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    s = network()
    capacity = least_bytes(s, RING) - 100
    made: list[bool] = []
    whole = MemoryMap.lay_out
    monkeypatch.setattr(MemoryMap, "lay_out", lambda *args: made.append(True) or whole(*args))
    with pytest.raises(DoesNotFit) as error:
        compiled(s, capacity, brief=brief)
    assert (error.value.bytes == 100) if brief else (error.value.bytes > 100)
    assert bool(made) != brief
    assert compile_schedule(s, RING).sizes["total"] <= EDGE.memory_bytes


def test_brief_without_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the activations fit, but not beside the ring, nothing is emitted either; what fits is the same."""
    s = network()
    assert compiled(s, brief=True).memory == compiled(s).memory
    monkeypatch.setattr("systolith.gen.emit.link.least_bytes", lambda *_: 0)
    monkeypatch.setattr("systolith.gen.emit.link._emit", lambda *_: pytest.fail("a program is made"))
    with pytest.raises(DoesNotFit, match="waist needs"):
        compiled(s, least_bytes(s, RING) - 100, brief=True)
