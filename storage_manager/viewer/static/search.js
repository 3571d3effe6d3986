// @ts-check
/* Search in a session: the list of actions shows only the steps that contain a text. */

/**
 * @param {Run} run
 * @param {ReturnType<typeof createStepList>} list
 * @param {(n: number) => void} go shows a step
 */
function startSearch(run, list, go) {
  const input = field("#find"), note = $("#found");
  let searching = new AbortController(), typing = 0;

  async function search() {
    const query = input.value.trim();
    searching.abort();
    searching = new AbortController();
    const { signal } = searching;
    note.hidden = !query;
    if (!query) return list.filter(null);
    note.textContent = "Searching…";
    try {
      showMatches(await run.source.search(query, signal), signal);
    } catch (error) {
      if (!signal.aborted) note.textContent = messageOf(error);
    }
  }

  /** Show the steps that were found. @param {Found} found @param {AbortSignal} signal */
  function showMatches({ matches, searched, total }, signal) {
    if (signal.aborted) return;
    const numbers = new Map(run.steps.map((id, n) => [id, n]));
    list.filter(new Map(matches.flatMap(({ step, text }) => (numbers.has(step) ? [[/** @type {number} */ (numbers.get(step)), text]] : []))));
    note.textContent = `${count(matches.length, "step")} found${searched < total ? ` in the first ${searched.toLocaleString("en")} of ${total.toLocaleString("en")}` : ""}`;
  }

  input.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 250); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(list.next(1));
    if (event.key === "Escape") { input.value = ""; search(); $("#stage").focus(); }
  });
}
