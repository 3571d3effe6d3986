// @ts-check
/* The film strip: only steps near its visible part exist. */

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
