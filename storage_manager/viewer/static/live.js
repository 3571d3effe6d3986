// @ts-check
/* Follow a session while it is recorded, by server-sent events (HTML Standard, 9.2). A hidden page does not follow. */

const LIVE = 60000;  // milliseconds for which a session is marked as live after a new step

/**
 * @param {Run} run
 * @param {(added: number) => void} onSteps called when the run has got more steps
 */
function follow(run, onSteps) {
  /** @type {EventSource | null} */
  let events = null;
  let ended = false, timer = 0;
  const mark = $("#live");

  function open() {
    if (events || ended || document.hidden) return;
    events = new EventSource(`/api/sessions/${encodeURIComponent(run.session)}/events`);
    events.addEventListener("steps", ({ data }) => {
      markSealed(false);
      const known = new Set(run.steps), added = JSON.parse(data).filter((/** @type {string} */ id) => !known.has(id));
      run.steps.push(...added);
      if (!added.length) return;
      mark.hidden = false;
      clearTimeout(timer);
      timer = setTimeout(() => { mark.hidden = true; }, LIVE);
      onSteps(added.length);
    });
    events.addEventListener("sealed", () => {
      ended = true;
      close();
      mark.hidden = true;
      markSealed(true);
    });
    events.addEventListener("failed", ({ data }) => {
      ended = true;
      close();
      mark.hidden = false;
      mark.textContent = "no longer live";
      mark.title = JSON.parse(data);
    });
  }

  function close() {
    events?.close();
    events = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  open();
}
