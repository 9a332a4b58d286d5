// The dashboard.

import { Connection } from "./connection.js";
import { FaceList } from "./faces.js";
import { DASH, duration, number, write } from "./format.js";
import { LiveView, Run, pauseButton } from "./run.js";
import { Timeline } from "./timeline.js";

const FACES_SHOWN = 24;

const at = (id) => document.getElementById(id);
const connection = new Connection();
const run = new Run(connection);
const faces = new FaceList(at("faces"), FACES_SHOWN);
const timeline = new Timeline(at("timeline"), at("legend"), at("timeline-title"));

new LiveView(at("view"), run);
pauseButton(at("pause"), at("announce"), run);

run.addEventListener("change", () => {
  const { mode, words, status, observation } = run;
  at("state").dataset.mode = mode;
  write(at("state").querySelector(".word"), words.word);
  const seen = run.visible ? observation.faces : [];
  faces.show(seen, status?.palette ?? {});
  at("nobody").hidden = seen.length > 0 || !run.visible;
  write(at("count"), run.visible ? String(seen.length) : DASH);
  if (run.visible) {
    const { detect, classify } = observation.timing_ms;
    write(at("steps"), `detect ${number(detect, 1)} ms, classify ${number(classify, 1)} ms`);
  }
  if (status) describe(status, mode);
});

connection.addEventListener("status", ({ detail }) => timeline.take(detail));
connection.addEventListener("history", ({ detail }) => timeline.load(detail));
connection.addEventListener("second", ({ detail }) => timeline.add(detail));
connection.start();

function describe(status, mode) {
  const going = mode === "running";
  write(at("fps"), going ? number(status.fps || null, 1) : DASH);
  write(at("age"), going ? number(status.age_ms, status.age_ms < 10 ? 1 : 0) : DASH);
  write(at("temperature"), number(status.temperature_c, 1));
  write(at("source"), status.source || DASH);
  at("source").title = status.source;
  write(at("model"), status.model ? `${status.model.name}, ${status.model.sha256.slice(0, 12)}` : DASH);
  at("model").title = status.model ? `SHA-256 ${status.model.sha256}` : "";
  write(at("frames"), `${number(status.frames)} processed, ${number(status.dropped)} dropped`);
  const board = status.throttled === null ? DASH : status.throttled || "not throttled";
  write(at("board"), board);
  at("board").classList.toggle("warning", Boolean(status.throttled));
  write(at("which"), [status.source, status.model?.name].filter(Boolean).join(", "));
  write(at("uptime"), duration(status.uptime_s));
  const recording = status.recording ? " A recording is being made." : "";
  write(at("notice"), `Visible facial expressions are being analysed.${recording} An expression is not an emotion.`);
}
