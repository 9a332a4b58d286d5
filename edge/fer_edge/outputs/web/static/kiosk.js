// The full-screen view: what a visitor reads from three metres.

import { Connection } from "./connection.js";
import { FaceList } from "./faces.js";
import { make } from "./format.js";
import { LiveView, Run, notice, pauseButton } from "./run.js";

const FACES_SHOWN = 4;
const QUIET_AFTER_MS = 4000;

const at = (id) => document.getElementById(id);
const connection = new Connection();
const run = new Run(connection);
const faces = new FaceList(at("faces"), FACES_SHOWN);

new LiveView(at("view"), run);
pauseButton(at("pause"), at("announce"), run);

run.addEventListener("change", () => {
  const { visible, status, observation } = run;
  const seen = visible ? observation.faces : [];
  faces.show(seen, status?.palette ?? {});
  at("nobody").hidden = seen.length > 0;
  const sentences = notice(status);
  if (at("notice").textContent !== sentences.join("")) {
    at("notice").replaceChildren();
    for (const sentence of sentences) make("span", "", at("notice")).textContent = sentence;
  }
});

at("fullscreen").hidden = !document.fullscreenEnabled;
at("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen();
});

// The small controls fade until someone touches, moves or types.
let quiet = 0;
function wake() {
  document.body.classList.remove("calm");
  clearTimeout(quiet);
  quiet = setTimeout(() => document.body.classList.add("calm"), QUIET_AFTER_MS);
}
for (const name of ["pointermove", "pointerdown", "keydown"]) addEventListener(name, wake);
wake();

connection.start();
