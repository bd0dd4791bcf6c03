"use strict";
// One instance: its picture, and every method's mask over it.
report.viewer = (() => {
  const { element } = report;
  const on = new Set();
  let truth = true, picture = true, filled = true, beside = false;
  let round = 0;  // The place in data.clicks up to which clicks are shown.
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
    round = data.clicks.length - 1;
    const slider = document.querySelector("#rounds input");
    document.getElementById("rounds").hidden = data.clicks.length < 2;
    slider.max = data.clicks.length;
    slider.addEventListener("input", () => rewind(data, Number(slider.value) - 1));
  }

  function rewind(data, place) {
    round = Math.max(0, Math.min(data.clicks.length - 1, place));
    render(data);
  }

  // What a method answered to the clicks that are shown; nothing where it failed on the last of them.
  function answer(data, place) {
    const [error, rounds] = shown.cells[place];
    const last = round === data.clicks.length - 1;
    const [made, clicks, counts, hit, iou, own = []] = (error && last ? [] : rounds).findLast(([made]) => made <= data.clicks[round]) ?? [];
    return { made, clicks, counts, hit, iou, scores: said(data, iou, own), error: last ? error : "" };
  }

  // IoU in percent, then the run's own metrics in their units; "" where the mask has no score.
  function said(data, iou, own) {
    const others = data.metrics.map(({ name, unit }, place) => (own[place] == null ? "" : `${name} ${own[place].toFixed(2)} ${unit}`.trim()));
    return [iou >= 0 ? (iou / 100).toFixed(1) : "", ...others].filter(Boolean).join(", ");
  }

  function key(event, data) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
    const place = Number(event.key) - 1;
    if (event.key === "ArrowLeft") next(-1);
    else if (event.key === "ArrowRight") next(1);
    else if (event.key === "g") { truth = !truth; render(data); }
    else if (event.key === "s") { sideBySide(data); render(data); }
    else if (event.key === ",") rewind(data, round - 1);
    else if (event.key === ".") rewind(data, round + 1);
    else if (place >= 0 && place < data.entries.length) { toggle(on, place); render(data); }
    else return;
    event.preventDefault();
  }

  // Side by side shows all methods; one of them may be switched off again. One over the other goes back to what was on.
  let over = [];
  function sideBySide(data) {
    beside = !beside;
    const wanted = beside ? [...data.entries.keys()] : over;
    if (beside) over = [...on];
    on.clear();
    wanted.forEach((place) => on.add(place));
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
      const [size, truthCounts, cells] = part[line % data.per_file];
      Object.assign(own, { size, truthCounts, cells, image });
      render(data);
    } catch (error) {
      if (shown !== own) return;
      // Nothing of the instance before stands beside the message.
      for (const name of ["stage", "layers"]) document.getElementById(name).replaceChildren();
      document.getElementById("viewer-title").textContent = `instance ${data.id[line]}`;
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
    const { line, size, truthCounts, image } = shown;
    if (!size) return;
    const answers = data.entries.map((_, place) => answer(data, place));
    const clicks = [...on, ...answers.keys()].map((place) => answers[place].clicks).find(Boolean) ?? [];
    const category = data.categories[data.category[line]];
    const seen = { 1: ", seen class", 0: ", unseen class" }[data.seen[line]] ?? "";
    document.getElementById("viewer-title").textContent = [data.text[line] || category, `instance ${data.id[line]}`].filter(Boolean).join(", ");
    const facts = [`${data.datasets[data.dataset[line]]}, image ${data.images[data.image[line]]}${category && `, class ${category}`}${seen}`,
      ...(size[0] < 0 ? [] : [`${size[1]} x ${size[0]} pixels`]), ...(data.area[line] < 0 ? [] : [`area ${data.area[line]}`]), times(clicks.length)];
    if (data.draws > 1) facts.push(`the first draw, with its own scores; the list has means over up to ${data.draws} draws`);
    if (!image) facts.push("its picture is not in this page");
    document.getElementById("viewer-facts").textContent = facts.join("; ");
    const slider = document.querySelector("#rounds input"), said = times(data.clicks[round] ?? 0);
    slider.value = round + 1;
    slider.setAttribute("aria-valuetext", said);
    document.querySelector("#rounds output").textContent = said;
    paint(data, answers, clicks);
    layers(data, answers, truthCounts);
  }

  function times(count) {
    return `${count || "no"} click${count === 1 ? "" : "s"}`;
  }

  function paint(data, answers, clicks) {
    const { size, truthCounts, image } = shown;
    const stage = document.getElementById("stage");
    const ground = truth && truthCounts ? [{ counts: truthCounts, rgb: report.paint.rgb(report.paint.TRUTH), filled: false }] : [];
    const chosen = [...on].sort((a, b) => a - b);
    const masks = new Map(chosen.filter((place) => answers[place].counts).map((place) => [place, {
      counts: answers[place].counts, clicks: answers[place].clicks, rgb: report.paint.rgb(report.paint.colour(place)), filled, name: data.entries[place],
    }]));
    const groups = beside
      ? chosen.map((place) => [caption(data, answers, place), [...(masks.has(place) ? [masks.get(place)] : []), ...ground], answers[place].clicks ?? clicks])
      : [["", [...masks.values(), ...ground], clicks]];
    if (!groups.length) groups.push(["", ground, clicks]);
    stage.className = beside ? "beside" : "";
    stage.replaceChildren(...groups.map(([name, own, made]) => {
      const canvas = element("canvas", { role: "img" });
      const drawn = own.map((one) => one.name ?? "ground truth").join(", ") || "no mask";
      canvas.setAttribute("aria-label", `Drawn over the image: ${drawn}`);
      report.paint.draw(canvas, size, picture ? image : null, own, made);
      return element("figure", {}, canvas, ...(name ? [element("figcaption", {}, name)] : []));
    }));
  }

  // What stands under a method's own picture; also one without a mask has a picture, which says that it has none.
  function caption(data, answers, place) {
    const { counts, iou, scores } = answers[place];
    if (!counts) return `${data.entries[place]}, ${absent(data, place)}`;
    return data.entries[place] + (scores ? `, ${iou >= 0 ? "IoU " : ""}${scores}` : "");
  }

  function absent(data, place) {
    return { "-1": "failed", "-2": "not asked" }[data.iou[place][shown.line]] ?? "no mask";
  }

  function layers(data, answers, truthCounts) {
    const form = document.getElementById("layers");
    const focused = document.activeElement?.dataset?.layer;
    const entries = data.entries.map((name, place) => {
      const { made, hit, scores, error } = answers[place];
      const early = made < data.clicks[round] ? `, after ${times(made)}` : "";
      const score = made !== undefined ? `${scores || "no score"}${hit ? `, ${hit.replace("_", " ")}` : ""}${early}` : absent(data, place);
      const row = box(`entry-${place}`, `${place < 9 ? `${place + 1} ` : ""}${name}`, on.has(place), () => toggle(on, place), data, report.paint.colour(place), score);
      return error ? [row, element("div", { className: "error" }, error)] : [row];
    });
    form.replaceChildren(
      box("truth", "Ground truth (g)", truth, () => { truth = !truth; }, data, report.paint.TRUTH, truthCounts ? "" : "not in this page"),
      ...entries.flat(),
      box("picture", "Picture", picture, () => { picture = !picture; }, data),
      box("filled", "Fill the masks", filled, () => { filled = !filled; }, data),
      box("beside", "Side by side (s)", beside, () => sideBySide(data), data),
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
