"use strict";
// Questions to the server. Where it does not answer, the page says so, keeps all that it has, and tries again.
report.server = (() => {
  const AGAIN_MS = 2000;
  let away = false, back = () => {};

  class Away extends Error {}
  class Gone extends Error {}

  // returned: called when the server answers again.
  function start(returned) { back = returned; }

  async function get(path, query = {}, signal = undefined) {
    return json(await reached(`api/${path}?${new URLSearchParams(query)}`, { signal }));
  }

  async function post(path, body, signal = undefined) {
    return json(await reached(`api/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal }));
  }

  async function upload(file) {
    const query = new URLSearchParams({ called: file.name ?? "" });
    return json(await reached(`api/upload?${query}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file }));
  }

  async function reached(url, options) {
    try {
      const response = await fetch(url, options);
      if (away) { away = false; say(""); back(); }
      return response;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      lost();
      throw new Away("The server does not answer.");
    }
  }

  async function json(response) {
    const value = await response.json().catch(() => ({ error: `The server answered ${response.status}, and no JSON.` }));
    if (response.ok) return value;
    if (response.status === 401) say(value.error);
    throw value.gone ? new Gone(value.error) : new Error(value.error);
  }

  function lost() {
    if (away) return;
    away = true;
    say("The server does not answer. Start it again with the same command: this page keeps everything, and goes on by itself.");
    const wait = () => setTimeout(() => { if (away) get("about").catch(() => {}).finally(wait); }, AGAIN_MS);
    wait();
  }

  function say(text) {
    const banner = document.getElementById("banner");
    banner.textContent = text;
    banner.hidden = !text;
  }

  const address = (path, query) => `api/${path}?${new URLSearchParams(query)}`;

  return { start, get, post, upload, address, say, Away, Gone, isAway: () => away };
})();
