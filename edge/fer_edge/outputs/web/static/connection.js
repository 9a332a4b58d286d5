// The line to the server: state, results and the timeline, for as long as the page is open.

const SILENT_AFTER_MS = 12000; // the server pings after 5 s
const RETRY_MS = [500, 1000, 2000, 4000];

/** Dispatches "status", "observation", "second", "history" and "link" (detail: whether the server answers). */
export class Connection extends EventTarget {
  #events = null;
  #attempts = 0;
  #silence = 0;
  #version = null;

  start() {
    this.#open();
    // A laptop that wakes up, or a phone that finds its network again, should not wait for a timer.
    addEventListener("online", () => this.#again(0));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#events?.readyState !== EventSource.OPEN) this.#again(0);
    });
  }

  #open() {
    const events = new EventSource("/api/events");
    this.#events = events;
    events.addEventListener("open", () => this.#opened());
    events.addEventListener("error", () => this.#again());
    for (const name of ["status", "observation", "second", "ping"]) {
      events.addEventListener(name, (event) => this.#received(name, JSON.parse(event.data)));
    }
    this.#listen();
  }

  async #opened() {
    this.#attempts = 0;
    this.#tell("link", true);
    const answer = await fetch("/api/history").catch(() => null);
    if (answer?.ok) this.#tell("history", await answer.json());
  }

  #received(name, data) {
    this.#listen();
    if (name === "status") {
      // After an update of the server its pages are new, too.
      if (this.#version !== null && this.#version !== data.version) location.reload();
      this.#version = data.version;
    }
    this.#tell(name, data);
  }

  /** Restart the wait for the next sign of life. */
  #listen() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#again(0), SILENT_AFTER_MS);
  }

  #again(delay = RETRY_MS[Math.min(this.#attempts++, RETRY_MS.length - 1)]) {
    clearTimeout(this.#silence);
    this.#events?.close();
    this.#tell("link", false);
    this.#silence = setTimeout(() => this.#look(), delay);
  }

  /** An EventSource does not tell why it failed, so ask first. */
  async #look() {
    const answer = await fetch("/api/state", { cache: "no-store" }).catch(() => null);
    if (answer?.status === 401) location.reload(); // the token has changed: sign in
    else if (answer?.ok) this.#open();
    else this.#again();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
