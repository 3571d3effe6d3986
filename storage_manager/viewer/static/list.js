// @ts-check
/* The list of sessions. The server fills in the rows of a catalogue. Rows of which only the id is known, and all
   thumbnails, are filled in here when they are visible. */

/** A session, as the server summarizes it.
 * @typedef {object} SessionRow
 * @property {number} steps
 * @property {number} size in bytes
 * @property {string | null} modified
 * @property {string | null} started_at
 * @property {string | null} title
 * @property {string | null} goal
 * @property {string | null} outcome
 * @property {string | null} model
 * @property {string[]} tags
 * @property {string[]} hosts
 * @property {string | null} screenshot a step that has one
 * @property {string | null} unreadable why the metadata cannot be read
 */

/** The cell of a row; the template has one of each class.
 * @param {Element} row @param {string} name @returns {HTMLElement} */
const cell = (row, name) => /** @type {HTMLElement} */ (row.querySelector(`.${name}`));

/** @param {string} at @returns {HTMLElement} */
function timeElement(at) {
  const date = new Date(at);
  return el("time", { datetime: at, title: date.toLocaleString() }, ageText(date));
}

/** A tag or a host as a link that filters the list. A text that was cut is no link.
 * @param {string} name @param {string} text @returns {HTMLElement} */
function filterLabel(name, text) {
  if (text.endsWith("…")) return el("span", { class: "label" }, text);
  const query = new URLSearchParams(location.search);
  for (const other of ["page", "after", "last"]) query.delete(other);
  query.set(name, text);
  return el("a", { class: "label", "data-filter": name, href: `/?${query}` }, text);
}

/** @param {HTMLElement} row @param {SessionRow} session */
function describe(row, { title, goal, model, tags, hosts, started_at }) {
  const line = cell(row, "goal"), label = title || goal || "";
  line.textContent = label;
  if (label) line.title = goal || label;
  cell(row, "started").replaceChildren(started_at ? timeElement(started_at) : "–");
  const site = hosts.slice(0, 1).map((host) => filterLabel("host", host));
  cell(row, "sites").replaceChildren(...site, ...(site.length && model ? [" "] : []), ...(model ? [el("span", { class: "model", title: model }, model)] : []));
  cell(row, "tags").title = tags.join(", ");
  cell(row, "tags").replaceChildren(...tags.flatMap((tag) => [filterLabel("tag", tag), " "]));
}

/** @param {HTMLElement} row @param {SessionRow} session */
function showSession(row, session) {
  const { steps, size, modified, outcome, unreadable } = session, isKnown = "known" in row.dataset;
  const isGone = isKnown && !steps && !size && !modified;  // since the catalogue was written
  cell(row, "steps").textContent = steps.toLocaleString("en");
  cell(row, "size").textContent = sizeText(size);
  cell(row, "modified").replaceChildren(isGone ? "deleted" : modified ? timeElement(modified) : "–");
  if (!isKnown) describe(row, session);
  if (outcome) {
    const known = OUTCOMES.includes(outcome) ? outcome : null;
    cell(row, "result").replaceChildren(el("b", { class: "badge", "data-outcome": known }, outcome));
  } else if (unreadable) {
    cell(row, "result").replaceChildren(el("span", { class: "failed", title: unreadable }, "unreadable"));
  }
  if (session.screenshot) row.dataset.screenshot = session.screenshot;
}

/** @param {HTMLElement} row */
async function fillRow(row) {
  try {
    showSession(row, await (await request(`/api/sessions/${encodeURIComponent(row.dataset.session ?? "")}`)).json());
    row.dataset.state = "shown";
  } catch (error) {
    row.dataset.state = "failed";
    cell(row, "modified").replaceChildren(el("span", { class: "failed", title: messageOf(error) }, "unreadable"));
  }
}

/** Show a thumbnail from the bytes of a screenshot, because the policy of this page allows no image from an address.
 * @param {HTMLElement} row */
async function fillThumb(row) {
  const { session = "", screenshot = "" } = row.dataset, thumb = cell(row, "thumb");
  try {
    const url = (await liveSource(session, [screenshot]).image(0)).url;
    const image = el("img", { alt: "", src: url });
    await image.decode().then(() => thumb.replaceChildren(image), () => {}).finally(() => URL.revokeObjectURL(url));
  } catch { }  // a row can do without a thumbnail
}

/** Fill in the visible rows, from the top, now and when others become visible. Thumbnails come after the texts.
 * @returns {() => void} a function that stops it */
function watchRows() {
  const fill = queue(4), fillImages = queue(3);
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#sessions tr[data-session]")]);
  /** @type {Set<Element>} */
  const visible = new Set();

  async function fillNext() {
    const row = rows.find((each) => visible.has(each) && !each.dataset.state);
    if (!row) return;
    row.dataset.state = "loading";
    await fillRow(row);
    fillImages(fillNextImage);
  }

  async function fillNextImage() {
    const row = rows.find((each) => visible.has(each) && each.dataset.screenshot && !each.dataset.thumb);
    if (!row) return;
    row.dataset.thumb = "loading";
    await fillThumb(row);
    row.dataset.thumb = "done";
  }

  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target);
    for (const { isIntersecting } of entries) if (isIntersecting) { fill(fillNext); fillImages(fillNextImage); }
  });
  for (const row of rows) observer.observe(row);
  for (const time of document.querySelectorAll("#results time")) time.replaceWith(timeElement(time.getAttribute("datetime") ?? ""));
  return () => { visible.clear(); observer.disconnect(); };
}

function startList() {
  const form = /** @type {HTMLFormElement} */ ($("#search"));
  const input = /** @type {HTMLInputElement} */ (form.querySelector("input[name=q]"));
  const results = /** @type {HTMLElement} */ ($("#results"));
  let stop = watchRows(), timer = 0, isAsking = false, shown = address();

  /** The address of the first page of the list for the values of the form. */
  function address() {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (String(value).trim()) query.set(name, String(value).trim());
    return `/?${query}`.replace(/\?$/, "");
  }

  /** Fetch the list from the server, one page at a time. The page is escaped, and a parsed page runs nothing.
   * @returns {Promise<void>} */
  async function search() {
    const url = address();
    if (isAsking || url === shown) return;
    isAsking = true;
    results.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(url, { cache: "no-store", headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
      stop();
      results.replaceChildren(...(fresh?.querySelector("#results") ?? fresh ?? results).childNodes);
      history.replaceState(null, "", url);
      stop = watchRows();
    } catch { }  // what was found before stays
    shown = url;
    isAsking = false;
    results.removeAttribute("aria-busy");
    return search();  // more may have been typed meanwhile
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = window.setTimeout(search, 200); });
  form.addEventListener("change", search);
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.key !== "/" || target.closest("input, select")) return;
    event.preventDefault();
    input.focus();
  });
}
