// One entry a face: the expression, how sure the model is, and a bar for each label.

import { make, percent, title, write } from "./format.js";

/** Keeps one element a track, so that bars move rather than jump and a screen reader keeps its place. */
export class FaceList {
  #list;
  #most;
  #entries = new Map();

  /** most: how many faces are shown at all. */
  constructor(list, most) {
    this.#list = list;
    this.#most = most;
  }

  show(faces, palette) {
    // Near faces first when there are too many, but in the order of their tracks, which does not flicker.
    const near = [...faces].sort((a, b) => b.box[2] * b.box[3] - a.box[2] * a.box[3]).slice(0, this.#most);
    near.sort((a, b) => a.id - b.id);
    const ids = new Set(near.map((face) => face.id));
    for (const [id, entry] of this.#entries) {
      if (!ids.has(id)) {
        entry.element.remove();
        this.#entries.delete(id);
      }
    }
    for (const face of near) {
      let entry = this.#entries.get(face.id);
      if (!entry) {
        entry = makeEntry(face);
        this.#entries.set(face.id, entry);
        this.#list.append(entry.element);
      }
      fill(entry, face, palette);
    }
    this.#list.dataset.faces = String(near.length);
  }
}

function makeEntry(face) {
  const element = make("li", "face");
  const head = make("div", "head", element);
  const swatch = make("span", "swatch", head);
  swatch.setAttribute("aria-hidden", "true");
  const expression = make("span", "expression", head);
  const score = make("span", "score", head);
  const bars = make("ul", "bars", element);
  const rows = new Map();
  for (const label of Object.keys(face.probabilities)) {
    const row = make("li", "", bars);
    make("span", "label", row).textContent = label;
    const track = make("span", "track", row);
    const length = make("span", "length", track);
    rows.set(label, { row, length, value: make("span", "value", row) });
  }
  element.dataset.id = String(face.id);
  return { element, expression, score, rows };
}

function fill(entry, face, palette) {
  write(entry.expression, title(face.expression));
  write(entry.score, percent(face.score));
  entry.element.style.setProperty("--colour", palette[face.expression]);
  entry.element.dataset.expression = face.expression;
  for (const [label, { row, length, value }] of entry.rows) {
    const probability = face.probabilities[label] ?? 0;
    row.style.setProperty("--colour", palette[label]);
    row.classList.toggle("reported", label === face.expression);
    length.style.transform = `translateX(${(100 * probability - 100).toFixed(1)}%)`;
    write(value, String(Math.round(100 * probability)));
  }
}
