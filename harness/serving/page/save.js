"use strict";
// The state as one picture: the picture with its clicks, every method's mask, and what is said of it.
report.save = (() => {
  const { element, state } = report;
  const SIDE = 360, GAP = 16, LINE = 18;

  function drawn() {
    const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const { source, name, text } = state.get();
    const stage = document.getElementById("stage"), parts = [[stage, "", [document.getElementById("under-said").textContent]]];
    for (const tile of report.tiles.all()) {
      if (tile.busy) {
        parts.push([stage, tile.facts.label, [tile.said.textContent]]);
        continue;
      }
      parts.push([tile.canvas, tile.facts.label, [tile.said.textContent, tile.note.textContent]]);
      for (const one of tile.more.querySelectorAll("figure")) parts.push([one.querySelector("canvas"), tile.facts.label, [one.textContent]]);
    }
    const columns = Math.min(4, parts.length), rows = Math.ceil(parts.length / columns);
    // A browser has no canvas above some 16,000 pixels: a very tall picture is drawn narrower.
    const { width, height } = stage, wide = Math.max(1, Math.min(SIDE, Math.round(3 * SIDE * width / height)));
    const high = Math.max(1, Math.round(wide * height / width)), row = high + 5 * LINE + GAP;
    const canvas = element("canvas", { width: columns * (SIDE + GAP) + GAP, height: rows * row + 3 * LINE });
    const context = canvas.getContext("2d");
    context.fillStyle = colour("--ground");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = colour("--text");
    context.font = "600 15px system-ui, sans-serif";
    context.fillText(`${source}, ${report.gallery.fileName(name) ?? name}${text ? `: "${text}"` : ""}`, GAP, 1.7 * LINE, canvas.width - 2 * GAP);
    for (const [place, [image, title, said]] of parts.entries()) {
      const left = GAP + (place % columns) * (SIDE + GAP), top = 2.5 * LINE + Math.floor(place / columns) * row;
      context.drawImage(image, left, top, wide, high);
      context.fillStyle = colour("--text");
      context.font = "600 14px system-ui, sans-serif";
      context.fillText(title, left, top + high + LINE, SIDE);
      context.fillStyle = colour("--quiet");
      context.font = "13px system-ui, sans-serif";
      lines(context, said.filter(Boolean).join(" "), SIDE).slice(0, 3).forEach((line, number) => context.fillText(line, left, top + high + (2 + number) * LINE, SIDE));
    }
    return canvas;
  }

  function lines(context, text, width) {
    const found = [""];
    for (const word of text.split(" ")) {
      const longer = `${found.at(-1)} ${word}`.trim();
      if (context.measureText(longer).width <= width || !found.at(-1)) found[found.length - 1] = longer;
      else found.push(word);
    }
    return found;
  }

  function save() {
    const { name, text } = state.get();
    const called = `${name} ${text}`.trim().replace(/[^\w.-]+/g, "_").slice(0, 80) || "try";
    drawn().toBlob((blob) => {
      const link = element("a", { href: URL.createObjectURL(blob), download: `${called}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }, "image/png");
  }

  return { save, drawn };
})();
