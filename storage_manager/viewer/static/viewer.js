/* The viewer's front end: one session, live from the server or from the blocks of one file; and the list of sessions.

   Tests and other scripts can rely on these elements:
     <html data-theme="light|dark">        set when the user has chosen a theme; localStorage "storage-manager-theme"
     #theme                                the button that changes the theme
     list      #sessions tr[data-session]  a row; .steps, .size, .modified are filled in when the row is visible
               #search input[name=q]       the search; a[rel=prev], a[rel=next] lead to other pages
     session   body[data-step]             the current step; body[data-ready] is set when the first step is chosen
               #film a[data-step]          a step of the film strip (only steps near the visible part exist);
                                           aria-current="step" on one; [data-thumb=wanted|loaded|missing|failed]
               #previous #next #position   the stepper; #step-title, #summary, #address describe the step
               button[data-view]           screenshot | page | changes, with aria-pressed
               #stage[data-view][data-state]   state: loading | shown | missing | failed
               #stage img.screenshot, #stage iframe.page, #stage .changes [data-sign]
               #action, #metadata          [data-state] as above; .json contains the text
               #attachments                [data-state] as above (live only); of the step
               #session-about              a details element, hidden if there is nothing to tell; #session-summary
               #session-metadata, #session-attachments   [data-state] as above
               .attachment[data-name]      an attachment; it has a details element with .content[data-state] if it can be
                                           shown here; a.raw opens or saves it
               a[data-raw]                 links to raw components (live only)
   Data is inserted into the document only as text nodes and attributes. Stored HTML is inserted only as the srcdoc of an
   iframe with sandbox="", under the Content-Security-Policy of this page. These two are the protection; `inert` is a
   second line of defence. */
