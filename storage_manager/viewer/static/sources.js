// @ts-check
/* The sources of components: the server, or the blocks of a file. */

/**
 * @typedef {{ url: string, size: number }} Picture a URL for <img>, and its size in bytes
 * @typedef {{ name: string, size: number, type: string }} Listed an attachment
 * @typedef {{ step: string, text: string }} Match a step that a search found, and the words around
 * @typedef {{ action?: string, metadata?: string, lacks?: string[], error?: string }} Outline the texts of a step, and which are missing
 * @typedef {{ matches: Match[], searched: number, total: number }} Found
 *
 * `n` is the number of a step. A component that does not exist throws Missing. For attachments, `n` is null if they are
 * those of the session.
 * @typedef {object} Source
 * @property {boolean} live
 * @property {(n: number) => string} link the address of a step
 * @property {(n: number, name: string) => string | null} raw the address of a stored component
 * @property {(n: number, name: string) => Promise<string>} text
 * @property {(n: number) => Promise<Picture>} image
 * @property {(numbers: number[]) => Promise<Outline[]>} outline of each of these steps
 * @property {() => Promise<string>} sessionMetadata as stored
 * @property {(n: number | null) => Promise<{ attachments: Listed[], more: number }>} attachments
 * @property {(n: number | null, name: string) => string} attachmentLink
 * @property {(n: number | null, name: string) => Promise<Response>} attachment
 * @property {(query: string, signal: AbortSignal) => Promise<Found>} search
 */

/** Send a request to the server. @param {string} url @param {RequestInit} [options] */
async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const reason = await response.text();
  throw response.status === 404 ? new Missing(reason) : new Error(reason || `The server answered ${response.status}.`);
}

/** @param {string} session */
const stepsOf = async (session) => /** @type {string[]} */ (await (await request(`/api/sessions/${encodeURIComponent(session)}/steps`)).json());

/** @param {string} session @param {string[]} steps @returns {Source} */
function liveSource(session, steps) {
  const base = `/sessions/${encodeURIComponent(session)}`;
  const path = (/** @type {number} */ n, name = "") => `${base}/${encodeURIComponent(steps[n])}${name && `/${name}`}`;
  const directory = (/** @type {number | null} */ n) => `${n === null ? base : path(n)}/attachments`;
  const link = (/** @type {number | null} */ n, /** @type {string} */ name) => `${directory(n)}/${encodeURIComponent(name)}`;
  return {
    live: true,
    link: (n) => path(n),
    raw: path,
    async text(n, name) {
      const since = name === "changes" && n ? `?since=${encodeURIComponent(steps[n - 1])}` : "";
      return (await request(path(n, name) + since)).text();
    },
    async image(n) {
      const blob = await (await request(path(n, "screenshot"))).blob();
      return { url: URL.createObjectURL(blob), size: blob.size };
    },
    async outline(numbers) {
      const ids = numbers.map((n) => steps[n]), found = new Map();
      for (let left = ids; left.length; left = ids.filter((id) => !found.has(id))) {  // an answer has as many as it can hold
        const more = Object.entries(await (await request(`/api${base}/outline?steps=${left.map(encodeURIComponent).join(",")}`)).json());
        if (!more.length) break;
        for (const [id, outline] of more) found.set(id, outline);
      }
      return ids.map((id) => found.get(id) ?? {});
    },
    sessionMetadata: async () => (await request(`/api${base}/metadata`)).text(),
    attachments: async (n) => (await request(`/api${directory(n)}`)).json(),
    attachmentLink: link,
    attachment: (n, name) => request(link(n, name)),
    search: async (query, signal) => (await request(`/api${base}/search?q=${encodeURIComponent(query)}`, { signal })).json(),
  };
}

/**
 * @param {string[]} steps
 * @param {{ metadata?: { text?: string, error?: string } | null, attachments?: number }} about
 * @returns {Source}
 */
