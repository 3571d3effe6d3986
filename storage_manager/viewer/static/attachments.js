// @ts-check
/* The lists of attachments, and their contents. */

const MAX_TEXT = 1e6, MAX_IMAGE = 32e6;  // bytes; larger ones are only linked

/** @param {string} type */
const isImage = (type) => /^image\/[a-z0-9.+-]+$/.test(type) && !type.includes("xml");
/** @param {string} type */
const isWritten = (type) => /^(text\/|application\/(json|jsonl)$)/.test(type);

/**
 * Return the content of an attachment as elements. Text is a text node, and an image an <img>, which runs nothing.
 * @param {Source} source @param {number | null} n @param {{ name: string, type: string }} found
 */
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

/** @param {Source} source @param {number | null} n @param {Listed} found */
function attachment(source, n, found) {
  const { name, size, type } = found;
  const kind = type.split(";")[0], link = source.attachmentLink(n, name);
  const isOpened = isImage(kind) || isWritten(kind), isShown = isOpened && size <= (isImage(kind) ? MAX_IMAGE : MAX_TEXT);
  const about = [el("span", { class: "name", title: name }, name), " ", el("span", { class: "soft" }, `${kind}, ${sizeText(size)}`)];
  const raw = el("a", { class: "raw", href: link, download: isOpened ? null : name },
    isOpened ? "Raw" : "Download", el("span", { class: "hidden" }, ` ${name}`));
  const node = (/** @type {Node[]} */ ...children) => el("div", { class: "attachment", "data-name": name }, ...children, raw);
  if (!isShown) return node(el("div", { class: "line" }, ...about));
  const area = el("div", { class: "content" });
  const details = el("details", {}, el("summary", {}, ...about), area);
  details.addEventListener("toggle", () => {
    if (details.open && area.dataset.state !== "shown") show(area, () => content(source, n, { name, type: kind }));
  });
  return node(details);
}

/**
 * Return the list of attachments as elements. Throw Missing with the text `none` if there are none.
 * @param {Source} source @param {number | null} n @param {{ attachments: Listed[], more: number }} listed @param {string} none
 */
function attachmentList(source, n, { attachments, more }, none) {
  if (!attachments.length && !more) throw new Missing(none);
  const list = el("div", { class: "attachments" }, ...attachments.map((found) => attachment(source, n, found)));
  return more ? [list, el("p", { class: "note" }, `${count(more, "more attachment")} not shown.`)] : [list];
}