(() => {
  "use strict";

  // --- small helpers ---------------------------------------------------------------------------------------------

  const $ = (selector, root = document) => root.querySelector(selector);

  function el(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

  function bytes(n) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (n >= 1000 && unit < 4) { n /= 1000; unit += 1; }
    return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
  }

  function ago(date) {
    const seconds = Math.max(0, (Date.now() - date) / 1000);
    for (const [below, unit, name] of [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"]]) {
      if (seconds < below) return `${Math.floor(seconds / unit)} ${name} ago`;
    }
    return seconds < 30 * 86400 ? `${count(Math.floor(seconds / 86400), "day")} ago` : date.toISOString().slice(0, 10);
  }

  /* Run at most `width` functions at a time, the newest first, because the user is looking at that one now. */
  function queue(width) {
    const waiting = [];
    let running = 0;
    const next = () => {
      while (running < width && waiting.length) {
        running += 1;
        waiting.pop()().finally(() => { running -= 1; next(); });
      }
    };
    return (work) => { waiting.push(work); next(); };
  }

  class Missing extends Error {}

  // --- light and dark --------------------------------------------------------------------------------------------

  const THEME = "storage-manager-theme";

  function stored(value) {  // browsers can refuse to store values
    try {
      if (value) localStorage.setItem(THEME, value);
      return localStorage.getItem(THEME);
    } catch { return null; }
  }

  function applyTheme(theme) {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  }

  applyTheme(stored());

  function startTheme() {
    const button = $("#theme");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    const name = () => button.setAttribute("aria-label", isDark() ? "Use light colors" : "Use dark colors");
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      applyTheme(theme);
      stored(theme);
      name();
    });
    dark.addEventListener("change", name);
    name();
  }

  // --- the sources of components ---------------------------------------------------------------------------------

  /* Both sources have text(n, name) and image(n) for the number of a step; image(n) gives a URL for <img>. They throw
     Missing if there is no such component. about() gives the text of the session's metadata. For attachments, n is null
     if they are those of the session. */

  function liveSource(session, steps) {
    const base = `/sessions/${encodeURIComponent(session)}`;
    const directory = (n) => (n === null ? base : path(n)) + "/attachments";
    const path = (n, name) => `${base}/${encodeURIComponent(steps[n])}${name ? "/" + name : ""}`;

    async function get(url) {
      let response;
      try {
        response = await fetch(url, { cache: "no-store" });
      } catch {
        throw new Error("The server does not answer. Is it still running?");
      }
      if (response.ok) return response;
      const reason = await response.text();
      throw response.status === 404 ? new Missing(reason) : new Error(reason || `The server answered ${response.status}.`);
    }

    return {
      link: (n) => path(n),
      raw: (n, name) => path(n, name),
      async text(n, name) {
        const since = name === "changes" && n ? `?since=${encodeURIComponent(steps[n - 1])}` : "";
        return (await get(path(n, name) + since)).text();
      },
      async image(n) {
        const blob = await (await get(path(n, "screenshot"))).blob();
        return { url: URL.createObjectURL(blob), size: blob.size };
      },
      about: async () => (await get(`/api${base}/metadata`)).text(),
      attachments: async (n) => (await get(`/api${directory(n)}`)).json(),
      attachmentLink: (n, name) => `${directory(n)}/${encodeURIComponent(name)}`,
      attachment: async (n, name) => get(`${directory(n)}/${encodeURIComponent(name)}`),
    };
  }

  function fileSource(steps, { metadata, attachments }) {
    const pause = () => new Promise((done) => setTimeout(done, 20));

    async function block(n, name) {
      const find = () => document.getElementById(`c-${n}-${name}`);
      const isPast = () => document.getElementById(`c-${n}-changes`);  // the last block of a step; every step has it
      while (!isPast() && !find()?.nextSibling && document.readyState === "loading") await pause();  // until the browser has read it
      const node = find();
      if (!node) throw new Missing(`This step has no ${name === "html" ? "HTML" : name}.`);
      if (node.dataset.kind === "error") throw new Error(JSON.parse(node.textContent));
      return node;
    }

    return {
      link: (n) => `${location.href.split("#")[0]}#${encodeURIComponent(steps[n])}`,
      raw: () => null,
      async text(n, name) {
        const node = await block(n, name);
        return node.dataset.kind === "json" ? node.textContent : JSON.parse(node.textContent);
      },
      async image(n) {
        const node = await block(n, "screenshot");
        return { url: `data:${node.dataset.kind};base64,${node.textContent}`, size: node.textContent.length };
      },
      async about() {
        if (metadata === null) throw new Missing("This session has no metadata.");
        if (metadata.error) throw new Error(metadata.error);
        return metadata.text;
      },
      attachments: async () => ({ attachments: [], more: attachments }),
    };
  }

  /* Keep the latest results, up to `most` bytes. Several calls for the same step wait for one answer. */
  function remembering(load, most, forget = () => {}) {
    const kept = new Map();
    let size = 0;
    const trim = (keep) => {
      for (const [key, entry] of kept) {
        if (size <= most) return;
        if (key === keep || !entry.value) continue;
        kept.delete(key);
        size -= entry.value.size;
        forget(entry.value);
      }
    };
    const get = (n) => {
      const entry = kept.get(n);
      if (entry) { kept.delete(n); kept.set(n, entry); return entry.promise; }
      const fresh = { value: null, promise: load(n) };
      kept.set(n, fresh);
      fresh.promise.then((value) => { fresh.value = value; size += value.size; trim(n); }, () => kept.delete(n));
      return fresh.promise;
    };
    get.peek = (n) => kept.get(n)?.value ?? null;
    return get;
  }

  // --- a stored page, made inert ---------------------------------------------------------------------------------

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

  /* Parse a JSON object. Return {} if the text is no JSON object, or if it is too large to parse quickly. */
  function parsed(text) {
    let value = null;
    try { if (text.length < 1e6) value = JSON.parse(text); } catch { /* the panel shows the text */ }
    return value && typeof value === "object" ? value : {};
  }

  function viewportOf(text) {
    const metadata = parsed(text);
    let value = null;
    for (const key of ["viewport", "viewport_size", "viewportSize", "window_size"]) value ??= metadata[key];
    if (typeof value === "string") value = value.split(/[x×,]/).map(Number);
    const [width, height] = Array.isArray(value) ? value : [value?.width, value?.height];
    const isSize = (n) => Number.isFinite(n) && n >= 50 && n <= 10000;
    return isSize(width) && isSize(height) ? [width, height] : [1280, 720];
  }

  // --- JSON, formatted from its text: numbers keep their digits, and there is no limit on depth -------------------

  const MAX_TOKENS = 20000, MAX_STRING = 4000, MAX_INDENT = 40, MAX_SHOWN = 1e6;

  function endOfString(text, start) {
    for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
      let slashes = 0;
      while (text[at - 1 - slashes] === "\\") slashes += 1;
      if (slashes % 2 === 0) return at + 1;
    }
    return text.length;
  }

  function shortened(token) {
    return token.length <= MAX_STRING ? token : `${token.slice(0, MAX_STRING)}… (${count(token.length - MAX_STRING, "more character")})`;
  }

  function isJson(text) {
    try { return text.length >= 1e6 || JSON.parse(text) !== undefined; } catch { return false; }
  }

  function json(text) {
    if (!isJson(text)) {
      const view = el("pre", { class: "json", tabindex: "0" }, text.slice(0, MAX_TOKENS));
      return [view, el("p", { class: "note" }, "This is not JSON. It is shown as stored.")];
    }
    const view = el("pre", { class: "json", tabindex: "0" });
    const write = (token, kind) => { shown += token.length; view.append(kind ? el("span", { class: kind }, token) : token); };
    const line = (depth) => "\n" + "  ".repeat(Math.min(depth, MAX_INDENT));
    let depth = 0, tokens = 0, at = 0, shown = 0, pending = "";
    const plain = (token) => { pending += token; };
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
        write(shortened(text.slice(at, end)), text[after] === ":" ? "key" : "string");
      } else {
        while (end < text.length && !/[\s"{}[\]:,]/.test(text[end])) end += 1;
        const token = shortened(text.slice(at, end));
        flush();
        write(token, /^[-\d]/.test(token) ? "number" : "word");
      }
      at = end;
    }
    flush();
    const left = text.slice(at, at + 1000).trim() ? text.length - at : 0;
    return left ? [view, el("p", { class: "note" }, `${count(left, "more character")} not shown.`)] : [view];
  }

  /* Describe an action in a few words, for example "click #buy"; "" if it has no known field. */
  function brief(text) {
    const action = parsed(text);
    const params = action.params && typeof action.params === "object" ? action.params : {};
    const first = (...names) => {
      for (const name of names) for (const from of [action, params]) {
        if (typeof from[name] === "string" && from[name]) return from[name];
      }
      return "";
    };
    const type = first("type", "action", "name", "method", "kind");
    const detail = first("selector", "url", "element", "target", "key");
    const value = first("text", "value");
    return [type, detail !== type ? detail : "", value && value !== type ? `“${value}”` : ""].filter(Boolean).map((word) => word.slice(0, 120)).join(" ");
  }

  // --- the film strip: only steps near its visible part exist -------------------------------------------------------

  const CELL = 148;

  function filmStrip(steps, source, images, actions, choose) {
    const strip = $("#strip"), film = $("#film");
    const cells = new Map();
    const thumbs = queue(4);
    let current = 0, timer = 0;
    film.style.width = `${steps.length * CELL}px`;

    const range = (margin) => {
      const first = Math.max(0, Math.floor(strip.scrollLeft / CELL) - margin);
      const last = Math.min(steps.length - 1, Math.ceil((strip.scrollLeft + strip.clientWidth) / CELL) - 1 + margin);
      return [first, last];
    };

    function make(n) {
      const box = el("span", { class: "thumb" });
      const link = el("a", { href: source.link(n), "data-step": steps[n], tabindex: "-1" },
        box, el("span", { class: "caption" }, el("span", { class: "hidden" }, "Step "), el("b", {}, String(n + 1)), " ", steps[n]));
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault();
        choose(n);
      });
      const item = el("li", { "aria-setsize": String(steps.length), "aria-posinset": String(n + 1) }, link);
      item.style.left = `${n * CELL}px`;
      return { item, link, box };
    }

    function mark(cell, n) {
      cell.link.tabIndex = n === current ? 0 : -1;
      if (n === current) cell.link.setAttribute("aria-current", "step");
      else cell.link.removeAttribute("aria-current");
    }

    function draw() {
      const [first, last] = range(4);
      for (const [n, cell] of cells) if ((n < first || n > last) && n !== current) { cell.item.remove(); cells.delete(n); }
      for (let n = first; n <= last; n += 1) {
        if (cells.has(n)) continue;
        const cell = make(n);
        cells.set(n, cell);
        mark(cell, n);
        let before = null;  // the order in the document is the order of the steps
        for (const [other, { item }] of cells) if (other > n && (before === null || other < before[0])) before = [other, item];
        film.insertBefore(cell.item, before && before[1]);
        if (images.peek(n)) fill(n);
      }
      clearTimeout(timer);
      timer = setTimeout(fillVisible, 100);
    }

    function fillVisible() {
      const [first, last] = range(0);
      for (let n = last; n >= first; n -= 1) {  // the queue runs the newest first
        if (cells.get(n)?.link.dataset.thumb) continue;
        thumbs(async () => {
          const [from, to] = range(0);
          if (n >= from && n <= to) await fill(n);
        });
      }
    }

    async function fill(n) {
      const cell = cells.get(n);
      if (!cell || cell.link.dataset.thumb) return;
      cell.link.dataset.thumb = "wanted";
      try {
        const { url } = await images(n);
        const image = el("img", { src: url, alt: "", decoding: "async" });
        image.addEventListener("error", () => { cell.link.dataset.thumb = "failed"; cell.box.replaceChildren("unreadable"); });
        cell.box.replaceChildren(image);
        cell.link.dataset.thumb = "loaded";
      } catch (error) {
        cell.link.dataset.thumb = error instanceof Missing ? "missing" : "failed";
        cell.box.replaceChildren(error instanceof Missing ? "no screenshot" : "unreadable");
        try {
          const text = error instanceof Missing ? brief((await actions(n)).text) : "";
          if (text) cell.box.replaceChildren(text.slice(0, 60));
        } catch { /* the text "no screenshot" stays */ }
      }
    }

    strip.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    new ResizeObserver(draw).observe(strip);

    return (n, focus) => {
      current = n;
      const left = n * CELL, visible = strip.clientWidth;
      if (left < strip.scrollLeft || left + CELL > strip.scrollLeft + visible) strip.scrollLeft = left - (visible - CELL) / 2;
      draw();
      for (const [other, cell] of cells) mark(cell, other);
      if (focus) cells.get(n)?.link.focus({ preventScroll: true });
    };
  }

  /* Show the result of `work` in an element, unless the user is looking at something else by then. Return false
     then. */
  async function show(area, work) {
    const turn = area.turn = {};
    area.dataset.state = "loading";
    area.setAttribute("aria-busy", "true");
    let state = "shown", nodes;
    try {
      nodes = await work();
    } catch (error) {
      state = error instanceof Missing ? "missing" : "failed";
      nodes = [el("p", { class: "empty" }, error.message)];
    }
    if (area.turn !== turn) return false;
    area.replaceChildren(...nodes);
    area.dataset.state = state;
    area.removeAttribute("aria-busy");
    return true;
  }

  /* Format JSON as a region that can be scrolled with the keyboard. */
  function jsonRegion(text, label) {
    const nodes = json(text);
    nodes[0].setAttribute("role", "region");
    nodes[0].setAttribute("aria-label", label);
    return nodes;
  }

  // --- attachments -----------------------------------------------------------------------------------------------

  const MAX_TEXT = 1e6, MAX_IMAGE = 32e6;  // bytes that are shown in the page

  const isImage = (type) => /^image\/[a-z0-9.+-]+$/.test(type) && !type.includes("xml");
  const isText = (type) => /^(text\/|application\/(json|jsonl)$)/.test(type);

  /* Return the content of an attachment as elements. Text is a text node, and an image an <img>, which runs nothing. */
  async function content(source, n, { name, type }) {
    const response = await source.attachment(n, name);
    if (!isImage(type)) {
      const text = await response.text();
      if (type === "application/json") return jsonRegion(text, `${name} as JSON`);
      return [el("pre", { class: "json text", tabindex: "0", role: "region", "aria-label": name }, text)];
    }
    const url = URL.createObjectURL(new Blob([await response.arrayBuffer()], { type }));
    const image = el("img", { alt: name, src: url });
    try {
      await image.decode();
    } catch {
      throw new Error("This browser cannot show it: it is not a known image format.");
    } finally {
      URL.revokeObjectURL(url);
    }
    return [image];
  }

  function attachment(source, n, found) {
    const { name, size, type } = found;
    const kind = type.split(";")[0], link = source.attachmentLink(n, name);
    const isOpened = isImage(kind) || isText(kind), isShown = isOpened && size <= (isImage(kind) ? MAX_IMAGE : MAX_TEXT);
    const about = [el("span", { class: "name", title: name }, name), " ", el("span", { class: "soft" }, `${kind}, ${bytes(size)}`)];
    const raw = el("a", { class: "raw", href: link, download: isOpened ? null : name },
      isOpened ? "Raw" : "Download", el("span", { class: "hidden" }, ` ${name}`));
    const node = (...children) => el("div", { class: "attachment", "data-name": name }, ...children, raw);
    if (!isShown) return node(el("div", { class: "line" }, ...about));
    const area = el("div", { class: "content" });
    const details = el("details", {}, el("summary", {}, ...about), area);
    details.addEventListener("toggle", () => {
      if (details.open && area.dataset.state !== "shown") show(area, () => content(source, n, { name, type: kind }));
    });
    return node(details);
  }

  /* Return the list of attachments as elements. Throw Missing with the text `none` if there are none. */
  function attachmentList(source, n, { attachments, more }, none) {
    if (!attachments.length && !more) throw new Missing(none);
    const list = el("div", { class: "attachments" }, ...attachments.map((found) => attachment(source, n, found)));
    return more ? [list, el("p", { class: "note" }, `${count(more, "more attachment")} not shown.`)] : [list];
  }

  // --- what there is about a session as a whole ------------------------------------------------------------------

  const OUTCOMES = ["success", "failure", "error", "cancelled"];

  /* Describe the metadata of a session in one line: its outcome, its goal, and who ran it. */
  function sessionLine(text) {
    const { outcome, goal, agent, model, reward, tags } = parsed(text);
    const isWord = (value) => ["string", "number"].includes(typeof value) && value !== "";
    const words = [agent, model, isWord(reward) ? `reward ${reward}` : null, ...(Array.isArray(tags) ? tags.slice(0, 10) : [])];
    const badge = OUTCOMES.includes(outcome) ? outcome : null;
    return [
      isWord(outcome) && el("b", { class: "outcome", "data-outcome": badge }, String(outcome).slice(0, 40)),
      isWord(goal) && el("span", { class: "goal" }, String(goal).slice(0, 500)),
      ...words.filter(isWord).map((word) => el("span", { class: "soft" }, String(word).slice(0, 120))),
    ].filter(Boolean);
  }

  async function aboutSession(source, live, hasSteps) {
    const details = $("#session-about"), line = $("#session-summary");
    const metadata = $("#session-metadata"), attachments = $("#session-attachments");
    let words = [], number = "";
    await Promise.all([
      show(metadata, async () => {
        const text = await source.about();
        words = sessionLine(text);
        return jsonRegion(text, "Metadata of the session as JSON");
      }),
      show(attachments, async () => {
        const found = await source.attachments(null), total = found.attachments.length + found.more;
        if (total) number = live ? count(total, "attachment") : `without ${count(total, "attachment")}`;
        if (live || !total) return attachmentList(source, null, found, "This session has no attachments of its own.");
        return [el("p", { class: "empty" }, `This file does not contain the ${count(total, "attachment")} of the session and its steps.`)];
      }),
    ]);
    if (metadata.dataset.state === "failed") words = [el("span", { class: "failed" }, "The metadata of this session cannot be read.")];
    if (attachments.dataset.state === "failed") number = "The attachments of this session cannot be listed.";
    if (!words.length && metadata.dataset.state === "shown") words = ["Metadata"];
    if (number) words.push(el("span", { class: "soft number" }, number));
    line.replaceChildren(...words);
    details.hidden = !words.length;
    details.open = !hasSteps;
  }

  // --- a session -------------------------------------------------------------------------------------------------

  const VIEWS = { screenshot: "screenshot", page: "html", changes: "changes" };
  const MAX_PAGE = 4e6;

  function startSession({ session, steps, live, ...rest }) {
    const source = live ? liveSource(session, steps) : fileSource(steps, rest);
    aboutSession(source, live, steps.length > 0);
    if (steps.length) startSteps(session, steps, live, source);
    else document.body.dataset.ready = "";
  }

  function startSteps(session, steps, live, source) {
    const images = remembering((n) => source.image(n), 64e6, ({ url }) => URL.revokeObjectURL(url));
    const texts = {};
    for (const name of ["html", "action", "metadata", "changes"]) {
      texts[name] = remembering(async (n) => { const text = await source.text(n, name); return { text, size: 2 * text.length }; }, 16e6);
    }
    const listings = remembering(async (n) => ({ ...(await source.attachments(n)), size: 1 }), 500);
    const stage = $("#stage");
    let current = -1, view = "screenshot", actual = false, chosen = 0, timer = 0;

    async function screenshot(n) {
      const { url } = await images(n);
      const image = el("img", { class: "screenshot", alt: `Screenshot of step ${n + 1}, ${steps[n]}` });
      image.src = url;
      try { await image.decode(); } catch { throw new Error("This browser cannot show the screenshot: it is not a known image format."); }
      return [image];
    }

    async function storedPage(n, anyway = false) {
      const { text } = await texts.html(n);
      if (text.length > MAX_PAGE && !anyway) {
        const button = el("button", { type: "button" }, "Show it anyway");
        button.addEventListener("click", () => showView(() => storedPage(n, true)));
        return [el("p", { class: "empty" }, `This page has ${bytes(text.length)} of HTML. Showing it can take long. `, button)];
      }
      let metadata = "";
      try { metadata = (await texts.metadata(n)).text; } catch { /* use the default size */ }
      const [width, height] = viewportOf(metadata);
      const frame = el("iframe", { class: "page", sandbox: "", title: `Stored page of step ${n + 1}, without scripts`, referrerpolicy: "no-referrer", width: String(width), height: String(height) });
      frame.srcdoc = await inert(text);
      return [el("div", { class: "frame" }, frame)];
    }

    async function changes(n) {
      const found = JSON.parse((await texts.changes(n)).text);
      if (found.reason) throw new Missing(found.reason);
      if (!found.rows.length) return [el("p", { class: "empty" }, `The HTML is the same as in ${found.since}.`)];
      const list = el("div", { class: "changes", tabindex: "0", role: "region", "aria-label": "Changed lines" });
      list.append(el("p", { class: "note" }, el("ins", {}, `+${found.added.toLocaleString("en")}`), " ", el("del", {}, `−${found.removed.toLocaleString("en")}`), ` lines of HTML since ${found.since}`));
      for (const [sign, text] of found.rows) {
        if (sign === "@") list.append(el("div", { "data-sign": "@" }, `${count(Number(text), "equal line")}`));
        else list.append(el("div", { "data-sign": sign }, el("span", {}, sign === "-" ? "−" : sign), el("code", {}, text)));
      }
      if (found.cut) list.append(el("p", { class: "note" }, `${count(found.cut, "more row")} not shown.`));
      return [list];
    }

    const DRAW = { screenshot, page: storedPage, changes };

    function fit() {
      const image = $("img.screenshot", stage), box = $(".frame", stage);
      $("#zoom").hidden = !image && !box;
      $("#zoom").setAttribute("aria-pressed", String(actual));
      if (!image && !box) return;
      const [width, height] = image ? [image.naturalWidth || 1, image.naturalHeight || 1] : [Number(box.firstChild.width), Number(box.firstChild.height)];
      const room = [stage.clientWidth - 24, stage.clientHeight - 24];
      const tall = height > 2 * width;  // a screenshot of a whole page: use the full width, and scroll
      const scale = actual ? 1 : Math.min(1, room[0] / width, tall ? 1 : room[1] / height);
      const target = image || box;
      target.style.width = `${width * scale}px`;
      target.style.height = `${height * scale}px`;
      if (box) box.firstChild.style.transform = `scale(${scale})`;
    }

    async function showView(work) {
      if (await show(stage, work)) fit();
    }

    const panels = ["action", "metadata", ...(live ? ["attachments"] : [])], seen = {};

    function panel(name) {
      const area = $(`#${name}`);
      if (!seen[name] || area.dataset.shown === steps[current]) return;
      const n = current;
      area.dataset.shown = steps[n];
      show(area, async () => {
        if (name === "attachments") return attachmentList(source, n, await listings(n), "This step has no attachments.");
        const { text } = await texts[name](n);
        if (n === current && name === "action") $("#summary").textContent = brief(text);
        if (n === current && name === "metadata") about(text);
        return jsonRegion(text, name === "action" ? "Action as JSON" : "Metadata as JSON");
      });
    }

    function about(text) {
      const value = parsed(text);
      const words = [value.title, value.url].filter((word) => typeof word === "string" && word);
      $("#address").textContent = words.join("  ·  ").slice(0, 500);
    }

    function load() {
      const n = current;
      stage.dataset.view = view;
      showView(() => DRAW[view](n));
      panels.forEach(panel);
    }

    function address(n) {
      const at = view === "screenshot" ? "" : `?view=${view}`;
      try { history.replaceState(null, "", source.link(n) + at); } catch { /* some browsers refuse this for files */ }
    }

    const film = filmStrip(steps, source, images, texts.action, (n) => go(n));

    function go(n, focus = false) {
      n = Math.max(0, Math.min(steps.length - 1, n));
      if (n === current) return;
      current = n;
      document.body.dataset.step = steps[n];
      document.title = `${steps[n]} · ${session}`;
      $("#position").textContent = `${(n + 1).toLocaleString("en")} / ${steps.length.toLocaleString("en")}`;
      $("#step-title").textContent = steps[n];
      $("#summary").textContent = $("#address").textContent = "";
      $("#previous").disabled = n === 0;
      $("#next").disabled = n === steps.length - 1;
      $("#status").textContent = `Step ${n + 1} of ${steps.length}`;
      for (const link of document.querySelectorAll("a[data-raw]")) link.href = source.raw(n, link.dataset.raw) ?? "#";
      rawOfView();
      address(n);
      // load nothing while a key is held down
      stage.dataset.state = "loading";
      for (const name of panels) {
        delete $(`#${name}`).dataset.shown;
        if (!seen[name]) $(`#${name}`).replaceChildren();
      }
      const held = performance.now() - chosen < 150;
      chosen = performance.now();
      clearTimeout(timer);
      if (held) timer = setTimeout(load, 150);
      else load();
      film(n, focus);
    }

    function rawOfView() {
      const link = $("#raw-view");
      if (link) link.href = source.raw(current, VIEWS[view]);
    }

    function look(name) {
      if (!(name in DRAW)) return;
      view = name;
      for (const button of document.querySelectorAll("button[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
      if (current < 0) return;
      rawOfView();
      address(current);
      load();
    }

    for (const button of document.querySelectorAll("button[data-view]")) button.addEventListener("click", () => look(button.dataset.view));
    $("#previous").addEventListener("click", () => go(current - 1));
    $("#next").addEventListener("click", () => go(current + 1));
    $("#zoom").addEventListener("click", () => { actual = !actual; fit(); });

    const KEYS = { ArrowLeft: () => current - 1, ArrowRight: () => current + 1, Home: () => 0, End: () => steps.length - 1 };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.target.closest("input, textarea, select")) return;
      const number = ["1", "2", "3"].indexOf(event.key);
      if (number >= 0) look(Object.keys(VIEWS)[number]);
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      go(KEYS[event.key](), Boolean(document.activeElement?.closest("#film")));
    });

    // after a click into the stored page, the frame gets the keys; take them back when the pointer leaves the frame
    document.addEventListener("pointermove", () => {
      if (document.activeElement?.localName === "iframe") document.activeElement.blur();
    }, { passive: true });

    new ResizeObserver(fit).observe(stage);
    const visible = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        seen[target.id] = isIntersecting;
        if (isIntersecting && current >= 0) panel(target.id);
      }
    });
    for (const name of panels) visible.observe($(`#${name}`));

    function fromAddress() {
      const [name, query] = live ? [location.pathname.split("/")[3], location.search] : location.hash.slice(1).split("?");
      let step = "";
      try { step = decodeURIComponent(name ?? ""); } catch { /* not an address of the viewer */ }
      if (current >= 0 && !steps.includes(step)) return;  // a link within the page
      look(new URLSearchParams(query ?? "").get("view") ?? "screenshot");
      go(Math.max(0, steps.indexOf(step)));
    }

    if (!live) addEventListener("hashchange", fromAddress);
    fromAddress();
    document.body.dataset.ready = "";
  }

  // --- the list ----------------------------------------------------------------------------------------------------

  function startList() {
    const ask = queue(4);

    async function fill(row) {
      try {
        const response = await fetch(`/api/sessions/${encodeURIComponent(row.dataset.session)}`, { cache: "no-store" });
        if (!response.ok) throw new Error(await response.text());
        const { steps, size, modified } = await response.json();
        $(".steps", row).textContent = steps.toLocaleString("en");
        $(".size", row).textContent = bytes(size);
        const date = modified && new Date(modified);
        $(".modified", row).replaceChildren(date ? el("time", { datetime: modified, title: date.toLocaleString() }, ago(date)) : "–");
        row.dataset.state = "shown";
      } catch (error) {
        row.dataset.state = "failed";
        $(".modified", row).replaceChildren(el("span", { class: "failed", title: error.message }, "unreadable"));
      }
    }

    function watch() {
      const visible = new Set();
      const observer = new IntersectionObserver((entries) => {
        for (const { target, isIntersecting } of entries) {
          if (!isIntersecting) { visible.delete(target); continue; }
          visible.add(target);
          ask(async () => {
            if (!visible.has(target) || target.dataset.state) return;
            target.dataset.state = "loading";
            await fill(target);
          });
        }
      });
      for (const row of document.querySelectorAll("#sessions tr[data-session]")) observer.observe(row);
      return observer;
    }

    let observer = watch(), timer = 0, turn = 0;
    const form = $("#search"), input = $("input", form);

    /* Fetch the list for the typed text from the server. Its page is escaped, and a parsed page runs nothing. */
    async function search() {
      const mine = ++turn;
      const url = input.value.trim() ? `/?q=${encodeURIComponent(input.value.trim())}` : "/";
      let text;
      try {
        const response = await fetch(url, { cache: "no-store", headers: { Accept: "text/html" } });
        text = await response.text();
      } catch { return; }
      if (mine !== turn) return;
      const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      observer.disconnect();
      $("#results").replaceChildren(...(fresh.querySelector("#results") ?? fresh).childNodes);
      history.replaceState(null, "", url);
      observer = watch();
    }

    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 150); });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input")) return;
      event.preventDefault();
      input.focus();
    });
  }

  function start() {
    startTheme();
    const data = $("#session-data");
    if (data) startSession(JSON.parse(data.textContent));
    else if ($("#search")) startList();
  }

  // in a file, the script comes after the page and before the data, so that the first step does not wait for the last
  if (document.readyState === "loading" && !$("#session-data")) document.addEventListener("DOMContentLoaded", start);
  else start();
})();
