// The page: what a visitor does, what the service answers, and what is shown of it.

import { showCells } from "./code.js";
import { DRAWINGS, landscape } from "./examples.js";
import { drawStrokes, pictureOf, takeStrokes } from "./pad.js";
import { asItIs, bytesOf, canvasOf, fitted, MAX_SENT_PIXELS, newCanvas, openPicture } from "./pictures.js";
import { ask, latest, Problem, useKey } from "./service.js";
import { byId, connectSlider, count, dB, plural, show, showBits, showHex, showPair, verdictOf } from "./views.js";

const role = document.documentElement.dataset.role;
const encodes = role !== "receiver";
const decodes = role !== "sender";
const OCTETS = "application/octet-stream";
const address = new URL(".", location.href).href;

/** Bytes that a message of a radio network holds. */
const MESSAGES = {
  51: "one LoRaWAN message at the longest range",
  115: "one LoRaWAN message at medium range",
  222: "one LoRaWAN message at short range",
  340: "one Iridium SBD message from a device",
};
const MARK_PIXELS = 25;
const BITSTREAM_START = 0x4c;
const MIN_DB = 10;
const MAX_DB = 50;

let models = [];
let defaultModel = "";
let defaultAnySize = "";
let source = null;
let shown = null;
// Budgets of small images and of pictures of any size differ; the latter follow the size until a visitor moves them.
const aim = { bytes: 51, largeBytes: null, dB: 24, quality: 50 };

const modelOf = (name) => models.find((model) => model.name === name);
const anySizeModel = () => modelOf(defaultAnySize);
const budget = () => (source?.strokes || !anySizeModel() || modelOf(byId("model").value)?.shape ? "bytes" : "largeBytes");
const isPadModel = (model) => model.shape && model.shape[0] === model.shape[1] && model.shape[2] === 1;
const padModel = () => [modelOf(defaultModel), ...models].find((model) => model && isPadModel(model));

// --- What is asked for ---------------------------------------------------------------------------------------------

/** The model that the request names; null if the service chooses among those for images of this shape. */
function namedModel() {
  const chosen = modelOf(byId("model").value);
  if (chosen) return chosen;
  return source?.strokes ? null : (anySizeModel() ?? null);
}

/** What the slider means now: `bytes`, `dB`, `quality`, or null if the model has one size and quality. */
function scaleKind() {
  const model = namedModel();
  if (model?.shape) return null;
  if (byId("aim").elements.aim.value === "bytes") return "bytes";
  return model ? "quality" : "dB";
}

const sentPixels = () => Math.min(MAX_SENT_PIXELS, source.width * source.height);
const bytesAim = () => aim[budget()] ?? Math.max(500, 100 * Math.round(sentPixels() / 5000));

function byteRange() {
  if (budget() === "bytes" || !source?.width) return [10, 1000];
  return [40, Math.max(1000, Math.round(sentPixels() / 2))];
}

function showAim() {
  const kind = scaleKind();
  const [low, high] = byteRange();
  const slider = byId("level");
  byId("scale").hidden = !kind;
  byId("aim").elements.aim[0].disabled = byId("aim").elements.aim[1].disabled = !kind;
  byId("aim-note").hidden = Boolean(kind);
  byId("aim-note").textContent = kind ? "" : "This model has one size and one quality. Let the service choose to aim at either.";
  if (!kind) return;
  const fraction = {
    bytes: Math.log(bytesAim() / low) / Math.log(high / low),
    dB: (aim.dB - MIN_DB) / (MAX_DB - MIN_DB),
    quality: aim.quality / 100,
  }[kind];
  slider.value = Math.round(1000 * fraction);
  byId("level-label").textContent = { bytes: "At most", dB: "At least", quality: "Quality" }[kind];
  const words = { bytes: plural(bytesAim(), "byte"), dB: `${aim.dB} dB PSNR`, quality: `${aim.quality} of 100` }[kind];
  const message = kind === "bytes" && MESSAGES[bytesAim()];
  byId("level-text").textContent = message ? `${words}: ${message}` : words;
  slider.setAttribute("aria-valuetext", words);
  byId("marks").hidden = kind !== "bytes";
  let last = -Infinity;
  for (const mark of byId("marks").children) {
    const bytes = Number(mark.dataset.bytes);
    const place = Math.log(bytes / low) / Math.log(high / low);
    const pixels = place * byId("marks").clientWidth;
    mark.style.left = `${100 * place}%`;
    mark.setAttribute("aria-pressed", String(bytes === bytesAim()));
    // On a narrow screen, names would lie on each other.
    mark.hidden = pixels - last < MARK_PIXELS;
    if (!mark.hidden) last = pixels;
  }
}

