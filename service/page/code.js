// The cells of a code: a slider for each of a few numbers, or a map of many with a slider for one of them.

import { byId } from "./views.js";

const MAX_SLIDERS = 64;
const CELL = 16;

/** Let a visitor see the numbers of a code and, if `editable`, change them; `changed(code)` gets all after each change. */
export function showCells(code, editable, changed) {
  const values = [...code];
  const limit = Math.max(3, Math.ceil(1.25 * Math.max(...code.map(Math.abs))));
  const few = code.length <= MAX_SLIDERS;
  byId("cells").hidden = !few;
  byId("map").hidden = few;
  const change = (i, value) => {
    values[i] = value;
    changed([...values]);
  };
  if (few) showSliders(code, limit, editable, change);
  else showMap(code, values, limit, editable, change);
}

function showSliders(code, limit, editable, change) {
  byId("cells").replaceChildren(
    ...code.map((value, i) => {
      const [label, name, output] = ["label", "span", "output"].map((tag) => document.createElement(tag));
      name.textContent = i + 1;
      output.textContent = shortNumber(value);
      const slider = document.createElement("input");
      slider.setAttribute("aria-label", `Number ${i + 1} of ${code.length}`);
      setSlider(slider, value, limit, editable, (moved) => {
        output.textContent = shortNumber(moved);
        label.classList.add("changed");
        change(i, moved);
      });
      label.append(name, slider, output);
      return label;
    }),
  );
}

function showMap(code, values, limit, editable, change) {
  const [canvas, index, slider] = [byId("map-cells"), byId("cell"), byId("cell-value")];
  const columns = Math.ceil(Math.sqrt(2.4 * code.length));
  canvas.width = columns * CELL;
  canvas.height = Math.ceil(code.length / columns) * CELL;
  canvas.setAttribute("aria-label", `Map of ${code.length} numbers: blue below zero, orange above`);
  const most = Math.max(...code.map(Math.abs));
  const draw = (selected) => {
    const pen = canvas.getContext("2d");
    const ink = getComputedStyle(canvas).color;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    values.forEach((value, i) => {
      const [x, y] = [(i % columns) * CELL, Math.floor(i / columns) * CELL];
      pen.globalAlpha = 0.08;
      pen.fillStyle = ink;
      pen.fillRect(x + 1, y + 1, CELL - 2, CELL - 2);
      pen.globalAlpha = Math.min(1, Math.sqrt(Math.abs(value) / most));
      pen.fillStyle = value < 0 ? "#2f7fd1" : "#d9731a";
      pen.fillRect(x + 1, y + 1, CELL - 2, CELL - 2);
      pen.globalAlpha = 1;
      pen.strokeStyle = ink;
      pen.lineWidth = 2;
      if (i === selected) pen.strokeRect(x + 1, y + 1, CELL - 2, CELL - 2);
    });
  };
  const select = (i) => {
    const show = (value) => {
      byId("cell-text").textContent = shortNumber(value);
      draw(i);
    };
    index.value = i + 1;
    setSlider(slider, values[i], limit, editable, (moved) => {
      change(i, moved);
      show(moved);
    });
    show(values[i]);
  };
  index.max = code.length;
  byId("cell-count").textContent = `of ${code.length}`;
  index.oninput = () => {
    const i = Math.round(index.value) - 1;
    if (i >= 0 && i < code.length) select(i);
  };
  canvas.onpointerdown = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const y = Math.floor((((event.clientY - box.top) / box.height) * canvas.height) / CELL);
    if (x >= 0 && x < columns && y * columns + x < code.length) select(y * columns + x);
  };
  // The largest number changes most.
  select(values.findIndex((value) => Math.abs(value) === most));
}

function setSlider(slider, value, limit, editable, moved) {
  Object.assign(slider, { type: "range", min: -limit, max: limit, step: "any", value, disabled: !editable });
  slider.oninput = () => moved(Number(slider.value));
  // A slider of any step would move by a hundredth of the range at a key.
  slider.onkeydown = (event) => {
    const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    slider.value = Number(slider.value) + direction * (limit / 20);
    slider.oninput();
  };
}

const shortNumber = (value) => value.toFixed(2).replace("-", "−");
