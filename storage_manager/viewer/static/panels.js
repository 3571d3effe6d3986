// @ts-check
/* The panels beside the stage: the story (the error and the reasons for the action), action, metadata and attachments. */

// fields that the story or the head of the step shows, or that no reader needs
const HIDDEN_FIELDS = new Set(["error", "title", "not_captured", "log", "logs", "callId", "call_id", "id", "stepId", "apiName", "trace_id", ...THOUGHTS.map(([name]) => name)]);
const MAX_FACTS = 14, MAX_FACT = 160;
/** Which panels have their JSON open, for all steps. @type {Set<string>} */
const unfolded = new Set();

/** @param {Summary} summary @param {Record<string, any>} metadata */
function storyOf(summary, metadata) {
  const story = [];
  if (summary.error) story.push(el("div", { class: "banner", role: "note" }, el("b", {}, "Failed"), el("p", {}, summary.error)));
  const missing = Object.entries(asRecord(metadata.not_captured)).filter(([, reason]) => isText(reason)).slice(0, 10);
  for (const [title, text] of summary.thoughts) story.push(el("h4", {}, title), el("p", { class: "prose" }, text));
  for (const [name, reason] of missing) story.push(el("p", { class: "soft lost" }, el("b", {}, `No ${name.slice(0, 40)}: `), String(reason).slice(0, 500)));
  return story;
}

/** @param {unknown} value */
function shortly(value) {
  if (value === null || typeof value === "string") return value ?? "";
  const isFlat = typeof value === "object" && !Array.isArray(value) && Object.values(value).every((each) => typeof each === "number");
  return isFlat ? Object.entries(value).map(([name, each]) => `${name} ${Math.round(each * 10) / 10}`).join(", ") : JSON.stringify(value);
}

/** The words of a fact. A line can break between the date and the time of a moment. @param {string} words */
function wordsOfFact(words) {
  const [, date, time] = /^(\d{4}-\d\d-\d\d[T ])(\d\d:\S+)$/.exec(words) ?? [];
  return date ? [el("span", {}, date), el("span", {}, time)] : [words];
}

/** The short fields of an object, as terms and values. @param {string} text */
function factsOf(text) {
  const value = parsed(text);
  const facts = Array.isArray(value) ? [] : Object.entries(value).filter(([name]) => !HIDDEN_FIELDS.has(name)).flatMap(([name, each]) => {
    const words = shortly(each);
    return words && words.length <= MAX_FACT ? [[name.slice(0, 60), words]] : [];
  });
  const rows = facts.slice(0, MAX_FACTS).flatMap(([name, words]) => [el("dt", { title: name }, name), el("dd", {}, ...wordsOfFact(words))]);
  return rows.length ? [el("dl", { class: "facts" }, ...rows)] : [];
}

/** The short fields, and everything as JSON, folded. @param {string} text @param {string} name of the panel @param {string} label */
function factsAndJson(text, name, label) {
  const facts = factsOf(text), folded = el("details", { class: "folded" }, el("summary", {}, "JSON"), ...jsonRegion(text, label));
  folded.open = unfolded.has(name) || !facts.length;
  folded.addEventListener("toggle", () => unfolded[folded.open ? "add" : "delete"](name));
  return [...facts, folded];
}

/** @param {Run} run */
function createPanels(run) {
  const names = ["action", "metadata", ...(run.source.live ? ["attachments"] : [])];
  const listings = cached(async (n) => ({ ...(await run.source.attachments(n)), size: 1 }), 500);
  /** @type {Record<string, boolean>} */
  const seen = {};
  let current = -1;

  /** @param {string} name */
  function load(name) {
    const area = $(`#${name}`), n = current;
    if (!seen[name] || area.dataset.shown === run.steps[n]) return;
    area.dataset.shown = run.steps[n];
    show(area, async () => {
      if (name === "attachments") return attachmentList(run.source, n, await listings(n), "This step has no attachments.");
      return factsAndJson(await run.text(n, name), name, name === "action" ? "Action as JSON" : "Metadata as JSON");
    });
  }

  async function showStory() {
    const n = current, [summary, metadata] = await Promise.all([summaryOf(run, n), metadataOf(run, n)]);
    if (n !== current) return;
    $("#story").replaceChildren(...storyOf(summary, metadata));
    $("#summary").textContent = summary.words;
    const words = [metadata.title, metadata.url].filter(isText);
    $("#address").textContent = words.join("  ·  ").slice(0, 500);
  }

  const visible = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      seen[target.id] = isIntersecting;
      if (isIntersecting && current >= 0) load(target.id);
    }
  });
  for (const name of names) visible.observe($(`#${name}`));

  return {
    /** Empty the panels for another step. @param {number} n */
    clear(n) {
      current = n;
      $("#summary").textContent = $("#address").textContent = "";
      $("#story").replaceChildren();
      for (const name of names) {
        delete $(`#${name}`).dataset.shown;
        if (!seen[name]) $(`#${name}`).replaceChildren();
      }
    },
    load() {
      showStory();
      names.forEach(load);
    },
  };
}