function moveAim() {
  const fraction = byId("level").value / 1000;
  const [low, high] = byteRange();
  const kind = scaleKind();
  if (kind === "bytes") aim[budget()] = Math.round(low * (high / low) ** fraction);
  if (kind === "dB") aim.dB = Math.round(2 * (MIN_DB + (MAX_DB - MIN_DB) * fraction)) / 2;
  if (kind === "quality") aim.quality = Math.round(100 * fraction);
  showAim();
  update();
}

function queryOf() {
  const model = namedModel();
  const query = model ? { model: model.name } : {};
  const kind = scaleKind();
  if (kind) query[{ bytes: "target_bytes", dB: "min_psnr", quality: "quality" }[kind]] = kind === "bytes" ? bytesAim() : aim[kind];
  return query;
}

async function sentPicture() {
  const model = namedModel();
  const shape = model ? model.shape : padModel()?.shape;
  const name = shape ? shape.join("x") : "as it is";
  if (source.sentAs !== name) {
    if (source.strokes) source.sent = pictureOf(source.strokes, (shape ?? padModel().shape)[0]);
    else source.sent = shape ? fitted(source, shape) : await asItIs(source);
    source.sentAs = name;
  }
  return source.sent;
}

// --- Requests ------------------------------------------------------------------------------------------------------

const update = latest(async (isOld) => {
  if (!source) return;
  const now = source;
  byId("views").classList.add("stale");
  try {
    if (now.bitstream) await decodeBitstream(now);
    else await encodePicture(now, isOld);
    hideProblem();
  } catch (error) {
    showNothing();
    if (error.code === "target-missed") {
      hideProblem();
      const missed = scaleKind() === "bytes" ? `${plural(bytesAim(), "byte")} are too few for this picture.` : "No code is as good.";
      byId("verdict").textContent = `${missed} ${error.message}`;
    } else {
      showProblem(error);
    }
  }
  byId("views").classList.remove("stale");
});

async function encodePicture(now, isOld) {
  const query = queryOf();
  const sent = await sentPicture();
  const answer = await (await ask("encode", { body: sent.file, type: sent.file.type, query })).json();
  const bytes = bytesOf(answer.bitstream);
  const { decoded, bitMap } = decodes ? await decoding(bytes) : {};
  if (isOld() || now !== source) return;
  shown = { name: now.name, sent, answer, bytes, decoded, bitMap, query };
  showAnswer();
  if (!decodes) return;
  // The service gives up a search that nobody waits for.
  comparing.abort();
  compare(sent, bytes.length, answer);
}

/** What the service decodes of a bitstream: a picture, and for an image of any size where its bits go. */
async function decoding(bitstream, options = {}) {
  const answer = await (await ask("decode", { body: bitstream, type: OCTETS, query: { bit_map: 1, ...options } })).json();
  const image = new Blob([bytesOf(answer.image)], { type: "image/png" });
  return { answer, image, decoded: await canvasOf(image), bitMap: answer.bit_map };
}

