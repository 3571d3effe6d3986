// @ts-check
/* Read the fields of an action and of the metadata of its step: a description, the target, the reasons, the time, the error. */

/**
 * @typedef {{ x: number, y: number }} Point in pixels of CSS, from the top left corner of the window
 * @typedef {Point & { width: number, height: number }} Box
 * @typedef {{ points: Point[], boxes: Box[], selectors: string[] }} Target
 * @typedef {object} Summary of a step, from its action and its metadata
 * @property {string} kind one of KINDS; it selects the icon
 * @property {string} words a description such as "click #buy"; "" if there is no known field
 * @property {string} host
 * @property {string} error "" if nothing failed
 * @property {boolean} isDamaged the action exists, but cannot be read
 * @property {[string, string][]} thoughts title and text
 * @property {number | null} moment in milliseconds since 1970
 * @property {number | null} duration in milliseconds
 * @property {"before" | "after" | null} observed
 */

/** The kinds of actions, with patterns of their types. The first match counts. @type {[string, RegExp][]} */
const KINDS = [
  ["check", /expect|assert|isvisible|verify/i],
  ["drag", /drag|drop/i],
  ["hover", /hover|mousemove|move/i],
  ["select", /select|option|^check$|uncheck/i],
  ["press", /press|key/i],
  ["type", /fill|type|input|clear|upload|setinput/i],
  ["click", /click|tap|submit/i],
  ["scroll", /scroll|wheel/i],
  ["tab", /tab|page|context|window|close/i],
  ["go", /goto|navigate|^open|go_to|visit|search|back|forward|reload|google|restart/i],
  ["wait", /wait|sleep|noop/i],
  ["done", /done|finish|answer|stop|send_msg|infeasible/i],
  ["code", /evaluate|script|code|extract/i],
];

/** Fields with objects that are not the parameters of an action, named by its type. */
const NO_TYPES = new Set(["params", "result", "results", "error", "box", "point", "bounding_box", "interacted_element", "attributes", "usage", "log", "metadata"]);
const MAX_ACTIONS = 50, MAX_WORDS = 120, MAX_THOUGHT = 20000, MAX_MARKS = 50;

/** The parts of an action, or the action itself if it has no parts. @param {Record<string, any>} action */
function actionsIn(action) {
  const several = Array.isArray(action.actions) ? action.actions.slice(0, MAX_ACTIONS).map(asRecord) : [];
  return several.length ? several : [action];
}

/** Type and parameters of an action: of `{"click": {"index": 3}}` they are "click" and the object. @param {Record<string, any>} action */
function typeOf(action) {
  const own = ["type", "action_type", "action", "name", "method", "kind"].map((name) => action[name]).find(isText);
  if (own !== undefined) return { type: own, params: asRecord(action.params ?? action.args ?? action.parameters ?? (Object.hasOwn(action, own) ? action[own] : {})) };
  const [type, params] = Object.entries(action).find(([name, value]) => value && typeof value === "object" && !Array.isArray(value) && !NO_TYPES.has(name)) ?? ["", {}];
  return { type, params: asRecord(params) };
}

/** Remove the object that a Playwright trace names before a type: "page.goto" becomes "goto". @param {string} type */
const shortType = (type) => type.replace(/^(locator|page|frame|elementHandle|browserContext|mouse|keyboard)\./i, "");

