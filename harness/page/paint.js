"use strict";
// COCO's compressed run lengths -> pixels on a canvas.
report.paint = (() => {
  const TRUTH = "#28dc6e";
  // Brighter than the charts' colours: on a picture, not on a page's ground.
  const MASKS = ["#ff4d4d", "#3fa9ff", "#ffb000", "#c77dff", "#00d1c7", "#ff7ad9", "#b8e000", "#ffffff"];

  // As rleFrString of https://github.com/cocodataset/cocoapi (common/maskApi.c).
  function runs(counts) {
    const found = [];
    for (let place = 0; place < counts.length;) {
      let value = 0, shift = 0, code;
      do {
        code = counts.charCodeAt(place++) - 48;
        value |= (code & 31) << shift;
        shift += 5;
      } while (code & 32);
      if (code & 16 && shift < 32) value |= -1 << shift;
      if (found.length > 2) value += found[found.length - 2];
      found.push(value);
    }
    return found;
  }

  // Uint8Array of height x width, row by row; the runs go down the columns.
  function decode(counts, height, width) {
    const mask = new Uint8Array(height * width);
    let at = 0, inside = 0;
    for (const run of runs(counts)) {
      if (inside) for (let k = at; k < at + run; k++) mask[(k % height) * width + Math.floor(k / height)] = 1;
      at += run;
      inside ^= 1;
    }
    return mask;
  }

  // Every pixel as zoom x zoom pixels.
  function enlarged(mask, height, width, zoom) {
    if (zoom === 1) return mask;
    const large = new Uint8Array(height * width * zoom * zoom);
    for (let y = 0; y < height * zoom; y++) {
      const from = Math.floor(y / zoom) * width, to = y * width * zoom;
      for (let x = 0; x < width * zoom; x++) large[to + x] = mask[from + Math.floor(x / zoom)];
    }
    return large;
  }

  function layer(mask, height, width, rgb, filled) {
    const pixels = new ImageData(width, height);
    const thick = Math.max(1, Math.round(Math.max(height, width) / 320));
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = y * width + x;
        if (!mask[at]) continue;
        const edge = x < thick || y < thick || x >= width - thick || y >= height - thick ||
          !mask[at - thick] || !mask[at + thick] || !mask[at - thick * width] || !mask[at + thick * width];
        pixels.data.set(rgb, 4 * at);
        pixels.data[4 * at + 3] = edge ? 255 : filled ? 105 : 0;
      }
    }
    const canvas = report.element("canvas", { width, height });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }

  function rgb(hex) {
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  // picture: an image or null; layers: [{counts, rgb, filled}]; clicks: [[x, y, positive]]; zoom: canvas pixels a pixel.
  function draw(canvas, [height, width], picture, layers, clicks, zoom = 1) {
    const [tall, wide] = [height * zoom, width * zoom];
    canvas.width = Math.max(1, wide);
    canvas.height = Math.max(1, tall);
    const context = canvas.getContext("2d");
    if (picture) context.drawImage(picture, 0, 0, wide, tall);
    for (const one of layers) {
      const mask = enlarged(decode(one.counts, height, width), height, width, zoom);
      context.drawImage(layer(mask, tall, wide, one.rgb, one.filled), 0, 0);
    }
    const radius = Math.max(3, Math.max(tall, wide) / 90);
    for (const [x, y, positive] of clicks) {
      context.beginPath();
      context.arc((x + 0.5) * zoom, (y + 0.5) * zoom, radius, 0, 2 * Math.PI);
      context.fillStyle = positive ? "#00c853" : "#ff1744";
      context.strokeStyle = "#fff";
      context.lineWidth = radius / 3;
      context.fill();
      context.stroke();
    }
  }

  return { decode, draw, rgb, TRUTH, colour: (place) => MASKS[place % MASKS.length] };
})();
