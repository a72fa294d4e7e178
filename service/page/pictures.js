// Pictures: files and drawings to pixels of a model's shape, and pixels to PNG files without loss.

/** Pixels that a page sends of a picture of any size; larger ones are reduced, so that each answer comes soon. */
export const MAX_SENT_PIXELS = 400_000;
/** Pixels of a file that the page opens. */
export const MAX_OPENED_PIXELS = 50_000_000;
const MAX_SENT_BYTES = 1 << 20;
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp"];

/** Open a picture file: its name, its width and height in pixels, and what a canvas can draw. Throw an Error in words. */
export async function openPicture(file, name) {
  const picture = new Image();
  picture.src = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      picture.onload = resolve;
      picture.onerror = reject;
    });
  } catch {
    throw new Error(`${name} is neither a picture that this browser can show nor a bitstream. Open a PNG, JPEG, WebP or GIF file, or a bitstream that was downloaded here.`);
  }
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  if (!width || !height) throw new Error(`${name} has no size in pixels. Open a PNG, JPEG, WebP or GIF file.`);
  if (width * height > MAX_OPENED_PIXELS) {
    const size = `${width.toLocaleString("en")} × ${height.toLocaleString("en")}`;
    throw new Error(`${name} has ${size} pixels. This page opens pictures of up to 50 megapixels; make it smaller first.`);
  }
  return { name, width, height, drawable: picture, file };
}

/** A canvas with this picture on it, at most `MAX_SENT_PIXELS` large. */
export function reduced(source) {
  const scale = Math.min(1, Math.sqrt(MAX_SENT_PIXELS / (source.width * source.height)));
  const canvas = newCanvas(Math.max(1, Math.round(source.width * scale)), Math.max(1, Math.round(source.height * scale)));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source.drawable, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** What to send of a picture to a model for any size: `{file, width, height, canvas}`. */
export async function asItIs(source) {
  const canvas = reduced(source);
  const whole = canvas.width === source.width && source.file && source.file.size <= MAX_SENT_BYTES && SENT_AS_THEY_ARE.includes(source.file.type);
  const file = whole ? source.file : await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return { file, width: canvas.width, height: canvas.height, canvas };
}

/** What to send of a picture to a model of this shape: the same, scaled to fit within it, its bars black. */
export function fitted(source, [height, width, channels]) {
  const canvas = newCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, width, height);
  const scale = Math.min(width / source.width, height / source.height);
  const [w, h] = [source.width * scale, source.height * scale];
  // Halving again and again keeps what one step to a few pixels would skip.
  let from = source.drawable;
  let [fw, fh] = [source.width, source.height];
  while (fw > 2 * w && fh > 2 * h) {
    [fw, fh] = [Math.ceil(fw / 2), Math.ceil(fh / 2)];
    const half = newCanvas(fw, fh);
    half.getContext("2d").drawImage(from, 0, 0, fw, fh);
    from = half;
  }
  pen.imageSmoothingQuality = "high";
  pen.drawImage(from, (width - w) / 2, (height - h) / 2, w, h);
  const { data } = pen.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) pixels[i] = Math.round((299 * r + 587 * g + 114 * b) / 1000);
    else pixels.set(channels === 3 ? [r, g, b] : [r, g, b, 255], channels * i);
  }
  return ofPixels(pixels, width, height, channels);
}

/** The same of pixels: rows from top to bottom, in them columns, in them 1, 3 or 4 channels. */
export function ofPixels(pixels, width, height, channels) {
  const canvas = newCanvas(width, height);
  const picture = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const at = (c) => pixels[channels * i + (channels === 1 ? 0 : c)];
    picture.data.set([at(0), at(1), at(2), channels === 4 ? at(3) : 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return { file: new Blob([writePng(pixels, width, height, channels)], { type: "image/png" }), width, height, canvas };
}

/** Return a canvas with the picture in a file that the service sent. */
export async function canvasOf(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = newCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas;
}

export function newCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** Base64 to bytes. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

// A canvas writes four channels; a model of one channel takes grey files.
function writePng(pixels, width, height, channels) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, { 1: 0, 3: 2, 4: 6 }[channels]);
  const rows = new Uint8Array((width * channels + 1) * height);
  for (let y = 0; y < height; y++) rows.set(pixels.subarray(y * width * channels, (y + 1) * width * channels), y * (width * channels + 1) + 1);
  const chunks = [chunk("IHDR", new Uint8Array(header.buffer)), chunk("IDAT", stored(rows)), chunk("IEND", new Uint8Array())];
  return join([Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), ...chunks]);
}

function chunk(name, content) {
  const typed = join([new TextEncoder().encode(name), content]);
  let crc = -1;
  for (const byte of typed) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return join([word(content.length), typed, word(~crc)]);
}

/** A zlib stream of blocks that are not compressed. */
function stored(bytes) {
  const parts = [Uint8Array.of(0x78, 0x01)];
  for (let start = 0; start < bytes.length; start += 65535) {
    const block = bytes.subarray(start, start + 65535);
    const last = start + 65535 >= bytes.length ? 1 : 0;
    parts.push(Uint8Array.of(last, block.length & 255, block.length >> 8, ~block.length & 255, (~block.length >> 8) & 255), block);
  }
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return join([...parts, word(b * 65536 + a)]);
}

function word(value) {
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setUint32(0, value);
  return new Uint8Array(bytes.buffer);
}

function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
