// What both views share: the state of the run in words, the live picture, the pause button.

import { write } from "./format.js";

/** The run as the page sees it; every part of the page reads from here. */
export class Run extends EventTarget {
  online = false;
  status = null;
  observation = null;

  constructor(connection) {
    super();
    connection.addEventListener("link", ({ detail }) => this.#set({ online: detail }));
    connection.addEventListener("status", ({ detail }) => this.#set({ status: detail }));
    connection.addEventListener("observation", ({ detail }) => this.#set({ observation: detail }));
  }

  /** Take a status that came as the answer to a click. */
  take(state) {
    const { observation, ...status } = state;
    this.#set({ status, observation });
  }

  /** offline, pausing, or a state of the runtime */
  get mode() {
    if (!this.online || !this.status) return "offline";
    const { state, pause_wanted: wanted } = this.status;
    if (wanted && state !== "paused") return "pausing";
    // Results can be ahead of the status, which comes once a second.
    return state === "starting" && this.observation ? "running" : state;
  }

  /** Whether there is a picture that may be shown. */
  get visible() {
    return this.observation !== null && ["running", "stopped"].includes(this.mode);
  }

  get words() {
    const { detail = "", can_pause: canPause } = this.status ?? {};
    return {
      offline: this.status
        ? { word: "Offline", title: "Connection lost", detail: "Trying again…" }
        : { word: "Connecting", title: "Connecting", detail: "" },
      starting: { word: "Starting", title: "Starting", detail: detail || "Waiting for the first picture." },
      running: { word: "Running", title: "", detail: "" },
      pausing: { word: "Pausing", title: "Pausing", detail: detail || "Waiting until the camera lets go." },
      paused: { word: "Paused", title: "Paused", detail: detail || (canPause ? "The camera is off. Nothing is analysed." : "") },
      retrying: { word: "No camera", title: "No picture from the camera", detail },
      stopped: { word: "Ended", title: "The run has ended", detail },
    }[this.mode];
  }

  #set(change) {
    Object.assign(this, change);
    this.dispatchEvent(new Event("change"));
  }
}

/** Shows the stream while there is something to see, and says why when there is not. */
export class LiveView {
  #run;
  #image;
  #title;
  #detail;
  #retry = 0;

  constructor(element, run) {
    this.#run = run;
    this.#image = element.querySelector("img");
    this.#title = element.querySelector(".title");
    this.#detail = element.querySelector(".detail");
    this.#image.addEventListener("error", () => {
      if (!this.#image.hasAttribute("src")) return;
      this.#stop();
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#update(), 1000);
    });
    run.addEventListener("change", () => this.#update());
    // Nobody looks at a hidden tab: the server then need not draw or encode.
    document.addEventListener("visibilitychange", () => this.#update());
    this.#stop();
  }

  #update() {
    const { visible, words, observation } = this.#run;
    if (observation) {
      const [width, height] = observation.size;
      document.documentElement.style.setProperty("--ratio", String(width / height));
    }
    if (visible && !document.hidden) {
      if (!this.#image.hasAttribute("src")) this.#image.src = `/stream.mjpg?${Date.now()}`;
    } else {
      this.#stop();
    }
    this.#image.parentElement.classList.toggle("veiled", !visible);
    this.#image.parentElement.dataset.mode = this.#run.mode;
    write(this.#title, words.title);
    write(this.#detail, words.detail);
  }

  #stop() {
    // Without the attribute Chromium closes the connection and forgets the last picture.
    if (this.#image.hasAttribute("src")) this.#image.removeAttribute("src");
  }
}

/** The big button; what it did is said aloud when it has happened. */
export function pauseButton(button, announcer, run) {
  let busy = false;
  let announced = null;

  const update = () => {
    const { status, online, mode } = run;
    button.hidden = !status?.can_pause || mode === "stopped";
    button.disabled = !online || busy;
    const paused = Boolean(status?.pause_wanted);
    button.dataset.action = paused ? "resume" : "pause";
    write(button.querySelector(".word"), paused ? "Resume camera" : "Pause camera");
    const said = {
      paused: "Paused. The camera is off.",
      pausing: "Pausing.",
      running: "Running. Expressions are being analysed.",
      retrying: `No picture from the camera. ${status?.detail ?? ""}`,
      offline: status ? "Connection lost." : "",
      stopped: "The run has ended.",
    }[mode];
    if (said && mode !== announced) write(announcer, said);
    announced = mode;
  };

  button.addEventListener("click", async () => {
    busy = true;
    update();
    try {
      const answer = await fetch(`/api/${button.dataset.action}`, { method: "POST", headers: { "X-Fer-Edge": "1" } });
      const data = await answer.json();
      if (answer.ok) run.take(data);
      else write(announcer, data.error);
    } catch {
      write(announcer, "The server does not answer.");
    } finally {
      busy = false;
      update();
      button.focus();
    }
  });
  run.addEventListener("change", update);
}

/** What people in front of the camera have to know, sentence by sentence. */
export function notice(status) {
  return [
    "This display analyses visible facial expressions.",
    status?.recording ? "A recording is being made." : "It stores no picture.",
    "An expression is not an emotion.",
  ];
}
