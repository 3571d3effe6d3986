// @ts-check
/* The list of actions at the side: only rows near its visible part exist. */

const ROW = 44;  // pixels, as in viewer.css

/** @type {Record<string, string>} paths in a square of 16 */
const ICONS = {
  click: "M4 2l9 6-4 1 2 4-2 1-2-4-3 3z", type: "M3 4V3h10v1M8 3v10M6 13h4", press: "M2 4h12v8H2zM5 9h6", go: "M2 8h11M9 4l4 4-4 4",
  scroll: "M8 2v12M5 5l3-3 3 3M5 11l3 3 3-3", hover: "M8 3a5 5 0 1 0 .01 0M8 7v2", select: "M3 8l3 4 7-8", drag: "M3 3h6v6H3zM7 7h6v6H7z",
  tab: "M2 6h5l1-3h6v10H2z", wait: "M8 2a6 6 0 1 0 .01 0M8 5v3l2 2", done: "M4 14V2h8l-2 3 2 3H4", code: "M6 4L2 8l4 4M10 4l4 4-4 4",
  check: "M8 2l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V4zM6 8l2 2 3-4", other: "M8 6a2 2 0 1 0 .01 0",
};

/** @param {string} kind */
function icon(kind) {
  const [svg, path] = ["svg", "path"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  path.setAttribute("d", ICONS[kind] ?? ICONS.other);
  svg.append(path);
  return svg;
}

/** Write an action as the beginning of a sentence. @param {string} words */
const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** The duration of a step in milliseconds: as stored, or the time since the step before or until the next; null if it is not known. @param {Run} run @param {number} n */
function tookOf(run, n) {
  const own = run.known.get(n);
  if (!own || own.duration !== null) return own?.duration ?? null;
  const observed = own.observed ?? run.observed;
  const [from, to] = observed === "before" ? [own, run.known.get(n + 1)] : observed === "after" ? [run.known.get(n - 1), own] : [];
  const took = from?.moment && to?.moment ? to.moment - from.moment : -1;
  return took >= 0 ? took : null;
}

/**
 * @param {Run} run
 * @param {(n: number) => void} choose
 */
function createStepList(run, choose) {
  const strip = $("#strip"), film = $("#film");
  /** @typedef {{ item: HTMLLIElement, link: HTMLAnchorElement, words: HTMLElement, more: HTMLElement, mark: HTMLElement }} Cell */
  /** @type {Map<number, Cell>} by the number of the step */
  const cells = new Map();
  /** @type {number[] | null} */
  let shown = null;
  /** @type {Map<number, string>} */
  let found = new Map();
  let current = 0, timer = 0;

  const total = () => shown?.length ?? run.steps.length;
  const stepAt = (/** @type {number} */ row) => (shown ? shown[row] : row);
  const rowOf = (/** @type {number} */ n) => (shown ? shown.indexOf(n) : n);

  /** The first and the last row that can be seen, with `margin` more. @param {number} margin */
  function range(margin) {
    const first = Math.max(0, Math.floor(strip.scrollTop / ROW) - margin);
    return [first, Math.min(total() - 1, Math.ceil((strip.scrollTop + strip.clientHeight) / ROW) - 1 + margin)];
  }

  /** @param {number} n @returns {Cell} */
  function make(n) {
    const mark = el("span", { class: "kind" }), words = el("span", { class: "words" }, run.steps[n]), more = el("span", { class: "more" });
    const link = el("a", { href: run.source.link(n), "data-step": run.steps[n], tabindex: "-1" },
      el("span", { class: "number" }, el("span", { class: "hidden" }, "Step "), String(n + 1)), mark, words, more);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      choose(n);
    });
    return { item: el("li", {}, link), link, words, more, mark };
  }

  /** @param {Cell} cell @param {number} n */
  function place(cell, n) {
    const row = rowOf(n);
    cell.item.style.top = `${row * ROW}px`;
    cell.item.setAttribute("aria-setsize", String(total()));
    cell.item.setAttribute("aria-posinset", String(row + 1));
    cell.link.tabIndex = n === current ? 0 : -1;
    if (n === current) cell.link.setAttribute("aria-current", "step");
    else cell.link.removeAttribute("aria-current");
  }

  function draw() {
    film.style.height = `${total() * ROW}px`;
    const [first, last] = range(6), wanted = new Set();
    for (let row = first; row <= last; row += 1) wanted.add(stepAt(row));
    if (rowOf(current) >= 0) wanted.add(current);
    for (const [n, cell] of cells) if (!wanted.has(n)) { cell.item.remove(); cells.delete(n); }
    for (const n of [...wanted].sort((a, b) => a - b)) {
      let cell = cells.get(n);
      if (!cell) {
        cell = make(n);
        cells.set(n, cell);
        const after = [...cells].filter(([other]) => other > n).sort(([a], [b]) => a - b)[0];  // in the order of the steps
        film.insertBefore(cell.item, after ? after[1].item : null);
        if (run.known.has(n)) write(n);
      }
      place(cell, n);
    }
    clearTimeout(timer);
    timer = setTimeout(fill, 100);
  }

  function fill() {
    const [first, last] = range(0);
    for (let row = first; row <= last; row += 1) if (!cells.get(stepAt(row))?.link.dataset.kind) read(stepAt(row));
  }

  /** Read the summary of a step. @param {number} n */
  async function read(n) {
    let summary;
    try { summary = await run.summary(n); } catch (error) { return writeError(n, messageOf(error)); }
    write(n, summary);
    for (const other of [n - 1, n + 1]) if (run.known.has(other)) write(other);  // their durations
    film.dispatchEvent(new Event("summary"));
  }

  /** Write into a row why its step cannot be read. It is read again later. @param {number} n @param {string} why */
  function writeError(n, why) {
    const cell = cells.get(n);
    if (!cell) return;
    cell.more.textContent = why;
    cell.link.title = `${run.steps[n]}\n${why}`;
  }

  /** Write the summary of a step into its row. @param {number} n @param {Summary} [summary] */
  function write(n, summary = run.known.get(n)) {
    const cell = cells.get(n);
    if (!cell || !summary) return;
    const took = tookOf(run, n), damage = summary.isDamaged ? "action cannot be read" : "";
    const line = found.get(n) ?? [damage, summary.host, took === null ? "" : durationText(took)].filter(Boolean).join(" · ");
    cell.words.textContent = capital(summary.words) || run.steps[n];
    cell.more.textContent = line || (summary.words ? run.steps[n] : "no known action");
    cell.mark.replaceChildren(icon(summary.kind));
    cell.link.dataset.kind = summary.kind;
    cell.link.title = [run.steps[n], summary.words, summary.error].filter(Boolean).join("\n").slice(0, 1000);
    if (!summary.error) return;
    cell.link.dataset.failed = "";
    if (!cell.link.querySelector(".failure")) cell.link.append(el("span", { class: "failure" }, el("span", { class: "hidden" }, "failed")));
  }

  strip.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  new ResizeObserver(draw).observe(strip);

  return {
    draw,
    /** Mark a step, and bring it into view. @param {number} n @param {boolean} focus */
    select(n, focus) {
      current = n;
      film.style.height = `${total() * ROW}px`;
      const top = rowOf(n) * ROW, height = strip.clientHeight;
      if (top >= 0 && (top < strip.scrollTop || top + ROW > strip.scrollTop + height)) strip.scrollTop = top - (height - ROW) / 2;
      draw();
      if (focus) cells.get(n)?.link.focus({ preventScroll: true });
    },
    /** Show only these steps, with the words that were found; null: show all. @param {Map<number, string> | null} matches */
    filter(matches) {
      shown = matches && [...matches.keys()].sort((a, b) => a - b);
      found = matches ?? new Map();
      strip.scrollTop = 0;
      draw();
      for (const n of cells.keys()) write(n);
    },
    /** The step after or before the current one, of those that are shown. @param {1 | -1} direction */
    next(direction) {
      if (!shown) return current + direction;
      const others = shown.filter((n) => (n - current) * direction > 0);
      return (direction > 0 ? others[0] : others[others.length - 1]) ?? current;
    },
  };
}
