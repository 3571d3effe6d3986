// @ts-check
/* Light and dark colors. */

const THEME = "storage-manager-theme";

function stored(value) {  // browsers can refuse to store values
  try {
    if (value) localStorage.setItem(THEME, value);
    return localStorage.getItem(THEME);
  } catch { return null; }
}

function applyTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}

applyTheme(stored());

function startTheme() {
  const button = $("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const name = () => button.setAttribute("aria-label", isDark() ? "Use light colors" : "Use dark colors");
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    applyTheme(theme);
    stored(theme);
    name();
  });
  dark.addEventListener("change", name);
  name();
}
