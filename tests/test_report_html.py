"""The HTML file: whole, self-contained, safe from names, and with the numbers of the JSON."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from systolith.gen.report import Report, run_report
from systolith.gen.report.html import page
from systolith.gen.report.model import Hint, Region
from systolith.gen.report.pictures import MOST
from systolith.gen.report.tracks import LAYERS
from tests.report_cases import EVIL, artefact, case

_EMPTY = {"meta"}


class Page(HTMLParser):
    """An HTML file taken apart: elements that match, text by element, tables, rectangles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self.rectangles: list[list[tuple[dict[str, str | None], str]]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "svg":
            self.rectangles.append([])
        elif tag == "rect":
            self.rectangles[-1].append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]][-1] += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if self.open[-2:] == ["rect", "title"]:
            where, about = self.rectangles[-1][-1]
            self.rectangles[-1][-1] = (where, about + data)

    def table(self, first: str) -> list[dict[str, str]]:
        """Rows of the table whose first column is called `first`."""
        head, *rows = next(table for table in self.tables if table[0][0] == first)
        return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_pool_fills_and_empties() -> None:
    """Rectangles of the memory's picture show the pages in use, also when there are too many changes to draw."""
    report = dataclasses.replace(case(1, False)[0], pages={"bytes": 64, "limit": 9, "needed": 9})
    report.regions = [*report.regions, Region("pages", 1024, 9 * 64)]

    def drawn() -> list[tuple[list[int], str]]:
        return [([int(where[name] or 0) for name in ("x", "y", "width", "height")], about)
                for picture in Page(page(report)).rectangles for where, about in picture if where["class"] == "pages"]

    assert not drawn()
    report.filling = [[3, 2], [10, 9], [15, 0]]
    assert [place for place, _ in drawn()] == [
        [3, 1024, 7, 128], [10, 1024, 5, 576], [15, 1024, (report.cycles or 0) - 15, 0]]
    assert drawn()[1][1] == "9 pages in use\n576 of 576 bytes\ncycles 10 to 15"
    report.cycles = 5 * MOST
    report.filling = [[cycle, cycle % 8 + 1] for cycle in range(4 * MOST)]
    places = [place for place, _ in drawn()]
    assert len(places) == MOST and all(place[2:] == [4, size] for place, size in zip(
        places[:-1], [256, 512] * MOST, strict=False)) and places[-1][2] == MOST + 4


def _number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.mark.parametrize("evil", [False, True])
def test_the_page_is_whole(evil: bool) -> None:
    report = case(1, evil)[0]
    text = page(report)
    seen = Page(text)
    assert text.startswith("<!DOCTYPE html>") and len(text) < 1_000_000
    assert [row["layer"] for row in seen.table("layer")][-6:] == [hint.layer for hint in report.hints[:20]][-6:]
    rows = next(table for table in seen.tables if table[0][0] == "layer" and "operator" in table[0])
    assert [row[0] for row in rows[1:]] == [layer.name for layer in report.layers]
    assert seen.text["h1"] == [f"{report.network} on tiny (4 x 5), verilator"]
    names = [about for svg in seen.rectangles for _, about in svg]
    for layer in report.layers:
        assert layer.unit == "none" or any(name.startswith(layer.name) for name in names)
    assert text.count("<script") == 1 and len(seen.text["script"]) == 1
    assert evil is (EVIL in seen.text["h1"][0])


