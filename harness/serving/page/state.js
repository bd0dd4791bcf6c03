"use strict";
// What is asked: a picture, clicks and words; and what is shown of the answers. All of it is the part of the link after
// "#". What is asked can be gone back to, step by step.
report.state = (() => {
  const EMPTY = { source: "", name: "", clicks: [], text: "", meant: "", show: "", by: "" };
  const MOST = 500;
  let past = [], now = EMPTY, future = [], typing = false, changed = () => {};

  function start(tell) {
    changed = tell;
    addEventListener("hashchange", () => { if (location.hash !== hash(now)) set(parsed(location.hash)); });
    now = parsed(location.hash);
  }

  // changes: some of a state's parts. Words that are typed letter by letter are one step to go back.
  function set(changes, isTyping = false) {
    const next = { ...now, ...changes };
    if (hash(next) === hash(now)) return;
    if (!(isTyping && typing)) past = [...past, now].slice(-MOST);
    typing = isTyping;
    future = [];
    move(next);
  }

  // What is shown of the answers is no step.
  function mark(changes) {
    move({ ...now, ...changes });
  }

  function undo() {
    if (past.length) { future.push(now); typing = false; mark(asked(past.pop())); }
  }

  function redo() {
    if (future.length) { past.push(now); typing = false; mark(asked(future.pop())); }
  }

  function asked({ source, name, clicks, text, meant }) {
    return { source, name, clicks, text, meant };
  }

  function move(next) {
    now = next;
    history.replaceState(null, "", hash(now) || location.pathname);
    changed(now);
  }

  // #source=scenes&name=val-00003&clicks=120,80;-30,40&text=tie&show=saliency; a minus takes away, as in
  // `predict --click`.
  function hash({ source, name, clicks, text, meant, show, by }) {
    const said = clicks.map(([x, y, positive]) => `${positive ? "" : "-"}${x},${y}`).join(";");
    const parts = Object.entries({ source, name, clicks: said, text, meant, show, by }).filter(([, value]) => value);
    return parts.length ? `#${parts.map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%2C", ",").replaceAll("%3B", ";").replaceAll("%2F", "/")}`).join("&")}` : "";
  }

  function parsed(text) {
    const given = new URLSearchParams(text.slice(1));
    const clicks = (given.get("clicks") ?? "").split(";").map((one) => one.match(/^(-?)(\d+),(\d+)$/)).filter(Boolean);
    return {
      source: given.get("source") ?? "", name: given.get("name") ?? "", text: given.get("text") ?? "", meant: given.get("meant") ?? "",
      show: given.get("show") ?? "", by: given.get("by") ?? "",
      clicks: clicks.map(([, minus, x, y]) => [Number(x), Number(y), !minus]),
    };
  }

  return { start, set, mark, undo, redo, hash, get: () => now, can: () => ({ undo: past.length > 0, redo: future.length > 0 }) };
})();
