// @ts-check
/* The list of sessions. */

function startList() {
  const ask = queue(4);

  async function fill(row) {
    try {
      const response = await fetch(`/api/sessions/${encodeURIComponent(row.dataset.session)}`, { cache: "no-store" });
      if (!response.ok) throw new Error(await response.text());
      const { steps, size, modified } = await response.json();
      $(".steps", row).textContent = steps.toLocaleString("en");
      $(".size", row).textContent = bytes(size);
      const date = modified && new Date(modified);
      $(".modified", row).replaceChildren(date ? el("time", { datetime: modified, title: date.toLocaleString() }, ago(date)) : "–");
      row.dataset.state = "shown";
    } catch (error) {
      row.dataset.state = "failed";
      $(".modified", row).replaceChildren(el("span", { class: "failed", title: error.message }, "unreadable"));
    }
  }

  function watch() {
    const visible = new Set();
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) { visible.delete(target); continue; }
        visible.add(target);
        ask(async () => {
          if (!visible.has(target) || target.dataset.state) return;
          target.dataset.state = "loading";
          await fill(target);
        });
      }
    });
    for (const row of document.querySelectorAll("#sessions tr[data-session]")) observer.observe(row);
    return observer;
  }

  let observer = watch(), timer = 0, turn = 0;
  const form = $("#search"), input = $("input", form);

  /* Fetch the list for the typed text from the server. Its page is escaped, and a parsed page runs nothing. */
  async function search() {
    const mine = ++turn;
    const url = input.value.trim() ? `/?q=${encodeURIComponent(input.value.trim())}` : "/";
    let text;
    try {
      const response = await fetch(url, { cache: "no-store", headers: { Accept: "text/html" } });
      text = await response.text();
    } catch { return; }
    if (mine !== turn) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    observer.disconnect();
    $("#results").replaceChildren(...(fresh.querySelector("#results") ?? fresh).childNodes);
    history.replaceState(null, "", url);
    observer = watch();
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 150); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input")) return;
    event.preventDefault();
    input.focus();
  });
}
