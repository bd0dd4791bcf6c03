"use strict";
// What the data files hand over, and how more of them are asked for: a page from a disk may not fetch.
const report = (() => {
  const held = new Map();
  const asked = new Map();

  function receive(name, value) {
    held.set(name, value);
  }

  function load(name) {
    if (held.has(name)) return Promise.resolve(held.get(name));
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onload = () => resolve(held.get(name));
        script.onerror = () => {
          asked.delete(name);
          reject(new Error(`data/${name}.js is not there`));
        };
        document.head.append(script);
      }));
    }
    return asked.get(name);
  }

  // Every text goes in as text: a class named "<script>" is shown, never run.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const light = ["#0b62a8", "#c8401f", "#15803d", "#8a3ea8", "#8a6100", "#0e7490", "#be185d", "#525252"];
  const dark = ["#6db3f2", "#ff8f6b", "#5fd38a", "#d19bf0", "#e0b64a", "#4fd0e0", "#ff85b8", "#bdbdbd"];
  const isDark = () => document.documentElement.dataset.theme === "dark";
  const colour = (place) => (isDark() ? dark : light)[place % light.length];
  const number = (value, factor) => (value === null ? "–" : (factor * value).toFixed(2));

  return { receive, load, element, colour, isDark, number, get: (name) => held.get(name) };
})();
