"""The script of the HTML file, in node with a few stand-ins for a browser."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from systolith.gen.report import html

SCRIPT = Path(html.__file__).with_name("page.js")
BROWSER = """
class Element {
  constructor(attributes = {}) {
    Object.assign(this, { attributes, children: [], style: {}, handlers: {}, dataset: {}, textContent: "" });
    this.clientWidth = 1000; this.clientHeight = 100;
  }
  getAttribute(name) { return this.attributes[name]; }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  append(...more) { this.children.push(...more); }
  replaceChildren(...all) { this.children = all; }
  addEventListener(name, handler) { this.handlers[name] = handler; }
  getBoundingClientRect() { return { left: 50 }; }
  setPointerCapture() {}
  get firstElementChild() { return this.children[0]; }
  querySelector(name) {
    const own = this.children.find(child => child.name === name) ?? this.children[0]?.querySelector(name);
    return this.parts ? this.parts[name] : own;
  }
  querySelectorAll(name) { return name === "button" ? this.buttons : this.children; }
}
const rect = (x, y, width, height, about) => {
  const made = new Element({ x, y, width, height }), title = new Element();
  title.textContent = about; title.name = "title"; made.append(title); made.tagName = "rect";
  return made;
};
const marks = new Element({ viewBox: "0 0 8000 100" });
marks.append(rect(0, 0, 4000, 50, "long\\ncycles"), rect(4000, 50, 8, 50, "short\\nmore"),
             rect(5000, 0, 3000, 5, "flat"));
const box = new Element(), axis = new Element(), said = new Element(), figure = new Element();
figure.parts = { ".view": box, ".marks": marks, ".axis": axis, output: said };
figure.buttons = ["in", "out", "all", "left", "right"].map(act => Object.assign(new Element(), { dataset: { act } }));
const window = new Element();
const document = { createElement: () => new Element(), createElementNS: () => new Element(),
                   querySelectorAll: () => [figure] };
"""
ASK = """
const out = [], event = more => ({ preventDefault() { this.prevented = true; }, target: box, clientX: 550, ...more });
const state = () => {
  const [x, , width] = marks.getAttribute("viewBox").split(" ").map(Number);
  return { x, width, names: box.children[0].children.map(text => text.textContent),
           axis: axis.children.map(mark => mark.textContent), said: said.textContent };
};
"""


def _run(steps: str) -> Any:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run([node, "-"], input=BROWSER + SCRIPT.read_text() + ASK + steps
                          + "\nconsole.log(JSON.stringify(out));", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ticks_are_round_and_few() -> None:
    out = _run("for (const width of [16, 100, 999, 57438, 3e7]) for (const count of [2, 8.3, 14]) "
               "out.push([width, count, ticks({ x: 7, width }, count)]);")
    for width, count, ticks in out:
        steps = {b - a for a, b in zip(ticks, ticks[1:], strict=False)}
        assert len(steps) <= 1 and len(ticks) <= count + 1 and all(7 <= tick <= 7 + width for tick in ticks)
        assert all(str(step).rstrip("0") in ("1", "2", "5") and tick % step == 0 for step in steps for tick in ticks)
        assert len(ticks) >= count / 2.5 - 1 or width / count < 1


def test_zoom_keeps_its_place_and_stays_inside() -> None:
    out = _run("let view = { x: 0, width: 8000 }; for (const [factor, at] of [[.5, 6000], [.5, 6000], [.1, 5000], "
               "[.01, 5000], [1000, 0], [.5, 8000]]) { const next = zoomed(view, factor, at, 8000); "
               "out.push([view, at, next]); view = next; }"
               "out.push([view, 0, moved(view, 1e9, 8000)], [view, 0, moved(view, -1e9, 8000)]);"
               "out.push([{ x: 0, width: 9 }, 0, zoomed({ x: 0, width: 9 }, .5, 3, 9)]);")
    for before, at, after in out[:6]:
        assert 0 <= after["x"] and after["x"] + after["width"] <= 8000 and after["width"] >= 16
        if 0 < after["x"] < 8000 - after["width"]:
            assert (at - before["x"]) / before["width"] == pytest.approx((at - after["x"]) / after["width"])
    assert out[0][2] == {"x": 3000, "width": 4000} and out[4][2] == {"x": 0, "width": 8000}
    assert out[5][2] == {"x": 4000, "width": 4000} and out[3][2]["width"] == 16
    assert out[6][2] == {"x": 4000, "width": 4000} and out[7][2]["x"] == 0
    assert out[8][2] == {"x": 0, "width": 9}  # less is there than the closest zoom shows


def test_the_picture_follows_its_controls() -> None:
    out = _run("""
    out.push(state());
    box.handlers.wheel(event({ deltaY: -1 })); out.push(state());
    const turned = event({ deltaY: -1, ctrlKey: true });
    box.handlers.wheel(turned); out.push(state(), !!turned.prevented);
    figure.buttons[2].handlers.click(); out.push(state());
    box.handlers.keydown(event({ key: "+" })); box.handlers.keydown(event({ key: "ArrowRight" })); out.push(state());
    box.handlers.keydown(event({ key: "x" }));
    box.handlers.pointerdown(event({ clientX: 800 })); box.handlers.pointermove(event({ clientX: 900 }));
    box.handlers.pointerup(event({})); box.handlers.pointermove(event({ clientX: 100, target: marks.children[1] }));
    box.handlers.pointermove(event({ clientX: 200, target: marks })); out.push(state());
    box.handlers.dblclick(event({})); figure.buttons[0].handlers.click(); figure.buttons[0].handlers.click();
    figure.buttons[0].handlers.click(); figure.buttons[0].handlers.click(); out.push(state());
    box.clientWidth = 300; window.handlers.resize(); out.push(state());
    """)
    first, plain, zoomed, prevented, whole, moved, dragged, close, narrow = out
    assert (first["x"], first["width"], first["names"]) == (0, 8000, ["long"]) and "2,000" in first["axis"]
    assert plain == first  # without ctrl the page scrolls
    assert zoomed["width"] == pytest.approx(6400) and zoomed["x"] == pytest.approx(800) and prevented
    assert whole == first
    assert (moved["x"], moved["width"]) == (3000, 4000)
    assert dragged["x"] == pytest.approx(2600) and dragged["said"] == "short · more"
    assert close["width"] == pytest.approx(62.5) and len(close["axis"]) <= 10
    assert len(narrow["axis"]) <= 4


def test_names_appear_where_there_is_room() -> None:
    out = _run("for (const at of [4004, 5500]) { figure.buttons[2].handlers.click(); "
               "for (let n = 0; n < 40; n++) box.handlers.wheel(event({ deltaY: -1, ctrlKey: true, "
               "clientX: 50 + (at - state().x) / state().width * 1000 })); out.push(state()); }")
    assert out[0]["names"] == ["long", "short"] and out[0]["width"] == 16
    assert out[1]["names"] == []  # 5 pixels high
