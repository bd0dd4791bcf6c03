"use strict";
// Light or dark, as the system has it or as the reader chose.
report.theme = (() => {
  const root = document.documentElement, button = document.getElementById("theme");
  let changed = () => {};

  // A page from a disk may be denied the browser's storage.
  function stored(value) {
    try {
      if (value !== undefined) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function show(theme) {
    root.dataset.theme = theme;
    button.setAttribute("aria-pressed", String(theme === "dark"));
    changed();
  }

  // redraw: what a page does once its colours have changed; it is called now, too.
  function start(redraw) {
    changed = redraw;
    button.addEventListener("click", () => {
      const other = report.isDark() ? "light" : "dark";
      show(stored(other) ?? other);
    });
    show(stored() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  }

  return { start };
})();
