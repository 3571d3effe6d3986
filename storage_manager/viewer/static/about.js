// @ts-check
/* The session as a whole: goal, outcome, agent, model, cost, and all other metadata. */

const OUTCOMES = ["success", "failure", "error", "cancelled"];
const IN_LIST = ["outcome", "goal", "result", "agent", "model", "reward", "usage", "started_at", "ended_at", "start_url", "tags", "owner", "errors", "error"];

/** @param {unknown} value @returns {value is string | number} */
const isWord = (value) => isText(value) || (typeof value === "number" && Number.isFinite(value));

/** @param {Record<string, any>} about */
function badgeOf({ outcome }) {
  if (!isWord(outcome)) return [];
  return [el("b", { class: "outcome", "data-outcome": OUTCOMES.includes(String(outcome)) ? String(outcome) : null }, String(outcome).slice(0, 40))];
}

/** @param {Record<string, any>} about */
function ranFor({ started_at: started, ended_at: ended }) {
  const [from, to] = [momentOf(started), momentOf(ended)];
  return from !== null && to !== null && to >= from ? durationText(to - from) : "";
}

/** @param {unknown} usage */
function costOf(usage) {
  const { input_tokens: read, output_tokens: written, cost_usd: cost } = asRecord(usage);
  const tokens = [[read, "in"], [written, "out"]].flatMap(([n, way]) => (typeof n === "number" ? [`${n.toLocaleString("en")} ${way}`] : []));
  return [tokens.length ? `${tokens.join(", ")} tokens` : "", typeof cost === "number" ? `$${cost.toFixed(cost < 1 ? 3 : 2)}` : ""].filter(Boolean).join(" · ");
}

/** Describe the metadata of a session in one line. @param {Record<string, any>} about */
function sessionLine(about) {
  const { goal, agent, model, reward, tags, usage } = about;
  const words = [agent, model, isWord(reward) ? `reward ${reward}` : null, ranFor(about), costOf(usage), ...(Array.isArray(tags) ? tags.slice(0, 10) : [])];
  return [
    ...badgeOf(about),
    ...(isWord(goal) ? [el("span", { class: "goal" }, String(goal).slice(0, 500))] : []),
    ...words.filter(isWord).map((word) => el("span", { class: "soft" }, String(word).slice(0, 120))),
  ];
}

/** The known fields of a session, as terms and values. @param {Record<string, any>} about */
function sessionFacts(about) {
  const date = (/** @type {unknown} */ value) => { const moment = momentOf(value); return moment === null ? value : new Date(moment).toLocaleString(); };
  const errors = Array.isArray(about.errors) ? about.errors.slice(0, 5).map(errorText).join("\n") : "";
  /** @type {[string, unknown][]} */
  const facts = [
    ["Goal", about.goal], ["Outcome", about.outcome], ["Result", about.result], ["Error", errorText(about.error)], ["Errors", errors],
    ["Reward", about.reward], ["Agent", about.agent], ["Model", about.model], ["Usage", costOf(about.usage)], ["Started", date(about.started_at)],
    ["Duration", ranFor(about)], ["First URL", about.start_url], ["Tags", Array.isArray(about.tags) ? about.tags.filter(isWord).slice(0, 50).join(", ") : ""], ["Owner", about.owner],
  ];
  return el("dl", { class: "facts" }, ...facts.filter(([, value]) => isWord(value)).flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, String(value).slice(0, 4000))]));
}

/** @param {string} text */
function sessionRegion(text) {
  const about = parsed(text), facts = sessionFacts(about);
  const rest = Object.keys(about).length === 0 || Object.keys(about).some((name) => !IN_LIST.includes(name));
  const whole = el("details", {}, el("summary", {}, "All metadata as JSON"), ...jsonRegion(text, "Metadata of the session as JSON"));
  whole.open = !facts.childElementCount && rest;
  return [...(facts.childElementCount ? [facts] : []), whole];
}

/** Show whether the session is sealed. @param {boolean} sealed */
function markSealed(sealed) {
  const mark = $("#sealed");
  mark.hidden = false;
  mark.textContent = sealed ? "sealed" : "not sealed";
  mark.title = sealed ? "The session is complete: its manifest lists every file." : "The session has no manifest: it is being recorded, or was not finished. New steps appear here.";
}

/** @param {Run} run @param {boolean} hasSteps */
async function aboutSession(run, hasSteps) {
  const { source } = run, details = /** @type {HTMLDetailsElement} */ ($("#session-about")), line = $("#session-summary");
  const metadata = $("#session-metadata"), attachments = $("#session-attachments");
  /** @type {(Node | string)[]} */
  let words = [];
  let number = "";
  await Promise.all([
    show(metadata, async () => {
      const text = await source.sessionMetadata(), about = parsed(text);
      run.observed = observedOf(about.observed);
      words = sessionLine(about);
      return sessionRegion(text);
    }),
    show(attachments, async () => {
      const found = await source.attachments(null), total = found.attachments.length + found.more;
      if (total) number = source.live ? count(total, "attachment") : `without ${count(total, "attachment")}`;
      if (source.live || !total) return attachmentList(source, null, found, "This session has no attachments of its own.");
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