async function decodeBitstream(now) {
  let found;
  try {
    found = await decoding(now.bitstream);
  } catch (error) {
    if (error.code !== "invalid-code") throw error;
    // Of an image of any size, the parts that are whole can still be decoded.
    found = await decoding(now.bitstream, { partial: 1 }).catch(() => { throw error; });
  }
  shown = { name: now.name, bytes: now.bitstream, ...found };
  showDecoded();
}

const comparisons = new Map();
let comparing = new AbortController();
const compare = latest(async (sent, maxBytes, answer, isOld) => {
  const key = `${maxBytes}`;
  if (comparisons.sent !== sent) comparisons.clear();
  comparisons.sent = sent;
  try {
    if (!comparisons.has(key)) {
      byId("theirs").classList.add("stale");
      comparing = new AbortController();
      const query = { max_bytes: maxBytes };
      const response = await ask("compare", { body: sent.file, type: sent.file.type, query, signal: comparing.signal });
      const found = await response.json();
      found.picture = await canvasOf(new Blob([bytesOf(found.image)], { type: "image/png" }));
      comparisons.set(key, found);
    }
    if (!isOld() && shown?.answer === answer) showComparison(comparisons.get(key), maxBytes);
  } catch (error) {
    if (shown?.answer === answer) showComparison(null, maxBytes, error);
  }
  byId("theirs").classList.remove("stale");
});

/** Show what the decoder of a model draws of a code; or `picture`, where that is known already. */
const drawCode = latest(async (code, model, picture) => {
  try {
    if (!picture) {
      const body = JSON.stringify({ code, model });
      picture = await canvasOf(await (await ask("decode", { body, type: "application/json", accept: "image/png" })).blob());
      hideProblem();
    }
    show(byId("edited").querySelector("canvas"), picture, "What the decoder draws");
  } catch (error) {
    showProblem(error);
  }
});

// --- What is shown -------------------------------------------------------------------------------------------------

function showAnswer() {
  const { answer, sent, decoded, bytes } = shown;
  const [height, width] = answer.shape;
  byId("result").hidden = byId("figures").hidden = false;
  byId("views").classList.remove("alone");
  byId("views").classList.toggle("wide", width > 64);
  byId("theirs").hidden = byId("wipe").hidden = !decodes;
  showPair(byId("ours"), sent.canvas, decoded, `Decoded by ${answer.model}`);
  for (const name of ["our-psnr", "their-psnr"]) byId(name).classList.remove("better");
  // What was found for another picture would stand beside this one.
  if (decodes && comparisons.sent !== sent) showSearch(sent);
  const exact = answer.sent_as !== "code";
  byId("ours").querySelector("figcaption").textContent = exact ? "Latentwire, sent exactly" : `Latentwire, model ${answer.model}`;
  byId("our-bytes").textContent = count(answer.bitstream_bytes);
  byId("our-bpp").textContent = answer.bpp.toFixed(3);
  byId("our-psnr").textContent = exact ? "exact" : dB(answer.psnr_db);
  byId("verdict").textContent = verdictOf(answer, role, !modelOf(answer.model)?.shape);
  showCode(answer);
  showMap();
  showBitstream();
}

function showMap() {
  byId("bits").hidden = !shown?.bitMap;
  if (shown?.bitMap) showBits(shown.decoded, shown.bitMap);
}

function showSearch(sent) {
  showPair(byId("theirs"), sent.canvas, null);
  byId("theirs").querySelector("figcaption").textContent = "Looking for the best classical file";
  byId("their-name").textContent = "Classical codec";
  for (const name of ["their-bytes", "their-bpp", "their-psnr", "their-note"]) byId(name).textContent = "";
}

