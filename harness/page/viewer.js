"use strict";
// One instance: its picture, and every method's mask over it.
report.viewer = (() => {
  const { element } = report;
  const on = new Set();
  let truth = true, picture = true, filled = true, beside = false;
  let shown = null;
  let dialog, next = () => {};

  function start(data, move) {
    dialog = document.getElementById("viewer");
    next = move;
    data.entries.slice(0, 1).forEach((_, place) => on.add(place));
    document.getElementById("viewer-close").addEventListener("click", () => dialog.close());
    for (const button of dialog.querySelectorAll("[data-move]")) {
      button.addEventListener("click", () => next(Number(button.dataset.move)));
    }
    dialog.addEventListener("keydown", (event) => key(event, data));
  }

  function key(event, data) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const place = Number(event.key) - 1;
    if (event.key === "ArrowLeft") next(-1);
    else if (event.key === "ArrowRight") next(1);
    else if (event.key === "g") { truth = !truth; render(data); }
    else if (event.key === "s") { beside = !beside; render(data); }
    else if (place >= 0 && place < data.entries.length) { toggle(on, place); render(data); }
    else return;
    event.preventDefault();
  }

  function toggle(set, value) {
    set[set.has(value) ? "delete" : "add"](value);
  }

  async function open(data, line) {
    const number = Math.floor(line / data.per_file);
    const file = data.pictures[data.image[line]];
    if (!dialog.open) dialog.showModal();
    shown = { line };
    const own = shown;
    try {
      const [part, image] = await Promise.all([report.load(`masks/${number}`), loaded(file)]);
      if (shown !== own) return;
      const [size, truthCounts, clicks, cells] = part[line % data.per_file];
      Object.assign(own, { size, truthCounts, clicks, cells, image });
      render(data);
    } catch (error) {
      document.getElementById("viewer-facts").textContent = error.message;
    }
  }

  function loaded(file) {
    return file === null ? null : new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => resolve(null);
      image.src = `pictures/${file}.jpg`;
    });
  }

  function render(data) {
    const { line, size, clicks, truthCounts, image } = shown;
    if (!size) return;
    const category = data.categories[data.category[line]];
    const seen = { 1: ", seen class", 0: ", unseen class" }[data.seen[line]] ?? "";
    document.getElementById("viewer-title").textContent = `${data.text[line] || category}, instance ${data.id[line]}`;
    const facts = [`${data.datasets[data.dataset[line]]}, image ${data.images[data.image[line]]}, class ${category}${seen}`,
      `${size[1]} x ${size[0]} pixels, area ${data.area[line]}`, `${clicks.length} click${clicks.length === 1 ? "" : "s"}`];
    if (!image) facts.push("its picture is not in this page");
    document.getElementById("viewer-facts").textContent = facts.join("; ");
    paint(data);
    layers(data, truthCounts);
  }

  function paint(data) {
    const { size, clicks, truthCounts, cells, image } = shown;
    const stage = document.getElementById("stage");
    const ground = truth && truthCounts ? [{ counts: truthCounts, rgb: report.paint.rgb(report.paint.TRUTH), filled: false }] : [];
    const masks = [...on].sort((a, b) => a - b).filter((place) => cells[place]?.[0]).map((place) => (
      { counts: cells[place][0], rgb: report.paint.rgb(report.paint.colour(place)), filled, name: data.entries[place] }));
    const groups = beside ? masks.map((mask) => [mask.name, [mask, ...ground]]) : [["", [...masks, ...ground]]];
    if (!groups.length) groups.push(["", ground]);
    stage.className = beside ? "beside" : "";
    stage.replaceChildren(...groups.map(([name, own]) => {
      const canvas = element("canvas", { role: "img" });
      const drawn = own.map((one) => one.name ?? "ground truth").join(", ") || "no mask";
      canvas.setAttribute("aria-label", `Drawn over the image: ${drawn}`);
      report.paint.draw(canvas, size, picture ? image : null, own, clicks);
      return element("figure", {}, canvas, ...(name ? [element("figcaption", {}, name)] : []));
    }));
  }

  function layers(data, truthCounts) {
    const { line, cells } = shown;
    const form = document.getElementById("layers");
    const focused = document.activeElement?.dataset?.layer;
    const entries = data.entries.map((name, place) => {
      const [, hit, error] = cells[place] ?? [null, "", ""];
      const value = data.iou[place][line];
      const score = value >= 0 ? `${(value / 100).toFixed(1)}${hit ? `, ${hit.replace("_", " ")}` : ""}` : value === -1 ? "failed" : "not asked";
      const row = box(`entry-${place}`, `${place < 9 ? `${place + 1} ` : ""}${name}`, on.has(place), () => toggle(on, place), data, report.paint.colour(place), score);
      return error ? [row, element("div", { className: "error" }, error)] : [row];
    });
    form.replaceChildren(
      box("truth", "Ground truth (g)", truth, () => { truth = !truth; }, data, report.paint.TRUTH, truthCounts ? "" : "not in this page"),
      ...entries.flat(),
      box("picture", "Picture", picture, () => { picture = !picture; }, data),
      box("filled", "Fill the masks", filled, () => { filled = !filled; }, data),
      box("beside", "Side by side (s)", beside, () => { beside = !beside; }, data),
    );
    if (focused) form.querySelector(`[data-layer="${focused}"]`)?.focus();
  }

  function box(layer, name, checked, change, data, colour, score = "") {
    const input = element("input", { type: "checkbox", checked });
    input.dataset.layer = layer;
    input.addEventListener("change", () => { change(); render(data); });
    const swatch = element("span", { className: "swatch", ariaHidden: "true" });
    if (colour) swatch.style.background = colour;
    return element("label", {}, input, ...(colour ? [swatch] : []), name, element("span", { className: "score" }, score));
  }

  return { start, open, redraw: (data) => dialog?.open && shown && render(data), isOpen: () => dialog.open };
})();
