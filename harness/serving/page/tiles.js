"use strict";
// A tile a method: its mask over the picture, its numbers, or why it has none.
report.tiles = (() => {
  const { element, server, paint, state } = report;
  const SHOWN = ["saliency", "candidates", "truth"];
  const HITS = {
    right: "right", part: "a part of it", whole: "the whole that it belongs to", same_class: "another one of its class",
    other_class: "an object of another class", background: "background", nothing: "nothing",
  };
  const MOST = 400;
  const replies = new Map();  // What was answered, by method, picture, clicks and words: going back asks nothing.
  const tiles = [];
  let view = null;  // Of the picture: size, view, image, zoom.
  let meant = null, shown = "\n";
  const shows = (what) => document.getElementById(`show-${what}`).checked;

  function start(methods, clicked) {
    for (const [place, facts] of methods.entries()) {
      const tile = { facts, place, reply: null, early: 0, error: "", busy: false, ranking: "", saliency: null };
      tile.canvas = element("canvas", {});
      tile.canvas.setAttribute("role", "img");
      clicked(tile.canvas);
      tile.said = element("p", { className: "said" });
      tile.rankings = element("div", { className: "rankings", role: "group", ariaLabel: `Ranking of ${facts.label}` });
      tile.more = element("div", { className: "more" });
      tile.note = element("p", { className: "error", role: "status" });
      const swatch = element("span", { className: "swatch", ariaHidden: "true" });
      swatch.style.background = paint.colour(place);
      tile.figure = element("figure", { className: "tile" }, element("figcaption", {}, swatch, facts.label), tile.canvas, tile.said, tile.rankings, tile.note, tile.more);
      tiles.push(tile);
    }
    document.getElementById("tiles").append(...tiles.map((tile) => tile.figure));
    for (const what of SHOWN) {
      document.getElementById(`show-${what}`).addEventListener("change", () => state.mark({ show: SHOWN.filter(shows).join(",") }));
    }
  }

  // What the state says is shown: saliency, candidates, ground truth, and each method's ranking.
  function follow({ show, by }) {
    if (shown === `${show}\n${by}`) return;
    shown = `${show}\n${by}`;
    for (const what of SHOWN) document.getElementById(`show-${what}`).checked = show.split(",").includes(what);
    const rankings = new Map(by.split("\n").map((line) => line.split("\t")));
    for (const tile of tiles) {
      tile.ranking = rankings.get(tile.facts.label) ?? "";
      refresh(tile);
    }
  }

  function choose(tile, name) {
    tile.ranking = name;
    state.mark({ by: tiles.filter((one) => one.ranking).map((one) => `${one.facts.label}\t${one.ranking}`).join("\n") });
  }

  function key(facts, { source, name, clicks, text }) {
    return JSON.stringify([facts.label, source, name, clicks, facts.reads ? text : ""]);
  }

  function keep(name, value) {
    replies.delete(name);
    replies.set(name, value);
    if (replies.size > MOST) replies.delete(replies.keys().next().value);
  }

  // given: as `view` above; null while there is no picture.
  function picture(given) {
    view = given;
    for (const tile of tiles) {
      tile.controller?.abort();
      Object.assign(tile, { asked: null, reply: null, early: 0, error: "", saliency: null, busy: false });
    }
  }

  function ask(state) {
    return Promise.all(tiles.map((tile) => update(tile, state)));
  }

  async function update(tile, state) {
    const { facts } = tile, name = key(facts, state);
    if (tile.asked === name && !tile.again) return;
    tile.controller?.abort();
    Object.assign(tile, { asked: name, again: false, saliency: null, error: "", early: 0 });
    if (!view || !(state.clicks.length || (!facts.needs_click && state.text))) {
      Object.assign(tile, { reply: null, busy: false });
      return refresh(tile);
    }
    const controller = tile.controller = new AbortController();
    tile.busy = !replies.has(name);
    if (tile.busy) refresh(tile);
    try {
      const found = await answered(facts, state, controller.signal);
      if (tile.asked !== name) return;
      Object.assign(tile, { ...found, busy: false });
    } catch (error) {
      if (tile.asked !== name || error.name === "AbortError") return;
      Object.assign(tile, { reply: null, busy: false, error: error.message, again: true });
    }
    refresh(tile);
  }

  // Where a method fails on the last click (a network for one click alone), its mask before that click stays.
  async function answered(facts, state, signal) {
    const reply = await predicted(facts, state, signal);
    if (!reply.error) return { reply, error: "", early: 0 };
    for (let count = state.clicks.length - 1; count >= 1; count--) {
      const before = await predicted(facts, { ...state, clicks: state.clicks.slice(0, count) }, signal);
      if (!before.error) return { reply: before, error: reply.error, early: count };
    }
    return { reply: null, error: reply.error, early: 0 };
  }

  async function predicted(facts, state, signal) {
    const name = key(facts, state);
    if (!replies.has(name)) {
      const { source, name: picture, clicks, text } = state, started = performance.now();
      const reply = await server.post("predict", { source, name: picture, clicks, text: facts.reads ? text : "", method: facts.label }, signal);
      keep(name, { ...reply, ms: performance.now() - started, clicks });
    }
    return replies.get(name);
  }

  // Whatever failed for lack of an answer is asked again.
  function retry(state) {
    for (const tile of tiles) if (tile.error && tile.again) tile.asked = null;
    return ask(state);
  }

  // one: the object that is meant, of the reply of api/truth; or null.
  function judge(one) {
    meant = one;
    tiles.forEach(refresh);
  }

  function refresh(tile) {
    draw(tile);
    more(tile);
  }

  function redraw() {
    tiles.forEach(draw);
  }

  function ranking(tile) {
    const names = Object.keys(tile.reply?.taken ?? {});
    return names.includes(tile.ranking) ? tile.ranking : names[0];
  }

  function taken(tile) {
    return tile.reply?.candidates[tile.reply.taken[ranking(tile)]];
  }

  function layers(tile, candidate) {
    const own = candidate ? [{ counts: candidate.counts, rgb: paint.rgb(paint.colour(tile.place)), filled: true }] : [];
    return [...own, ...ground()];
  }

  function ground() {
    return shows("truth") && meant ? [{ counts: meant.counts, rgb: paint.rgb(paint.TRUTH), filled: false }] : [];
  }

  function scaled(clicks) {
    const [across, down] = [view.view[1] / view.size[1], view.view[0] / view.size[0]];
    return clicks.map(([x, y, positive]) => [(x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5, positive]);
  }

  function draw(tile) {
    const candidate = taken(tile);
    tile.figure.classList.toggle("busy", tile.busy);
    tile.canvas.hidden = !view;
    if (view) {
      paint.draw(tile.canvas, view.view, view.image, layers(tile, candidate), scaled(tile.reply?.clicks ?? []), view.zoom);
      tile.canvas.style.aspectRatio = `${view.size[1]} / ${view.size[0]}`;
    }
    tile.canvas.setAttribute("aria-label", `${tile.facts.label}: ${candidate ? "its mask over the picture" : "no mask"}`);
    // The mask of the prompt before is shown, pale, until that of this one comes; its numbers would be taken for this one's.
    tile.said.textContent = tile.busy ? "asked ..." : candidate ? said(tile, candidate) : "";
    tile.said.title = tile.reply && !tile.busy ? times(tile.reply) : "";
    tile.note.textContent = tile.early ? `${tile.error} The mask is that after ${tile.early} click${tile.early === 1 ? "" : "s"}.` : tile.error;
    choices(tile);
  }

  function said(tile, candidate) {
    const score = meant && candidate.against[meant.id];
    const found = score ? [`IoU ${(100 * score.iou).toFixed(1)} % with ${meant.name}: ${HITS[score.hit]}`] : [];
    return [...found, `${candidate.pixels.toLocaleString("en")} pixels`, `${tile.reply.ms.toFixed(0)} ms`].join(" · ");
  }

  function times({ encode_ms, segment_ms }) {
    return `In the browser, all together. Of it the method's last round: ${segment_ms.toFixed(0)} ms. Encoding the picture, once: ${encode_ms.toFixed(0)} ms.`;
  }

  // The rankings that take different candidates, each a button.
  function choices(tile) {
    const names = Object.keys(tile.reply?.taken ?? {});
    tile.rankings.replaceChildren(...(names.length < 2 ? [] : names.map((name) => {
      const button = element("button", { type: "button" }, `by ${name}`);
      button.setAttribute("aria-pressed", String(name === ranking(tile)));
      button.addEventListener("click", () => choose(tile, name));
      return button;
    })));
  }

  // Candidates and saliency, where they are wanted. A map may come late: then a later call has shown what is asked now.
  async function more(tile) {
    const parts = [], own = tile.latest = {};
    if (shows("saliency") && tile.reply && tile.facts.reads) parts.push(await salient(tile));
    if (shows("candidates") && !tile.busy && (tile.reply?.candidates.length ?? 0) > 1) parts.push(...tile.reply.candidates.map((one, place) => candidate(tile, one, place)));
    if (tile.latest === own) tile.more.replaceChildren(...parts);
  }

  function candidate(tile, one, place) {
    const canvas = element("canvas", {});
    paint.draw(canvas, view.view, view.image, layers(tile, one), [], 1);
    const scores = Object.entries(one.scores).map(([name, value]) => `${name} ${value.toFixed?.(3) ?? value}${tile.reply.taken[name] === place ? " (taken)" : ""}`);
    const iou = meant && one.against[meant.id] ? [`IoU ${(100 * one.against[meant.id].iou).toFixed(1)} %`] : [];
    const words = [`candidate ${place + 1}`, ...scores, ...iou].join(", ");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    return element("figure", {}, canvas, element("figcaption", {}, words));
  }

  async function salient(tile) {
    const { facts } = tile, [, source, name, clicks, text] = JSON.parse(tile.asked);
    const asked = tile.saliency ??= server.post("saliency", { source, name, clicks, text, method: facts.label });
    const { png, error } = await asked.catch((failure) => {
      if (tile.saliency === asked) tile.saliency = null;
      return { error: failure.message };
    });
    if (error) return element("p", { className: "error" }, error);
    if (!png) return element("p", { className: "hint" }, "It looks at no saliency.");
    const image = await loaded(`data:image/png;base64,${png}`), canvas = element("canvas", {});
    heat(canvas, image);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Saliency of "${text}" for ${facts.label}`);
    return element("figure", {}, canvas, element("figcaption", {}, `saliency of "${text}"`));
  }

  // A grey map as colours over the picture: dark blue is 0, yellow 1.
  function heat(canvas, image) {
    paint.draw(canvas, view.view, image, [], [], 1);
    const context = canvas.getContext("2d"), pixels = context.getImageData(0, 0, canvas.width, canvas.height), { data } = pixels;
    const stops = [[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]];
    for (let at = 0; at < data.length; at += 4) {
      const place = data[at] / 255 * 4, low = Math.min(3, Math.floor(place)), share = place - low;
      for (let c = 0; c < 3; c++) data[at + c] = stops[low][c] * (1 - share) + stops[low + 1][c] * share;
      data[at + 3] = 165;
    }
    const map = element("canvas", { width: canvas.width, height: canvas.height });
    map.getContext("2d").putImageData(pixels, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(view.image, 0, 0, canvas.width, canvas.height);
    context.drawImage(map, 0, 0);
  }

  function loaded(url) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("the picture did not load"));
      image.src = url;
    });
  }

  return { start, follow, picture, ask, retry, judge, redraw, ground, scaled, loaded, all: () => tiles, busy: () => tiles.some((tile) => tile.busy) };
})();
