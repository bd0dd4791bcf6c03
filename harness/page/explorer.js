"use strict";
// The list of instances: filtered, sorted, a page at a time; tens of thousands are only numbers until they are shown.
report.explorer = (() => {
  const { element } = report;
  const PAGE = 50;
  let data, found = [], page = 0, behind = null, sort = { key: "line", down: false };
  const control = (name) => document.getElementById(`f-${name}`);

  function start(given) {
    data = given;
    options("dataset", ["all", ...data.datasets]);
    for (const name of ["a", "b"]) options(name, ["–", ...data.entries]);
    options("metric", ["IoU", ...data.metrics.map((one) => one.name)]);
    // A run that measured no IoU shows the first of its own metrics, also after Clear.
    const measured = data.iou.some((column) => column.some((value) => value >= 0));
    if (!measured && data.metrics.length) control("metric").options[1].defaultSelected = true;
    document.getElementById("metric").hidden = !data.metrics.length;
    document.getElementById("classes").append(...data.categories.map((name) => element("option", { value: name })));
    const form = document.getElementById("filters");
    form.addEventListener("input", later(() => { behind = null; filter(); }));
    form.addEventListener("reset", () => { behind = null; setTimeout(filter); });
    document.getElementById("tables").addEventListener("click", (event) => {
      const link = event.target.closest("a.rows");
      if (link) show(link.dataset);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of document.querySelectorAll("[data-go]")) button.addEventListener("click", () => go(button.dataset.go));
    const body = document.querySelector("#list tbody");
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-line]");
      if (row) report.viewer.open(data, Number(row.dataset.line));
    });
    body.addEventListener("keydown", arrows);
    report.viewer.start(data, move);
    document.getElementById("viewer").addEventListener("close", focusCurrent);
    filter();
  }

  // The instances behind a table's mean, the lowest IoU (or worst score) first, and those that failed last.
  function show({ dataset, entry, seen }) {
    const place = data.entries.indexOf(entry), of = data.datasets.indexOf(dataset);
    document.getElementById("filters").reset();
    control("dataset").value = of < 0 ? "" : of;
    control("seen").value = seen;
    behind = place < 0 ? null : place;
    sort = place < 0 ? { key: "line", down: false } : { key: `score${place}`, down: score().sign < 0 };
    filter();
  }

  let current = -1;

  // The instance before or after, of what the filters leave; the list follows.
  function move(by) {
    const place = found.indexOf(current) + by;
    if (place >= 0 && place < found.length) open(found[place]);
  }

  function open(line) {
    current = line;
    const wanted = Math.floor(found.indexOf(line) / PAGE);
    if (wanted !== page) { page = wanted; render(); }
    return report.viewer.open(data, line);
  }

  function focusCurrent() {
    document.querySelector(`tr[data-line="${current}"] .open`)?.focus();
  }

  function arrows(event) {
    const row = event.target.closest("tr[data-line]");
    const other = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
    const button = other?.querySelector(".open");
    if (button) { button.focus(); event.preventDefault(); }
  }

  function options(name, names) {
    control(name).replaceChildren(...names.map((text, place) => element("option", { value: place ? place - 1 : "" }, text)));
  }

  function later(run) {
    let timer;
    return () => { clearTimeout(timer); timer = setTimeout(run, 120); };
  }

  // The metric that is shown: IoU in percent, or one of the run's own in its unit. NaN where a line has no value.
  function score() {
    const own = data.metrics[control("metric").value];
    if (own) return { ...own, unit: own.unit || "as it is", digits: 2, value: (place, line) => own.values[place][line] ?? NaN };
    const value = (place, line) => (data.iou[place][line] < 0 ? NaN : data.iou[place][line] / 100);
    return { title: "IoU", tail: ", %", unit: "points", digits: 1, sign: 1, value };
  }

  function difference() {
    const [a, b] = [control("a").value, control("b").value], { value } = score();
    if (a === "" || b === "" || a === b) return null;
    return (line) => value(a, line) - value(b, line);
  }

  function range(name, column) {
    if (control(name).value === "") return null;
    const [low, high] = control(name).value.split(",").map(Number);
    return (line) => column[line] >= low && column[line] < high;
  }

  function words() {
    const wanted = control("class").value.trim().toLowerCase();
    if (!wanted) return null;
    const names = data.categories.map((name) => name.toLowerCase());
    // Two data sets may write one class as "person" and "Person".
    if (names.includes(wanted)) return (line) => names[data.category[line]] === wanted;
    return (line) => names[data.category[line]].includes(wanted) || data.text[line].toLowerCase().includes(wanted);
  }

  function equal(name, column) {
    const wanted = control(name).value;
    return wanted === "" ? null : (line) => column[line] === Number(wanted);
  }

  // Behind a mean, what that mean's method saw in its training; methods may differ.
  function seen() {
    return data.seen_by[behind] ?? data.seen;
  }

  function filter() {
    const by = Number(control("by").value), gap = difference(), { sign, unit } = score();
    document.getElementById("unit").textContent = unit;
    const tests = [
      equal("dataset", data.dataset), equal("seen", seen()), words(), range("size", data.area),
      range("under", data.under), range("count", data.count), gap && ((line) => sign * gap(line) >= by),
      behind !== null && ((line) => data.iou[behind][line] !== -2),
      control("failed").checked && ((line) => data.iou.some((column) => column[line] === -1)),
      control("pictures").checked && ((line) => data.pictures[data.image[line]] !== null),
    ].filter(Boolean);
    found = [];
    for (let line = 0; line < data.id.length; line++) if (tests.every((test) => test(line))) found.push(line);
    if (sort.key === "gap" && !gap) sort = { key: "line", down: false };
    arrange();
  }

  const columns = () => {
    const gap = difference(), { value, digits, unit } = score();
    return [
      { key: "line", name: "Instance", value: (line) => line, text: (line) => data.id[line] },
      { key: "class", name: "Class", value: (line) => data.category[line], text: (line) => data.categories[data.category[line]] + (data.text[line] ? `: ${data.text[line]}` : "") },
      { key: "seen", name: "Seen", value: (line) => seen()[line], text: (line) => ({ 1: "seen", 0: "unseen" })[seen()[line]] ?? "–" },
      { key: "area", name: "Area, pixels", right: true, value: (line) => data.area[line], text: (line) => known(data.area[line]) },
      { key: "count", name: "Of its class", right: true, value: (line) => data.count[line], text: (line) => known(data.count[line]) },
      { key: "under", name: "Under the click", right: true, value: (line) => data.under[line], text: (line) => known(data.under[line]) },
      ...data.entries.map((name, place) => ({
        key: `score${place}`, name, right: true, score: true,
        value: (line) => value(place, line),
        text: (line) => (data.iou[place][line] === -1 ? "failed" : shown(value(place, line), digits)),
      })),
      ...(gap ? [{ key: "gap", name: `A − B, ${unit}`, right: true, value: gap, text: (line) => shown(gap(line), digits) }] : []),
    ];
  };

  function shown(value, digits) {
    return Number.isNaN(value) ? "–" : value.toFixed(digits);
  }

  function known(value) {
    return value < 0 ? "–" : String(value);
  }

  // What has no number comes last, up or down.
  function arrange() {
    const { value } = columns().find((column) => column.key === sort.key);
    const sign = sort.down ? -1 : 1;
    found.sort((a, b) => {
      const [one, other] = [value(a), value(b)];
      if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other) || a - b;
      return sign * (one - other) || a - b;
    });
    page = 0;
    render();
  }

  function go(where) {
    const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    page = { first: 0, before: Math.max(0, page - 1), after: Math.min(last, page + 1), last }[where];
    render();
  }

  function render() {
    const shown = columns(), last = Math.max(1, Math.ceil(found.length / PAGE));
    const focused = document.activeElement?.dataset?.sort;
    document.querySelector("#list thead").replaceChildren(head(shown), ...means(shown));
    if (focused) document.querySelector(`[data-sort="${focused}"]`)?.focus();
    document.querySelector("#list tbody").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((line) => row(line, shown)));
    document.getElementById("found").textContent = `${found.length.toLocaleString("en")} of ${data.id.length.toLocaleString("en")} instances`;
    document.getElementById("page-number").textContent = `page ${page + 1} of ${last}`;
    for (const button of document.querySelectorAll("[data-go]")) {
      button.disabled = ["first", "before"].includes(button.dataset.go) ? page === 0 : page === last - 1;
    }
  }

  function head(shown) {
    return element("tr", {}, element("th", { scope: "col" }, "Picture"), ...shown.map((column) => {
      const button = element("button", { type: "button" }, column.name);
      button.dataset.sort = column.key;
      button.addEventListener("click", () => {
        sort = { key: column.key, down: sort.key === column.key && !sort.down };
        arrange();
      });
      const cell = element("th", { scope: "col", className: column.right ? "right" : "" }, button);
      if (sort.key === column.key) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      return cell;
    }));
  }

  function means(shown) {
    const first = shown.findIndex((column) => column.score), { title, tail, digits } = score();
    if (first < 0 || !found.length) return [];
    const cells = shown.filter((column) => column.score).map((column) => {
      const known = found.map(column.value).filter((value) => !Number.isNaN(value));
      const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
      return element("td", { className: "right" }, known.length ? mean.toFixed(digits) + (known.length < found.length ? ` (n = ${known.length})` : "") : "–");
    });
    const rest = shown.length - first - cells.length;
    const row = element("tr", { className: "means" }, element("td", { colSpan: first + 1 }, `Mean ${title} of these instances${tail}`), ...cells, ...Array.from({ length: rest }, () => element("td")));
    return [row];
  }

  function row(line, shown) {
    const file = data.pictures[data.image[line]];
    const picture = file === null ? [] : [element("img", { src: `pictures/${file}s.jpg`, alt: "", loading: "lazy" })];
    const cells = shown.map((column) => {
      const text = column.text(line);
      const content = column.key === "line" ? element("button", { type: "button", className: "open" }, text) : text;
      return element("td", { className: column.right ? "right" : "", title: text }, content);
    });
    const made = element("tr", {}, element("td", { className: "picture" }, ...picture), ...cells);
    made.dataset.line = line;
    made.addEventListener("click", () => { current = line; });
    return made;
  }

  return { start };
})();
