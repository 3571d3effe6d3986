// @ts-check
/* The stage shows one step as a screenshot with marks, as a page, or as changes, in any size. */

const MAX_PAGE = 4e6;  // characters of HTML; a larger page is shown if the user asks for it
const ZOOMS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];
const DEFAULT_WINDOW = { width: 1280, height: 720 };

/** Return true if a screenshot shows the whole page, not only the window. @param {HTMLImageElement} image @param {Record<string, any>} metadata */
function isWhole(image, metadata) {
  const size = windowOf(metadata);
  const scale = size ? image.naturalWidth / size.width : 1;
  return size ? image.naturalHeight / scale > size.height * 1.05 : image.naturalHeight > 3 * image.naturalWidth;
}

/**
 * Draw the target of the action. Points and boxes are in CSS pixels of the window. A screenshot has more pixels, by the
 * device pixel ratio. A screenshot of the whole page begins above the window, by the scrolled distance.
 * @param {HTMLImageElement} image @param {Target} target @param {Record<string, any>} metadata of the step that has the screenshot
 */
function marksOn(image, { points, boxes }, metadata) {
  const size = windowOf(metadata), ratio = metadata.device_pixel_ratio;
  const scale = size ? image.naturalWidth / size.width : isPixel(ratio) && ratio > 0 ? ratio : 1;
  const scroll = isWhole(image, metadata) ? asRecord(metadata.scroll) : {};
  const [right, down] = [scroll.x, scroll.y].map((value) => (isPixel(value) ? value : 0));
  const percent = (/** @type {number} */ value, /** @type {number} */ whole) => `${(100 * value * scale) / whole}%`;
  const marks = el("div", { class: "marks", "aria-hidden": "true" });
  for (const { x, y, width, height } of boxes) {
    const box = el("i", { class: "target-box" });
    Object.assign(box.style, {
      left: percent(x + right, image.naturalWidth), top: percent(y + down, image.naturalHeight),
      width: percent(width, image.naturalWidth), height: percent(height, image.naturalHeight),
    });
    marks.append(box);
  }
  for (const { x, y } of points) {
    const point = el("i", { class: "target-point" });
    Object.assign(point.style, { left: percent(x + right, image.naturalWidth), top: percent(y + down, image.naturalHeight) });
    marks.append(point);
  }
  return marks;
}

/** Load and decode a screenshot, so that its size is known. @param {Run} run @param {number} n */
async function pictureOf(run, n) {
  const image = el("img", { class: "screenshot", alt: `Screenshot of step ${n + 1}, ${run.steps[n]}`, draggable: "false" });
  image.src = (await run.images(n)).url;
  try { await image.decode(); } catch { throw new Error("This browser cannot show the screenshot: it is not a known image format."); }
  return image;
}

/** The reason why a component is missing, with the reason that the step has stored. @param {Run} run @param {number} n @param {string} name @param {Error} error */
async function reasonOf(run, n, name, error) {
  const reason = asRecord((await metadataOf(run, n)).not_captured)[name];
  return isText(reason) ? `${error.message.replace(/\.$/, "")}: ${reason.slice(0, 1000)}` : error.message;
}

/** Say how many frames of a page are not shown. @param {number} omitted */
function omittedFrames(omitted) {
  if (!omitted) return [];
  const rule = `Up to ${MAX_FRAMES} frames are shown, up to ${MAX_DEPTH} deep, if reading them takes less than ${count(FRAMES_TIME / 1000, "second")}.`;
  return [el("p", { class: "note" }, `${count(omitted, "frame")} of this page ${omitted === 1 ? "is" : "are"} not shown. ${rule}`)];
}

/** The number of columns of a comparison: one if its screenshots are stacked, on a narrow screen. @param {Element | null} comparison */
const columnsOf = (comparison) => (comparison ? getComputedStyle(comparison).gridTemplateColumns.split(" ").length : 1);

