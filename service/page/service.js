// Requests to the service: relative addresses, its errors as sentences, and no more than one request of a kind at a time.

let key = "";

/** Send this API key with all further requests. */
export function useKey(text) {
  key = text.trim();
}

/** What went wrong, in words. `status` is 0 if there was no answer. */
export class Problem extends Error {
  constructor(sentence, status = 0, code = "") {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

/** Send a request and return the response; throw a `Problem` unless its status is 200. */
export async function ask(path, { body, type, accept = "application/json", query = {}, signal } = {}) {
  const headers = { Accept: accept };
  if (type) headers["Content-Type"] = type;
  if (key) headers.Authorization = `Bearer ${key}`;
  const parameters = new URLSearchParams(query).toString();
  let response;
  try {
    response = await fetch(path + (parameters && `?${parameters}`), { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store" });
  } catch {
    throw new Problem("The service does not answer. It may be restarting, or the connection is lost.");
  }
  if (response.ok) return response;
  const found = await response.json().catch(() => ({}));
  const detail = found.detail || `The service answers with status ${response.status}.`;
  throw new Problem(detail[0].toUpperCase() + detail.slice(1) + (/[.!?]$/.test(detail) ? "" : "."), response.status, found.code);
}

/** Return a function that runs `work` on the latest arguments: one run at a time, and those that came between are dropped. */
export function latest(work) {
  let running = false;
  let next = null;
  return async function start(...given) {
    next = given;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now, () => next !== null);
      }
    } finally {
      running = false;
    }
  };
}
