// Pictures of our own to begin with: digits and a grid as strokes of a pen, and a landscape that is computed.

import { newCanvas } from "./pictures.js";

const arc = (x, y, rx, ry, from, to) => {
  const points = [];
  for (let i = 0; i <= 24; i++) {
    const angle = ((from + ((to - from) * i) / 24) * Math.PI) / 180;
    points.push([x + rx * Math.cos(angle), y + ry * Math.sin(angle)]);
  }
  return points;
};

/** Strokes by name, in units of the pad's side. */
export const DRAWINGS = {
  "a seven": [[[0.26, 0.27], [0.31, 0.24], [0.55, 0.235], [0.69, 0.22], [0.72, 0.25], [0.66, 0.39], [0.56, 0.56], [0.49, 0.74], [0.45, 0.85]], [[0.4, 0.55], [0.66, 0.51]]],
  "a three": [[...arc(0.48, 0.32, 0.17, 0.15, 200, 440), ...arc(0.48, 0.65, 0.21, 0.19, 270, 510)]],
  "a five": [[[0.68, 0.18], [0.4, 0.2], [0.36, 0.46], ...arc(0.47, 0.63, 0.2, 0.2, 240, 500)]],
  "an eight": [[...arc(0.5, 0.34, 0.14, 0.15, 80, -250), ...arc(0.49, 0.67, 0.18, 0.18, -70, 280)]],
  "a grid": [...[0, 1, 2, 3].map((i) => [[0.2 + 0.2 * i, 0.2], [0.2 + 0.2 * i, 0.8]]), ...[0, 1, 2, 3].map((i) => [[0.2, 0.2 + 0.2 * i], [0.8, 0.2 + 0.2 * i]])],
};

/** Return the landscape as a canvas: hills in haze before an evening sky, the same in every browser. */
export function landscape(width = 480, height = 320) {
  const canvas = newCanvas(width, height);
  const picture = new ImageData(width, height);
  const ridges = [0, 1, 2, 3, 4].map((i) => {
    const row = new Float64Array(width);
    for (let x = 0; x < width; x++) row[x] = height * (0.42 + 0.115 * i) - height * 0.2 * (fractal((x / width) * (2 + i) + 17 * i, i * 3.7) - 0.35) * (1 - 0.08 * i);
    return row;
  });
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const far = y / height;
      const sun = Math.hypot(x - width * 0.68, y - height * 0.3) / height;
      const glow = Math.exp(-sun * 4) * 90 + (sun < 0.055 ? 70 : 0);
      const cloud = 38 * Math.max(0, fractal(x / 90 + 5, y / 28) - 0.45) * 2;
      let colour = [120 + 120 * far + glow + cloud, 135 + 60 * far + glow * 0.75 + cloud, 175 - 10 * far + glow * 0.35 + cloud];
      ridges.forEach((ridge, i) => {
        if (y < ridge[x]) return;
        const near = (i + 1) / ridges.length;
        const slope = ridge[Math.min(width - 1, x + 2)] - ridge[Math.max(0, x - 2)];
        const rough = (fractal(x / (6 + 5 * near), y / (3 + 2 * near) + 40 * i) - 0.5) * (30 + 75 * near);
        const light = rough + slope * 5 - (y - ridge[x]) * 0.12;
        const haze = [186, 168, 168];
        const ground = [62 + light, 74 + light, 48 + light * 0.7];
        colour = colour.map((_, c) => haze[c] * (1 - near) ** 1.4 + ground[c] * (1 - (1 - near) ** 1.4));
      });
      const at = 4 * (y * width + x);
      for (let c = 0; c < 3; c++) picture.data[at + c] = colour[c];
      picture.data[at + 3] = 255;
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

function fractal(x, y) {
  let [sum, weight] = [0, 0.5];
  for (let octave = 0; octave < 5; octave++) {
    sum += weight * noise(x * 2 ** octave, y * 2 ** octave);
    weight /= 2;
  }
  return sum;
}

function noise(x, y) {
  const [i, j] = [Math.floor(x), Math.floor(y)];
  const smooth = (t) => t * t * (3 - 2 * t);
  const [u, v] = [smooth(x - i), smooth(y - j)];
  const top = hash(i, j) * (1 - u) + hash(i + 1, j) * u;
  const bottom = hash(i, j + 1) * (1 - u) + hash(i + 1, j + 1) * u;
  return top * (1 - v) + bottom * v;
}

function hash(i, j) {
  let n = Math.imul(i, 374761393) + Math.imul(j, 668265263);
  n = Math.imul(n ^ (n >>> 13), 1274126177);
  return ((n ^ (n >>> 16)) >>> 0) / 4294967296;
}
