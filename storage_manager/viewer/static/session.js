// @ts-check
/* The page of a session: one current step in one view. Keys, clicks, addresses, playback and search select it. */

/** @type {Record<View, string>} the component that a view shows */
const VIEWS = { screenshot: "screenshot", page: "html", changes: "changes", compare: "screenshot" };
const HELD = 150;  // milliseconds; steps that follow each other faster are due to a key that is held down
const ERRORS_AT_ONCE = [8, 64];  // steps that are read at a time to find the next error: at first, and at most

/** @param {{ session: string, steps: string[], live: boolean, sealed?: boolean, metadata?: any, attachments?: number }} data */
function startSession({ session, steps, live, sealed, ...rest }) {
  const run = openRun(session, steps, live ? liveSource(session, steps) : fileSource(steps, rest));
  const about = aboutSession(run, steps.length > 0);
  if (sealed !== undefined) markSealed(sealed);
  const grow = steps.length ? startSteps(run, about) : () => location.reload();
  document.body.dataset.ready = "";
  if (live) follow(run, grow);
}

/**
 * @param {Run} run
 * @param {Promise<void>} about settled after the session's metadata was read
 */
function startSteps(run, about) {
  const { steps, source } = run;
  const stage = createStage(run, (isNew) => address(isNew)), panels = createPanels(run);
  let current = -1, chosen = 0, timer = 0;
  let view = /** @type {View} */ ("screenshot"), side = /** @type {Side | null} */ (null);
  const list = createStepList(run, (n) => go(n));
  const line = createTimeline(run, (n) => go(n));
  const playback = createPlayback(run, () => current, (n) => go(n, { isNew: false }));
  startSearch(run, list, (n) => go(n));
  let drawing = 0;
  $("#film").addEventListener("summary", () => { cancelAnimationFrame(drawing); drawing = requestAnimationFrame(() => { line.draw(); markErrors(); }); });

  // --- what is shown -----------------------------------------------------------------------------------------------

  function load() {
    const n = current;
    $("#stage").dataset.view = view;
    stage.draw(async () => stage.views[view](n, view === "screenshot" || view === "page" ? await pageOf(run, n, side) : n)).then(first);
    panels.load();
    markSides();
  }

  let isFirst = true;
  /** Fill the timeline after the first step is shown. */
  function first() {
    if (!isFirst) return;
    isFirst = false;
    line.start().then(markErrors);
  }

  async function markSides() {
    const n = current, observed = await observedAt(run, n);
    if (n !== current) return;
    $("#sides").hidden = observed === null || (view !== "screenshot" && view !== "page");
    for (const each of every("button[data-side]")) each.setAttribute("aria-pressed", String(each.dataset.side === (side ?? observed)));
  }

  /** Write the step and the view into the address. @param {boolean} isNew true: Back leads to the address before */
  function address(isNew) {
    const query = new URLSearchParams({ ...(view === "screenshot" ? {} : { view }), ...(side ? { at: side } : {}), ...(view === "compare" ? stage.comparison.parameters() : {}) }).toString();
    const url = source.link(current) + (query && `?${query}`);
    try { history[isNew ? "pushState" : "replaceState"](null, "", url); } catch { /* some browsers refuse this for files */ }
  }

  function rawLinks() {
    for (const link of every("a[data-raw]")) link.setAttribute("href", source.raw(current, link.dataset.raw ?? "") ?? "#");
    document.querySelector("#raw-view")?.setAttribute("href", source.raw(current, VIEWS[view]) ?? "#");
  }

  function position() {
    $("#position").textContent = `${(current + 1).toLocaleString("en")} / ${steps.length.toLocaleString("en")}`;
    button("#previous").disabled = current === 0;
    button("#next").disabled = current === steps.length - 1;
  }

  /** Go to a step. @param {number} n @param {{ focus?: boolean, isNew?: boolean }} [how] */
  function go(n, { focus = false, isNew = true } = {}) {
    n = Math.max(0, Math.min(steps.length - 1, n));
    if (n === current) return;
    const held = performance.now() - chosen < HELD;
    chosen = performance.now();
    isNew &&= current >= 0 && !held;
    current = n;
    document.body.dataset.step = steps[n];
    document.title = `${steps[n]} · ${run.session}`;
    $("#step-title").textContent = steps[n];
    $("#status").textContent = `Step ${n + 1} of ${steps.length}`;
    position();
    rawLinks();
    address(isNew);
    $("#stage").dataset.state = "loading";
    panels.clear(n);
    clearTimeout(timer);
    if (held) timer = setTimeout(load, HELD);  // load nothing while a key is held down
    else load();
    list.select(n, focus);
    line.select(n);
  }

  /** Change the view, or the side of the action. @param {string | null} name @param {string | null} [at] */
  function look(name, at = side) {
    if (name !== null && Object.hasOwn(VIEWS, name)) view = /** @type {View} */ (name);
    side = observedOf(at);
    for (const each of every("button[data-view]")) each.setAttribute("aria-pressed", String(each.dataset.view === view));
    if (current < 0) return;
    rawLinks();
    address(false);
    load();
  }

  /** Show the other side of the action, if the side that is shown is known. */
  function turn() {
    if (view !== "screenshot" && view !== "page") return;
    const observed = run.known.get(current)?.observed ?? run.observed;
    if (observed) look(view, (side ?? observed) === "after" ? "before" : "after");
  }

  // --- the next error ----------------------------------------------------------------------------------------------

  /** Disable the button if the actions of all steps are known, and none failed. */
  function markErrors() {
    const isNone = run.known.size === steps.length && ![...run.known.values()].some(({ error }) => error);
    button("#next-error").disabled = isNone;
    $("#next-error").title = isNone ? "No step of this session failed" : "Next step that failed (e)";
  }

  /** Go to the next step that failed. @param {1 | -1} direction */
  async function nextError(direction) {
    if (button("#next-error").disabled) return;
    const from = current;
    let [many, most] = ERRORS_AT_ONCE;
    for (let at = from + direction; at >= 0 && at < steps.length; at += direction * many, many = Math.min(2 * many, most)) {
      const numbers = Array.from({ length: many }, (_, i) => at + i * direction).filter((n) => n >= 0 && n < steps.length);
      const summaries = await Promise.all(numbers.map((n) => summaryOf(run, n)));
      if (current !== from) return;
      const failed = numbers.find((_, i) => summaries[i].error);
      if (failed !== undefined) {
        $("#said").hidden = true;
        return go(failed);
      }
      notify(`Looking for an error: ${numbers[numbers.length - 1] + 1} of ${steps.length}`);
    }
    markErrors();
    notify(direction > 0 ? "No step after this one failed." : "No step before this one failed.");
  }

  /** Show a message for four seconds. @param {string} text */
  function notify(text) {
    const note = $("#said");
    note.textContent = text;
    note.hidden = false;
    clearTimeout(Number(note.dataset.timer));
    note.dataset.timer = String(setTimeout(() => { note.hidden = true; }, 4000));
  }

  // --- keys, buttons and addresses ---------------------------------------------------------------------------------

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      notify("The link to this step and view is copied.");
    } catch {
      notify(`This browser does not allow copying. The link: ${location.href}`);
    }
  }

  const help = /** @type {HTMLDialogElement} */ ($("#help"));
  const names = /** @type {View[]} */ (Object.keys(VIEWS));
  const move = (/** @type {number} */ n) => go(n, { focus: Boolean(document.activeElement?.closest("#film")) });
  /** @type {Record<string, () => unknown>} */
  const KEYS = {
    ArrowLeft: () => move(list.next(-1)), ArrowRight: () => move(list.next(1)), Home: () => move(0), End: () => move(steps.length - 1),
    1: () => look(names[0]), 2: () => look(names[1]), 3: () => look(names[2]), 4: () => look(names[3]),
    b: turn, e: () => nextError(1), E: () => nextError(-1), p: playback.toggle, l: copyLink,
    "+": () => stage.step(1), "-": () => stage.step(-1), 0: () => stage.setZoom(0), "/": () => $("#find").focus(), "?": () => help.showModal(),
  };
  const LIST_KEYS = { ArrowUp: () => move(list.next(-1)), ArrowDown: () => move(list.next(1)) };

  document.addEventListener("keydown", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || target.closest("input, textarea, select")) return;
    const key = /** @type {Record<string, () => unknown>} */ (target.closest("#film") ? { ...KEYS, ...LIST_KEYS } : KEYS)[event.key];
    if (!key || (event.shiftKey && event.key.length > 1)) return;
    event.preventDefault();
    key();
  });

  for (const each of every("button[data-view]")) each.addEventListener("click", () => look(each.dataset.view ?? null));
  for (const each of every("button[data-side]")) each.addEventListener("click", () => look(null, each.dataset.side));
  $("#previous").addEventListener("click", () => go(list.next(-1)));
  $("#next").addEventListener("click", () => go(list.next(1)));
  $("#next-error").addEventListener("click", () => nextError(1));
  $("#copy").addEventListener("click", copyLink);
  $("#keys").addEventListener("click", () => help.showModal());
  $("#close").addEventListener("click", () => help.close());

  // after a click into the stored page, the frame gets the keys; take them back when the pointer leaves the frame
  document.addEventListener("pointermove", () => {
    const active = /** @type {HTMLElement | null} */ (document.activeElement);
    if (active?.localName === "iframe") active.blur();
  }, { passive: true });

  function fromAddress() {
    const [name, query] = source.live ? [location.pathname.split("/")[3], location.search] : location.hash.slice(1).split("?");
    let step = "";
    try { step = decodeURIComponent(name ?? ""); } catch { /* not an address of the viewer */ }
    if (current >= 0 && name && !steps.includes(step)) return;  // a link within the page
    const given = new URLSearchParams(query ?? "");
    const isOther = steps.indexOf(step) !== current;
    if (isOther) { view = "screenshot"; side = null; }
    stage.comparison.choose(given);
    const before = current;
    current = isOther ? -1 : current;  // so that `look` does not change the address yet
    look(given.get("view") ?? "screenshot", given.get("at"));
    current = isOther ? before : current;
    go(Math.max(0, steps.indexOf(step)), { isNew: false });
  }

  addEventListener("popstate", fromAddress);
  fromAddress();
  about.then(markSides);

  /** Show steps that were added. Stay at the last step if it was shown. @param {number} added */
  return (added) => {
    const wasLast = current === steps.length - 1 - added;
    list.draw();
    position();
    markErrors();
    if (wasLast && !playback.isOn()) go(steps.length - 1, { isNew: false });
    else line.draw();
  };
}