def test_the_page_needs_nothing_else() -> None:
    text = page(case()[0])
    for tag, attributes in Page(text).seen:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base"), tag
        assert not {"src", "href", "srcset", "action"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in text and "url(" not in text
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_every_section_has_its_conditions() -> None:
    report = case()[0]
    text = page(report)
    sections = text.split("<section>")[1:]
    assert len(sections) == 7 and all(f"Conditions: {report.conditions}." in section for section in sections)


def test_layers_are_those_of_the_json() -> None:
    report = case()[0]
    record = json.loads(json.dumps(report.record()))
    head, *rows = next(table for table in Page(page(report)).tables if "operator" in table[0])
    for row, layer in zip(rows, record["layers"], strict=True):
        cell = dict(zip(head, row, strict=True))
        assert (cell["layer"], cell["operator"], cell["unit"]) == (layer["name"], layer["operator"], layer["unit"])
        assert cell["output"] == "x".join(map(str, layer["shape"]))
        assert _number(cell["MACs"]) == layer["macs"] and _number(cell["cycles"]) == layer["cycles"]
        assert _number(cell["busy"]) == (layer["busy"] or 0)
        assert cell["array filled"] == (f"{layer['fill']:.1%}" if layer["unit"] == "array" else "")
        assert cell["utilisation"] == (f"{layer['utilisation']:.1%}" if layer["macs"] else "")
        assert cell["part of the run"] == f"{layer['cycles'] / record['cycles']:.1%}"
        assert cell["why no more"] == "; ".join([*layer["fill_causes"], *filter(None, [layer["note"]])])
        assert _number(cell["bytes of weights and parameters moved in"]) == layer["traffic"]["constants_external"]
        for name, key in (("from cycle", "start"), ("to cycle", "end")):
            assert cell[name] == ("" if layer[key] is None else f"{layer[key]:,}")
        for name, key in (("waited for", "waits"), ("cycles lost", "lost")):
            assert {part.rsplit(" ", 1)[0]: _number(part.rsplit(" ", 1)[1]) for part in cell[name].split(", ") if part
                    } == layer[key]


def test_other_tables_are_those_of_the_json() -> None:
    report = case()[0]
    record = json.loads(json.dumps(report.record()))
    seen = Page(page(report))
    figures = dict(zip(seen.text["dt"], seen.text["dd"], strict=True))
    assert _number(figures["cycles"]) == record["cycles"] and figures["bit-exact"] == "yes"
    assert _number(figures["multiply-accumulates"]) == record["macs"]
    assert figures["utilisation of the array"] == f"{record['utilisation']:.1%}"
    assert _number(figures["bytes read from external memory"]) == record["external_read_bytes"]
    assert _number(figures["bytes of unified memory"]) == record["memory_peak_bytes"]
    for row, unit in zip(seen.table("unit"), record["units"], strict=True):
        assert (row["unit"], _number(row["busy cycles"])) == (unit["name"], unit["busy"])
        assert (_number(row["instructions"]), _number(row["with an instruction"])) == (
            unit["instructions"], unit["active"])
        beside = unit["beside_array"]
        assert row["of these beside a busy array"] == ("" if beside is None else f"{beside:.1%}")
    hints = next(table for table in seen.tables if table[0][:2] == ["layer", "cycles"])
    assert [(row[0], _number(row[1]), *row[2:]) for row in hints[1:]] == [
        (hint["layer"], hint["cycles"], f"{hint['cycles'] / record['cycles']:.1%}", hint["cause"], hint["text"])
        for hint in record["hints"][:20]]
    memory = {row["part of the unified memory"]: _number(row["bytes"]) for row in
              seen.table("part of the unified memory")}
    assert memory == record["memory"]
    moved = [_number(row["bytes"]) for row in seen.table("what")]
    traffic = record["traffic"]
    assert moved == [traffic["external_read"], traffic["constants_external"], traffic["external_write"],
                     record["external_read_bytes"], record["external_write_bytes"], traffic["memory_read"],
                     traffic["weights_memory"], traffic["memory_write"], record["program_bytes"]]
    counters = {row["counter"]: _number(row["cycles"]) for row in seen.table("counter")}
    assert counters == {f"{unit}.{name}": value for unit, events in record["counters"].items()
                        for name, value in events.items()}
    assert {row["configuration"]: row["value"].replace(",", "") for row in seen.table("configuration")} == {
        name: str(value) for name, value in record["machine"].items()}
    assert seen.table("run")[0] == {"run": "seed of the inputs", "value": "1"}


def _places(rectangles: list[tuple[dict[str, Any], str]]) -> list[tuple[int, int, int, int, str]]:
    return [(*(int(at[key]) for key in ("x", "y", "width", "height")), about) for at, about in rectangles]


def test_the_timeline_shows_every_instruction() -> None:
    report, lines, cycles = case()
    seen = Page(page(report))
    box = next(attributes for tag, attributes in seen.seen if tag == "svg")
    assert box["viewbox"] == f"0 0 {cycles} {30 + 30 * len(lines)}"
    drawn = _places(seen.rectangles[0])
    for row, line in enumerate(lines, 1):
        mine = [(x, x + width) for x, y, width, height, _ in drawn if y == 30 * row]
        assert mine == [(start, end) for start, (end, _) in zip(line.starts, line.ends, strict=True)]
    assert [text for text in seen.text["span"] if text][:4] == [LAYERS, *(line.unit for line in lines)]
    row = [line.unit for line in lines].index("array") + 1
    about = next(about for _, y, _, _, about in drawn if y == 30 * row)
    span = next(span for span in report.spans if span.unit == "array")
    times = f"cycles {span.start:,} to {span.end:,} ({span.end - span.start:,}), busy {span.busy:,}"
    assert about.startswith(f"first\n{times}")


def test_memory_shows_every_tensor() -> None:
    report, _, cycles = case()
    seen = Page(page(report))
    by_cycles, by_work = (_places(one) for one in seen.rectangles[1:3])
    regions = [(0, r.address, cycles, r.bytes) for r in report.regions]
    assert [one[:4] for one in by_cycles] == regions + [
        (t.begin, t.address, (t.end or 0) - (t.begin or 0), t.bytes) for t in report.tensors]
    own = [t for t in report.tensors if not t.within]
    assert [one[:4] for one in by_work[len(regions):]] == [
        (t.first + 1, t.address, t.last + 1 - t.first, t.bytes) for t in own]
    about = {text.split("\n")[0]: text for *_, text in by_cycles}
    assert "6x6x3 int8, 108 bytes from address" in about["input"]
    assert "in its bytes also flat" in about["pool"]
    assert "pieces of work -1 to" in about["input"] and "cycles 0 to" in about["input"]
    first, second, *_ = report.tensors
    other = dataclasses.replace(report, tensors=[dataclasses.replace(first, rows=2),
                                                 dataclasses.replace(second, within=first.name)])
    seen = Page(page(other))
    by_cycles, by_work = (_places(one)[len(regions):] for one in seen.rectangles[1:3])
    assert "2 of its 6 rows at a time" in by_cycles[0][-1] and f"in its bytes also {second.name}" in by_cycles[0][-1]
    assert f"made in the bytes of {first.name}" in by_cycles[1][-1] and len(by_work) == 1


def test_a_large_program_stays_small() -> None:
    """60,000 instructions of 80 layers: instructions are merged, nothing else is left out."""
    report = case()[0]
    layers = [dataclasses.replace(report.layers[0], name=f"layer_{index}") for index in range(80)]
    spans = [dataclasses.replace(report.spans[0], unit=unit, start=10 * index, end=10 * index + 9, busy=9,
                                 tag=index // 250, layer=f"layer_{index // 250}")
             for unit in ("move_in", "array", "vector") for index in range(20_000)]
    tensors = [dataclasses.replace(report.tensors[0], name=f"tensor_{index}") for index in range(200)]
    large = dataclasses.replace(report, layers=layers, spans=spans, tensors=tensors, cycles=200_000, slices=[],
                                hints=[Hint(layer.name, "fill", 10, "x" * 200) for layer in layers])
    text = page(large)
    seen = Page(text)
    assert len(text) < 1_000_000 and 80 * 3 <= len(seen.rectangles[0]) <= MOST
    assert all(f"layer_{index}" in text for index in range(80))
    assert sum(_number(re.findall(r"busy ([\d,]+)", about)[0]) for _, about in seen.rectangles[0]) == 9 * 60_000


def test_without_cycles() -> None:
    report = run_report(artefact(True), "none", "tiny", None, None, 0)
    seen = Page(page(report))
    assert len(seen.rectangles) == 1 and "cycles" not in seen.text["dt"]
    assert [row[0] for row in next(table for table in seen.tables if "operator" in table[0])[1:]] == [
        layer.name for layer in report.layers]
    assert sum("Not measured" in text for text in seen.text["p"]) == 4


def test_the_page_is_made_from_the_json() -> None:
    report = case()[0]
    assert page(Report.of(json.loads(json.dumps(report.record())))) == page(report)
