// The last minutes: for each second a column, as high as there were faces, in the colours of their expressions.

import { make, percent, title, write } from "./format.js";

const MINUTE_LABEL_PX = 66;

export class Timeline {
  #canvas;
  #legend;
  #heading;
  #seconds = [];
  #span = 300;
  #labels = [];
  #palette = {};
  #ahead = 0; // the server's clock minus this one's, seconds
  #entries = new Map();

  constructor(canvas, legend, heading) {
    this.#canvas = canvas;
    this.#legend = legend;
    this.#heading = heading;
    new ResizeObserver(() => this.draw()).observe(canvas);
    document.addEventListener("themechange", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    setInterval(() => this.draw(), 1000);
  }

  load(history) {
    this.#seconds = history.seconds;
    this.#span = history.span_s;
    this.#labels = history.labels;
    this.draw();
  }

  add(second) {
    if (second.time > (this.#seconds.at(-1)?.time ?? 0)) this.#seconds.push(second);
    this.draw();
  }

  take(status) {
    this.#palette = status.palette;
    this.#labels = Object.keys(status.palette);
    this.#span = status.history_s;
    this.#ahead = status.time - Date.now() / 1000;
  }

  draw() {
    if (document.hidden || !this.#labels.length) return;
    const now = Date.now() / 1000 + this.#ahead;
    this.#seconds = this.#seconds.filter((second) => second.time > now - this.#span - 1);
    this.#describe();
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    const scale = devicePixelRatio;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const context = this.#canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const plot = { left: 0, top: 6, right: width - 22, bottom: height - 20 };
    this.#drawGrid(context, plot, style);
    this.#drawColumns(context, plot, now, style);
  }

  #top() {
    const most = Math.max(1, ...this.#seconds.map((second) => sum(Object.values(second.faces))));
    return Math.ceil(most - 0.05);
  }

  #drawGrid(context, plot, style) {
    const top = this.#top();
    const height = plot.bottom - plot.top;
    context.font = `${style.fontSize} ${style.fontFamily}`;
    context.textBaseline = "middle";
    context.lineWidth = 1;
    const step = Math.ceil(top / Math.max(1, Math.floor(height / 28)));
    for (let faces = 0; faces <= top; faces += step) {
      const y = Math.round(plot.bottom - (faces / top) * height) + 0.5;
      context.strokeStyle = style.outlineColor;
      line(context, plot.left, y, plot.right, y);
      context.fillStyle = style.color;
      context.textAlign = "right";
      if (faces) context.fillText(String(faces), plot.right + 20, y);
    }
    context.textBaseline = "alphabetic";
    const perMinute = (60 / this.#span) * (plot.right - plot.left);
    const every = Math.ceil(MINUTE_LABEL_PX / perMinute);
    for (let minute = 0; minute * 60 <= this.#span; minute += every) {
      const x = plot.right - minute * perMinute;
      context.textAlign = minute === 0 ? "right" : x < 24 ? "left" : "center";
      context.fillText(minute === 0 ? "now" : `−${minute} min`, x, plot.bottom + 16);
    }
  }

  #drawColumns(context, plot, now, style) {
    const perSecond = (plot.right - plot.left) / this.#span;
    const perFace = (plot.bottom - plot.top) / this.#top();
    const edge = (time) => Math.round(plot.right - (now - time) * perSecond);
    for (const second of this.#seconds) {
      const left = Math.max(plot.left, edge(second.time));
      const right = Math.min(plot.right, Math.max(left + 1, edge(second.time + 1)));
      let y = plot.bottom;
      for (const label of this.#labels) {
        const height = (second.faces[label] ?? 0) * perFace;
        context.fillStyle = this.#palette[label];
        context.fillRect(left, y - height, right - left, height);
        y -= height;
      }
      // A line under every second that was analysed: empty is not the same as paused.
      context.fillStyle = style.color;
      context.fillRect(left, plot.bottom, right - left, 2);
    }
  }

  /** The same in words: the legend for all, and a sentence for those who do not see the canvas. */
  #describe() {
    const totals = new Map(this.#labels.map((label) => [label, sum(this.#seconds.map((s) => s.faces[label] ?? 0))]));
    const all = sum([...totals.values()]);
    for (const label of this.#labels) {
      const entry = this.#entries.get(label) ?? this.#makeEntry(label);
      const share = all ? totals.get(label) / all : 0;
      entry.item.style.setProperty("--colour", this.#palette[label]);
      entry.item.classList.toggle("absent", !share);
      entry.item.dataset.share = share.toFixed(3);
      entry.item.style.setProperty("--share", String(Math.round(1000 * share)));
      write(entry.share, percent(share));
    }
    const minutes = Math.round(this.#span / 60);
    write(this.#heading, minutes > 1 ? `Last ${minutes} minutes` : `Last ${this.#span} seconds`);
    const shares = [...totals].filter(([, total]) => total > 0).sort((a, b) => b[1] - a[1]);
    const words = shares.map(([label, total]) => `${label} ${percent(total / all)}`).join(", ");
    this.#canvas.setAttribute("aria-label", words ? `Expressions by share of time: ${words}` : "No face was seen");
  }

  #makeEntry(label) {
    const item = make("li", "", this.#legend);
    item.dataset.label = label;
    make("span", "swatch", item).setAttribute("aria-hidden", "true");
    make("span", "name", item).textContent = title(label);
    const entry = { item, share: make("span", "share", item) };
    this.#entries.set(label, entry);
    return entry;
  }
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
