// The drawing pad: strokes of a pen, and the picture that they become.

import { newCanvas, ofPixels } from "./pictures.js";

// As in MNIST: the digit within 20 pixels of 28, its centre of mass in the middle, white ink on black.
const INNER = 20 / 28;
const PEN = 2.3 / 28;
const ZOOM = 8;

/** Draw strokes, lists of [x, y] in units of the side, on a square canvas; `pen` is the width of the line. */
export function drawStrokes(canvas, strokes, pen = PEN) {
  const side = canvas.width;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, side, side);
  Object.assign(context, { lineWidth: pen * side, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(stroke[0][0] * side, stroke[0][1] * side);
    for (const [x, y] of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(x * side, y * side);
    context.stroke();
  }
}

/** What to send of strokes to a model of square grey images: scaled and centred as the digits that it was trained on. */
export function pictureOf(strokes, side) {
  const large = newCanvas(side * ZOOM, side * ZOOM);
  drawStrokes(large, normalized(strokes));
  const pixels = shrunk(large, side);
  const [dx, dy] = centreOfMass(pixels, side).map((centre) => Math.round((side - 1) / 2 - centre));
  const centred = new Uint8Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [fx, fy] = [x - dx, y - dy];
      if (fx >= 0 && fy >= 0 && fx < side && fy < side) centred[y * side + x] = pixels[fy * side + fx];
    }
  }
  return ofPixels(centred, side, side, 1);
}

/** Let a canvas take strokes; call `changed(strokes)` after each piece of a line. */
export function takeStrokes(canvas, changed) {
  let strokes = [];
  let current = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const show = () => {
    drawStrokes(canvas, strokes);
    changed(strokes);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    current = [place(event)];
    strokes.push(current);
    show();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!current) return;
    current.push(place(event));
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { current = null; });
  return {
    set(given) {
      strokes = given.map((stroke) => [...stroke]);
      current = null;
      drawStrokes(canvas, strokes);
    },
  };
}

function normalized(strokes) {
  const all = strokes.flat();
  const low = [0, 1].map((axis) => Math.min(...all.map((point) => point[axis])));
  const high = [0, 1].map((axis) => Math.max(...all.map((point) => point[axis])));
  const extent = Math.max(high[0] - low[0], high[1] - low[1]);
  // A dot stays as small as the pen draws it.
  const scale = extent > PEN ? (INNER - PEN) / extent : 1;
  return strokes.map((stroke) => stroke.map((point) => [0, 1].map((axis) => 0.5 + (point[axis] - (low[axis] + high[axis]) / 2) * scale)));
}

function shrunk(canvas, side) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.width);
  const pixels = new Uint8Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      let sum = 0;
      // Windows that overlap by half a pixel make edges as soft as those of a scan.
      for (let v = -2; v < ZOOM + 2; v++) {
        for (let u = -2; u < ZOOM + 2; u++) {
          const [px, py] = [x * ZOOM + u, y * ZOOM + v];
          if (px >= 0 && py >= 0 && px < canvas.width && py < canvas.width) sum += data[4 * (py * canvas.width + px)];
        }
      }
      pixels[y * side + x] = Math.round(sum / (ZOOM + 4) ** 2);
    }
  }
  return pixels;
}

function centreOfMass(pixels, side) {
  let [sum, sumX, sumY] = [0, 0, 0];
  pixels.forEach((value, i) => {
    sum += value;
    sumX += value * (i % side);
    sumY += value * Math.floor(i / side);
  });
  return sum ? [sumX / sum, sumY / sum] : [(side - 1) / 2, (side - 1) / 2];
}