function showComparison(found, maxBytes, error) {
  const figure = byId("theirs");
  const { sent, answer } = shown;
  showPair(figure, sent.canvas, found?.picture ?? null, found ? `${found.format} file` : "");
  const caption = figure.querySelector("figcaption");
  const note = byId("their-note");
  const pixels = sent.width * sent.height;
  const fits = found && found.file_bytes <= maxBytes;
  byId("their-name").textContent = found ? found.format : "Classical codec";
  byId("their-bytes").textContent = found ? count(found.file_bytes) : "";
  byId("their-bpp").textContent = found ? ((8 * found.file_bytes) / pixels).toFixed(3) : "";
  byId("their-psnr").textContent = found ? dB(found.psnr_db) : "";
  const value = (decibels) => decibels ?? Infinity;
  const ours = value(answer.sent_as === "code" ? answer.psnr_db : null);
  byId("our-psnr").classList.toggle("better", Boolean(found) && ours > value(found.psnr_db));
  byId("their-psnr").classList.toggle("better", Boolean(found) && ours < value(found.psnr_db));
  if (!found) {
    caption.textContent = "";
    note.textContent = `There is no comparison with other codecs: ${error.message}`;
    return;
  }
  const size = found.reduced > 1 ? `${Math.ceil(sent.width / found.reduced)} × ${Math.ceil(sent.height / found.reduced)} pixels, enlarged` : "";
  const theirFile = `${found.format === "AVIF" ? "an" : "a"} ${found.format} file`;
  caption.textContent = fits ? `Best classical codec: ${found.format}` : `No file is as small: ${found.format}`;
  note.textContent = fits
    ? `The best of WebP, AVIF, JPEG and PNG within ${plural(maxBytes, "byte")} is ${theirFile}${found.lossless ? " without loss" : ""}${size && ` of ${size}`}.`
    : `No WebP, AVIF, JPEG or PNG file of this picture has ${plural(maxBytes, "byte")} or fewer. The smallest is ${theirFile}${size && ` of ${size}`}.`;
}

function showDecoded() {
  const { answer, bytes, decoded } = shown;
  const [height, width] = answer.shape;
  byId("result").hidden = byId("figures").hidden = false;
  byId("views").classList.add("alone");
  byId("views").classList.toggle("wide", width > 64);
  byId("theirs").hidden = byId("wipe").hidden = true;
  showPair(byId("ours"), null, decoded, `Decoded by ${answer.model}`);
  byId("ours").querySelector("figcaption").textContent = `Decoded by ${answer.model}, ${width} × ${height} pixels`;
  byId("our-bytes").textContent = count(bytes.length);
  byId("our-bpp").textContent = ((8 * bytes.length) / (width * height)).toFixed(3);
  byId("our-psnr").textContent = "";
  for (const name of ["bytes", "bpp", "psnr"]) byId(`their-${name}`).textContent = "";
  byId("verdict").textContent = answer.missing?.length
    ? "The bitstream is damaged or cut short. The picture shows the parts of it that are whole."
    : "The bitstream is whole: its checksum is right.";
  byId("their-note").textContent = "";
  if (encodes) byId("code").hidden = true;
  showMap();
  showBitstream();
}

function showNothing() {
  shown = null;
  byId("code").hidden = encodes || byId("code").hidden;
  byId("bits").hidden = byId("bitstream").hidden = true;
  byId("verdict").textContent = byId("their-note").textContent = "";
  byId("figures").hidden = byId("theirs").hidden = byId("wipe").hidden = true;
  byId("views").classList.add("alone");
  showPair(byId("ours"), source?.sent?.canvas ?? null, null);
  byId("ours").querySelector("figcaption").textContent = source?.sent ? "The original" : "";
}

function showCode(answer) {
  byId("code").hidden = !answer.code;
  if (!answer.code) return;
  const numbers = plural(answer.code.length, "number");
  const sent = answer.sent_as === "code" ? "" : " It was not sent, as the picture goes without loss.";
  const edit = decodes ? " Move one, and see what the decoder draws." : "";
  byId("code-text").textContent = `The encoder of ${answer.model} makes ${numbers} of this picture.${sent}${edit}`;
  connectCells(answer.code, answer.model, answer.sent_as === "code" ? shown.decoded : null);
}

