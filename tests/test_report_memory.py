"""Tensors in memory: those in the bytes of others, rings, and their lives in cycles, from places made by hand."""

from types import SimpleNamespace
from typing import Any

from systolith.gen.emit.artefact import Written
from systolith.gen.emit.places import Place
from systolith.gen.graph import Tensor
from systolith.gen.report.memory import regions, tensors
from systolith.gen.report.model import LayerReport, Region, Span, TensorReport, Traffic

ALL = range(0)
"""Which part an instruction writes does not matter here."""


def _plain(address: int, rows: int, width: int, run: int, **changes: Any) -> Place:
    return Place(**{"address": address, "row": width * run, "pixel": run, "width": width, "run": run, "rows": rows}
                 | changes)


def _made(cycles: int | None) -> dict[str, TensorReport]:
    """A network: a and b are halves of the channels of "both", c and d its upper and lower rows of "tall", "view" is
    another shape of "tall", "ring" keeps two rows, "out" is written in the bytes of "ring" and read by nobody."""
    shapes = {"x": (2, 4, 3), "a": (2, 4, 2), "b": (2, 4, 2), "both": (2, 4, 4), "c": (1, 4, 4), "d": (1, 4, 4),
              "tall": (2, 4, 4), "view": (1, 1, 32), "ring": (6, 2, 4), "out": (1, 1, 16), "unread": (1, 1, 4)}
    places = {
        "x": _plain(100, 2, 4, 3), "both": _plain(200, 2, 4, 4), "a": _plain(200, 2, 4, 2, row=16, pixel=4),
        "b": _plain(202, 2, 4, 2, row=16, pixel=4), "tall": _plain(300, 2, 4, 4), "c": _plain(300, 1, 4, 4),
        "d": _plain(316, 1, 4, 4), "view": _plain(300, 1, 1, 32), "ring": _plain(400, 2, 2, 4, ring=True),
        "out": _plain(400, 1, 1, 16), "unread": _plain(500, 1, 1, 4)}
    lives = {"x": (-1, 0), "a": (0, 3), "b": (0, 3), "both": (0, 3), "c": (2, 5), "d": (2, 5), "tall": (2, 5),
             "view": (2, 5), "ring": (4, 8), "out": (4, 8), "unread": (6, 6)}
    reads = [("a", "x"), ("b", "x"), ("c", "both"), ("d", "both"), ("ring", "view"), ("out", "ring"),
             ("unread", "ring")]
    nodes = [SimpleNamespace(inputs=(source,), output=output) for output, source in reads]
    spans = [Span("vector", tag, output, 10 * tag + 5, 10 * tag + 12, 3) for tag, (output, _) in enumerate(reads)]
    layers = [LayerReport(output, "Add", "vector", "", [1, 1, 1], 0, 1.0, [], "", Traffic(), end=10 * tag + 12)
              for tag, (output, _) in enumerate(reads)]
    artefact: Any = SimpleNamespace(
        places=places, lifetimes=lives, layers=nodes,
        graph=SimpleNamespace(inputs=("x",), outputs=("out",), nodes=nodes,
                              tensors={name: Tensor(name, shape) for name, shape in shapes.items()}),
        written=[Written("vector", tag, output, ALL, ALL, ALL) for tag, (output, _) in enumerate(reads)])
    return {one.name: one for one in tensors(artefact, layers, spans if cycles else [], cycles)}


def test_bytes_within_others() -> None:
    made = _made(None)
    assert list(made) == ["x", "both", "tall", "c", "d", "ring", "out", "unread"]
    assert made["both"].also == ["a", "b"]  # with gaps between their pixels: no rectangles of their own
    assert made["tall"].also == ["view"] and made["c"].within == made["d"].within == "tall"
    assert (made["d"].address, made["d"].bytes, made["d"].layer) == (316, 16, 3)
    assert (made["ring"].bytes, made["ring"].rows, made["ring"].within) == (16, 2, "")
    assert made["out"].within == "ring" and made["tall"].within == made["both"].within == ""
    assert (made["x"].layer, made["x"].first, made["x"].last, made["x"].begin) == (-1, -1, 0, None)


def test_lives_in_cycles() -> None:
    lives = {name: (one.begin, one.end) for name, one in _made(100).items()}
    assert lives == {
        "x": (0, 22),  # an input is there at the start, and is read by the layers that end at 12 and 22
        "both": (5, 42),  # from the first half's first write to the end of what reads it
        "tall": (25, 52),  # made by c and d, read as "view"
        "c": (25, 32), "d": (35, 42),
        "ring": (45, 72), "out": (55, 100),  # an output is there until the end
        "unread": (65, 72)}


def test_regions_are_in_order() -> None:
    artefact: Any = SimpleNamespace(sizes={"program": 64, "parameters": 0, "weights": 32, "tables": 8,
                                           "activations": 500, "total": 604, "capacity": 1000}, pages=None)
    assert regions(artefact) == [Region("program", 0, 64), Region("weights", 64, 32), Region("tables", 96, 8)]
