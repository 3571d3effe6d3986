// @ts-check
/* Elements, texts for numbers and times, queues and caches. */

/** The first element that matches; there must be one. @param {string} selector @param {ParentNode} [root] */
const $ = (selector, root = document) => /** @type {HTMLElement} */ (root.querySelector(selector));

/** The same, as a button. @param {string} selector */
const button = (selector) => /** @type {HTMLButtonElement} */ ($(selector));

/** The same, as an input. @param {string} selector @param {ParentNode} [root] */
const field = (selector, root = document) => /** @type {HTMLInputElement} */ ($(selector, root));

/** All elements that match. @param {string} selector @returns {NodeListOf<HTMLElement>} */
const every = (selector) => document.querySelectorAll(selector);

/**
 * Make an element. An attribute of null is left out. Children of type string become text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, string | null>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** @param {number} n @param {string} one @param {string} [many] */
const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** @param {number} n */
function sizeText(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < 4) { n /= 1000; unit += 1; }
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** Write a duration. @param {number} ms milliseconds */
function durationText(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
  const minutes = Math.floor(ms / 60000);
  return minutes < 60 ? `${minutes} min ${Math.floor(ms / 1000) % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {Date} date */
function ageText(date) {
  const seconds = Math.max(0, (Date.now() - date.getTime()) / 1000);
  for (const [below, unit, name] of /** @type {[number, number, string][]} */ ([[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"]])) {
    if (seconds < below) return `${Math.floor(seconds / unit)} ${name} ago`;
  }
  return seconds < 30 * 86400 ? `${count(Math.floor(seconds / 86400), "day")} ago` : date.toISOString().slice(0, 10);
}

/**
 * Return a queue that runs at most `width` functions at a time, the newest first: the user needs that one now.
 * @param {number} width
 */
function queue(width) {
  /** @type {(() => Promise<unknown>)[]} */
  const waiting = [];
  let running = 0;
  const next = () => {
    while (running < width && waiting.length) {
      running += 1;
      const work = /** @type {() => Promise<unknown>} */ (waiting.pop());
      work().finally(() => { running -= 1; next(); });
    }
  };
  return (/** @type {() => Promise<unknown>} */ work) => { waiting.push(work); next(); };
}

/**
 * Keep the latest results, up to `limit` bytes. Calls for the same key share one result.
 * @template {{ size: number }} T
 * @param {(key: number) => Promise<T>} load
 * @param {number} limit
 * @param {(value: T) => void} [discard] called with a result that is no longer kept
 */
function cached(load, limit, discard = () => {}) {
  /** @type {Map<number, { value: T | null, promise: Promise<T> }>} */
  const kept = new Map();
  let size = 0;
  const trim = (/** @type {number} */ keep) => {
    for (const [key, entry] of kept) {
      if (size <= limit) return;
      if (key === keep || !entry.value) continue;
      kept.delete(key);
      size -= entry.value.size;
      discard(entry.value);
    }
  };
  const get = (/** @type {number} */ key) => {
    const entry = kept.get(key);
    if (entry) { kept.delete(key); kept.set(key, entry); return entry.promise; }
    const fresh = { value: /** @type {T | null} */ (null), promise: load(key) };
    kept.set(key, fresh);
    fresh.promise.then((value) => { fresh.value = value; size += value.size; trim(key); }, () => kept.delete(key));
    return fresh.promise;
  };
  get.peek = (/** @type {number} */ key) => kept.get(key)?.value ?? null;
  return get;
}

/** Thrown if a component, an attachment or a page does not exist. */
class Missing extends Error {}

/** The message of an error. @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** The latest call of `show` for each element. @type {WeakMap<HTMLElement, object>} */
const turns = new WeakMap();

/**
 * Show the result of `work` in an element. If the element was used for other work meanwhile, return false.
 * @param {HTMLElement} area
 * @param {() => Promise<(Node | string)[]>} work
 */
async function show(area, work) {
  const turn = {};
  turns.set(area, turn);
  area.dataset.state = "loading";
  area.setAttribute("aria-busy", "true");
  let state = "shown", nodes;
  try {
    nodes = await work();
  } catch (error) {
    state = error instanceof Missing ? "missing" : "failed";
    nodes = [el("p", { class: "empty" }, messageOf(error))];
  }
  if (turns.get(area) !== turn) return false;
  area.replaceChildren(...nodes);
  area.dataset.state = state;
  area.removeAttribute("aria-busy");
  return true;
}

/**
 * Parse a JSON object. Return {} if the text is no JSON object, or if it is too large to parse quickly.
 * @param {string} text
 * @returns {Record<string, any>}
 */
function parsed(text) {
  let value = null;
  try { if (text.length < 1e6) value = JSON.parse(text); } catch { /* the panel shows the text */ }
  return asRecord(value);
}

/** Whether a text is JSON. A text that is too large to parse quickly counts as JSON. @param {string} text */
function isJson(text) {
  try { if (text.length < 1e6) JSON.parse(text); } catch { return false; }
  return true;
}

/** The value if it is an object, else {}. @param {unknown} value @returns {Record<string, any>} */
const asRecord = (value) => (value && typeof value === "object" ? value : {});

/** @param {unknown} value @returns {value is string} */
const isText = (value) => typeof value === "string" && value.trim() !== "";
