"use strict";
// The charts, by Chart.js: bars or lines with intervals, one set of check boxes for the methods of all.
report.charts = (() => {
  const drawn = [];
  const hidden = new Set();

  // Chart.js has no error bars of its own.
  const intervals = {
    id: "intervals",
    afterDatasetsDraw(chart) {
      const { ctx, scales: { y } } = chart;
      ctx.save();
      ctx.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--text");
      ctx.lineWidth = 1.2;
      chart.data.datasets.forEach((series, place) => {
        if (!chart.isDatasetVisible(place)) return;
        chart.getDatasetMeta(place).data.forEach((mark, group) => {
          const [low, high] = [series.own.lows[group], series.own.highs[group]];
          if (low === null || high === null) return;
          const [top, bottom] = [high, low].map((end) => y.getPixelForValue(series.factor * end));
          ctx.beginPath();
          for (const at of [top, bottom]) { ctx.moveTo(mark.x - 3, at); ctx.lineTo(mark.x + 3, at); }
          ctx.moveTo(mark.x, top);
          ctx.lineTo(mark.x, bottom);
          ctx.stroke();
        });
      });
      ctx.restore();
    },
  };

  function said(chart, own, group) {
    const { means, lows, highs, counts } = own;
    const number = (value) => report.number(value, chart.factor);
    const spread = lows[group] === null ? "" : ` [${number(lows[group])}, ${number(highs[group])}]`;
    const time = own.at === null ? "" : `, ${own.at.toPrecision(3)} ms`;
    return `${number(means[group])}${spread}, n = ${counts[group]}${time}`;
  }

  function numbers(chart) {
    const { element } = report;
    const head = element("tr", {}, element("th", { scope: "col" }, "Method"),
      ...chart.groups.map((group) => element("th", { scope: "col" }, group)));
    const body = chart.series.map((own) => element("tr", {}, element("th", { scope: "row" }, own.name),
      ...chart.groups.map((_, group) => element("td", {}, said(chart, own, group)))));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region" }, table);
    scroll.setAttribute("aria-label", `Numbers: ${chart.title}`);
    return element("details", {}, element("summary", {}, "Numbers"), scroll);
  }

  function settings(chart, names) {
    const style = getComputedStyle(document.documentElement);
    const [quiet, line] = ["--quiet", "--line"].map((name) => style.getPropertyValue(name));
    const colours = chart.series.map((own) => report.colour(names.indexOf(own.name)));
    const axis = (title) => ({ title: { display: true, text: title, color: quiet }, ticks: { color: quiet }, grid: { color: line } });
    return {
      type: { bars: "bar", lines: "line", points: "scatter" }[chart.kind],
      data: {
        labels: chart.groups,
        datasets: chart.series.map((own, place) => ({
          own, factor: chart.factor, label: own.name,
          data: own.means.map((mean) => (mean === null ? null : chart.kind === "points" ? { x: own.at, y: chart.factor * mean } : chart.factor * mean)),
          backgroundColor: colours[place], borderColor: colours[place], hidden: hidden.has(own.name),
        })),
      },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, interaction: { mode: "nearest", intersect: false },
        scales: { x: { ...axis(chart.x), ...(chart.kind === "points" ? { type: "logarithmic" } : {}) }, y: { ...axis(chart.y), min: chart.ends[0] ?? undefined, max: chart.ends[1] ?? undefined } },
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: { label: (point) => `${point.dataset.label}: ${said(chart, point.dataset.own, point.dataIndex)}` } },
        },
      },
      plugins: [intervals],
    };
  }

  function card(chart, names) {
    const { element } = report;
    const canvas = element("canvas", { role: "img" });
    canvas.setAttribute("aria-label", `${chart.title}; the numbers are below the chart`);
    const plot = element("div", { className: "plot" }, canvas);
    const notes = chart.notes.map((note) => element("p", {}, note));
    const made = element("article", { className: "card" }, element("h3", {}, chart.title), plot, ...notes, numbers(chart));
    document.getElementById("chart-list").append(made);
    drawn.push({ chart, canvas, made: null, names });
  }

  function redraw(one) {
    one.made?.destroy();
    one.made = new Chart(one.canvas, settings(one.chart, one.names));
  }

  function start(charts) {
    const { element } = report;
    const names = [...new Set([...(report.get("instances")?.entries ?? []), ...charts.flatMap((chart) => chart.series.map((own) => own.name))])];
    for (const name of names) {
      const box = element("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        hidden[box.checked ? "delete" : "add"](name);
        drawn.forEach((one) => one.made && redraw(one));
      });
      const swatch = element("span", { className: "swatch", ariaHidden: "true" });
      swatch.dataset.place = names.indexOf(name);
      document.getElementById("series").append(element("label", {}, box, swatch, name));
    }
    charts.forEach((chart) => card(chart, names));
    // A chart is drawn when it comes near the window: the first view waits for none.
    const watch = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) {
        const one = drawn.find((other) => other.canvas === target);
        if (isIntersecting && !one.made) redraw(one);
      }
    }, { rootMargin: "400px" });
    drawn.forEach((one) => watch.observe(one.canvas));
    // Paper has no window to come near to.
    window.addEventListener("beforeprint", () => drawn.forEach((one) => one.made || redraw(one)));
  }

  return { start, recolour: () => drawn.forEach((one) => one.made && redraw(one)), drawn };
})();
