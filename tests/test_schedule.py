"""Order, rings and the search for stripes."""

import pytest

from systolith.gen.emit.places import Place
from systolith.gen.emit.resize_nodes import runs_of
from systolith.gen.presets import preset
from systolith.gen.schedule.blocks import array_blocks, row_blocks
from systolith.gen.schedule.memory import lower_bound
from systolith.gen.schedule.schedule import Stripes, schedule
from systolith.gen.schedule.search import Search
from systolith.gen.zoo import ZOO
from tests.random_graphs import RandomGraph

EDGE = preset("edge")


@pytest.mark.parametrize("height, width", [(1, 1), (7, 7), (25, 5), (56, 56), (320, 320), (3, 700)])
def test_blocks_cover_the_output_once(height, width):
    for wanted in (1, 4, 99):
        blocks = array_blocks(height, width, 512, 40, wanted)
        assert all(block.height * block.width <= 512 for block in blocks)
        assert sum(block.height * block.width for block in blocks) == height * width
        assert wanted == 1 or height * width < 80 or width > 512 or len(blocks) >= min(wanted, height, 2)
        rows = [y for block in row_blocks(height, width, wanted, 4) for y in range(block.y, block.end)]
        assert rows == list(range(height))
        assert all(block.y % 4 == 0 for block in row_blocks(height, width, wanted, 4))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("stripes", [0, 1, 3, 99])
def test_every_piece_comes_after_what_it_needs(seed, stripes):
    graph = RandomGraph(seed).graph(8)
    s = schedule(graph, EDGE, Stripes([range(len(graph.nodes))], [stripes]) if stripes else None)
    assert sorted(map(id, s.order)) == sorted(id(piece) for plan in s.plans for piece in plan.pieces)
    missing = {plan.output: [0] * graph.tensors[plan.output].shape[0] for plan in s.plans if plan.output}
    for piece in s.order:
        for y in range(piece.block.y, piece.block.end):
            missing[s.plans[piece.node].output][y] += 1
    for piece in s.order:
        for need in piece.needs:
            for name, first, end in s.network.sources(*need):
                assert not any(missing[name][first:end]), f"{s.plans[piece.node].node.name} comes before {name}"
        for y in range(piece.block.y, piece.block.end):
            missing[s.plans[piece.node].output][y] -= 1


@pytest.mark.parametrize("name", ["resnet8", "ds-cnn", "vww"])
def test_the_search_keeps_its_limit(name):
    graph = ZOO[name]()
    search = Search(graph, EDGE)
    smallest = search.smallest()
    assert search.best(smallest - 1) is None
    whole = lower_bound(schedule(graph, EDGE).activations(), EDGE.word_bytes)[0]
    cycles = []
    for limit in (smallest, (smallest + whole) // 2, 2 * whole):
        stripes = search.best(limit)
        assert stripes is not None
        assert [tag for segment in stripes.segments for tag in segment] == list(range(len(graph.nodes)))
        peak = lower_bound(schedule(graph, EDGE, stripes).activations(), EDGE.word_bytes)[0]
        assert peak <= limit
        cycles.append(sum(len(plan.pieces) for plan in schedule(graph, EDGE, stripes).plans))
    assert cycles[0] > cycles[-1]


def test_a_ring_of_rows():
    place = Place(100, 10, 2, 5, 2, 4, ring=True)
    assert [place.at(y) for y in range(6)] == [100, 110, 120, 130, 100, 110]
    fields = place.operand("a", 6)
    assert fields == {"a": 60, "a_end": 140, "a_ring": 40}
    addresses = [fields["a"] + y * 10 for y in (6, 7, 8, 9)]
    assert [a - 40 if a >= 140 else a for a in addresses] == [place.at(y) for y in (6, 7, 8, 9)]
    assert [(r.address, r.size) for r in place.regions(6, 9)] == [(120, 20), (100, 10)]


@pytest.mark.parametrize("table", [
    [(k // 2, k // 2, 0) for k in range(14)], [(k, k, 0) for k in (0, 2, 4, 6, 7, 9)], [(0, 0, 0)] * 5,
    [(k, min(k + 1, 6), f) for k in range(7) for f in (1, 3)], [(0, 1, 5)],
])
def test_runs_say_the_table(table):
    made = {}
    for run in runs_of(tuple(table)):
        for number, out in enumerate(run.outputs):
            source = run.source + number * run.stride
            assert out not in made
            made[out] = (source, source + run.gap, run.fraction)
    assert [made[k] for k in range(len(table))] == table
