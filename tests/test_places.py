"""Where tensors lie: pads behind rows that would crowd a few banks, views, runs of rings."""

import numpy as np
import pytest

from systolith.gen.emit.places import Place, View, find_pads, find_views
from systolith.gen.graph import Concat, Graph, Node, Reshape, Shape, Slice, Tensor

BANKS, WORD = 8, 16


def pads(shape: Shape, dtype: str = "int8", banks: int = BANKS, fixed: tuple[str, ...] = (),
         views: dict[str, View] | None = None) -> dict[str, int]:
    graph = Graph("g", ("x",), ("x",), {"x": Tensor("x", shape, dtype), "v": Tensor("v", (shape[0], 2, 16))}, ())
    return find_pads(graph, views or {}, set(fixed), banks, WORD)


def met(row: int, banks: int = BANKS) -> int:
    """Banks that the first words of rows of so many bytes lie in: each row of the memory's words begins a bank later.
    """
    words = np.arange(banks * banks) * (row // WORD)
    return len(set(((words + words // banks) % banks).tolist()))


@pytest.mark.parametrize("banks", [2, 4, 8])
def test_a_pad_helps_and_is_the_smallest_that_does(banks: int) -> None:
    for columns in range(16, 4160, 16):
        enough = [pad for pad in (0, 16, 32) if 2 * met(columns + pad, banks) >= banks]
        assert pads((64, 1, columns), banks=banks).get("x", 0) == enough[0], columns


@pytest.mark.parametrize(("columns", "pad"), [(3072, True), (1024, True), (768, False), (64, False), (3088, False)])
def test_matrices_of_transformers(columns: int, pad: bool) -> None:
    found = pads((128, 1, columns))
    assert (met(columns) < BANKS // 2) == pad == bool(found)
    if pad:
        assert met(columns + found["x"]) >= BANKS // 2
        assert pads((128, 1, columns // 2), "int16") == found


def test_where_no_pad_can_be() -> None:
    shape = (128, 1, 3072)
    assert pads(shape)
    assert not pads(shape, fixed=("x",))
    assert not pads((64, 2, 1536))  # two positions a row
    assert not pads((128, 1, 3064))  # no whole words
    assert not pads(shape, views={"v": View("x", reshaped=True)})  # somebody reads its bytes in another shape
    assert pads(shape, views={"v": View("x", same_rows=True)})
    assert "x" not in pads(shape, views={"x": View("v")})


def views(*nodes: Node, **shapes: Shape) -> dict[str, View]:
    tensors = {name: Tensor(name, shape) for name, shape in shapes.items()}
    return find_views(Graph("g", ("x",), (nodes[-1].output,), tensors, nodes))


def test_views_say_whether_rows_are_rows() -> None:
    found = views(Reshape("a", ("x",), "y"), Reshape("b", ("x",), "z"), x=(6, 1, 32), y=(6, 2, 16), z=(3, 2, 32))
    assert found["y"].same_rows and not found["z"].same_rows and found["y"].reshaped
    parts = (Slice("a", ("x",), "top", (0, 0, 0)), Slice("b", ("x",), "low", (2, 0, 0)),
             Slice("c", ("x",), "right", (0, 0, 16)), Slice("d", ("x",), "apart", (0, 0, 0), (2, 1, 1)))
    found = views(*parts, Concat("e", ("top", "low", "right", "apart"), "y", 0), x=(6, 1, 32), top=(2, 1, 32),
                  low=(4, 1, 32), right=(6, 1, 16), apart=(3, 1, 32), y=(15, 1, 32))
    assert {name: view.same_rows for name, view in found.items()} == {
        "top": True, "low": False, "right": True, "apart": False}


def test_runs_of_a_ring() -> None:
    place = Place(1000, 64, 32, 2, 32, 5, ring=True)
    assert place.runs(3, 12) == [(3, 2), (5, 5), (10, 2)]
    assert place.runs(5, 10) == [(5, 5)] and place.runs(4, 4) == []
    assert [place.at(y) for y, _ in place.runs(3, 12)] == [1192, 1000, 1000]
    assert Place(1000, 64, 32, 2, 32, 20).runs(3, 12) == [(3, 9)]
    assert [(r.address, r.size) for r in place.regions(3, 7)] == [(1192, 128), (1000, 128)]


def test_a_padded_place_is_whole_rows_and_its_pad_is_nobodys() -> None:
    place = Place(0, 3088, 3072, 1, 3072, 10, pad=16)
    assert place.whole_rows and place.whole_pixels
    (region,) = place.regions(2, 5)
    assert (region.address, region.size, region.partly) == (2 * 3088, 2 * 3088 + 3072, False)
    assert not Place(0, 3088, 3072, 1, 3072, 10).whole_rows
