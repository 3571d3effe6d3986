// @ts-check
/* Playback: show the steps one after another. */

const SPEEDS = [1, 2, 4], PAUSES = [250, 2000];  // the shortest and the longest pause between two steps, in milliseconds

/**
 * @param {Run} run
 * @param {() => number} current returns the number of the step that is shown
 * @param {(n: number) => void} go shows a step
 */
function createPlayback(run, current, go) {
  let timer = 0, speed = 0;  // timer 0: playback is off

  /** The pause after a step in milliseconds: the time until the next step, within the limits of PAUSES. @param {number} n */
  function pause(n) {
    const [from, to] = [run.known.get(n)?.moment, run.known.get(n + 1)?.moment];
    const time = from && to ? Math.min(PAUSES[1], Math.max(PAUSES[0], to - from)) : 1000;
    return time / SPEEDS[speed];
  }

  async function advance() {
    if (!timer) return;
    const next = current() + 1;
    if (next === run.steps.length) return play(false);
    await Promise.all([run.images(next).catch(() => null), summaryOf(run, next)]);
    if (!timer) return;
    go(current() + 1);
    timer = setTimeout(advance, pause(current()));
  }

  /** @param {boolean} on */
  function play(on) {
    clearTimeout(timer);
    if (on && current() === run.steps.length - 1) go(0);
    timer = on ? setTimeout(advance, pause(current())) : 0;
    button("#play").setAttribute("aria-pressed", String(on));
    button("#play").textContent = on ? "❚❚" : "▶";
  }

  const toggle = () => play(!timer);
  button("#play").addEventListener("click", toggle);
  button("#speed").addEventListener("click", () => {
    speed = (speed + 1) % SPEEDS.length;
    button("#speed").textContent = `${SPEEDS[speed]}×`;
    button("#speed").setAttribute("aria-label", `${SPEEDS[speed]}× speed`);
  });
  return { toggle, isOn: () => timer !== 0 };
}
