"""The picture of some layers of a run: every instruction in its place, and what is refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from systolith.gen.errors import UserError
from systolith.gen.report import drawing, read_report, write_reports
from systolith.gen.report.drawing import LEFT, MOST, RIGHT, ROW, TOP, WIDTH
from systolith.gen.report.model import Report
from systolith.gen.report.tracks import LAYERS, tracks
from tests.cli_calls import Call
from tests.report_cases import case

SVG = "{http://www.w3.org/2000/svg}"


def parts(text: str, kind: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter(f"{SVG}{kind}"))


def report(seed: int = 1, evil: bool = False) -> Report:
    """Of a network whose layers are called net.one, net.two and so on."""
    made = case(seed, evil)[0]
    return replace(made, layers=[replace(layer, name=f"net.{layer.name}") for layer in made.layers])


@pytest.mark.parametrize("layers, tags", [("net", range(6)), ("net.second", [1]), ("net.sum", [2])])
def test_every_instruction_is_in_its_place(layers: str, tags: range) -> None:
    made = report()
    times = [(made.layers[tag].start, made.layers[tag].end) for tag in tags if made.layers[tag].start is not None]
    begin, end = min(time[0] for time in times), max(time[1] for time in times)  # type: ignore[type-var]
    assert begin is not None and end is not None
    text = drawing(made, layers)
    scale = (WIDTH - LEFT - RIGHT) / (end - begin)
    drawn = {}
    for each in parts(text, "rect"):
        if each.get("height") == str(ROW):
            top = int(each.get("y", ""))
            drawn.setdefault((top - TOP) // (ROW + 6), []).append(
                (float(each.get("x", "")), float(each.get("width", "")), each.get("class", "").split()[0]))
    names = [each.text for each in parts(text, "text") if each.get("text-anchor") == "end"]
    units = {name: [mark for mark in marks if mark.begin < end and mark.end > begin]
             for name, marks in tracks(made).items() if name != LAYERS}
    units = {name: marks for name, marks in units.items() if marks}
    assert names[::2] == list(units) and len(drawn) == len(units)
    colours: dict[str, set[int]] = {}
    for number, marks in enumerate(units.values()):
        assert len(drawn[number]) == len(marks) <= MOST
        for (x, width, kind), mark in zip(drawn[number], marks, strict=True):
            first, last = max(mark.begin, begin), min(mark.end, end)
            assert x == pytest.approx(LEFT + (first - begin) * scale, abs=0.06)
            assert width == pytest.approx(max((last - first) * scale, 0.4), abs=0.06)
            colours.setdefault(kind, set()).add(mark.tag)
        share = sum(mark.busy * (min(mark.end, end) - max(mark.begin, begin)) / (mark.end - mark.begin)
                    for mark in marks) / (end - begin)
        assert float(names[2 * number + 1][:-1]) == pytest.approx(100 * share, abs=0.51 + 100 / (end - begin))
    others = colours.pop("other", set())
    assert not others & set(tags) and all(len(tag) == 1 for tag in colours.values())
    legend = [each.text for each in parts(text, "text")][-len(colours) - 1:]
    assert legend == [*(made.layers[tag].name.removeprefix(f"{layers}.") for tag in sorted(
        tag for each in colours.values() for tag in each)), "other layers"]


def test_it_is_whole() -> None:
    """XML, whatever names there are; it brings its paper and colours, for light and dark pages, and needs nothing."""
    for evil in (False, True):
        text = drawing(report(evil=evil), "net")
        root = ElementTree.fromstring(text)
        width, height = map(float, root.get("viewBox", "").split()[2:])
        for each in parts(text, "rect"):
            x, y, w, h = (float(each.get(name, "")) for name in ("x", "y", "width", "height"))
            assert 0 <= x and 0 <= y and x + w <= width and y + h <= height
        assert all(float(each.get("y", "")) < height for each in parts(text, "text"))
        classes = {kind for each in root.iter() for kind in each.get("class", "").split()}
        assert all(f".{kind} {{" in text or f".{kind}," in text for kind in classes - {"b4"})
        assert "prefers-color-scheme: dark" in text and "script" not in text.replace("</script", "") or evil
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "conditions" not in text and report().conditions in drawing(report(), "net")


def test_a_long_run_stays_small() -> None:
    made = report()
    long = replace(made, spans=[replace(span, start=(span.start + k * 5000), end=span.end + k * 5000)
                                for unit in dict.fromkeys(span.unit for span in made.spans) for k in range(300)
                                for span in made.spans if span.unit == unit],
                   layers=[replace(layer, end=1_500_000 if layer.end else None) for layer in made.layers])
    text = drawing(long, "net")
    assert len(text) < 60_000
    assert all(len(re.findall(rf' y="{y}" width="[^"]*" height="{ROW}"', text)) <= MOST
               for y in range(TOP, TOP + 300, ROW + 6))


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="no layer of small that takes cycles is 'ne' or begins with 'ne.'; its first "
                                        "one is 'net.first'"):
        drawing(report(), "ne")
    with pytest.raises(UserError, match="no layer of small that takes cycles is 'net.flat'"):
        drawing(report(), "net.flat")
    with pytest.raises(UserError, match="has no cycles; make it with --engine verilator, icarus or model"):
        drawing(replace(report(), cycles=None), "net")


def test_the_command(call: Call, refused: Callable[..., str], tmp_path: Path) -> None:
    write_reports(tmp_path, [report()])
    assert read_report(tmp_path / "report.json") == report()
    answer = call("timeline", tmp_path / "report.json", "--layers", "net", "-o", tmp_path / "out.svg")
    assert answer.code == 0 and "out.svg" in answer.out
    assert (tmp_path / "out.svg").read_text() == drawing(report(), "net")
    out = ("--layers", "net", "-o", tmp_path / "other.svg")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "part.json").write_text('{"network": "x"}')
    for name in ("list.json", "text.json", "part.json", "report.html"):
        refused("timeline", tmp_path / name, *out, says=f"{name} is no report; give a report.json that --report wrote")
    refused("timeline", tmp_path / "report.json", "--layers", "net", "-o", tmp_path / "no" / "o.svg",
            says="does not exist")
    refused("timeline", tmp_path / "none.json", *out, says="none.json cannot be read")
    refused("timeline", tmp_path / "report.json", "--layers", "brain", "-o", tmp_path / "o.svg", says="'brain'")
