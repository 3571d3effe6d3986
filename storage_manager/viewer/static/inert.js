// @ts-check
/* A stored page, made inert. */

const PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'";
const DROPPED = "script, link, base, meta[http-equiv], iframe, frame, object, embed, applet, portal, fencedframe";
const LOADING = new Set(["src", "srcset", "poster", "background", "data", "ping", "manifest", "lowsrc", "dynsrc", "imagesrcset", "action", "formaction", "attributionsrc"]);

const LINKS = new Set(["href", "xlink:href"]), MAX_ATTRIBUTES = 1000;
const NOWHERE = "about:srcdoc#-";

/* A form's fields, and a document's forms and images, hide its own methods and properties: with <input name="remove">
   form.remove is the field. So everything of a stored page is called and read through the prototypes. */
const method = (type, name) => {
  const own = type.prototype[name];
  return (node, ...values) => Reflect.apply(own, node, values);
};
const getter = (type, name) => {
  const { get } = Object.getOwnPropertyDescriptor(type.prototype, name);
  return (node) => Reflect.apply(get, node, []);
};
const allOfDocument = method(Document, "querySelectorAll"), allOfFragment = method(DocumentFragment, "querySelectorAll");
const openDocument = method(Document, "open"), write = method(Document, "write"), closeDocument = method(Document, "close");
const all = (root, selector) => (root instanceof Document ? allOfDocument : allOfFragment)(root, selector);
const rootOf = getter(Document, "documentElement"), modeOf = getter(Document, "compatMode");
const nameOf = getter(Element, "localName"), htmlOf = getter(Element, "outerHTML"), remove = method(Element, "remove");
const attributesOf = method(Element, "getAttributeNames"), hasAttribute = method(Element, "hasAttribute");
const getAttribute = method(Element, "getAttribute"), setAttribute = method(Element, "setAttribute");
const removeAttribute = method(Element, "removeAttribute"), contentOf = getter(HTMLTemplateElement, "content");

/* Remove everything that loads, runs or leads somewhere. Return true if there was anything to remove. */
function clean(root) {
  let found = false;
  for (const node of all(root, DROPPED)) { remove(node); found = true; }
  for (const node of all(root, "*")) {
    if (node instanceof HTMLTemplateElement) found = clean(contentOf(node)) || found;
    const names = attributesOf(node);  // node.attributes takes quadratic time
    if (names.length > MAX_ATTRIBUTES) throw new Error("This page cannot be shown: an element has too many attributes.");
    for (const name of names) {
      if (!LOADING.has(name) && !LINKS.has(name) && !name.startsWith("on")) continue;
      const value = getAttribute(node, name), isData = /^\s*data:/i.test(value);
      if (LINKS.has(name)) found = cleanLink(node, name, value, isData) || found;
      else if (!LOADING.has(name) || !isData) { removeAttribute(node, name); found = true; }
    }
  }
  return found;
}

/* Let a link look like a link and tell its address, but lead nowhere. Keep SVG's references into its own document. */
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

const PIECE = 4096, PAUSE = 50, MAX_PARSING = 4000;  // characters; milliseconds, and one more for each 1,000 characters

/* Parse HTML into a document that runs and loads nothing. A page of 1 MB whose elements are never closed would take
   minutes. So parse it in pieces, let other work run between them, and give up what takes too long. */
async function read(html) {
  const page = document.implementation.createHTMLDocument("");
  let spent = 0, since = performance.now();
  openDocument(page);
  for (let at = 0; at < html.length; at += PIECE) {
    write(page, html.slice(at, at + PIECE));
    const passed = performance.now() - since;
    if (passed < PAUSE) continue;
    spent += passed;
    if (spent > MAX_PARSING + html.length / 1000) throw new Error("This page cannot be shown: reading its HTML takes too long.");
    await new Promise((done) => setTimeout(done));
    since = performance.now();
  }
  closeDocument(page);
  return page;
}

/* Serialized HTML can be parsed into another tree (mutation XSS). So parse and clean it again, until there is nothing
   to remove from exactly the text that the frame gets. The policy comes before all other elements. */
async function inert(html) {
  for (let round = 0; round < 5; round += 1) {
    const page = await read(html);
    const doctype = modeOf(page) === "CSS1Compat" ? "<!DOCTYPE html>" : "";
    if (!clean(page) && round) {
      const first = `<head><meta http-equiv="Content-Security-Policy" content="${PAGE_POLICY}"><meta http-equiv="x-dns-prefetch-control" content="off">`;
      return doctype + first + html.slice(doctype.length);
    }
    html = doctype + htmlOf(rootOf(page));
  }
  throw new Error("This page cannot be shown safely here. Open its raw HTML: it has its own sandbox.");
}