function connectCells(code, model, picture) {
  const restore = byId("restore");
  restore.disabled = true;
  restore.onclick = () => connectCells(code, model, picture);
  showCells(code, decodes, (edited) => {
    restore.disabled = false;
    drawCode(edited, model, null);
  });
  if (decodes) drawCode(code, model, picture);
}

let links = [];

function showBitstream() {
  const { answer, bytes, name, sent, query } = shown;
  byId("bitstream").hidden = false;
  byId("bitstream-text").textContent = `${plural(bytes.length, "byte")}: a header that names the model, the payload, and a checksum.`;
  showHex(byId("hex"), bytes);
  const base = name.replace(/\.[a-z0-9]+$/i, "").replace(/[^\p{L}\p{N}._-]+/gu, "-") || "picture";
  links.forEach((link) => URL.revokeObjectURL(link));
  const picture = sent?.file ?? shown.image;
  const ending = { "image/jpeg": "jpg", "image/webp": "webp" }[picture.type] ?? "png";
  const pictureName = sent ? `${base}.${ending}` : `${base}-decoded.png`;
  links = [new Blob([bytes], { type: OCTETS }), picture].map((content) => URL.createObjectURL(content));
  [byId("download"), byId("download-picture")].forEach((link, i) => {
    link.href = links[i];
    link.download = [`${base}.lw`, pictureName][i];
  });
  const parameters = new URLSearchParams(query).toString();
  const call = parameters ? `${address}encode?${parameters}` : `${address}encode`;
  if (sent) {
    byId("curl").textContent = `curl -s -F file=@${pictureName} -H 'Accept: ${OCTETS}' -o ${base}.lw '${call}'`;
    const options = Object.entries(query).map(([option, value]) => `, ${option}=${typeof value === "string" ? `"${value}"` : value}`);
    showPython(`encoded = client.encode("${pictureName}"${options.join("")})`);
  } else {
    byId("curl").textContent = `curl -s -X POST -T ${base}.lw -o ${pictureName} '${address}decode'`;
    showPython(`client.decode("${base}.lw").save("${pictureName}")`);
  }
}

function showPython(call) {
  byId("python").textContent = `from latentwire.client import Client\n\nwith Client("${address.replace(/\/$/, "")}") as client:\n    ${call}`;
}

function showProblem(error) {
  const known = error instanceof Problem;
  byId("problem").hidden = false;
  byId("problem-text").textContent = error.message;
  byId("key-form").hidden = !(known && error.status === 401);
  byId("retry").hidden = !(known && [0, 429, 503].includes(error.status));
  if (!known && error.name !== "Error") console.error(error);
}

function hideProblem() {
  byId("problem").hidden = true;
}

// --- What a visitor opens ------------------------------------------------------------------------------------------

function use(given) {
  source = given;
  byId("pad-hint").hidden = Boolean(given.strokes);
  showAim();
  update();
}

async function openFile(file) {
  const name = file.name || "The pasted picture";
  try {
    if (!file.size) throw new Error(`${name} is empty. Open a picture or a bitstream.`);
    const first = new Uint8Array(await file.slice(0, 1).arrayBuffer())[0];
    if (first === BITSTREAM_START && decodes && !file.type.startsWith("image/") && !file.type.startsWith("text/")) {
      use({ name, bitstream: new Uint8Array(await file.arrayBuffer()) });
    } else if (encodes) {
      const picture = await openPicture(file, name);
      pad.set([]);
      use({ ...picture, name: file.name || "pasted.png" });
    } else {
      throw new Error(`${name} is not a bitstream. Open a file that a sender of this service has made.`);
    }
  } catch (error) {
    showProblem(error);
  }
}

