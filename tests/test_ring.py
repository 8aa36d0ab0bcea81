"""How far ahead weights are asked for, and the ring that they wait in."""

import pytest

from systolith.gen.compile import WORTH, compile_graph, compile_schedule
from systolith.gen.graph import Graph
from systolith.gen.networks import graph_of
from systolith.gen.passes.integer import run_integer_passes
from systolith.gen.passes.step import stepped
from systolith.gen.presets import preset
from systolith.gen.schedule.schedule import ASKING, LEAD, schedule
from systolith.sim.model.session import timing_of
from tests.test_step import whole

EDGE = preset("edge")


@pytest.fixture(scope="module")
def vww() -> Graph:
    return run_integer_passes(graph_of("vww"))


def test_asked_pieces_ahead(vww: Graph) -> None:
    """LEAD pieces before its own, or so many of those that ask; never later, and in their order."""
    s = schedule(vww, EDGE)
    near, ahead = s.asked(False), s.asked(True)
    asking = {position for position, _, _ in s.moves()}
    for position in range(len(s.order)):
        assert near[position] == max(0, position - LEAD)
        assert ahead[position] <= near[position]
        between = sum(one in asking for one in range(ahead[position], position))
        assert between <= max(ASKING, LEAD)
        assert between == ASKING or ahead[position] in (0, near[position])
    assert ahead == sorted(ahead)
    assert ahead != near


def test_constants_live_from_when_they_are_asked_for(vww: Graph) -> None:
    s = schedule(vww, EDGE)
    for ahead in (False, True):
        asked = s.asked(ahead)
        firsts = {buffer.name: buffer.first for buffer in s.constants(ahead)}
        assert firsts
        for position, tag, piece in s.moves():
            if piece is None:
                assert firsts[f"constants {tag}"] == asked[position]


def test_memory_that_is_left_becomes_ring_where_that_is_faster(vww: Graph) -> None:
    """As the cycle model has it; not where memory is short, nor where the caller says how long it is."""
    long = compile_graph(vww, EDGE)
    short = compile_graph(vww, EDGE, ring_tiles=128)
    assert short.sizes["weights"] == 128 * 256 < long.sizes["weights"]
    assert timing_of(long).cycles < WORTH * timing_of(short).cycles
    few = compile_graph(vww, EDGE.replace(memory_bytes=131072))
    assert few.sizes["weights"] < long.sizes["weights"]
    assert few.sizes["total"] <= 131072


def test_memory_is_not_spent_for_nothing() -> None:
    artefact = compile_graph(graph_of("resnet8"), EDGE)
    assert artefact.sizes["weights"] == 128 * 256


def test_a_step_of_one_token_asks_ahead() -> None:
    """Its weights come in while the array is with keys and values: faster than the same ring asked for late."""
    graph = run_integer_passes(stepped(whole()))
    best = compile_graph(graph, EDGE)
    near = compile_schedule(schedule(graph, EDGE), best.sizes["weights"] // EDGE.weight_tile_bytes)
    assert near.sizes["weights"] == best.sizes["weights"]
    assert timing_of(best).cycles < timing_of(near).cycles
