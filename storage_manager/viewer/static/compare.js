// @ts-check
/* Compare two steps, of one session or of two: side by side, or one above the other with a slider. */

/**
 * Return a view that shows a step beside another one, which the user chooses.
 * @param {Run} run
 * @param {() => void} fit sets the sizes of the screenshots
 * @param {(isNew: boolean) => void} changed called when the user has chosen another step (isNew), or the slider
 */
function createComparison(run, fit, changed) {
  const chosen = { session: "", step: "", isSlider: false };
  /** @type {Map<string, Run>} the last session that was compared */
  const others = new Map();

  async function otherRun() {
    if (!chosen.session || chosen.session === run.session) return run;
    let found = others.get(chosen.session);
    if (!found) {
      const steps = await stepsOf(chosen.session);
      found = openRun(chosen.session, steps, liveSource(chosen.session, steps));
      others.clear();
      others.set(chosen.session, found);
    }
    return found;
  }

  /** The number of the other step: as chosen, or by default the same number in another session, or the step before. @param {Run} other @param {number} n */
  function otherStep(other, n) {
    const own = other.steps.indexOf(chosen.step);
    if (own >= 0) return own;
    return other === run ? Math.max(0, n - 1) : Math.min(n, other.steps.length - 1);
  }

  /** A screenshot with its title, or with the reason why there is none. @param {Run} from @param {number} n */
  async function half(from, n) {
    const title = el("figcaption", {}, `${from === run ? "" : `${from.session} · `}${n + 1}. ${from.steps[n] ?? "no step"}`);
    try {
      if (!from.steps.length) throw new Missing(`The session ${from.session} has no steps.`);
      return el("figure", {}, title, el("div", { class: "shot" }, await pictureOf(from, n)));
    } catch (error) {
      return el("figure", {}, title, el("p", { class: "empty" }, messageOf(error)));
    }
  }

  /** @param {HTMLElement} area @param {number} n */
  async function fill(area, n) {
    await show(area, async () => {
      const other = await otherRun(), at = otherStep(other, n);
      const halves = await Promise.all([half(other, at), half(run, n)]);
      area.dataset.mode = chosen.isSlider ? "slider" : "side";
      return chosen.isSlider ? [...halves, slider(halves[1])] : halves;
    });
    fit();
  }

  /** A slider that uncovers one of two screenshots. @param {HTMLElement} upper */
  function slider(upper) {
    const input = el("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": "How much of the current step is shown" });
    const cut = () => { upper.style.clipPath = `inset(0 0 0 ${input.value}%)`; };
    input.addEventListener("input", cut);
    cut();
    return input;
  }

  /** @param {number} n */
  function controls(n, /** @type {HTMLElement} */ area) {
    const session = el("input", { type: "text", value: chosen.session, placeholder: "this session", "aria-label": "Session to compare with", maxlength: "128", spellcheck: "false" });
    const step = el("input", { type: "text", value: chosen.step, placeholder: "the step before", "aria-label": "Step to compare with: its id or its number", maxlength: "128", spellcheck: "false" });
    const mode = el("button", { type: "button", "aria-pressed": String(chosen.isSlider) }, "Slider");
    const take = async () => {
      chosen.session = session.value.trim();
      const text = step.value.trim(), from = await otherRun().catch(() => run);
      chosen.step = /^\d+$/.test(text) && !from.steps.includes(text) ? from.steps[Number(text) - 1] ?? "" : text;
      changed(true);
      await fill(area, n);
    };
    for (const input of [session, step]) input.addEventListener("change", take);
    mode.addEventListener("click", () => {
      chosen.isSlider = !chosen.isSlider;
      mode.setAttribute("aria-pressed", String(chosen.isSlider));
      changed(false);
      fill(area, n);
    });
    const ofSession = run.source.live ? [el("label", {}, "Session ", session)] : [];
    return el("div", { class: "controls" }, "Compare with ", ...ofSession, el("label", {}, "Step ", step), mode);
  }

  /** @param {number} n */
  async function draw(n) {
    const area = el("div", { class: "compare" });
    const whole = el("div", { class: "comparison" }, controls(n, area), area);
    await fill(area, n);
    return [whole];
  }

  return {
    draw,
    /** The parameters of the address that name the comparison. @returns {Record<string, string>} */
    parameters: () => ({
      ...(chosen.session ? { session: chosen.session } : {}), ...(chosen.step ? { with: chosen.step } : {}),
      ...(chosen.isSlider ? { mode: "slider" } : {}),
    }),
    /** Choose the comparison that an address names. @param {URLSearchParams} given */
    choose(given) {
      chosen.session = run.source.live ? given.get("session") ?? "" : "";
      chosen.step = given.get("with") ?? "";
      chosen.isSlider = given.get("mode") === "slider";
    },
  };
}
