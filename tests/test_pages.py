"""Networks whose tensors rest in pages, on the instruction model: the same results wherever data lies."""

import os
import re

import pytest

from systolith.gen.bench import measure
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact, load, save
from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.graph import Feed, Pack, Unpack
from systolith.gen.presets import preset
from systolith.gen.run import Session
from systolith.gen.schedule import streams
from systolith.gen.zoo import ZOO
from systolith.rtl.errors import MachineStopped
from systolith.sim.golden.execute import random_inputs
from systolith.sim.machine.machine import Machine
from tests.random_graphs import RandomGraph
from tests.test_compile import SMALL

PAGED = SMALL.replace(codec_lanes=8, page_bytes=64, external_bytes=4)
EDGE = preset("edge")
LAYERS = Goal("memory", codec="pages", cascades=False)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor that crosses from one operator to another, however small, rests in pages."""
    monkeypatch.setattr(streams, "LEAST", 0)
    graph = RandomGraph(seed).graph(7)
    config = PAGED.replace(external_bytes=4 * (seed % 2))
    session = Session(compile_graph(graph, config, Goal("memory", codec="pages", cascades=bool(seed % 3), margin=1)),
                      "machine", check=True)
    for inference in range(2):
        session.infer(random_inputs(session.artefact.graph, inference))
        assert session.difference is None, f"seed {seed}: {session.difference}"
    assert session._machine.pages.pager.used == 0


def _machine(artefact: Artefact) -> Machine:
    return Machine(artefact.config, artefact.memory, artefact.external.ljust(artefact.external_bytes, b"\0"))


def _run(machine: Machine, artefact: Artefact, seed: int = 1) -> None:
    x = random_inputs(artefact.graph, seed)
    machine.run(feeds=[(feed, x[feed.tensor][feed.row].reshape(-1).view("u1")) for feed in artefact.feeds])


def _kinds(session: Session) -> set[type]:
    return {type(node) for node in session.artefact.graph.nodes}


@pytest.mark.parametrize("name", ["resnet8", "ds-cnn", "vww"])
def test_pages_save_memory(name: str) -> None:
    graph = ZOO[name]()
    rows = compile_graph(graph, EDGE, Goal("memory", cascades=False))
    session = Session(compile_graph(graph, EDGE, LAYERS), "machine", check=True)
    assert _kinds(session) >= {Feed, Pack, Unpack}
    session.infer(random_inputs(graph))
    assert session.difference is None
    assert session.artefact.sizes["activations"] < 0.8 * rows.sizes["activations"]
    pages = session.artefact.pages
    pager = session._machine.pages.pager
    assert pager.used == 0 and 0 < pager.chip.high_water <= pages.needed < pages.limit
    assert pager.beyond.high_water == 0, "the samples are as hard as the input"


def test_pages_are_left_as_soon_as_they_are_read() -> None:
    """Of a tensor that is read while it is written only what lies in between is in pages."""
    artefact = compile_graph(ZOO["resnet8"](), EDGE, LAYERS)
    machine = _machine(artefact)
    used: list[int] = []
    machine.on_retired = lambda unit, instruction, number: used.append(machine.pages.pager.used)
    _run(machine, artefact)
    whole = sum(artefact.graph.tensors[node.output].bytes for node in artefact.graph.nodes if isinstance(node, Pack))
    assert 0 < max(used) * EDGE.page_bytes < whole / 3


def test_too_few_pages_spill() -> None:
    """Half of what is needed: the rest goes outside, and nothing else changes."""
    graph = ZOO["resnet8"]()
    enough, half = (Session(compile_graph(graph, EDGE, Goal("memory", codec="pages", cascades=False, margin=margin)),
                            "machine", check=True) for margin in (0, -0.5))
    for seed in range(2):
        x = random_inputs(graph, seed)
        expected, _ = enough.infer(x)
        found, _ = half.infer(x)
        assert half.difference is None
        assert all((found[name] == value).all() for name, value in expected.items())
    first, second = (session._machine.pages.pager for session in (enough, half))
    assert first.beyond.high_water == 0 and second.beyond.high_water > 0
    assert second.chip.high_water == half.artefact.pages.limit == -(-first.chip.high_water // 2)


def test_too_few_pages_without_external_memory_say_so() -> None:
    graph = ZOO["resnet8"]()
    config = EDGE.replace(external_bytes=0)
    session = Session(compile_graph(graph, config, Goal("memory", codec="pages", cascades=False, margin=-0.5)),
                      "machine", check=True)
    tensor = r"[\w.]+"
    for seed in range(2):
        with pytest.raises(UserError, match=f"no page was left for {tensor}: the program may use .* pages of 256 bytes,"
                                            " its samples needed .*--margin, or for a machine with external memory"):
            session.infer(random_inputs(graph, seed))
    again = Session(compile_graph(graph, config, Goal("memory", codec="pages", cascades=False)), "machine", check=True)
    again._machine.memory[:] = session._machine.memory  # whatever the failed run left there
    again._machine.memory[:len(again.artefact.memory)] = bytearray(again.artefact.memory)
    again.infer(random_inputs(graph))
    assert again.difference is None


@pytest.mark.parametrize("optimise, name, memory", [("memory", "resnet8", 30_000), ("memory", "vww", 60_000),
                                                    ("cycles", "resnet8", 40_000)])
def test_slots_move_fewer_bytes(optimise: str, name: str, memory: int) -> None:
    """Tensors that the unified memory has no room for go outside, packed or as they are."""
    graph = ZOO[name]()
    artefacts = [compile_graph(graph, EDGE, Goal(optimise, memory=memory, codec=codec, cascades=False))
                 for codec in ("off", "slots")]
    sessions = [Session(artefact, "machine", check=True) for artefact in artefacts]
    moved = []
    for session in sessions:
        session.infer(random_inputs(graph))
        assert session.difference is None and session.artefact.sizes["total"] <= memory
        pages = session._machine.pages
        assert pages.pager.chip.high_water == 0 and pages.outside_written > 0
        moved.append(pages.outside_read + pages.outside_written)
    assert moved[1] < moved[0]


def test_more_goes_outside_than_there_are_pages_for() -> None:
    config = EDGE.replace(outside_pages=8)
    with pytest.raises(UserError, match="needs [0-9]+ pages of 256 bytes in external .* edge has 8: set outside"):
        compile_graph(ZOO["resnet8"](), config, Goal("memory", memory=40 * 1024, codec="slots", cascades=False))


def test_a_damaged_stream_stops_the_machine() -> None:
    graph = ZOO["resnet8"]()
    artefact = compile_graph(graph, EDGE, LAYERS)
    machine = _machine(artefact)
    packs: list[int] = []

    def spoil(unit: str, instruction, number: int) -> None:
        if unit == "pack" and instruction.open:
            packs.append(instruction.tag)
            page = next(iter(machine.pages.pager.open[instruction.stream].chain))
            machine.memory[instruction.b + page * EDGE.page_bytes + 1] = 0x80  # a tag that does not exist
    machine.on_retired = spoil
    with pytest.raises(MachineStopped, match="DAMAGED_STREAM") as stopped:
        _run(machine, artefact)
    reader = artefact.graph.nodes[stopped.value.information]
    assert isinstance(reader, Unpack) and reader.inputs[0] == artefact.graph.nodes[packs[0]].output


def test_the_file_gives_the_same_back(tmp_path) -> None:
    artefact = compile_graph(ZOO["vww"](), EDGE, Goal("memory", codec="pages"))
    assert artefact.feeds and artefact.pages and artefact.codec == "pages"
    save(artefact, tmp_path / "net.slp")
    again = load(tmp_path / "net.slp")
    assert (again.feeds, again.pages, again.codec) == (artefact.feeds, artefact.pages, artefact.codec)
    assert again.external_bytes == artefact.external_bytes


def test_the_report_says_how_inputs_come() -> None:
    graph = ZOO["ds-cnn"]()
    fed, whole = (measure(compile_graph(graph, EDGE, goal), "model") for goal in (LAYERS, Goal("memory")))
    assert "input brought by the host row by row" in fed.conditions and "input in it at the start" in whole.conditions
    assert 0 < fed.pages["needed"] < fed.pages["limit"] and not whole.pages


def test_machines_without_a_codec() -> None:
    with pytest.raises(UserError, match="--codec pages needs a machine with a codec, which micro does not have; set "
                                        "codec_lanes=8"):
        compile_graph(ZOO["resnet8"](), preset("micro"), Goal("memory", codec="pages"))
    with pytest.raises(UserError, match=re.escape("--codec must be one of off, slots, pages, not 'zip'")):
        Goal(codec="zip")
    with pytest.raises(UserError, match="--margin must be .* not -1"):
        Goal(codec="pages", margin=-1)
    with pytest.raises(UserError, match="--margin 0.2 is for pages; it needs --codec pages, not slots"):
        Goal(codec="slots", margin=0.2)


def test_soak() -> None:
    """Networks in turns on one memory: no page is lost, and each needs what it needed the first time. With
    SYSTOLITH_SLOW=1 a thousand inferences."""
    artefacts = [compile_graph(ZOO[name](), EDGE, goal) for name in ("resnet8", "ds-cnn")
                 for goal in (LAYERS, Goal("memory", codec="pages", margin=-0.5))]
    machine = Machine(EDGE, b"", b"\0" * max(artefact.external_bytes for artefact in artefacts))
    marks: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for turn in range(1000 if os.environ.get("SYSTOLITH_SLOW") else 16):
        number = turn % len(artefacts)
        artefact, seed = artefacts[number], turn // 4 % 2
        machine.memory[:len(artefact.memory)] = bytearray(artefact.memory)
        machine.external[:len(artefact.external)] = bytearray(artefact.external)
        _run(machine, artefact, seed)
        pager = machine.pages.pager
        assert pager.used == pager.used_outside == 0 and not pager.open
        marks.setdefault((number, seed), set()).add((pager.chip.high_water, pager.beyond.high_water))
    assert all(len(seen) == 1 for seen in marks.values())
