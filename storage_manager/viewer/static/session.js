// @ts-check
/* A session. */

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
