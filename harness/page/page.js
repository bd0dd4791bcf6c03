"use strict";
// The parts' start.
(() => {
  // What stands behind every mean is much to look at: shown when it is asked for.
  const intervals = document.getElementById("intervals");
  intervals.hidden = !document.querySelector(".spread");
  intervals.firstChild.addEventListener("change", (event) => {
    document.getElementById("tables").classList.toggle("intervals", event.target.checked);
  });
  report.charts.start(report.get("charts"));
  report.explorer.start(report.get("instances"));
  report.theme.start(() => {
    for (const swatch of document.querySelectorAll(".swatch[data-place]")) swatch.style.background = report.colour(Number(swatch.dataset.place));
    report.charts.recolour();
    report.viewer.redraw(report.get("instances"));
  });
  performance.mark("ready");
  document.documentElement.dataset.ready = "yes";
})();
