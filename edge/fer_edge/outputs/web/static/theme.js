// Dark, light, or as the system says. Not a module, so that it runs before the first paint.
"use strict";

const THEMES = ["auto", "light", "dark"];

function storedTheme() {
  try {
    const theme = localStorage.getItem("fer-edge-theme");
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto"; // storage is blocked
  }
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

applyTheme(storedTheme());

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  if (!button) return;
  const label = () => {
    const theme = document.documentElement.dataset.theme;
    button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
    button.setAttribute("aria-label", `Theme: ${{ auto: "as the system", light: "light", dark: "dark" }[theme]}`);
  };
  button.addEventListener("click", () => {
    const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    applyTheme(theme);
    try {
      localStorage.setItem("fer-edge-theme", theme);
    } catch {
      // It then holds for this page only.
    }
    label();
    document.dispatchEvent(new Event("themechange"));
  });
  label();
});
