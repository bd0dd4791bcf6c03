"use strict";
// Light or dark, and the parts' start.
(() => {
  const root = document.documentElement, button = document.getElementById("theme");

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
    for (const swatch of document.querySelectorAll(".swatch[data-place]")) swatch.style.background = report.colour(Number(swatch.dataset.place));
    report.charts.recolour();
    report.viewer.redraw(report.get("instances"));
  }

  button.addEventListener("click", () => show(stored(report.isDark() ? "light" : "dark") ?? (report.isDark() ? "light" : "dark")));
  // What stands behind every mean is much to look at: shown when it is asked for.
  const intervals = document.getElementById("intervals");
  intervals.hidden = !document.querySelector(".spread");
  intervals.firstChild.addEventListener("change", (event) => {
    document.getElementById("tables").classList.toggle("intervals", event.target.checked);
  });
  report.charts.start(report.get("charts"));
  report.explorer.start(report.get("instances"));
  show(stored() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  performance.mark("ready");
  root.dataset.ready = "yes";
})();