function fileSource(steps, { metadata = null, attachments = 0 }) {
  const pause = () => new Promise((done) => setTimeout(done, 20));

  /** @param {number} n @param {string} name */
  async function block(n, name) {
    const find = () => document.getElementById(`c-${n}-${name}`);
    const isPast = () => document.getElementById(`c-${n}-changes`);  // the last block of a step; every step has it
    while (!isPast() && !find()?.nextSibling && document.readyState === "loading") await pause();  // until the browser has read it
    const node = find();
    if (!node) throw new Missing(`This step has no ${name === "html" ? "HTML" : name}.`);
    if (node.dataset.kind === "error") throw new Error(JSON.parse(node.textContent ?? ""));
    return { kind: node.dataset.kind ?? "", text: node.textContent ?? "" };
  }

  /** @param {number} n @param {string} name */
  async function text(n, name) {
    const found = await block(n, name);
    return found.kind === "json" ? found.text : JSON.parse(found.text);
  }

  return {
    live: false,
    link: (n) => `${location.href.split("#")[0]}#${encodeURIComponent(steps[n])}`,
    raw: () => null,
    text,
    async image(n) {
      const found = await block(n, "screenshot");
      return { url: `data:${found.kind};base64,${found.text}`, size: found.text.length };
    },
    outline: (numbers) => Promise.all(numbers.map((n) => outlineOf(text, n))),
    async sessionMetadata() {
      if (metadata === null) throw new Missing("This session has no metadata.");
      if (metadata.error) throw new Error(metadata.error);
      return metadata.text ?? "";
    },
    attachments: async () => ({ attachments: [], more: attachments }),
    attachmentLink: () => "",
    attachment: async () => { throw new Missing("This file does not contain attachments."); },
    search: (query, signal) => searchBlocks(steps, text, query, signal),
  };
}

/** @param {(n: number, name: string) => Promise<string>} text @param {number} n @returns {Promise<Outline>} */
async function outlineOf(text, n) {
  const found = /** @type {Outline & { lacks: string[] }} */ ({ lacks: [] });
  for (const name of /** @type {const} */ (["action", "metadata"])) {
    try {
      found[name] = await text(n, name);
    } catch (error) {
      if (error instanceof Missing) found.lacks.push(name);
      else found.error = messageOf(error);
    }
  }
  return found;
}

/**
 * Search the blocks of a file. Let other work run between the steps.
 * @param {string[]} steps
 * @param {(n: number, name: string) => Promise<string>} text
 * @param {string} query
 * @param {AbortSignal} signal
 * @returns {Promise<Found>}
 */
async function searchBlocks(steps, text, query, signal) {
  /** @type {Match[]} */
  const matches = [];
  for (let n = 0; n < steps.length; n += 1) {
    for (const name of ["action", "metadata", "html"]) {
      let whole = "";
      try { whole = await text(n, name); } catch { continue; }
      const words = around(name === "html" ? textOf(whole) : whole, query);
      if (!words) continue;
      matches.push({ step: steps[n], text: words });
      break;
    }
    await new Promise((done) => setTimeout(done));
    signal.throwIfAborted();
  }
  return { matches, searched: steps.length, total: steps.length };
}

/** The text of a page, roughly: without its tags, scripts and styles. @param {string} html */
function textOf(html) {
  const plain = [], lower = html.toLowerCase();
  for (let at = 0; at < html.length;) {
    const tag = html.indexOf("<", at);
    plain.push(html.slice(at, tag < 0 ? html.length : tag));
    if (tag < 0) break;
    const hidden = /^<(script|style)\b/i.exec(html.slice(tag, tag + 8));
    const end = hidden ? lower.indexOf(`</${hidden[1].toLowerCase()}`, tag + 1) : tag;
    const close = html.indexOf(">", Math.max(end, tag));
    if (close < 0 || end < 0) break;
    at = close + 1;
  }
  return plain.join(" ");
}

/** The words around the first place of a text, in upper or lower case; "" if it is not there. @param {string} text @param {string} query */
function around(text, query) {
  const at = text.toLowerCase().indexOf(query.toLowerCase());
  if (at < 0) return "";
  const from = Math.max(0, at - 10);
  return `${from ? "…" : ""}${text.slice(from, at + query.length + 60)}`.replace(/\s+/g, " ").trim();
}
