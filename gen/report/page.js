"use strict";
// Pictures along cycles: zoom and move, an axis, and names in the rectangles that have room for them.

const LEAST = 16; // cycles that are shown at the closest

/** The part of 0 .. whole that is shown after a zoom around `at`, which stays where it is. */
function zoomed(view, factor, at, whole) {
  const width = Math.min(whole, Math.max(view.width * factor, LEAST));
  return moved({ x: at - (at - view.x) * width / view.width, width }, 0, whole);
}

/** The part that is shown after a move, within 0 .. whole. */
function moved(view, by, whole) {
  return { x: Math.min(Math.max(view.x + by, 0), Math.max(whole - view.width, 0)), width: view.width };
}

/** Round numbers in the part that is shown, about `count` of them. */
function ticks(view, count) {
  const power = 10 ** Math.floor(Math.log10(view.width / count));
  const step = Math.max(1, [1, 2, 5, 10].map(n => n * power).find(s => s * count >= view.width * 0.999));
  const out = [];
  for (let at = Math.ceil(view.x / step) * step; at <= view.x + view.width; at += step) out.push(at);
  return out;
}

function picture(figure) {
  const box = figure.querySelector(".view"), marks = figure.querySelector(".marks");
  const axis = figure.querySelector(".axis"), said = figure.querySelector("output");
  const [, , whole, height] = marks.getAttribute("viewBox").split(" ").map(Number);
  const rectangles = [...marks.querySelectorAll("rect")].map(rect => ({
    x: +rect.getAttribute("x"), y: +rect.getAttribute("y"), width: +rect.getAttribute("width"),
    height: +rect.getAttribute("height"), name: rect.firstElementChild.textContent.split("\n")[0],
  }));
  const labels = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  labels.setAttribute("class", "labels");
  box.append(labels);
  let view = { x: 0, width: whole }, held = null;

  function draw() {
    marks.setAttribute("viewBox", `${view.x} 0 ${view.width} ${height}`);
    const across = box.clientWidth / view.width, down = box.clientHeight / height;
    labels.replaceChildren();
    for (const r of rectangles) {
      const left = Math.max((r.x - view.x) * across, 0);
      const right = Math.min((r.x + r.width - view.x) * across, box.clientWidth);
      if (right - left < 7 * r.name.length + 8 || r.height * down < 13) continue;
      const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      text.setAttribute("x", left + 4);
      text.setAttribute("y", (r.y + r.height / 2) * down + 4);
      text.textContent = r.name;
      labels.append(text);
    }
    axis.replaceChildren(...ticks(view, Math.max(box.clientWidth / 120, 2)).map(at => {
      const mark = document.createElement("span");
      mark.style.left = `${(at - view.x) * across}px`;
      mark.textContent = at.toLocaleString("en");
      return mark;
    }));
  }

  function show(next) {
    view = next;
    draw();
  }
  const cycle = event => view.x + (event.clientX - box.getBoundingClientRect().left) / box.clientWidth * view.width;
  const middle = () => view.x + view.width / 2;
  const actions = {
    in: () => show(zoomed(view, 0.5, middle(), whole)), out: () => show(zoomed(view, 2, middle(), whole)),
    all: () => show({ x: 0, width: whole }),
    left: () => show(moved(view, -view.width / 4, whole)), right: () => show(moved(view, view.width / 4, whole)),
  };
  const keys = { "+": "in", "-": "out", "0": "all", ArrowLeft: "left", ArrowRight: "right" };
  box.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return; // plain scrolling stays the page's
    event.preventDefault();
    show(zoomed(view, event.deltaY > 0 ? 1.25 : 0.8, cycle(event), whole));
  }, { passive: false });
  box.addEventListener("pointerdown", event => { held = { at: event.clientX, view }; box.setPointerCapture(event.pointerId); });
  box.addEventListener("pointerup", () => { held = null; });
  box.addEventListener("pointermove", event => {
    if (held) show(moved(held.view, (held.at - event.clientX) / box.clientWidth * view.width, whole));
    if (event.target.tagName !== "rect") return;
    said.textContent = event.target.querySelector("title").textContent.split("\n").join(" · ");
  });
  box.addEventListener("dblclick", event => show(zoomed(view, 0.25, cycle(event), whole)));
  box.addEventListener("keydown", event => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  for (const button of figure.querySelectorAll("button")) {
    button.addEventListener("click", () => actions[button.dataset.act]());
  }
  window.addEventListener("resize", draw);
  draw();
}

document.querySelectorAll("figure[data-zoom]").forEach(picture);
