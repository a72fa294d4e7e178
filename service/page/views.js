// What the page shows of an answer: pictures under one slider, words, and bytes.

const HEX_BYTES = 256;
const SMALL_SIDE = 64;

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