function makeExamples() {
  const add = (name, draw, open) => {
    const [button, thumbnail] = [document.createElement("button"), newCanvas(88, 88)];
    button.type = "button";
    button.title = name;
    button.setAttribute("aria-label", `Example: ${name}`);
    draw(thumbnail);
    button.append(thumbnail);
    button.addEventListener("click", open);
    byId("examples").append(button);
  };
  if (padModel()) {
    for (const [name, strokes] of Object.entries(DRAWINGS)) {
      add(name, (canvas) => drawStrokes(canvas, strokes, 0.1), () => {
        pad.set(strokes);
        use({ name: name.replace(/^an? /, ""), strokes });
      });
    }
  }
  if (anySizeModel() || !padModel()) {
    const canvas = landscape();
    const draw = (small) => small.getContext("2d").drawImage(canvas, 80, 0, 320, 320, 0, 0, 88, 88);
    add("a landscape", draw, () => {
      pad.set([]);
      use({ name: "landscape.png", width: canvas.width, height: canvas.height, drawable: canvas });
    });
  }
}

const pad = takeStrokes(byId("pad"), (strokes) => use({ name: "drawing", strokes: [...strokes] }));

function connect() {
  connectSlider(byId("cut"), byId("views"));
  byId("clear").addEventListener("click", () => {
    pad.set([]);
    byId("pad-hint").hidden = false;
  });
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) openFile(file);
    event.target.value = "";
  });
  byId("level").addEventListener("input", moveAim);
  byId("aim").addEventListener("change", (event) => {
    if (event.target.id === "level") return;
    showAim();
    update();
  });
  byId("aim").addEventListener("submit", (event) => event.preventDefault());
  for (const [bytes, words] of Object.entries(MESSAGES)) {
    const mark = document.createElement("button");
    Object.assign(mark, { type: "button", textContent: bytes, title: words });
    mark.dataset.bytes = bytes;
    mark.setAttribute("aria-label", `${bytes} bytes, ${words}`);
    mark.addEventListener("click", () => {
      aim[budget()] = Number(bytes);
      showAim();
      update();
    });
    byId("marks").append(mark);
  }
  for (const button of document.querySelectorAll("[data-copies]")) {
    button.addEventListener("click", async () => {
      const before = button.innerHTML;
      await navigator.clipboard?.writeText(byId(button.dataset.copies).textContent);
      button.textContent = navigator.clipboard ? "Copied" : "Select it to copy";
      setTimeout(() => { button.innerHTML = before; }, 1500);
    });
  }
  byId("retry").addEventListener("click", () => (models.length ? update() : start()));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value);
    if (models.length) update();
    else start();
  });
  const root = document.documentElement;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    root.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) root.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    root.classList.remove("dropping");
    if (event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });
  addEventListener("resize", showAim);
  addEventListener("paste", (event) => {
    if (event.clipboardData.files[0]) openFile(event.clipboardData.files[0]);
  });
}

async function start() {
  try {
    const list = await (await ask("models")).json();
    models = list.models;
    defaultModel = list.default;
    defaultAnySize = list.default_any_size;
    hideProblem();
  } catch (error) {
    showProblem(error);
    return;
  }
  byId("app").hidden = false;
  if (encodes) {
    byId("drawing").hidden = !padModel();
    for (const { name } of [{ name: "" }, ...models]) byId("model").add(new Option(name || "chosen by the service", name));
    makeExamples();
    byId("examples").firstElementChild.click();
  } else {
    byId("result").hidden = true;
    await showLatentSpace();
  }
}

/** At a receiver, which gets no pictures: the middle of the latent space. */
async function showLatentSpace() {
  const model = [modelOf(defaultModel), ...models].find((each) => each?.shape);
  if (!model) return;
  const card = await (await ask(`models/${encodeURIComponent(model.name)}`)).json();
  byId("code").hidden = false;
  byId("code-text").textContent = `The decoder of ${model.name} draws an image of ${plural(card.code_size, "number")}. Move one, and see what it draws.`;
  const code = new Array(card.code_size).fill(0);
  connectCells(code, model.name, null);
}

connect();
start();