/** Make a selector of Playwright's easier to read. @param {string} text */
const readable = (text) => text.replace(/internal:(role|text|label|attr|testid|has-text)=/g, "$1 ").replace(/(["\]])[is](?=\]|$)/g, "$1");

/** Describe one action, for example "click #buy". @param {Record<string, any>} action */
function wordsOf(action) {
  const { type, params } = typeOf(action);
  const first = (/** @type {string[]} */ ...names) => {
    for (const name of names) for (const from of [action, params]) if (isText(from[name])) return from[name];
    return "";
  };
  const short = shortType(type);
  const spaced = /^[a-z]+([A-Z][a-z]+)+$/.test(short) ? short.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) : short;
  const element = asRecord(action.interacted_element);
  let detail = first("selector", "url", "element", "target", "key", "keys", "label", "query") || (isText(element.ax_name) ? element.ax_name : "");
  if (!detail && Number.isFinite(params.index)) detail = `[${params.index}]`;
  const value = first("text", "value", "content");
  return [spaced, detail !== type ? readable(detail) : "", value && value !== type ? `“${value}”` : ""]
    .filter(Boolean).map((word) => word.slice(0, MAX_WORDS)).join(" ");
}

/** Describe an action in a few words; "" if it has no known field. @param {Record<string, any>} action */
function brief(action) {
  const words = actionsIn(action).map(wordsOf).filter(Boolean);
  return words.length > 1 ? `${words[0]}, and ${count(words.length - 1, "more action")}` : words[0] ?? "";
}

/** @param {Record<string, any>} action */
function kindOf(action) {
  const type = shortType(typeOf(action).type);
  return KINDS.find(([, words]) => words.test(type))?.[0] ?? "other";
}

/** The text of an error, which may be an object with a message; "" if it is none. @param {unknown} value */
function errorText(value) {
  if (value === true) return "The action failed.";
  if (isText(value)) return value.slice(0, 4000);
  const found = asRecord(value), inner = asRecord(found.error);
  const message = [found.message, found.value, inner.message, found.name].find(isText);
  if (message !== undefined) return message.slice(0, 4000);
  const flat = Object.entries(found).slice(0, 20).filter(([, each]) => typeof each !== "object");  // a deep object takes seconds
  if (flat.length) return JSON.stringify(Object.fromEntries(flat)).slice(0, 4000);
  return Object.keys(found).length ? "The action failed." : "";
}

/** The error of a step; "" if it did not fail. @param {Record<string, any>} action @param {Record<string, any>} metadata */
function errorOf(action, metadata) {
  const places = [action, ...actionsIn(action), asRecord(action.result), metadata, asRecord(metadata.result)];
  for (const each of places) {
    const text = errorText(each.error) || errorText(each.last_action_error);
    if (text) return text;
  }
  return places.some((each) => each.success === false) ? "The action failed." : "";
}

/** @type {[string, string][]} */
const THOUGHTS = [["thought", "Thought"], ["thinking", "Thinking"], ["reasoning", "Reasoning"], ["evaluation_previous_goal", "About the last action"], ["memory", "Memory"], ["next_goal", "Next goal"], ["goal", "Goal"], ["plan", "Plan"]];

/** The reasons for an action, each text once. @param {Record<string, any>} action @param {Record<string, any>} metadata */
function thoughtsOf(action, metadata) {
  const said = new Set(), found = /** @type {[string, string][]} */ ([]);
  for (const from of [action, metadata]) {
    for (const [name, title] of THOUGHTS) {
      const text = from[name];
      if (!isText(text) || said.has(text)) continue;
      said.add(text);
      found.push([title, text.slice(0, MAX_THOUGHT)]);
    }
  }
  return found;
}

/** A moment in milliseconds since 1970, from ISO 8601 or from a number of seconds or milliseconds. @param {unknown} value */
function momentOf(value) {
  const ms = typeof value === "string" ? Date.parse(value) : typeof value === "number" ? (value > 1e11 ? value : value * 1000) : NaN;
  return ms > 1e11 && ms < 1e14 ? ms : null;
}

/** @param {Record<string, any>} metadata @param {Record<string, any>} action */
function durationOf(metadata, action) {
  const { duration, startTime, endTime } = metadata;
  const own = duration ?? metadata.duration_ms ?? action.duration_ms ?? (Number.isFinite(endTime) ? endTime - startTime : null);
  return Number.isFinite(own) && own >= 0 && own < 1e9 ? own : null;
}

/** @param {unknown} url */
function hostOf(url) {
  try { return new URL(String(url)).host.slice(0, 100); } catch { return ""; }
}

/** @param {unknown} value @returns {"before" | "after" | null} */
const observedOf = (value) => (value === "before" || value === "after" ? value : null);

const DAMAGED = "The action of this step cannot be read, because it is not JSON. It is shown as it is stored.";

/** Summarize a step. @param {string | undefined} actionText @param {string} metadataText @returns {Summary} */
function summarize(actionText, metadataText) {
  const action = parsed(actionText ?? ""), metadata = parsed(metadataText), isDamaged = actionText !== undefined && !isJson(actionText);
  return {
    kind: kindOf(actionsIn(action)[0]),
    words: brief(action),
    host: hostOf(metadata.url),
    error: isDamaged ? DAMAGED : errorOf(action, metadata),
    isDamaged,
    thoughts: thoughtsOf(action, metadata),
    moment: momentOf(metadata.timestamp) ?? momentOf(metadata.wallTime) ?? momentOf(metadata.started_at),
    duration: durationOf(metadata, action),
    observed: observedOf(metadata.observed),
  };
}

// --- the target ---------------------------------------------------------------------------------------------------------

/** @param {unknown} value @returns {value is number} */
const isPixel = (value) => typeof value === "number" && Number.isFinite(value) && Math.abs(value) < 1e5;

/** A point from {x, y} or [x, y]. @param {unknown} value @returns {Point[]} */
function pointsIn(value) {
  const [x, y] = Array.isArray(value) ? value : [asRecord(value).x, asRecord(value).y];
  return isPixel(x) && isPixel(y) && !(Array.isArray(value) && value.length !== 2) ? [{ x, y }] : [];
}

/** A box from {x, y, width, height}, {left, top, width, height} or [x, y, width, height]. @param {unknown} value @returns {Box[]} */
function boxesIn(value) {
  const { x: ownX, y: ownY, left, top, width: ownWidth, height: ownHeight } = asRecord(value);
  const [x, y, width, height] = Array.isArray(value) ? value : [ownX ?? left, ownY ?? top, ownWidth, ownHeight];
  return [x, y, width, height].every(isPixel) && width > 0 && height > 0 ? [{ x, y, width, height }] : [];
}

const BOXES = ["box", "bounding_box", "boundingBox", "bbox", "bounds", "rect"];
const POINTS = ["point", "coordinate", "coordinates", "start_coordinate", "end_coordinate", "start", "end", "from", "to"];

/** The target of an action, as far as its fields name it. @param {string} text @returns {Target} */
function targetOf(text) {
  const found = /** @type {Target} */ ({ points: [], boxes: [], selectors: [] });
  for (const action of actionsIn(parsed(text))) {
    const { params } = typeOf(action);
    for (const from of [action, params, asRecord(action.interacted_element)]) {
      if (!boxesIn(from).length) found.points.push(...pointsIn(from), ...pointsIn([from.coordinate_x, from.coordinate_y]));
      for (const name of POINTS) found.points.push(...pointsIn(from[name]));
      for (const name of BOXES) found.boxes.push(...boxesIn(from[name]));
      found.selectors.push(...selectorsIn(from));
    }
  }
  return { points: found.points.slice(0, MAX_MARKS), boxes: found.boxes.slice(0, MAX_MARKS), selectors: found.selectors.slice(0, 10) };
}

/** The CSS selectors in the fields of an action. @param {Record<string, any>} from */
function selectorsIn(from) {
  const found = [from.selector, from.css_selector, from.target].filter(isText).map((text) => text.trim());
  if (isText(from.bid) && /^[\w-]{1,40}$/.test(from.bid)) found.push(`[bid="${from.bid}"]`);
  const path = from.xpath ?? from.x_path;
  if (isText(path) && path.length <= MAX_SELECTOR && /^\/*(html\/)?[a-z][\w-]*(\[\d{1,4}\])?(\/[a-z][\w-]*(\[\d{1,4}\])?)*$/i.test(path)) found.push(cssOf(path));
  return found.filter(isQuick);
}

/** The selector of a path such as html/body/div[2]/a. @param {string} path */
const cssOf = (path) => path.replace(/^\/+/, "").split("/").map((part) => part.replace(/\[(\d+)\]/, ":nth-of-type($1)")).join(" > ");

/* The allowed parts of a selector. Every other part can be slow in some page, and has many spellings: `:\68 as(a)` is
   `:has(a)`. `:nth-of-type` without the name of an element before it can be slow, too. */
const NAME = String.raw`(?:[\w-]|[^\0-\x7f]|\\[^\n\r\f])+`;
const TEXT = String.raw`"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'`;
const PART = new RegExp([
  String.raw`\*`, `${NAME}(?:[.#]${NAME})*(?::nth-of-type\\(\\d{1,5}\\))?`, `[.#]${NAME}`,
  String.raw`\[\s*${NAME}\s*(?:[~|^$*]?=\s*(?:${TEXT}|${NAME})\s*(?:[is]\s*)?)?\]`,
  String.raw`:(?:root|empty|first-child|last-child|nth-child\(\d{1,5}\)|checked|disabled|enabled)`, String.raw`\s*[>+,]\s*`, String.raw`\s+`,
].join("|"), "gy");
const MAX_SELECTOR = 1000;

/** Whether a selector is matched quickly, whatever the page. @param {string} selector */
function isQuick(selector) {
  if (selector.length > MAX_SELECTOR) return false;
  const parts = selector.match(PART) ?? [];
  const searches = parts.filter((part) => /^\s*[+,]?\s*$/.test(part));  // a child is found at once, a descendant is searched for
  return parts.join("") === selector && searches.length <= 4;
}

/** The size of the window in pixels of CSS, from a step's metadata; null if it is not known. @param {Record<string, any>} metadata */
function windowOf(metadata) {
  let value = null;
  for (const key of ["viewport", "viewport_size", "viewportSize", "window_size"]) value ??= metadata[key];
  if (typeof value === "string") value = value.split(/[x×,]/).map(Number);
  const [width, height] = Array.isArray(value) ? value : [value?.width, value?.height];
  const isSize = (/** @type {unknown} */ n) => typeof n === "number" && n >= 50 && n <= 10000;
  return isSize(width) && isSize(height) ? { width: Number(width), height: Number(height) } : null;
}