/** @param {Run} run @param {(isNew: boolean) => void} changed called when the user has changed the comparison */
function createStage(run, changed) {
  const stage = $("#stage"), zoom = button("#zoom");
  let factor = 0, pressed = false;  // 0: to fit

  /** @param {number} n @param {number} at the step that has the page */
  async function screenshot(n, at) {
    const about = Promise.all([metadataOf(run, at), run.text(n, "action").catch(() => "")]);
    let image;
    try {
      image = await pictureOf(run, at);
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      return insteadOf(error, n, at);
    }
    const [metadata, action] = await about;
    const shot = el("div", { class: "shot" }, image, marksOn(image, targetOf(action), metadata));
    if (isWhole(image, metadata)) shot.dataset.whole = "";
    return [shot];
  }

  /** Show the page, because there is no screenshot. @param {Missing} error @param {number} n @param {number} at */
  async function insteadOf(error, n, at) {
    const why = await reasonOf(run, at, "screenshot", error);
    try {
      return [el("p", { class: "note" }, `${why.replace(/\.?$/, ".")} This is the stored page.`), ...await page(n, at)];
    } catch (other) {
      if (!(other instanceof Missing)) throw other;
      throw new Missing(`${why.replace(/\.?$/, ".")} ${other.message}`);
    }
  }

  /** @param {number} n @param {number} at @param {boolean} [anyway] */
  async function page(n, at, anyway = false) {
    let html = "";
    try { html = await run.text(at, "html"); } catch (error) {
      if (error instanceof Missing) throw new Missing(await reasonOf(run, at, "html", error));
      throw error;
    }
    if (html.length > MAX_PAGE && !anyway) {
      const show = el("button", { type: "button" }, "Show it anyway");
      show.addEventListener("click", () => draw(() => page(n, at, true)));
      return [el("p", { class: "empty" }, `This page has ${sizeText(html.length)} of HTML. Showing it can take long. `, show)];
    }
    const { width, height } = windowOf(await metadataOf(run, at)) ?? DEFAULT_WINDOW;
    const { selectors } = targetOf(await run.text(n, "action").catch(() => ""));
    const frame = el("iframe", { class: "page", sandbox: "", title: `Stored page of step ${at + 1}, without scripts`, referrerpolicy: "no-referrer", width: String(width), height: String(height) });
    const { html: safe, omitted } = await inert(html, selectors);
    frame.srcdoc = safe;
    return [...omittedFrames(omitted), el("div", { class: "frame" }, frame)];
  }

  /** @param {number} n */
  async function changes(n) {
    const found = JSON.parse(await run.text(n, "changes"));
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

  /** Set the sizes of the screenshots and the page on the stage. */
  function fit() {
    const shots = /** @type {HTMLElement[]} */ ([...stage.querySelectorAll(".shot, .frame")]);
    for (const control of every("#zoom, #zoom-in, #zoom-out")) control.hidden = !shots.length;
    zoom.setAttribute("aria-pressed", String(factor === 1));
    const room = [stage.clientWidth - 24, stage.clientHeight - 24];
    for (const shot of shots) {
      const inner = /** @type {HTMLElement} */ (shot.firstElementChild);
      const [width, height] = inner instanceof HTMLImageElement ? [inner.naturalWidth || 1, inner.naturalHeight || 1] : [Number(inner.getAttribute("width")), Number(inner.getAttribute("height"))];
      const comparison = shot.closest(".compare[data-mode=side]"), columns = columnsOf(comparison);
      const across = (room[0] - (columns - 1) * 12) / columns / width;
      const isStacked = comparison !== null && columns === 1, down = (room[1] - (shot.closest(".compare") ? 80 : 0)) / height;
      const scale = factor || Math.min(1, across, isStacked || shot.dataset.whole !== undefined ? 1 : down);
      shot.style.width = `${width * scale}px`;
      shot.style.height = `${height * scale}px`;
      shot.dataset.scale = String(scale);
      if (inner instanceof HTMLIFrameElement) inner.style.transform = `scale(${scale})`;
    }
  }

  /** @param {() => Promise<(Node | string)[]>} work */
  async function draw(work) {
    if (await show(stage, work)) fit();
  }

  /** Zoom to the next larger or smaller size. @param {1 | -1} direction */
  function step(direction) {
    const shot = /** @type {HTMLElement | null} */ (stage.querySelector(".shot, .frame"));
    if (!shot) return;
    const now = Number(shot.dataset.scale), others = ZOOMS.filter((each) => (each - now) * direction > 0.01);
    factor = (direction > 0 ? others[0] : others[others.length - 1]) ?? now;
    fit();
  }

  /** Set the size. @param {number} size 0: to fit; 1: actual size */
  function setZoom(size) {
    factor = size;
    fit();
  }

  zoom.addEventListener("click", () => setZoom(factor === 1 ? 0 : 1));
  $("#zoom-in").addEventListener("click", () => step(1));
  $("#zoom-out").addEventListener("click", () => step(-1));
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    step(event.deltaY < 0 ? 1 : -1);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 && event.pointerType === "mouse" && /** @type {Element} */ (event.target).closest(".shot") !== null;
  });
  stage.addEventListener("pointermove", (event) => {
    if (pressed && event.buttons & 1) stage.scrollBy(-event.movementX, -event.movementY);
  });
  new ResizeObserver(fit).observe(stage);

  const comparison = createComparison(run, fit, changed);
  return {
    step, setZoom, draw, comparison,
    /** @type {Record<string, (n: number, at: number) => Promise<(Node | string)[]>>} */
    views: { screenshot, page, changes: (n) => changes(n), compare: comparison.draw },
  };
}
