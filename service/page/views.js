// What the page shows of an answer: pictures under one slider, words, and bytes.

const HEX_BYTES = 256;
const SMALL_SIDE = 64;
const LATENT_SIDE = 16;

export const byId = (id) => document.getElementById(id);

/** Show a picture on a canvas; `label` names it for those who do not see it. */
export function show(canvas, picture, label) {
  canvas.hidden = !picture;
  if (!picture) return;
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  canvas.setAttribute("aria-label", label);
  canvas.parentElement.classList.toggle("pixels", Math.max(picture.width, picture.height) <= SMALL_SIDE);
}

/** Show a decoded picture with the original above it, up to the slider's place; without one of them, the other alone. */
export function showPair(figure, original, decoded, label) {
  const [under, over] = figure.querySelectorAll("canvas");
  show(under, decoded ?? original, decoded ? label : "Original");
  show(over, decoded && original, "Original");
  figure.querySelector(".frame").classList.toggle("wiped", Boolean(decoded && original));
}

/** Let the slider, and pointers on the pictures themselves, move the boundary in all pictures at once. */
export function connectSlider(slider, views) {
  const move = () => views.style.setProperty("--cut", `${slider.value}%`);
  slider.addEventListener("input", move);
  for (const frame of views.querySelectorAll(".frame")) {
    const follow = (event) => {
      if (!frame.classList.contains("wiped") || (event.type === "pointermove" && !event.buttons)) return;
      const box = frame.getBoundingClientRect();
      slider.value = (100 * (event.clientX - box.left)) / box.width;
      move();
    };
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      follow(event);
    });
    frame.addEventListener("pointermove", follow);
  }
}

/** The guard's verdict in words. */
export function verdictOf(answer, role, isAnySize) {
  if (answer.ood) return `Not the kind of image that the model knows: ${answer.ood.sentence}. ${sentAs(answer)}`;
  if (answer.doubt) return `In doubt whether the code shows the same thing: ${answer.doubt.sentence}. ${sentAs(answer)}`;
  if (answer.sent_as !== "code") return "Sent exactly: every pixel of the picture is in the bitstream.";
  if (isAnySize) return "This model takes every image, and needs no guard.";
  if (role === "sender") return "The guard knows this kind of image. A sender does not decode, so the quality is not known here.";
  return "The guard knows this kind of image, and finds that the decoded picture shows the same.";
}

function sentAs(answer) {
  return answer.sent_as === "code" ? "The code was sent all the same." : "So it is sent exactly, pixel by pixel, which takes more bytes.";
}

/** Show over a picture how many bits the code takes for each of its squares; `rows` has them. */
export function showBits(picture, rows) {
  const bits = rows.flat();
  const most = Math.max(...bits);
  const canvas = byId("bits-map");
  show(canvas, picture, `Map of the picture's code: up to ${Math.round(most)} bits in a square of 16 × 16 pixels`);
  const pen = canvas.getContext("2d");
  pen.globalAlpha = 0.7;
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#ffb020";
  rows.forEach((row, y) => {
    row.forEach((value, x) => {
      pen.globalAlpha = most ? (0.85 * value) / most : 0;
      pen.fillRect(x * LATENT_SIDE, y * LATENT_SIDE, LATENT_SIDE, LATENT_SIDE);
    });
  });
  const sum = bits.reduce((before, value) => before + value, 0);
  let [half, squares] = [0, 0];
  for (const value of bits.sort((a, b) => b - a)) {
    if (half >= sum / 2) break;
    half += value;
    squares += 1;
  }
  byId("bits-text").textContent =
    `The code has a vector for each square of 16 × 16 pixels. The brighter a square, the more bits its vector takes: ${(sum / bits.length).toFixed(1)} on average, ` +
    `${most.toFixed(1)} at most. Half of all bits go to ${Math.round((100 * squares) / bits.length)} % of the squares.`;
}

/** Show the first bytes of a bitstream, its header and checksum in colours of their own. */
export function showHex(pre, bytes) {
  const digits = (part) => Array.from(part, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const shown = bytes.subarray(0, HEX_BYTES);
  const whole = shown.length === bytes.length;
  const piece = (name, part) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = digits(part);
    return span;
  };
  const payload = whole ? shown.subarray(6, -2) : shown.subarray(6);
  pre.replaceChildren(piece("head", shown.subarray(0, 6)), " ", piece("payload", payload), " ");
  pre.append(whole ? piece("sum", shown.subarray(-2)) : `… and ${count(bytes.length - HEX_BYTES)} more bytes`);
}

export const count = (number) => number.toLocaleString("en");
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
export const dB = (value) => (value === null ? "exact" : `${value.toFixed(1)} dB`);
