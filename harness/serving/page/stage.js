"use strict";
// The picture that is clicked on: by mouse, by touch, or by keys with a cross.
report.stage = (() => {
  const { state, tiles, paint } = report;
  const canvas = document.getElementById("stage");
  let view = null, cross = null;

  function start() {
    clickable(canvas);
    canvas.addEventListener("keydown", key);
    canvas.addEventListener("focus", draw);
    canvas.addEventListener("blur", () => { cross = null; draw(); });
  }

  // A tile's picture takes clicks as the large one does. A long touch is a right click.
  function clickable(one) {
    one.addEventListener("click", (event) => add(place(event), document.querySelector("[name=sign]:checked").value === "1"));
    one.addEventListener("contextmenu", (event) => { event.preventDefault(); add(place(event), false); });
  }

  function place(event) {
    if (!view) return null;
    const box = event.currentTarget.getBoundingClientRect();
    const [height, width] = view.size;
    const at = (share, most) => Math.max(0, Math.min(most - 1, Math.floor(share * most)));
    return [at((event.clientX - box.left) / box.width, width), at((event.clientY - box.top) / box.height, height)];
  }

  function add(at, positive) {
    if (at) state.set({ clicks: [...state.get().clicks, [...at, positive]] });
  }

  function key(event) {
    if (!view || event.ctrlKey || event.metaKey || event.altKey) return;
    const [height, width] = view.size, by = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(height, width) / 60));
    const moves = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    if (event.key in moves) {
      const [x, y] = cross ?? [Math.floor(width / 2), Math.floor(height / 2)], [across, down] = moves[event.key];
      cross = [Math.max(0, Math.min(width - 1, x + across)), Math.max(0, Math.min(height - 1, y + down))];
      draw();
    } else if ((event.key === "Enter" || event.key === "-") && cross) add(cross, event.key === "Enter");
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // Until the next picture is here, the one that is shown takes no click: it would be one on the next.
  function wait() {
    view = null;
  }

  function picture(given) {
    view = given;
    cross = null;
    draw();
  }

  function draw() {
    canvas.hidden = !view;
    if (!view) return;
    const { clicks } = state.get();
    canvas.style.aspectRatio = `${view.size[1]} / ${view.size[0]}`;
    canvas.style.setProperty("--aspect", view.size[1] / view.size[0]);
    paint.draw(canvas, view.view, view.image, tiles.ground(), tiles.scaled(clicks), view.zoom);
    const many = clicks.length ? `${clicks.length} click${clicks.length === 1 ? "" : "s"}` : "no click yet";
    canvas.setAttribute("aria-label", `The picture, ${view.size[1]} x ${view.size[0]} pixels, ${many}${cross ? `; the cross is at ${cross[0]}, ${cross[1]}` : ""}`);
    if (cross) drawCross();
  }

  function drawCross() {
    const context = canvas.getContext("2d"), [[x, y]] = tiles.scaled([[...cross, true]]);
    const [left, top] = [(x + 0.5) * view.zoom, (y + 0.5) * view.zoom], arm = Math.max(8, canvas.width / 40);
    for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(left - arm, top);
      context.lineTo(left + arm, top);
      context.moveTo(left, top - arm);
      context.lineTo(left, top + arm);
      context.stroke();
    }
  }

  return { start, clickable, wait, picture, draw };
})();
