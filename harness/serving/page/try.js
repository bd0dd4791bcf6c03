"use strict";
// The page's start, and what follows when the picture, the clicks or the words change.
(() => {
  const { element, server, state, gallery, tiles, stage, record } = report;
  const part = (id) => document.getElementById(id);
  let about = null, shown = { source: null, name: null }, opening = null, view = null, under = null, timer;

  async function start() {
    server.start(again);
    state.start(changed);
    report.theme.start(() => { if (view) { tiles.redraw(); stage.draw(); } });
    keys();
    buttons();
    await begin();
  }

  // Once the server has said what there is; a page that was opened before its server comes here later.
  async function begin() {
    try {
      about = await server.get("about");
    } catch (error) {
      if (!(error instanceof server.Away)) server.say(error.message);
      return;
    }
    document.title = part("title").textContent = `Try: ${about.run}`;
    gallery.start(about);
    stage.start();
    tiles.start(about.methods, stage.clickable);
    record.start(about.records, () => state.set({ clicks: [], text: "", meant: "" }));
    document.documentElement.dataset.ready = "yes";
    await changed(state.get());
    if (!state.get().name) gallery.open();
  }

  async function again() {
    if (!about) return begin();
    shown = { source: null, name: null };
    await changed(state.get());
    await tiles.retry(state.get());
  }

  async function changed(now) {
    if (!about) return;
    part("undo").disabled = !state.can().undo;
    part("redo").disabled = !state.can().redo;
    part("clear").disabled = !now.clicks.length;
    if (document.activeElement !== part("words") || part("words").value.trim() !== now.text) part("words").value = now.text;
    // What was said of the prompt before is no longer so.
    if (!server.isAway()) server.say("");
    try {
      // Words that change while the picture loads wait for it, too: their answers are drawn on it.
      if (now.source !== shown.source || now.name !== shown.name) {
        const own = opening = open(now).finally(() => { if (opening === own) opening = null; });
      }
      if (opening) await opening;
      if (now !== state.get()) return;
      tiles.follow(now);
      record.follow(now);
      stage.draw();
      if (view) await Promise.all([tiles.ask(now), look(now)]);
    } catch (error) {
      if (!(error instanceof server.Away) && now === state.get()) server.say(error.message);
    }
    document.documentElement.dataset.at = state.hash(state.get());
  }

  async function open(now) {
    const own = shown = { source: now.source, name: now.name };
    stage.wait();
    part("picture-name").textContent = now.name ? gallery.fileName(now.name) ?? `${now.source}, ${now.name}` : "";
    const found = now.name ? await loaded(now).catch((error) => {
      shown = { source: null, name: null };
      if (error instanceof server.Away && view) throw error;
      show(null);
      throw error;
    }) : null;
    if (shown !== own) return;
    show(found);
  }

  async function loaded({ source, name }) {
    let known;
    try {
      known = await server.get("picture", { source, name });
    } catch (error) {
      if (!(error instanceof server.Gone) || !(await gallery.again(name))) throw error;
      known = await server.get("picture", { source, name });
    }
    const image = await tiles.loaded(server.address("pixels", { source, name }));
    return { ...known, image, zoom: Math.max(1, Math.floor(700 / Math.max(...known.view))) };
  }

  function show(given) {
    view = given;
    under = null;
    tiles.picture(view);
    tiles.judge(null);
    record.meant(null);
    stage.picture(view);
    part("vocabulary").replaceChildren(...(view?.vocabulary ?? []).map((name) => element("option", { value: name })));
    part("show-truth").disabled = !view?.truth;
  }

  // What lies under the first positive click.
  async function look(now) {
    const first = now.clicks.find(([, , positive]) => positive);
    const wanted = view.truth && first ? JSON.stringify([now.source, now.name, first]) : "";
    if (under?.wanted !== wanted) {
      record.meant(null);  // What was meant by another click is no answer to this one.
      const found = wanted ? await server.post("truth", { source: now.source, name: now.name, clicks: [first] }) : { said: "", under: [] };
      if (now !== state.get()) return;
      under = { wanted, ...found };
    }
    const one = chosen(now);
    const broken = view.broken.map((one) => `left out of the ground truth: ${one}`);
    part("under-said").textContent = [view.truth && under.said, ...broken].filter(Boolean).join(" · ");
    part("meant").replaceChildren(...under.under.map((own) => {
      const button = element("button", { type: "button" }, own.words);
      button.setAttribute("aria-pressed", String(own === one));
      button.title = `Compare with it, and say "${own.words}"`;
      button.addEventListener("click", () => state.set({ meant: own.id, text: own.words }));
      return button;
    }));
    tiles.judge(one);
    record.meant(one);
    stage.draw();
  }

  // The object that was chosen, or that the words name, or the smallest under the click.
  function chosen({ meant, text }) {
    const said = text.trim().toLowerCase();
    return under.under.find((one) => one.id === meant) ?? under.under.find((one) => [one.words, one.name].some((name) => name.toLowerCase() === said)) ?? under.under[0] ?? null;
  }

  function buttons() {
    part("undo").addEventListener("click", state.undo);
    part("redo").addEventListener("click", state.redo);
    part("clear").addEventListener("click", clear);
    part("before").addEventListener("click", () => gallery.step(-1));
    part("after").addEventListener("click", () => gallery.step(1));
    part("save").addEventListener("click", () => { if (view) report.save.save(); });
    part("link").addEventListener("click", copy);
    part("help").addEventListener("click", () => part("keys").showModal());
    for (const one of document.querySelectorAll("[data-close]")) one.addEventListener("click", () => one.closest("dialog").close());
    part("words").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => say(true), 350); });
    part("words").addEventListener("change", () => say(false));
  }

  function say(typing) {
    clearTimeout(timer);
    state.set({ text: part("words").value.trim(), meant: "" }, typing);
  }

  function clear() {
    state.set({ clicks: [], meant: "" });
  }

  async function copy() {
    const button = part("link");
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
    } catch {
      button.textContent = "It is in the address bar";
    }
    setTimeout(() => { button.textContent = "Copy link"; }, 2000);
  }

  function keys() {
    addEventListener("keydown", (event) => {
      const typing = event.target.matches("input:not([type=radio], [type=checkbox]), select, textarea");
      if ((event.ctrlKey || event.metaKey) && !typing) {
        const name = event.key.toLowerCase();
        if (name === "z") event.shiftKey ? state.redo() : state.undo();
        else if (name === "y") state.redo();
        else return;
        event.preventDefault();
      }
      if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const does = {
        n: clear, w: () => part("words").focus(), p: gallery.open, s: () => part("show-saliency").click(), c: () => part("show-candidates").click(),
        g: () => part("show-truth").click(), "[": () => gallery.step(-1), "]": () => gallery.step(1), "?": () => part("keys").showModal(),
        x: () => document.querySelector("[name=sign]:not(:checked)").click(),
      }[event.key];
      if (does) { event.preventDefault(); does(); }
    });
  }

  start();
})();
