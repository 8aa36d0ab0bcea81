"""How a compilation looks for the best schedule in little memory: what it leaves out changes nothing, and it tells how
far it is."""

import dataclasses
import functools
import io
import math
from typing import Any

import pytest

from systolith.gen import cli
from systolith.gen import compile as compiler
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact
from systolith.gen.emit.link import DoesNotFit, Request
from systolith.gen.emit.plan import Piece
from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.graph import Graph
from systolith.gen.networks import artefact_of
from systolith.gen.presets import preset
from systolith.gen.schedule.blocks import Block
from systolith.gen.schedule.estimate import estimate
from systolith.gen.schedule.schedule import Stripes, schedule
from systolith.gen.schedule.search import Search
from systolith.sim.model import session as model_session
from systolith.sim.model.session import timing_of
from systolith.sim.model.unit import Unit
from tests.test_search import layer

LITTLE = preset("edge").replace(memory_bytes=24576)
"""The network's tensors that wait go to pages outside."""


@functools.cache
def network() -> Graph:
    return layer(0, "net.", tokens=64, channels=64)


@functools.cache
def compiled() -> Artefact:
    return compile_graph(network(), LITTLE)


def links(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests of all links from here on."""
    found: list[Request] = []
    link = compiler.link

    def noted(s: Any, request: Request) -> Artefact:
        found.append(request)
        return link(s, request)

    monkeypatch.setattr(compiler, "link", noted)
    return found


def test_the_steps_are_told() -> None:
    told: list[str] = []
    compile_graph(network(), LITTLE, progress=told.append)
    assert told.pop() == "" and len(told) == 16
    for number, text in enumerate(told, 1):
        assert text.startswith(f"{network().name}: step {number} of up to 16, ")
    assert [text.split(", ")[1] for text in told[:4]] == [
        "layer by layer", "which operators to make together", *["a schedule that fits"] * 2]
    told.clear()
    artefact_of("gemm:8x32x16", preset("edge"), progress=told.append)
    assert told == ["gemm:8x32x16: step 1 of up to 16, layer by layer", ""]
    told.clear()
    plain = preset("edge").replace(codec_lanes=0, memory_bytes=1 << 12)
    with pytest.raises(UserError):
        compile_graph(network(), plain, Goal("memory"), progress=told.append)
    assert told[0].endswith("step 1 of up to 4, layer by layer") and told[-1] == ""


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("json", [True, False])
def test_steps_are_for_people(terminal: bool, json: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", stream)
    arguments = ["bench", "gemm:8x32x16", "--engine", "model", *(["--json", str(tmp_path / "a.json")] if json else [])]
    cli.app(arguments, standalone_mode=False)
    said = stream.getvalue()
    assert ("step 1 of up to 16" in said) == (terminal and not json)
    assert "gemm:8x32x16, compiled for cycles, on model\n" in said
    if terminal and not json:  # the line is empty where the next one begins
        step = "\x1b[Kgemm:8x32x16: step 1 of up to 16, layer by layer\r"
        assert said.startswith(f"{step}\x1b[K\r\x1b[Kgemm:8x32x16, compiled")
    assert ("\x1b" in said) == terminal


def test_far_worse_schedules_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compiled()
    for factor, made in ((math.inf, True), (0.0, False)):
        monkeypatch.setattr(compiler, "HOPELESS", factor)
        found, asked = links(monkeypatch), []
        monkeypatch.setattr(model_session, "timing_of", lambda artefact, most=None: asked.append(  # noqa: B023
            artefact) or timing_of(artefact, most=most))
        artefact = compile_graph(network(), LITTLE)
        if made:
            assert timing_of(artefact).cycles == timing_of(whole).cycles and asked
        else:  # the first one that fits stays alone
            assert not asked and sum(not request.brief for request in found) <= 6
        monkeypatch.undo()


def test_for_memory_all_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = compile_graph(network(), LITTLE, Goal("memory"))
    monkeypatch.setattr(compiler, "HOPELESS", 0.0)
    assert compile_graph(network(), LITTLE, Goal("memory")).sizes == smallest.sizes


def test_the_best_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three artefacts the fastest, predicted to its end; equal ones are not predicted."""
    one = compiled()
    others = [dataclasses.replace(one, memory=one.memory + bytes([number])) for number in range(3)]
    cycles = dict(zip([each.memory for each in others], (300, 100, 200), strict=True))
    limits: list[int | None] = []

    def timing(artefact: Artefact, most: int | None = None) -> Any:
        limits.append(most)
        return dataclasses.replace(timing_of(gemm_), cycles=cycles[artefact.memory])

    gemm_ = artefact_of("gemm:8x32x16", preset("edge"))
    monkeypatch.setattr(model_session, "timing_of", timing)
    ways = [lambda made=made: made for made in (others[0], None, others[1], others[1], others[2])]
    assert compiler._best(ways, Goal()) is others[1]  # type: ignore[arg-type]
    assert limits == [None, 300, 100]

    def fails(missing: int) -> Artefact:
        raise DoesNotFit(f"{missing} too many", missing)

    with pytest.raises(DoesNotFit, match="20 too many"):
        compiler._best([functools.partial(fails, missing) for missing in (30, 20, 40)], Goal())
    assert compiler._best([functools.partial(fails, 30), lambda: others[2]], Goal()) is others[2]


def test_an_error_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing fits the last link is no brief one, so the message has the program's bytes too."""
    found = links(monkeypatch)
    with pytest.raises(DoesNotFit, match=r"program [1-9][0-9]+, parameters") as error:
        compile_graph(network(), LITTLE.replace(memory_bytes=1 << 12))
    assert error.value.bytes > 0 and any(not request.brief for request in found)
    assert any(request.brief for request in found)


def test_what_segments_need_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    needs = Search._needs
    monkeypatch.setattr(Search, "_needs", lambda self, part, *rest: asked.append(
        tuple(sorted(node.name for node in part.nodes))) or needs(self, part, *rest))
    known: Any = {}
    first = Search(network(), LITTLE, known=known)
    count = len(asked)
    second = Search(network(), LITTLE, known=known)
    assert count > 0 and len(asked) == count and known
    for limit in (first.smallest(), 1 << 16):
        one, other = first.best(limit), second.best(limit)
        assert one is not None and other is not None
        assert (one.segments, one.pieces) == (other.segments, other.pieces)
    Search(network(), LITTLE)
    assert len(asked) == 2 * count


def test_heads_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that use the same rows as those around them change neither lives nor estimates."""
    graph = network()
    ways = [None, *(Stripes([range(len(graph.nodes))], [stripes]) for stripes in (1, 3, 8))]
    made = [schedule(graph, LITTLE, way) for way in ways]
    alike = sum(a.like(b) for s in made for a, b in zip(s.order, s.order[1:], strict=False))
    found = [(s.activations(), estimate(s)) for s in made]
    monkeypatch.setattr(Piece, "like", lambda *_: False)
    assert alike > 10 and found == [(s.activations(), estimate(s)) for s in made]


def test_pieces_are_alike_in_what_they_use() -> None:
    """Not in their position of a row, in which heads differ."""
    def piece(node: int, block: tuple[int, int, int, int], *needs: tuple[str, int, int]) -> Piece:
        return Piece(node, Block(*block), list(needs), lambda _: None)

    one = piece(1, (2, 0, 4, 1), ("x", 2, 6))
    assert one.like(piece(1, (2, 3, 4, 1), ("x", 2, 6)))
    for other in (piece(2, (2, 0, 4, 1), ("x", 2, 6)), piece(1, (1, 0, 5, 1), ("x", 2, 6)),
                  piece(1, (2, 0, 3, 1), ("x", 2, 6)), piece(1, (2, 0, 4, 1), ("x", 2, 7)), piece(1, (2, 0, 4, 1))):
        assert not one.like(other) and not other.like(one)


def test_units_that_wait_need_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = timing_of(compiled())
    monkeypatch.setattr(Unit, "stays", lambda *_: None)
    asked = timing_of(compiled())
    assert (asked.cycles, asked.spans, asked.events) == (found.cycles, found.spans, found.events)


def test_a_prediction_ends_where_it_does_not_matter() -> None:
    cycles = timing_of(compiled()).cycles
    assert timing_of(compiled(), most=cycles).cycles == cycles
    for most in (cycles // 2, 10):
        cut = timing_of(compiled(), most=most)
        assert most < cut.cycles <= cycles and not cut.spans
