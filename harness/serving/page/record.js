"use strict";
// Prompts that their author lets the server keep: only while the switch is on, and only at the press of the button.
report.record = (() => {
  const { server, state } = report;
  const part = (id) => document.getElementById(id);
  let chosen = null, began = performance.now(), last = began, seen = "", at = "", id = null, next = () => {};

  // recording: whether the server keeps any; kept: called when it has kept a prompt.
  function start(recording, kept) {
    part("record").hidden = !recording;
    next = kept;
    part("recording").addEventListener("change", shown);
    part("keep").addEventListener("click", keep);
    shown();
  }

  // The time runs from the first sight of a picture, or from the end of the object before, to the last click or letter.
  function follow({ source, name, clicks, text }) {
    const picture = JSON.stringify([source, name]), asked = JSON.stringify([picture, clicks, text]);
    if (picture !== seen) { seen = picture; began = performance.now(); }
    if (asked !== at) { at = asked; last = performance.now(); id = null; part("kept").textContent = ""; }
    shown();
  }

  function meant(one) {
    chosen = one;
    shown();
  }

  function shown() {
    const on = part("recording").checked, ready = on && chosen && state.get().clicks.length;
    part("keep").disabled = !ready;
    part("keep").textContent = ready ? `Record this prompt for: ${chosen.words}` : "Record this prompt";
    part("record-hint").textContent = on && !ready ? "Click on an object first; where several lie there, choose the one that you mean." : "";
  }

  async function keep() {
    const { source, name, clicks, text } = state.get(), sent = at;
    // Sent again after a failure it has the same id, so that the server keeps it once.
    id ??= drawn();
    part("keep").disabled = true;
    try {
      const seconds = Math.max(0, (last - began) / 1000);
      const { kept } = await server.post("record", { id, source, name, clicks, text, instance: chosen.id, seconds });
      began = performance.now();
      if (at === sent) next();  // Else the next object has clicks already.
      part("kept").textContent = `Recorded; ${kept} in all.`;
    } catch (error) {
      part("kept").textContent = `Not recorded: ${error.message} Press the button again.`;
      shown();
    }
  }

  function drawn() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
  }

  return { start, follow, meant };
})();
