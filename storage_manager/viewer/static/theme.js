// @ts-check
/* Light and dark colors. */

const THEME = "storage-manager-theme";

/** Store a theme if one is given. Return the stored theme; null if there is none. @param {string} [value] */
function storedTheme(value) {  // a browser can refuse to store values
  try {
    if (value) localStorage.setItem(THEME, value);
    return localStorage.getItem(THEME);
  } catch { return null; }
}

/** @param {string | null} theme */
function applyTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}

applyTheme(storedTheme());

function startTheme() {
  const switcher = button("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const name = () => switcher.setAttribute("aria-label", isDark() ? "Use light colors" : "Use dark colors");
  switcher.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    applyTheme(theme);
    storedTheme(theme);
    name();
  });
  dark.addEventListener("change", name);
  name();
}
