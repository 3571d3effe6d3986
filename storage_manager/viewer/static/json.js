// @ts-check
/* Format JSON from its text, so that numbers keep their digits and objects can have any depth. */

const MAX_TOKENS = 20000, MAX_STRING = 4000, MAX_INDENT = 40, MAX_SHOWN = 1e6;

/** @param {string} text @param {number} start */
function endOfString(text, start) {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text[at - 1 - slashes] === "\\") slashes += 1;
    if (slashes % 2 === 0) return at + 1;
  }
  return text.length;
}

/** @param {string} token */
function shortened(token) {
  return token.length <= MAX_STRING ? token : `${token.slice(0, MAX_STRING)}… (${count(token.length - MAX_STRING, "more character")})`;
}

/** @param {string} text */
function isJson(text) {
  try { return text.length >= 1e6 || JSON.parse(text) !== undefined; } catch { return false; }
}

/** @param {string} text @returns {HTMLElement[]} */
function json(text) {
  if (!isJson(text)) {
    const view = el("pre", { class: "json", tabindex: "0" }, text.slice(0, MAX_TOKENS));
    return [view, el("p", { class: "note" }, "This is not JSON. It is shown as stored.")];
  }
  const view = el("pre", { class: "json", tabindex: "0" });
  const put = (/** @type {string} */ token, /** @type {string} */ kind) => { shown += token.length; view.append(el("span", { class: kind }, token)); };
  const line = (/** @type {number} */ depth) => "\n" + "  ".repeat(Math.min(depth, MAX_INDENT));
  let depth = 0, tokens = 0, at = 0, shown = 0, pending = "";
  const plain = (/** @type {string} */ token) => { pending += token; };
  const flush = () => { if (pending) { view.append(pending); pending = ""; } };
  for (; at < text.length && tokens < MAX_TOKENS && shown < MAX_SHOWN; tokens += 1) {
    const char = text[at];
    let end = at + 1;
    if (/\s/.test(char)) { at = end; continue; }
    if (char === "{" || char === "[") {
      while (/\s/.test(text[end] ?? "")) end += 1;
      if (text[end] === "}" || text[end] === "]") { plain(char + text[end]); end += 1; }
      else { depth += 1; plain(char + line(depth)); }
    } else if (char === "}" || char === "]") { depth = Math.max(0, depth - 1); plain(line(depth) + char); }
    else if (char === ",") plain("," + line(depth));
    else if (char === ":") plain(": ");
    else if (char === '"') {
      end = endOfString(text, at);
      let after = end;
      while (/\s/.test(text[after] ?? "")) after += 1;
      flush();
      put(shortened(text.slice(at, end)), text[after] === ":" ? "key" : "string");
    } else {
      while (end < text.length && !/[\s"{}[\]:,]/.test(text[end])) end += 1;
      const token = shortened(text.slice(at, end));
      flush();
      put(token, /^[-\d]/.test(token) ? "number" : "word");
    }
    at = end;
  }
  flush();
  const left = text.slice(at, at + 1000).trim() ? text.length - at : 0;
  return left ? [view, el("p", { class: "note" }, `${count(left, "more character")} not shown.`)] : [view];
}

/** Format JSON as a region that can be scrolled with the keyboard. @param {string} text @param {string} label */
function jsonRegion(text, label) {
  const nodes = json(text);
  nodes[0].setAttribute("role", "region");
  nodes[0].setAttribute("aria-label", label);
  return nodes;
}
