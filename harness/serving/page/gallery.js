"use strict";
// The pictures to choose from, and those of one's own.
report.gallery = (() => {
  const { element, server, state } = report;
  const own = new Map();  // An upload's name -> its file, to bring it again to a server that was started anew.
  let about, listed = { source: "", search: "", start: 0, names: [], total: 0 }, latest = 0, taken = 0, timer;
  const part = (id) => document.getElementById(id);

  function start(given) {
    about = given;
    const offered = about.sources.filter((one) => one.kind !== "uploads");
    part("source").replaceChildren(...offered.map((one) => element("option", { value: one.label }, one.label)));
    part("source").addEventListener("change", () => list(0));
    part("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => list(0), 250); });
    part("earlier").addEventListener("click", () => list(listed.start - listed.size));
    part("later").addEventListener("click", () => list(listed.start + listed.size));
    part("file").addEventListener("change", (event) => { if (event.target.files.length) take(event.target.files[0]); event.target.value = ""; });
    part("pictures").addEventListener("click", open);
    addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragged"); });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragged"); });
    addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dragged");
      if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
      if (file) take(file);
    });
  }

  async function open() {
    if (!part("gallery").open) part("gallery").showModal();
    const { source } = state.get();
    if (!listed.names.length || (source !== listed.source && [...part("source").options].some((one) => one.value === source))) {
      if (source && source !== about.uploads) part("source").value = source;
      await list(0);
    }
  }

  // A later list overtakes an earlier one that is slow. around: a picture whose part of the list is wanted.
  async function list(start, around = "") {
    const own = ++latest, source = part("source").value, search = part("search").value;
    if (!source) return false;
    try {
      const found = await server.get("pictures", { source, search, start: Math.max(0, start), around });
      if (own !== latest) return false;
      listed = { source, search, size: Math.max(1, found.names.length, listed.size ?? 1), ...found };
      fault("");
      show();
      return true;
    } catch (error) {
      if (own === latest) { listed = { ...listed, source, names: [], total: 0 }; show(); fault(error.message); }
      return false;
    }
  }

  function fault(text) {
    part("gallery-error").textContent = text;
    part("gallery-error").hidden = !text;
  }

  function show() {
    const { names, total, start, source } = listed;
    part("found").textContent = `${total.toLocaleString("en")} picture${total === 1 ? "" : "s"}`;
    part("thumbs").replaceChildren(...names.map((name) => {
      const image = element("img", { src: server.address("thumb", { source, name }), alt: "", loading: "lazy" });
      const button = element("button", { type: "button", title: name }, image, element("span", {}, name));
      button.addEventListener("click", () => choose(source, name));
      return button;
    }));
    part("page-number").textContent = names.length ? `${start + 1} to ${start + names.length}` : "";
    part("earlier").disabled = start === 0;
    part("later").disabled = start + names.length >= total;
  }

  function choose(source, name) {
    part("gallery").close();
    state.set({ source, name, clicks: [], meant: "" });
  }

  // Of several files the last one is opened, whichever is here first.
  async function take(file) {
    const order = ++taken, said = part("gallery").open ? fault : server.say;
    try {
      if (file.size > about.most.mib * 2 ** 20) throw new Error(`'${file.name}': found ${(file.size / 2 ** 20).toFixed(0)} MiB; wanted ${about.most.mib} at most. Shrink it.`);
      const { source, name } = await server.upload(file);
      own.set(name, file);
      if (order !== taken) return;
      said("");
      choose(source, name);
    } catch (error) {
      if (!(error instanceof server.Away)) said(error.message);
    }
  }

  // Brings a picture of one's own again; whether this page still has it.
  async function again(name) {
    if (!own.has(name)) return false;
    await server.upload(own.get(name));
    return true;
  }

  // The picture before or after the one that is shown, in its list.
  async function step(by) {
    const { source, name } = state.get();
    if (source === about.uploads) return;
    if (source !== listed.source || !listed.names.includes(name)) {
      part("source").value = source;
      if (!(await list(0, name))) return;
    }
    let place = listed.names.indexOf(name) + by;
    if (place < 0 && listed.start > 0) { await list(listed.start - listed.size); place = listed.names.length - 1; }
    else if (place >= listed.names.length && listed.start + listed.names.length < listed.total) { await list(listed.start + listed.size); place = 0; }
    if (listed.names[place]) state.set({ source: listed.source, name: listed.names[place], clicks: [], meant: "" });
  }

  return { start, open, step, again, fileName: (name) => own.get(name)?.name };
})();
