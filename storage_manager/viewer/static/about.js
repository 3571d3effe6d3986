// @ts-check
/* What there is about a session as a whole. */

const OUTCOMES = ["success", "failure", "error", "cancelled"];

/* Describe the metadata of a session in one line: its outcome, its goal, and who ran it. */
function sessionLine(text) {
  const { outcome, goal, agent, model, reward, tags } = parsed(text);
  const isWord = (value) => ["string", "number"].includes(typeof value) && value !== "";
  const words = [agent, model, isWord(reward) ? `reward ${reward}` : null, ...(Array.isArray(tags) ? tags.slice(0, 10) : [])];
  const badge = OUTCOMES.includes(outcome) ? outcome : null;
  return [
    isWord(outcome) && el("b", { class: "outcome", "data-outcome": badge }, String(outcome).slice(0, 40)),
    isWord(goal) && el("span", { class: "goal" }, String(goal).slice(0, 500)),
    ...words.filter(isWord).map((word) => el("span", { class: "soft" }, String(word).slice(0, 120))),
  ].filter(Boolean);
}

async function aboutSession(source, live, hasSteps) {
  const details = $("#session-about"), line = $("#session-summary");
  const metadata = $("#session-metadata"), attachments = $("#session-attachments");
  let words = [], number = "";
  await Promise.all([
    show(metadata, async () => {
      const text = await source.about();
      words = sessionLine(text);
      return jsonRegion(text, "Metadata of the session as JSON");
    }),
    show(attachments, async () => {
      const found = await source.attachments(null), total = found.attachments.length + found.more;
      if (total) number = live ? count(total, "attachment") : `without ${count(total, "attachment")}`;
      if (live || !total) return attachmentList(source, null, found, "This session has no attachments of its own.");
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
