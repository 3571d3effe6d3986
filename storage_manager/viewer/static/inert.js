// @ts-check
/* A stored page, made inert. */

const PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'";
// <noscript> would tell people to enable JavaScript, in a page that a browser with JavaScript had shown
const DROPPED = "script, noscript, link, base, meta[http-equiv], frame, object, embed, applet, portal, fencedframe";
const LOADING = new Set(["src", "srcset", "srcdoc", "poster", "background", "data", "ping", "manifest", "lowsrc", "dynsrc", "imagesrcset", "action", "formaction", "attributionsrc"]);
const LINKS = new Set(["href", "xlink:href"]), MAX_ATTRIBUTES = 1000;
const NOWHERE = "about:srcdoc#-";
const OF_FRAMES = new Set(["srcdoc", "sandbox", "width", "height", "style", "class", "id", "title"]);
const MAX_FRAMES = 50, MAX_DEPTH = 5;  // frames of a page with those in them, and how deep they may lie
const FRAMES_PARSING = 1000, OUTLINING = 300;  // milliseconds for all frames of a page, and for all selectors but one

/* A form's fields, and a document's forms and images, hide its own methods and properties: with <input name="remove">
   form.remove is the field. So everything of a stored page is called and read through the prototypes. */

/** @param {{ prototype: any }} type @param {string} name @returns {(node: any, ...values: any[]) => any} */
const method = (type, name) => {
  const own = type.prototype[name];
  return (node, ...values) => Reflect.apply(own, node, values);
};
/** @param {{ prototype: any }} type @param {string} name @returns {(node: any) => any} */
const getter = (type, name) => {
  const get = /** @type {() => any} */ (Object.getOwnPropertyDescriptor(type.prototype, name)?.get);
  return (node) => Reflect.apply(get, node, []);
};
const allOfDocument = method(Document, "querySelectorAll"), allOfFragment = method(DocumentFragment, "querySelectorAll");
const openDocument = method(Document, "open"), write = method(Document, "write"), closeDocument = method(Document, "close");
/** @param {Document | DocumentFragment} root @param {string} selector @returns {Iterable<Element>} */
const all = (root, selector) => (root instanceof Document ? allOfDocument : allOfFragment)(root, selector);
const rootOf = getter(Document, "documentElement"), modeOf = getter(Document, "compatMode");
const nameOf = getter(Element, "localName"), htmlOf = getter(Element, "outerHTML"), remove = method(Element, "remove");
const attributesOf = method(Element, "getAttributeNames"), hasAttribute = method(Element, "hasAttribute");
const getAttribute = method(Element, "getAttribute"), setAttribute = method(Element, "setAttribute");
const removeAttribute = method(Element, "removeAttribute"), contentOf = getter(HTMLTemplateElement, "content");

/**
 * What is known of a page while it is made inert.
 * @typedef {object} Care
 * @property {string[]} selectors of the elements to outline
 * @property {Map<string, number>} frames the pages of frames that are inert already; each with its number of frames and 1
 * @property {number} left how many frames may still be made inert
 * @property {number} shown how many frames the page has, with those in them
 * @property {{ left: number }} pot the time that is left for frames, in milliseconds
 * @property {number} depth
 */

/**
 * Remove everything that loads, runs or leads somewhere. Return true if there was anything to remove.
 * @param {Document | DocumentFragment} root
 * @param {Care} care
 */
function clean(root, care) {
  let found = false;
  for (const node of all(root, DROPPED)) { remove(node); found = true; }
  for (const node of all(root, "*")) {
    if (nameOf(node) === "iframe") { found = cleanFrame(node, care) || found; continue; }
    if (node instanceof HTMLTemplateElement) found = clean(contentOf(node), care) || found;
    for (const name of namesOf(node)) {
      if (!LOADING.has(name) && !LINKS.has(name) && !name.startsWith("on")) continue;
      const value = getAttribute(node, name), isData = /^\s*data:/i.test(value);
      if (LINKS.has(name)) found = cleanLink(node, name, value, isData) || found;
      else if (!LOADING.has(name) || !isData || name === "srcdoc") { removeAttribute(node, name); found = true; }
    }
  }
  return found;
}

/** The names of the attributes of an element. `node.attributes` takes quadratic time. @param {Element} node */
function namesOf(node) {
  const names = /** @type {string[]} */ (attributesOf(node));
  if (names.length > MAX_ATTRIBUTES) throw new Error("This page cannot be shown: an element has too many attributes.");
  return names;
}

/** Keep a frame only with a page that is inert, and in a sandbox. @param {Element} node @param {Care} care */
function cleanFrame(node, care) {
  const size = care.frames.get(getAttribute(node, "srcdoc")) ?? Infinity;
  if (care.shown + size > MAX_FRAMES - care.depth) { remove(node); return true; }
  care.shown += size;
  let found = false;
  for (const name of namesOf(node)) if (!OF_FRAMES.has(name)) { removeAttribute(node, name); found = true; }
  if (getAttribute(node, "sandbox") === "") return found;
  setAttribute(node, "sandbox", "");
  return true;
}

