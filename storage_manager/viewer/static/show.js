// @ts-check
/* Show the result of a promise in an element. */

/* Show the result of `work` in an element, unless the user is looking at something else by then. Return false
   then. */
async function show(area, work) {
  const turn = area.turn = {};
  area.dataset.state = "loading";
  area.setAttribute("aria-busy", "true");
  let state = "shown", nodes;
  try {
    nodes = await work();
  } catch (error) {
    state = error instanceof Missing ? "missing" : "failed";
    nodes = [el("p", { class: "empty" }, error.message)];
  }
  if (area.turn !== turn) return false;
  area.replaceChildren(...nodes);
  area.dataset.state = state;
  area.removeAttribute("aria-busy");
  return true;
}

/* Format JSON as a region that can be scrolled with the keyboard. */
function jsonRegion(text, label) {
  const nodes = json(text);
  nodes[0].setAttribute("role", "region");
  nodes[0].setAttribute("aria-label", label);
  return nodes;
}
