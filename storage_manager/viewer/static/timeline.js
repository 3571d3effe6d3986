// @ts-check
/* The timeline: screenshots at equal distances of time, and a tick for each step. It is for the pointer; the list of
   actions has the same steps for the keyboard and for screen readers. */

const THUMB = 104, MAX_TICKS = 400;  // pixels; ticks

/**
 * The positions of the steps from 0 to 1: by time if at least two times are known, otherwise by number. A step without a
 * known time is placed between the others.
 * @param {(number | null)[]} moments in milliseconds
 */
function placesOf(moments) {
  const known = moments.flatMap((moment, n) => (moment === null ? [] : [[n, moment]]));
  for (let i = 1; i < known.length; i += 1) known[i][1] = Math.max(known[i][1], known[i - 1][1]);  // clocks may go back
  const last = Math.max(1, moments.length - 1), [first, end] = [known[0], known[known.length - 1]];
  if (known.length < 2 || end[1] === first[1]) return { places: moments.map((_, n) => n / last), span: 0 };
  const pace = (end[1] - first[1]) / (end[0] - first[0]);
  let next = 0;
  const times = moments.map((_, n) => {
    while (next < known.length && known[next][0] < n) next += 1;
    if (next === 0) return first[1] - (first[0] - n) * pace;
    if (next === known.length) return end[1] + (n - end[0]) * pace;
    const [[from, start], [to, stop]] = [known[next - 1], known[next]];
    return start + (stop - start) * (n - from) / (to - from);
  });
  const from = times[0], span = times[times.length - 1] - from;
  return { places: times.map((time) => (span ? (time - from) / span : 0)), span };
}

/** @param {Run} run @param {(n: number) => void} choose */
function createTimeline(run, choose) {
  const area = $("#timeline"), thumbs = $(".thumbs", area), ticks = $(".ticks", area), end = $(".end", area);
  const loading = queue(4);
  let current = 0, places = /** @type {number[]} */ ([]), drawn = "";

  const slots = () => Math.max(1, Math.min(Math.floor(thumbs.clientWidth / THUMB), run.steps.length));

  /** Up to a dozen steps at equal distances. Their times determine the positions of the others. */
  function samples() {
    const most = Math.min(run.steps.length, 12);
    return [...new Set(Array.from({ length: most }, (_, i) => Math.round(i * (run.steps.length - 1) / Math.max(1, most - 1))))];
  }

  /** The step that was current at a position from 0 to 1. @param {number} place */
  function stepAt(place) {
    let n = 0;
    while (n + 1 < places.length && places[n + 1] <= place) n += 1;
    return n;
  }

  /** The step whose tick is nearest. @param {number} place */
  function nearest(place) {
    const n = stepAt(place);
    return n + 1 < places.length && places[n + 1] - place < place - places[n] ? n + 1 : n;
  }

  function draw() {
    const { places: now, span } = placesOf(run.steps.map((_, n) => run.known.get(n)?.moment ?? null));
    places = now;
    end.textContent = span ? durationText(span) : "";
    const each = Math.ceil(run.steps.length / MAX_TICKS);
    let failed = -1;  // the position of the last tick of a step that failed
    ticks.replaceChildren(...run.steps.flatMap((_, n) => {
      const isFailed = run.known.get(n)?.error && places[n] - failed > 1 / MAX_TICKS / 2;
      if (isFailed) failed = places[n];
      return isFailed || n % each === 0 || n === current ? [tick(n)] : [];
    }));
    drawThumbs();
  }

  /** @param {number} n */
  function tick(n) {
    const failed = run.known.get(n)?.error ? "" : null;
    const node = el("i", { class: "tick", "data-failed": failed, "data-current": n === current ? "" : null });
    node.style.left = `${places[n] * 100}%`;
    return node;
  }

  function drawThumbs() {
    const total = slots(), wanted = Array.from({ length: total }, (_, slot) => stepAt((slot + 0.5) / total));
    if (drawn === wanted.join()) return;
    drawn = wanted.join();
    const boxes = wanted.map((n) => el("span", { class: "thumb", "data-of": run.steps[n], title: run.steps[n] }));
    thumbs.replaceChildren(...boxes);
    boxes.forEach((box, slot) => loading(() => fill(box, wanted[slot])));
  }

  /** @param {HTMLElement} box @param {number} n */
  async function fill(box, n) {
    if (!box.isConnected) return;
    box.dataset.thumb = "wanted";
    try {
      const image = el("img", { src: (await run.images(n)).url, alt: "", decoding: "async" });
      image.addEventListener("error", () => { box.dataset.thumb = "failed"; box.replaceChildren("unreadable"); });
      box.replaceChildren(image);
      box.dataset.thumb = "loaded";
    } catch (error) {
      box.dataset.thumb = error instanceof Missing ? "missing" : "failed";
      box.replaceChildren(error instanceof Missing ? "no screenshot" : "unreadable");
    }
  }

  /** @param {PointerEvent} event */
  function point(event) {
    const { left, width } = ticks.getBoundingClientRect();
    choose(nearest(Math.min(1, Math.max(0, (event.clientX - left) / width))));
  }
  area.addEventListener("pointerdown", (event) => { area.setPointerCapture(event.pointerId); point(event); });
  area.addEventListener("pointermove", (event) => { if (event.buttons & 1) point(event); });
  let width = 0;
  new ResizeObserver(() => { if (places.length && width !== slots()) { width = slots(); drawThumbs(); } }).observe(thumbs);

  return {
    draw,
    /** Read the times of some steps, then draw. */
    async start() {
      await Promise.all(samples().map((n) => summaryOf(run, n)));
      draw();
    },
    /** @param {number} n */
    select(n) {
      current = n;
      if (places.length) draw();
    },
  };
}
