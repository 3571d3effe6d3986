// Give each block of commands or Python a button that copies its text.
addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return; // a page that was not loaded over https, from this machine or from disk
  for (const block of document.querySelectorAll(".highlight-shell, .highlight-python, .highlight-py, .highlight-sql, .highlight-json")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }
});