/**
 * Let a link look like a link and tell its address, but lead nowhere. Keep SVG's references into its own document.
 * @param {Element} node @param {string} name @param {string} value @param {boolean} isData
 */
function cleanLink(node, name, value, isData) {
  if (value === NOWHERE) return false;
  if (nameOf(node) === "a" || nameOf(node) === "area") {
    setAttribute(node, name, NOWHERE);
    removeAttribute(node, "target");
    removeAttribute(node, "download");
    if (!hasAttribute(node, "title")) setAttribute(node, "title", value.slice(0, 500));
    return true;
  }
  if (isData || value.trim().startsWith("#")) return false;
  removeAttribute(node, name);
  return true;
}

/** Make the pages of frames inert, as far as there may be frames. @param {Document} page @param {Care} care */
async function cleanFrames(page, care) {
  for (const node of all(page, "iframe[srcdoc]")) {
    const html = getAttribute(node, "srcdoc");
    if (care.frames.has(html) || care.depth >= MAX_DEPTH || care.left <= 0 || care.pot.left <= 0) continue;
    care.left -= 1;
    const inner = { ...care, selectors: [], depth: care.depth + 1 };
    try { setAttribute(node, "srcdoc", await inertWith(html, inner)); } catch { continue; }  // such a frame is removed
    care.left = inner.left;
    care.frames.set(getAttribute(node, "srcdoc"), 1 + inner.shown);
  }
}

const PIECE = 4096, PAUSE = 50, MAX_PARSING = 4000;  // characters; milliseconds, and one more for each 1,000 characters

/**
 * Parse HTML into a document that runs and loads nothing. A page of 1 MB whose elements are never closed would take
 * minutes. So parse it in pieces, let other work run between them, and give up what takes too long.
 * @param {string} html
 * @param {{ left: number }} pot the time that is left for it, in milliseconds
 */
async function read(html, pot) {
  const page = document.implementation.createHTMLDocument("");
  let since = performance.now();
  openDocument(page);
  for (let at = 0; at < html.length; at += PIECE) {
    write(page, html.slice(at, at + PIECE));
    const passed = performance.now() - since;
    if (passed < PAUSE) continue;
    pot.left -= passed;
    if (pot.left < 0) throw new Error("This page cannot be shown: reading its HTML takes too long.");
    await new Promise((done) => setTimeout(done));
    since = performance.now();
  }
  closeDocument(page);
  pot.left -= performance.now() - since;
  return page;
}

/**
 * Return HTML that runs and loads nothing, in which the elements that match `selectors` are outlined.
 * @param {string} html
 * @param {string[]} [selectors]
 */
const inert = (html, selectors = []) => inertWith(html, { selectors, frames: new Map(), left: MAX_FRAMES, shown: 0, pot: { left: FRAMES_PARSING }, depth: 0 });

/**
 * Serialized HTML can be parsed into another tree (mutation XSS). So parse and clean it again, until there is nothing
 * to remove from exactly the text that the frame gets. The policy comes before all other elements.
 * @param {string} html
 * @param {Care} care
 * @returns {Promise<string>}
 */
async function inertWith(html, care) {
  for (let round = 0; round < 5; round += 1) {
    const page = await read(html, care.depth ? care.pot : { left: MAX_PARSING + html.length / 1000 });
    await cleanFrames(page, care);
    care.shown = 0;
    const doctype = modeOf(page) === "CSS1Compat" ? "<!DOCTYPE html>" : "";
    if (!clean(page, care) && round) {
      const first = `<head><meta http-equiv="Content-Security-Policy" content="${PAGE_POLICY}"><meta http-equiv="x-dns-prefetch-control" content="off">`;
      return doctype + first + html.slice(doctype.length);
    }
    if (!round) outlineAll(page, care.selectors);
    html = doctype + htmlOf(rootOf(page));
  }
  throw new Error("This page cannot be shown safely here. Open its raw HTML: it has its own sandbox.");
}

const OUTLINE = "outline: 3px solid #d6336c !important; outline-offset: 2px !important; box-shadow: 0 0 0 8px rgb(214 51 108 / .25) !important";

/** Outline the target. One selector is matched quickly, but ten in a large page are not. @param {Document} page @param {string[]} selectors */
function outlineAll(page, selectors) {
  const until = performance.now() + OUTLINING;
  for (const selector of new Set(selectors)) if (performance.now() < until) outline(page, selector);
}

/** Outline the first element that matches a selector, if it is a selector. @param {Document} page @param {string} selector */
function outline(page, selector) {
  let first;
  try { [first] = all(page, selector); } catch { return; }
  if (!first) return;
  setAttribute(first, "style", `${getAttribute(first, "style") ?? ""}; ${OUTLINE}`);
  setAttribute(first, "data-target", "");
}
