// @ts-check
/* Make a stored page inert: it runs nothing, loads nothing and leads nowhere. */

const PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'";
// <noscript> would ask people to enable JavaScript, in a page that a browser with JavaScript had shown
const DROPPED = "script, noscript, link, base, meta[http-equiv], frame, object, embed, applet, portal, fencedframe";
const LOADING = new Set(["src", "srcset", "srcdoc", "poster", "background", "data", "ping", "manifest", "lowsrc", "dynsrc", "imagesrcset", "action", "formaction", "attributionsrc"]);
const LINKS = new Set(["href", "xlink:href"]), MAX_ATTRIBUTES = 1000;
const NOWHERE = "about:srcdoc#-";
const OF_FRAMES = new Set(["srcdoc", "sandbox", "width", "height", "style", "class", "id", "title"]);
const MAX_FRAMES = 50, MAX_DEPTH = 5;  // frames of a page, with the frames in them; levels of frames in frames
const FRAMES_TIME = 1000, OUTLINE_TIME = 300;  // milliseconds for all frames of a page, and for all selectors but one

/* A form's fields, and a document's forms and images, hide its own methods and properties: with <input name="remove">
   form.remove is the field. So the methods and properties of a stored page are called and read through prototypes. */

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
 * The frames of a page, and the frames in them.
 * @typedef {object} Frames
 * @property {Map<string, number>} inert the HTML of frames that is inert already, with the number of frames: itself and those in it
 * @property {number} left how many frames may still be made inert
 * @property {number} time that is left for making them inert, in milliseconds
 * @property {number} omitted how many frames were removed because of a limit
 *
 * A page, or the page of a frame, while it is made inert.
 * @typedef {object} Cleaning
 * @property {string[]} selectors of the elements to outline
 * @property {Frames} frames of the whole page
 * @property {number} shown how many frames are kept in this page, with the frames in them
 * @property {number} depth 0 for the whole page, 1 for a frame in it
 */

/**
 * Remove everything that loads, runs or leads somewhere. Return true if there was anything to remove.
 * @param {Document | DocumentFragment} root
 * @param {Cleaning} cleaning
 */
function clean(root, cleaning) {
  let found = false;
  for (const node of all(root, DROPPED)) { remove(node); found = true; }
  for (const node of all(root, "*")) {
    if (nameOf(node) === "iframe") { found = cleanFrame(node, cleaning) || found; continue; }
    if (node instanceof HTMLTemplateElement) found = clean(contentOf(node), cleaning) || found;
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

/** Put a frame into a sandbox if its page is inert, or else remove it. @param {Element} node @param {Cleaning} cleaning */
function cleanFrame(node, cleaning) {
  const size = cleaning.frames.inert.get(getAttribute(node, "srcdoc")) ?? Infinity;
  if (cleaning.shown + size > MAX_FRAMES - cleaning.depth) {
    if (hasAttribute(node, "srcdoc")) cleaning.frames.omitted += 1;  // without it, no page is stored
    remove(node);
    return true;
  }
  cleaning.shown += size;
  let found = false;
  for (const name of namesOf(node)) if (!OF_FRAMES.has(name)) { removeAttribute(node, name); found = true; }
  if (getAttribute(node, "sandbox") === "") return found;
  setAttribute(node, "sandbox", "");
  return true;
}

/**
 * Make a link lead nowhere. It still looks like a link, and its tooltip is its address. References of SVG into its own
 * document are kept.
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

/** Make the pages of frames inert, up to the limits. `cleanFrame` removes the others. @param {Document} page @param {Cleaning} cleaning */
async function cleanFrames(page, { frames, depth }) {
  for (const node of all(page, "iframe[srcdoc]")) {
    const html = getAttribute(node, "srcdoc");
    if (frames.inert.has(html) || depth >= MAX_DEPTH || frames.left <= 0 || frames.time <= 0) continue;
    frames.left -= 1;
    const inner = { selectors: [], frames, shown: 0, depth: depth + 1 };
    try { setAttribute(node, "srcdoc", await inertPage(html, inner)); } catch { continue; }
    frames.inert.set(getAttribute(node, "srcdoc"), 1 + inner.shown);
  }
}

const PIECE = 4096, PAUSE = 50;  // characters; milliseconds
const PARSING_TIME = 4000;  // milliseconds, and one more per 1,000 characters

/**
 * Parse HTML into a document that runs and loads nothing. A page of 1 MB whose elements are never closed would take
 * minutes. So parse it in pieces, let other work run between them, and give up if it takes too long.
 * @param {string} html
 * @param {{ time: number }} budget the time that is left for it, in milliseconds
 */
async function parse(html, budget) {
  const page = document.implementation.createHTMLDocument("");
  let since = performance.now();
  openDocument(page);
  for (let at = 0; at < html.length; at += PIECE) {
    write(page, html.slice(at, at + PIECE));
    const passed = performance.now() - since;
    if (passed < PAUSE) continue;
    budget.time -= passed;
    if (budget.time < 0) throw new Error("This page cannot be shown: reading its HTML takes too long.");
    await new Promise((done) => setTimeout(done));
    since = performance.now();
  }
  closeDocument(page);
  budget.time -= performance.now() - since;
  return page;
}

/**
 * Return HTML that runs and loads nothing, in which the elements that match `selectors` are outlined; and how many
 * frames were left out because of their number, their depth, or the time that they take.
 * @param {string} html
 * @param {string[]} selectors
 */
async function inert(html, selectors) {
  const frames = { inert: new Map(), left: MAX_FRAMES, time: FRAMES_TIME, omitted: 0 };
  return { html: await inertPage(html, { selectors, frames, shown: 0, depth: 0 }), omitted: frames.omitted };
}

/**
 * Serialized HTML can be parsed into another tree (mutation XSS). So parse and clean it again, until there is nothing
 * to remove from exactly the text that the frame gets. The policy comes before all other elements.
 * @param {string} html
 * @param {Cleaning} cleaning
 * @returns {Promise<string>}
 */
async function inertPage(html, cleaning) {
  for (let round = 0; round < 5; round += 1) {
    const page = await parse(html, cleaning.depth ? cleaning.frames : { time: PARSING_TIME + html.length / 1000 });
    await cleanFrames(page, cleaning);
    cleaning.shown = 0;
    const doctype = modeOf(page) === "CSS1Compat" ? "<!DOCTYPE html>" : "";
    if (!clean(page, cleaning) && round) {
      const first = `<head><meta http-equiv="Content-Security-Policy" content="${PAGE_POLICY}"><meta http-equiv="x-dns-prefetch-control" content="off">`;
      return doctype + first + html.slice(doctype.length);
    }
    if (!round) outlineAll(page, cleaning.selectors);
    html = doctype + htmlOf(rootOf(page));
  }
  throw new Error("This page cannot be shown safely here. Open its raw HTML: it has its own sandbox.");
}

const OUTLINE = "outline: 3px solid #d6336c !important; outline-offset: 2px !important; box-shadow: 0 0 0 8px rgb(214 51 108 / .25) !important";

/** Outline the elements of all selectors. One selector is matched quickly, but ten in a large page are not. @param {Document} page @param {string[]} selectors */
function outlineAll(page, selectors) {
  const until = performance.now() + OUTLINE_TIME;
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
